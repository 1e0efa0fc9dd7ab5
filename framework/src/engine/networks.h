// The networks of a stage: those it trains and those it learns from.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "data/batches.h"
#include "data/training_data.h"
#include "engine/answer_cache.h"
#include "kd/model.h"
#include "kd/optimizer.h"
#include "kd/schedule.h"
#include "kd/scheme.h"
#include "record/safetensors.h"

namespace kd {

/// Where and how a network computes.
struct KD_API Placement {
  at::Device device{at::kCPU};
  at::ScalarType precision = at::kFloat;
  bool channels_last = false;
};

/// Brings the weights of convolutions into the memory order of the placement.
KD_API void set_memory_order(Model& model, const Placement& placement);

/// Makes a model with its random initialisation and moves it to its place.
KD_API std::unique_ptr<Model> place_model(const ComponentSpec& spec, const DataInfo& info, RandomKey key,
                                          const Placement& placement);

/// Number of trained scalars.
KD_API std::int64_t count_parameters(Model& model);

/// Parameters and buffers under the names that Python's state_dict gives them. They share memory with the model.
KD_API TensorMap state_dict(Model& model);

/// The names of state_dict().
KD_API std::vector<std::string> state_names(Model& model);

/// Copies `state` into the model. Throws FileError that lists missing, unexpected and wrongly shaped names, a few of
/// each; `source` is named.
KD_API void load_state_dict(Model& model, const TensorMap& state, const std::string& source);

/// Logits of a whole set, in evaluation mode: float, N×classes, on the device.
KD_API at::Tensor evaluate_logits(Model& model, const Placement& placement, const ImageSet& set,
                                  const AugmentationChain& augmentations, std::int64_t batch_size);

/// The part of an update that one batch is, where the gradients of several make one.
struct KD_API UpdatePart {
  double share = 1;           ///< of the rows of the update
  double labelled_share = 1;  ///< of its labelled rows
  bool last = true;           ///< whether the parameters change after it
};

/// A network in training, with everything that its updates need.
class KD_API TrainedNetwork final : public Network {
 public:
  TrainedNetwork(std::string name, std::unique_ptr<Model> model, const Placement& placement, RandomKey key);
  ~TrainedNetwork() override;

  const std::string& name() const override { return name_; }
  Outputs forward(const at::Tensor& images, const TapRequest& taps) override;
  Outputs answer(const at::Tensor& images, const TapRequest& taps) override;

  /// Trains `module` also; before prepare().
  void add_module(const std::shared_ptr<torch::nn::Module>& module);
  /// Makes the optimizer over the model and what was added, and the average where `settings` asks for one.
  void prepare(const ComponentSpec& optimizer, const ComponentSpec& schedule, const TrainSettings& settings);

  /// The engine's half of Updater::update. `time` is that of the update's first batch.
  void update(const std::vector<Term>& terms, const UpdatePart& part, const ScheduleTime& time);
  /// Tells the learning-rate schedule the loss of an evaluation.
  void observe(double loss);
  double learning_rate(const ScheduleTime& time) const;

  /// Evaluation, with the averaged parameters where there are any.
  at::Tensor evaluate(const ImageSet& set, const AugmentationChain& augmentations, std::int64_t batch_size);

  Model& model() { return *model_; }

  /// What is kept as the result: the averaged parameters where there are any.
  TensorMap result_state();
  /// Everything else that the next update depends on, under names that begin with the network's.
  TensorMap training_state();
  void restore(const TensorMap& result, const TensorMap& training);

 private:
  std::vector<NamedParameter> adapter_buffers() const;
  /// Takes the counters of batches out of batch norm, which would add to each in a kernel of its own.
  void gather_buffers();
  std::vector<at::Tensor> gradients() const;
  Outputs pass(const at::Tensor& images, const TapRequest& taps);
  void swap_average();
  void clip_gradients();
  void step(const ScheduleTime& time);

  std::string name_;
  std::unique_ptr<Model> model_;
  Placement placement_;
  RandomKey key_;
  std::uint64_t passes_ = 0;  // of this network so far: a new dropout mask for each
  std::vector<std::shared_ptr<torch::nn::Module>> modules_;
  std::vector<NamedParameter> parameters_;
  std::vector<at::Tensor> buffers_, saved_buffers_;  // of the model but for the counters; what answer() saves of them
  std::vector<at::Tensor> batch_counters_;           // of batch norm
  std::vector<NamedParameter> averaged_;             // parameters, and the model's buffers of floating type
  std::vector<at::Tensor> average_;                  // of each of them
  double average_decay_ = 0;
  double max_gradient_norm_ = 0;
  std::int64_t updates_ = 0;
  bool gradients_open_ = false;  // whether there are gradients of an update that is not made yet
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Schedule> schedule_;
  at::Tensor scale_, scale_growth_, found_inf_;  // fp16 only
};

/// A network that only answers.
class KD_API FrozenNetwork final : public Teacher {
 public:
  /// `key` is for the dropout of a teacher in training mode.
  FrozenNetwork(std::string name, std::unique_ptr<Model> model, const Placement& placement, const TeacherPlan& plan,
                RandomKey key);
  ~FrozenNetwork() override;

  const std::string& name() const override { return name_; }
  double weight() const override { return plan_.weight; }
  Outputs outputs(const Batch& batch, const TapRequest& taps) override;
  Outputs forward(const at::Tensor& images, const TapRequest& taps) override;

  /// From now on outputs() looks logits up in `cache`, which fill_cache() keeps ahead of the steps.
  void use_cache(std::shared_ptr<AnswerCache> cache) { cache_ = std::move(cache); }
  /// Computes what the cache lacks of the training samples at `index` (on the CPU), as the epoch of that key shows
  /// them, `rows` at a time.
  void fill_cache(const ImageSet& train, const AugmentationChain& augmentations, const at::Tensor& index,
                  RandomKey epoch_key, std::int64_t rows);

  /// Tells the network which step it answers in: a new dropout mask for each, in training mode.
  void begin_step(std::int64_t step) { pass_key_ = key_.with(static_cast<std::uint64_t>(step)); }
  bool has_cache() const { return cache_ != nullptr; }
  bool in_training_mode() const { return plan_.training_mode; }

  Model& model() { return *model_; }

 private:
  /// Logits as the network gives them.
  at::Tensor pass(const at::Tensor& images, Taps* taps);
  /// Logits as a loss wants them: float, at the teacher's own temperature.
  at::Tensor finish(const at::Tensor& logits) const;

  std::string name_;
  std::unique_ptr<Model> model_;
  Placement placement_;
  TeacherPlan plan_;
  RandomKey key_, pass_key_;
  std::shared_ptr<AnswerCache> cache_;
};

}  // namespace kd
