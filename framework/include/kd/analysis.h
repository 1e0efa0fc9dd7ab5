// An analysis: looks at trained networks after the stages, and leaves tables and figures.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/batch.h"
#include "kd/dataset.h"
#include "kd/figure.h"
#include "kd/optimizer.h"
#include "kd/random.h"
#include "kd/table.h"

namespace kd {

/// A network that the stages of a recipe train.
struct KD_API NetworkName {
  std::string stage, network;

  std::string text() const { return stage + "/" + network; }
  bool operator==(const NetworkName&) const = default;
};

/// The place of a network in a list; an empty `network` means its stage's only one. Throws RecipeError that names what
/// there is.
KD_API std::size_t find_network(const std::vector<NetworkName>& networks, const std::string& stage,
                                const std::string& network);

/// Throws RecipeError where the list `parameter` of an analysis has another number of entries than the list `other`.
KD_API void require_one_for_each(const std::string& parameter, std::size_t given, const std::string& other,
                                 std::size_t wanted);

/// Parameters that will be again what they are now, whatever happens.
class KD_API SavedWeights {
 public:
  explicit SavedWeights(std::vector<NamedParameter> weights);
  ~SavedWeights();
  SavedWeights(const SavedWeights&) = delete;
  SavedWeights& operator=(const SavedWeights&) = delete;

  const std::vector<NamedParameter>& weights() const { return weights_; }

 private:
  std::vector<NamedParameter> weights_;
  std::vector<at::Tensor> saved_;
};

/// A trained network in evaluation mode, in the precision of its stage. Weights and data are loaded when they are first
/// asked for.
class KD_API TrainedModel : public Head {
 public:
  ~TrainedModel() override;
  virtual const NetworkName& name() const = 0;
  /// Of its stage: stages may differ in their classes.
  virtual const DataInfo& data() = 0;
  /// Whether its stage's data has such a split.
  virtual bool has(Split split) = 0;
  /// int64, N, on the CPU.
  virtual const at::Tensor& labels(Split split) = 0;
  /// Answers to a whole split: float, N×classes, on the CPU, in its order. Computed once, and kept beside the stage.
  virtual const at::Tensor& logits(Split split) = 0;

  /// Samples as the network sees them, such as normalised: float, N×C×H×W, on its device. No more than there are.
  at::Tensor images(Split split, std::int64_t begin, std::int64_t count) { return seen(pixels(split, begin, count)); }
  /// The same samples as pixels: float in [0, 1], N×C×H×W, on its device.
  virtual at::Tensor pixels(Split split, std::int64_t begin, std::int64_t count) = 0;
  /// What the network sees of pixels. Gradients go through it where the pixels want them.
  virtual at::Tensor seen(const at::Tensor& pixels) = 0;
  /// The features that it offers.
  virtual std::vector<std::string> tap_names() = 0;
  /// A feature of the first `most` samples (fewer where there are fewer): float, on the CPU.
  virtual at::Tensor features(Split split, const std::string& tap, std::int64_t most) = 0;
  /// Answers to the first `most` samples, computed anew with what the weights are at the moment: float, on the device.
  virtual at::Tensor compute_logits(Split split, std::int64_t most) = 0;
  /// A pass on images of your own, as images() gives them. Its weights get no gradient.
  virtual Outputs forward(const at::Tensor& images, const TapRequest& taps = {},
                          Gradient gradient = Gradient::kNone) = 0;
  /// Its parameters, on the device, which may be changed in place under with_weights().
  virtual std::vector<NamedParameter> weights() = 0;
  /// The running means and variances of its batch norms, on the device.
  virtual std::vector<NamedParameter> statistics() = 0;
  /// Estimates the running means and variances anew, each as the mean over batches of the first `most` samples, with
  /// what the weights are at the moment. Called under with_weights().
  virtual void estimate_statistics(Split split, std::int64_t most) = 0;

  /// What `body` gives when it is called with the weights, all of which it may change: they and the statistics are
  /// restored afterwards, also after an exception.
  template <class Body>
  auto with_weights(Body body) {
    const SavedWeights saved(weights()), saved_statistics(statistics());
    return body(saved.weights());
  }
};

class KD_API AnalysisContext {
 public:
  virtual ~AnalysisContext();
  /// The networks of the run, in the order of its stages.
  virtual const std::vector<TrainedModel*>& networks() = 0;
  /// A network of another run, on the data of its own stage. `run` is its run folder; an empty `network` means the
  /// stage's only one. It lives as long as the context. Throws FileError where there is none.
  virtual TrainedModel& load(const std::string& run, const std::string& stage, const std::string& network) = 0;
  /// For what is random in the analysis.
  virtual RandomKey key() const = 0;

  /// Keeps a table in the run's analysis folder, as CSV and as JSON. Where an earlier analysis of the run left one of
  /// this name, a number is added to it.
  virtual void keep(const Table& table) = 0;
  /// Shows a table to the user.
  virtual void show(const Table& table) = 0;
  /// Both.
  void table(const Table& one) {
    keep(one);
    show(one);
  }
  /// Keeps a figure in the run's analysis folder: SVG, PNG and its numbers as JSON.
  virtual void figure(const Figure& figure) = 0;
  /// Shows a line to the user.
  virtual void print(const std::string& text) = 0;

  /// The network of this run that these words name; see find_network().
  TrainedModel& network(const std::string& stage, const std::string& network);
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
