// A network in training, with everything that its updates need.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/batches.h"
#include "engine/placement.h"
#include "engine/state_dict.h"
#include "engine/step_scalars.h"
#include "kd/optimizer.h"
#include "kd/schedule.h"
#include "kd/scheme.h"
#include "recipe/plan.h"
#include "record/safetensors.h"

namespace kd {

/// The part of an update that one batch is, where the gradients of several make one.
struct KD_API UpdatePart {
  double share = 1;           ///< of the rows of the update
  double labelled_share = 1;  ///< of its labelled rows
  bool last = true;           ///< whether the parameters change after it
};

/// A network in training, with everything that its updates need.
class KD_API TrainedNetwork final : public Network {
 public:
  /// `frozen`: parts by the beginnings of their names, which keep their weights and answer as in evaluation. Throws
  /// RecipeError where there is no such part. `group`: the processes whose gradients make an update together.
  TrainedNetwork(std::string name, std::unique_ptr<Model> model, const Placement& placement, RandomKey key,
                 const std::vector<std::string>& frozen = {}, Group& group = Group::alone());
  ~TrainedNetwork() override;

  const std::string& name() const override { return name_; }
  Outputs forward(const at::Tensor& images, const TapRequest& taps) override;
  Outputs answer(const at::Tensor& images, const TapRequest& taps) override;
  at::Tensor head(const at::Tensor& feature, const std::string& tap) override;
  BatchNormAffine batch_norm(const std::string& tap) override { return model_->batch_norm(tap); }

  /// Trains an adapter also; before prepare(). The second of a name is called "name_2".
  void add_adapter(const NamedModule& adapter);
  /// The weights, and those of adapters as "adapter.name.…": what another stage's may be copied into.
  TensorMap loadable();
  /// Makes the optimizers over the model and its adapters, and the average where `settings` asks for one. `rates` are
  /// factors of the learning rate for the parts that begin so; the longest that fits counts.
  void prepare(const ComponentSpec& optimizer, const ComponentSpec& schedule, const TrainSettings& settings,
               const std::map<std::string, double>& rates);

  /// What the update of a step depends on beside gradients: numbers of the host, which go to the device here, before
  /// the step. `time` is that of the update's first batch.
  void begin_step(const ScheduleTime& time);
  /// Has other processes than before make its updates together; before the first step.
  void train_in(Group& group) { group_ = &group; }
  /// Adds the gradients of a batch to those of its update.
  void backward(const std::vector<Term>& terms, const UpdatePart& part);
  /// Changes the parameters by the gradients so far.
  void step();
  /// Whether the kernels of its passes and updates can be recorded; after prepare(). See Scheme::recordable().
  bool recordable() const;
  /// What the host counts of a network while it trains.
  struct Counts {
    std::uint64_t passes = 0;
    std::int64_t updates = 0;
  };
  Counts counts() const { return {passes_, updates_}; }
  /// Counts a step that the host took no part in.
  void advance(const Counts& by);
  /// Forgets a step that was recorded and not made.
  void forget_step(const Counts& before);
  /// Tells the learning-rate schedule the loss of an evaluation.
  void observe(double loss);
  double learning_rate(const ScheduleTime& time) const;

  /// Evaluation, with the averaged parameters where there are any.
  at::Tensor evaluate(const SplitData& set, const AugmentationChain& augmentations, std::int64_t batch_size);

  Model& model() { return *model_; }

  /// What is kept as the result: the averaged parameters where there are any.
  struct Result {
    TensorMap weights;   ///< under the names of Python's state_dict
    TensorMap adapters;  ///< as "name.…"; empty where there are none
  };
  Result result();
  /// Everything else that the next update depends on, under names that begin with the network's. Every process of the
  /// group asks.
  TensorMap training_state();
  void restore(const Result& result, const TensorMap& training);

 private:
  /// An optimizer for the parameters that share a factor of the learning rate.
  struct RateGroup {
    double factor;
    std::string state_prefix;
    std::unique_ptr<Optimizer> optimizer;
    std::vector<std::size_t> members;  // of parameters_
  };

  void freeze(const std::vector<std::string>& parts);
  /// Parameters and buffers of the adapters.
  std::vector<NamedParameter> adapter_tensors() const;
  std::vector<RateGroup> make_groups(const ComponentSpec& optimizer, const std::map<std::string, double>& rates) const;
  /// Takes the counters of batches out of batch norm, which would add to each in a kernel of its own.
  void gather_buffers();
  /// Every gradient there is, those that teachers taught too.
  std::vector<at::Tensor> gradients() const;
  /// Puts the gradients that teachers taught in the place of the others, and back.
  void swap_teacher_gradients();
  OptimizerStep optimizer_step(std::size_t group) const;
  Outputs pass(const at::Tensor& images, const TapRequest& taps);
  void swap_average();
  void clip_gradients();
  void drop_gradients();
  /// Moves the average towards the parameters.
  void follow_with_average();

  std::string name_;
  std::unique_ptr<Model> model_;
  Placement placement_;
  RandomKey key_;
  Group* group_;
  std::uint64_t passes_ = 0;  // of this network so far: a new dropout mask for each
  std::vector<NamedModule> adapters_;
  std::vector<NamedParameter> parameters_;           // that are trained, those of adapters too
  std::vector<at::Tensor> teacher_gradients_;        // of each of them, where the optimizer wants them apart
  std::vector<at::Tensor> buffers_, saved_buffers_;  // of the model but for the counters; what answer() saves of them
  std::vector<at::Tensor> batch_counters_;           // of batch norm
  std::vector<NamedParameter> averaged_;             // parameters, and the model's buffers of floating type
  std::vector<at::Tensor> average_;                  // of each of them
  double average_decay_ = 0;
  double max_gradient_norm_ = 0;
  std::int64_t updates_ = 0;
  bool gradients_open_ = false;  // whether there are gradients of an update that is not made yet
  std::vector<RateGroup> groups_;
  StepScalars scalars_;        // the rate of each of them, and the weight of the parameters in their average
  double factor_ = 1;          // of every rate in the step at hand
  double average_weight_ = 0;  // of the parameters in their average after it
  std::unique_ptr<Schedule> schedule_;
  at::Tensor scale_, scale_growth_, found_inf_;  // fp16 only
};

}  // namespace kd
