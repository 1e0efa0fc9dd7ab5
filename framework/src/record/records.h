// Measurements of a run, and the places they are written to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "kd/api.h"

namespace kd {

/// One number. `name` is "loss", "loss/kd", "top1", "nll", "learning_rate", "top1/class/3" …
struct KD_API Record {
  std::string stage, network, split;
  std::int64_t epoch = 0;  ///< epochs completed
  std::int64_t step = 0;   ///< updates made
  std::string name;
  double value = 0;
};

class KD_API Sink {
 public:
  virtual ~Sink();
  virtual void write(const std::vector<Record>& records) = 0;
};

/// One JSON object per record and line; a number that is not finite is written as null.
class KD_API JsonLinesSink final : public Sink {
 public:
  explicit JsonLinesSink(const std::filesystem::path& file);
  void write(const std::vector<Record>& records) override;

 private:
  std::ofstream stream_;
};

/// Reads records that a JsonLinesSink has written; a last line that was cut off is left out.
KD_API std::vector<Record> read_records(const std::filesystem::path& file);

}  // namespace kd
