// Event files of TensorBoard: a folder for each network of each stage, so that their curves share a chart, with what
// its HParams page compares; and pictures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kd/api.h"
#include "kd/value.h"
#include "record/records.h"

namespace kd {

/// The training of one network, as HParams lists it.
struct KD_API Trial {
  std::string stage, network;
  std::string group;  ///< trials of one group are the same training: one row
  std::vector<std::pair<std::string, Value>> settings;
};

enum class TrialStatus { kUnknown = 0, kSuccess = 1, kFailure = 2 };  // as TensorBoard numbers them

/// One event file, in a folder of its own, which TensorBoard shows as a run.
class KD_API EventFile {
 public:
  explicit EventFile(const std::filesystem::path& folder);

  void scalar(const std::string& tag, std::int64_t step, double value);
  void image(const std::string& tag, const std::string& png);
  void begin(const Trial& trial);
  void end(TrialStatus status);
  void flush() { stream_.flush(); }

 private:
  void write_event(const std::string& event);
  std::ofstream stream_;
};

/// Records under tags "split/name" over steps, in <folder>/<stage>.<network>/, or <folder>/<stage>/ where the network
/// is the only one, "model".
class KD_API TensorBoardSink final : public Sink {
 public:
  explicit TensorBoardSink(std::filesystem::path folder, const std::vector<Trial>& trials = {});

  void write(const std::vector<Record>& records) override;
  /// Ends a trial with the results that count, as "result/top1" …: HParams would otherwise take the last epoch's, which
  /// need not be the best, and those of a trial that was cut off.
  void finish(const std::string& stage, const std::string& network, const std::map<std::string, double>& results);
  /// Ends the trials that were begun and not finished.
  void abandon(TrialStatus status);
  /// A picture of the run as a whole, in <folder>/analyses/.
  void image(const std::string& name, const std::string& png);

 private:
  using NetworkId = std::pair<std::string, std::string>;  // stage, network
  struct OpenRun {
    EventFile events;
    std::int64_t last_step = 0;
  };
  OpenRun& run(const NetworkId& id);

  const std::filesystem::path folder_;
  std::map<NetworkId, Trial> trials_;
  std::map<NetworkId, OpenRun> open_;
  std::optional<EventFile> analyses_;
};

}  // namespace kd
