// A network of a finished stage as analyses see it.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/training_data.h"
#include "engine/run_context.h"
#include "engine/stored.h"
#include "kd/analysis.h"

namespace kd {

class KD_API AnalysedModel final : public TrainedModel {
 public:
  /// `data` outlives it.
  AnalysedModel(const StageResult& stage, const NetworkResult& network, const TrainSettings& train,
                const TrainingData& data, at::Device device);
  /// Of a stage of another run, with data of its own; without a validation split, which belongs to that run's seed.
  AnalysedModel(const StageResult& stage, const NetworkResult& network, const TrainSettings& train,
                std::unique_ptr<TrainingData> data, at::Device device);
  ~AnalysedModel() override;

  const NetworkName& name() const override { return name_; }
  const DataInfo& data() override { return data_.info; }
  bool has(Split split) override { return split != Split::kValidation || data_.has_validation(); }
  const at::Tensor& labels(Split split) override;
  const at::Tensor& logits(Split split) override;
  at::Tensor pixels(Split split, std::int64_t begin, std::int64_t count) override;
  at::Tensor seen(const at::Tensor& pixels) override;
  std::vector<std::string> tap_names() override;
  at::Tensor features(Split split, const std::string& tap, std::int64_t most) override;
  at::Tensor compute_logits(Split split, std::int64_t most) override;
  Outputs forward(const at::Tensor& images, const TapRequest& taps, Gradient gradient) override;
  std::vector<NamedParameter> weights() override;
  std::vector<NamedParameter> statistics() override;
  void estimate_statistics(Split split, std::int64_t most) override;
  at::Tensor head(const at::Tensor& feature, const std::string& tap) override;

 private:
  const SplitData& set(Split split) const;
  /// The network with its weights, loaded now if it was not.
  StoredNetwork& stored();
  std::filesystem::path answers_file(Split split) const;
  at::Tensor read_answers(Split split) const;

  const NetworkName name_;
  const StageResult stage_;
  const NetworkResult network_;
  const TrainSettings train_;
  const std::unique_ptr<TrainingData> own_data_;
  const TrainingData& data_;
  const at::Device device_;
  std::optional<StoredNetwork> stored_;
  std::map<Split, at::Tensor> logits_, labels_;
};

/// The network of a finished stage of another run; an empty `network` means the stage's only one. Throws FileError
/// where there is none.
KD_API std::unique_ptr<AnalysedModel> load_analysed(const std::filesystem::path& run, const std::string& stage,
                                                    const std::string& network, const std::filesystem::path& data_root,
                                                    at::Device device);

}  // namespace kd
