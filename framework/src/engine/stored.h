// Networks outside of training: those of finished stages, and those that others published.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/batches.h"
#include "data/training_data.h"
#include "engine/networks.h"
#include "engine/run_context.h"
#include "kd/analysis.h"
#include "kd/model.h"

namespace kd {

/// A network of a finished stage, placed as its stage placed it.
class KD_API StoredNetwork {
 public:
  /// `checkpoint` is "best" or "last".
  StoredNetwork(const StageResult& stage, const NetworkResult& network, const std::string& checkpoint,
                const DataInfo& info, const TrainSettings& train, at::Device device);

  /// Logits of a whole set, in evaluation mode: float, N×classes, on the device.
  at::Tensor logits(const ImageSet& set);

 private:
  std::unique_ptr<Model> model_;
  AugmentationChain augmentations_;
  Placement placement_;
  std::int64_t batch_size_;
};

/// A trained network with its answers to the test split and, where `data` has one, the validation split.
KD_API AnalysedNetwork answer_splits(const StageResult& stage, const NetworkResult& network, const TrainSettings& train,
                                     const TrainingData& data, at::Device device);

/// The network of a finished stage of another run with its answers to the test split of its own data; an empty
/// `network` means the stage's only one. Throws FileError where there is none.
KD_API AnalysedNetwork load_network(const std::filesystem::path& run, const std::string& stage,
                                    const std::string& network, const std::filesystem::path& data_root,
                                    at::Device device);

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

/// Checks `weights` against the network `model` for the data set `data` (both TOML text) and, where `evaluate` says so,
/// measures it on the test split with the data set's normalisation. Throws FileError that lists every name that is
/// missing, unexpected or of another shape; `source` is named.
KD_API NetworkResult check_weights(const TensorMap& weights, const std::string& source, const std::string& model,
                                   const std::string& data, bool evaluate, const std::filesystem::path& data_root);

}  // namespace kd
