// An analysis: looks at trained networks after the stages and leaves tables in the run folder.
#pragma once

#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/batch.h"
#include "kd/dataset.h"

namespace kd {

/// A trained network and where it comes from.
struct KD_API AnalysedNetwork {
  std::string stage, network;
  at::Tensor test_logits;  ///< float, N×classes, on the CPU, in the order of the test split
};

class KD_API AnalysisContext {
 public:
  virtual ~AnalysisContext();
  virtual const DataInfo& data() const = 0;
  virtual const at::Tensor& test_labels() const = 0;
  virtual const std::vector<AnalysedNetwork>& networks() const = 0;
  /// Writes `text` as a file of the run's analysis folder, whole or not at all.
  virtual void write(const std::string& file_name, const std::string& text) = 0;
  /// Shows a few lines to the user.
  virtual void print(const std::string& text) = 0;
};

class KD_API Analysis {
 public:
  static constexpr const char* kKind = "analysis";
  struct Context {};

  virtual ~Analysis();
  virtual void run(AnalysisContext& context) = 0;
};

}  // namespace kd
