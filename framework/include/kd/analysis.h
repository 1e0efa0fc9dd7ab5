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
  std::vector<std::string> class_names;  ///< of its stage's data; stages may differ in their classes
  at::Tensor test_logits;                ///< float, N×classes, on the CPU, in the order of the test split
  at::Tensor test_labels;                ///< int64, N
  /// Of the held-out validation split; undefined where the stage's data has none.
  at::Tensor validation_logits, validation_labels;
};

/// A network that the stages of a recipe will train.
struct KD_API NetworkName {
  std::string stage, network;
};

class KD_API AnalysisContext {
 public:
  virtual ~AnalysisContext();
  virtual const std::vector<AnalysedNetwork>& networks() const = 0;
  /// A network of another run, on the data of its own stage. `run` is its run folder; an empty `network` means the
  /// stage's only one. Throws FileError where there is none.
  virtual AnalysedNetwork load(const std::string& run, const std::string& stage, const std::string& network) = 0;
  /// Writes `text` as a file of the run's analysis folder, whole or not at all. Where an earlier analysis of the run
  /// wrote one of this name, a number is added to it.
  virtual void write(const std::string& file_name, const std::string& text) = 0;
  /// Shows a few lines to the user.
  virtual void print(const std::string& text) = 0;
};

class KD_API Analysis {
 public:
  static constexpr const char* kKind = "analysis";
  struct Context {};

  virtual ~Analysis();
  /// Called before training with the names of all networks, in the order of the stages. Throws RecipeError where the
  /// analysis asks for one that there will not be.
  virtual void check(const std::vector<NetworkName>& networks) const;
  virtual void run(AnalysisContext& context) = 0;
};

}  // namespace kd
