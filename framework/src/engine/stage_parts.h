// Everything a stage is made of, as its scheme sees it: data, augmentations, networks, teachers.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/batches.h"
#include "data/training_data.h"
#include "engine/device.h"
#include "engine/frozen_network.h"
#include "engine/run_context.h"
#include "engine/trained_network.h"
#include "kd/scheme.h"

namespace kd {

/// Batches of an epoch of a stage with this data. Throws RecipeError where there is none.
KD_API std::int64_t batches_per_epoch(const StagePlan& plan, const TrainingData& data);

/// The key of everything random in a stage.
KD_API RandomKey stage_key(const ExperimentPlan& plan, const StagePlan& stage);

class StageParts final : public StageContext {
 public:
  /// Loads the data and decides where and how the stage computes.
  StageParts(const StagePlan& plan, const RunContext& context);
  ~StageParts() override;

  /// Makes networks, teachers and scheme, ready for the first step.
  void prepare();
  /// The same as far as it can be done before earlier stages are trained, with random weights for their networks.
  void prepare_trial();

  const TrainingData& training_data() const { return data_; }
  const AugmentationChain& augmentations() const { return augmentations_; }
  std::vector<std::unique_ptr<TrainedNetwork>>& trained() { return trained_; }
  const std::vector<std::unique_ptr<FrozenNetwork>>& frozen() const { return frozen_; }
  /// The first samples, as the first epoch shows them.
  Batch first_batch(std::int64_t rows) const;
  /// One step of the scheme on a batch, in the stage's precision.
  void step(const Batch& batch, std::int64_t step, Updater& updater);
  /// Makes the teachers' answers to the samples at `index`, which are on the CPU, ready where they are cached.
  void prepare_answers(const at::Tensor& index, std::int64_t epoch);
  /// Of what augmentations make of the samples in an epoch.
  RandomKey view_key(std::int64_t epoch) const { return view_key_.with(static_cast<std::uint64_t>(epoch)); }
  /// Samples that cached teachers should be asked for ahead: enough for a few passes.
  std::int64_t samples_ahead() const;
  /// Whether the kernels of a step can be recorded; after prepare(). See Scheme::recordable().
  bool recordable() const;
  /// Whether each network has a process of its own; after prepare().
  bool is_spread() const { return spread_; }
  /// Whether this process trains that network.
  bool is_here(std::size_t network) const {
    return !spread_ || context_.group->rank() == static_cast<std::int64_t>(network);
  }
  /// "fp32", "tf32", "bf16" or "fp16".
  std::string precision_name() const;
  /// What the settings left open and prepare() decided: "bf16, channels last, 2 threads, cached teachers".
  std::string describe() const;

  // StageContext
  const std::vector<Network*>& networks() override { return networks_; }
  const std::vector<Teacher*>& teachers() override { return teachers_; }
  const DataInfo& data() const override { return data_.info; }
  std::int64_t samples() const override { return data_.train.samples(); }
  at::Tensor labels() const override;
  std::int64_t free_memory() const override { return kd::free_memory(context_.device); }
  void say(const std::string& line) override;
  RandomKey key() const override { return key_; }
  Group& group() override { return spread_ ? Group::alone() : *context_.group; }
  Group* spread() override;
  const TapShapes& shapes(const Head& network) const override;
  void train_with(Network& network, const NamedModule& adapter) override;
  void require(const LossNeeds& needs, const Network& student) override;

 private:
  void make_networks();
  /// Gives the networks the weights that they are to begin with, and says what was not taken.
  void load_first_weights();
  void make_teachers(bool with_weights);
  /// Throws RecipeError where a teacher was trained on images or classes that are not those of this stage.
  void require_same_data(const TeacherPlan& teacher) const;
  /// Rows of a pass in which `teacher` fills its cache.
  std::int64_t rows_of_pass(FrozenNetwork& teacher) const;
  void assemble(bool with_weights);
  void choose_threads() const;
  void find_caches();

  const StagePlan& plan_;
  const RunContext& context_;
  RandomKey key_, view_key_;
  const TrainingData& data_;
  AugmentationChain augmentations_;
  Placement placement_;
  std::vector<std::unique_ptr<TrainedNetwork>> trained_;
  std::vector<std::unique_ptr<FrozenNetwork>> frozen_;
  std::vector<Network*> networks_;
  std::vector<Teacher*> teachers_;
  std::map<const Head*, TapShapes> shapes_;
  bool teacher_features_ = false;  // whether a loss wants them
  bool in_trial_ = false, spread_ = false;
  std::unique_ptr<Scheme> scheme_;
};

}  // namespace kd
