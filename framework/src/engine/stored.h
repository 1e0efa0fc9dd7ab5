// Networks outside of training: those of finished stages, and those that others published.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/batches.h"
#include "data/training_data.h"
#include "engine/placement.h"
#include "engine/run_context.h"
#include "kd/model.h"
#include "record/weights.h"

namespace kd {

/// The result of a finished stage. Throws FileError where the folder holds none.
KD_API StageResult require_result(const std::filesystem::path& stage_folder);

/// A network of a finished stage with its weights, placed as its stage placed it.
class KD_API StoredNetwork {
 public:
  /// `checkpoint` is "best" or "last".
  StoredNetwork(const StageResult& stage, const NetworkResult& network, const std::string& checkpoint,
                const DataInfo& info, const TrainSettings& train, at::Device device);

  /// Logits of the first `most` samples of a set: float, N×classes, on the device.
  at::Tensor logits(const SplitData& set, std::int64_t most);
  at::Tensor logits(const SplitData& set) { return logits(set, set.samples()); }
  /// What the network sees of images as they are stored, or of pixels in [0, 1]: float, on the device.
  at::Tensor seen(const at::Tensor& images) const { return augmentations_.apply_in_evaluation(images); }
  /// Float logits of such images.
  at::Tensor forward(const at::Tensor& images, Taps* taps);
  at::Tensor head(const at::Tensor& feature, const std::string& tap);

  Model& model() { return *model_; }

 private:
  std::unique_ptr<Model> model_;
  AugmentationChain augmentations_;
  Placement placement_;
  std::int64_t batch_size_;
  bool tf32_ = false;
};

/// The folders of the finished stages of a run folder, or the stage folder itself. Throws FileError where there are
/// none.
KD_API std::vector<std::filesystem::path> finished_stages(const std::filesystem::path& run);

/// What a network of a finished stage does on a test split.
struct KD_API Evaluation {
  std::string stage, network;
  ClassificationResult test;
};

/// The networks of a stage of a run folder, evaluated again on the test split of its data or of `data` (TOML text of a
/// data set; empty: its own).
KD_API std::vector<Evaluation> evaluate_stage(const std::filesystem::path& stage_folder, const std::string& checkpoint,
                                              const std::string& data, const std::filesystem::path& data_root,
                                              at::Device device, const BinSettings& bins = {});

/// Copies the weights of every network of a finished stage into `folder` as <stage>-<network>.<format>; `format` is
/// "safetensors" or "pth". Returns the files. Throws where one is there already.
KD_API std::vector<std::filesystem::path> export_stage(const std::filesystem::path& stage_folder,
                                                       const std::string& checkpoint, const std::string& format,
                                                       const std::filesystem::path& folder);

/// A feature of a network, and its shape with "N" for the number of images.
struct KD_API TapShape {
  std::string name;
  std::vector<std::string> shape;
};

/// The features that the network `model` (TOML text) offers, for images 3×32×32 of 100 classes.
KD_API std::vector<TapShape> describe_taps(const std::string& model);

/// How weights that others published are taken.
struct KD_API ImportRequest {
  std::string source;       ///< named in messages
  std::string model, data;  ///< TOML text: the network, and the data set that it is for
  std::string prefix;       ///< only names that begin so, without it
  std::vector<std::pair<std::string, std::string>> renamed;  ///< beginnings of names, and what they become
  bool evaluate = false;                                     ///< on the test split
  std::string augment = "[{ type = 'normalize' }]";          ///< TOML text: what the network saw of an image
  std::filesystem::path data_root;
};

struct KD_API ImportedWeights {
  TensorMap tensors;  ///< under the names of the network
  NetworkResult network;
  std::vector<std::string> notes;  ///< a line for whatever was passed over or renamed
};

/// Checks weights against a network. Throws FileError that says which names are missing, unexpected or of another
/// shape, and which tensors hold NaN or infinite numbers.
KD_API ImportedWeights import_weights(const Weights& weights, const ImportRequest& request);

}  // namespace kd
