// A training scheme: what one step does with the networks of a stage.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/batch.h"
#include "kd/dataset.h"
#include "kd/group.h"
#include "kd/loss.h"
#include "kd/model.h"
#include "kd/plugin.h"
#include "kd/random.h"
#include "kd/schedule.h"

namespace kd {

/// A network that the stage trains.
class KD_API Network : public Head {
 public:
  ~Network() override;
  virtual const std::string& name() const = 0;
  /// Forward pass in training mode and in the stage's precision; logits come back as float.
  virtual Outputs forward(const at::Tensor& images, const TapRequest& taps = {}) = 0;
  /// The same without gradient, leaving the running statistics of batch norm as they were: for an answer that others
  /// learn from.
  virtual Outputs answer(const at::Tensor& images, const TapRequest& taps = {}) = 0;
};

/// A frozen network.
class KD_API Teacher : public Head {
 public:
  ~Teacher() override;
  virtual const std::string& name() const = 0;
  /// What stands beside it in the recipe.
  virtual double weight() const = 0;
  /// Outputs for the images of the batch, without gradient; logits alone come from the cache where that is exact.
  virtual Outputs outputs(const Batch& batch, const TapRequest& taps = {}) = 0;
  /// Forward pass in evaluation mode on images of your own.
  virtual Outputs forward(const at::Tensor& images, const TapRequest& taps = {},
                          Gradient gradient = Gradient::kNone) = 0;
};

/// What a scheme finds when its stage begins.
class KD_API StageContext {
 public:
  virtual ~StageContext();
  virtual const std::vector<Network*>& networks() = 0;
  virtual const std::vector<Teacher*>& teachers() = 0;
  virtual const DataInfo& data() const = 0;
  /// Number of samples in the stage's training set.
  virtual std::int64_t samples() const = 0;
  /// int64, on the CPU: those of the stage's training set. Undefined where nobody knows.
  virtual at::Tensor labels() const { return {}; }
  /// Bytes of the stage's device that are free; 0 where that is not known.
  virtual std::int64_t free_memory() const { return 0; }
  /// A line for the run's log.
  virtual void say(const std::string& /*line*/) {}
  /// Of everything random in the stage.
  virtual RandomKey key() const = 0;
  /// The processes that share the rows of every batch.
  virtual Group& group() { return Group::alone(); }
  /// Gives each network to a process of its own, which alone asks it and trains it, on whole batches; group() is then
  /// that process alone. Returns the processes, in the order of the networks; null where all networks stay here, since
  /// there is one process. Called in setup(), before all else. Throws RecipeError where processes and networks are not
  /// of one number.
  virtual Group* spread() { return nullptr; }
  /// The features that a network of the stage or a teacher offers, for images as the stage shows them.
  virtual const TapShapes& shapes(const Head& network) const = 0;
  /// Trains an adapter together with `network`, and keeps it with the network's weights.
  virtual void train_with(Network& network, const NamedModule& adapter) = 0;
  /// Reports a loss list that needs what the stage lacks: a teacher, a tap that its model does not offer, an extra view
  /// that no augmentation makes, or targets with one label. Teachers whose features are wanted are not cached.
  virtual void require(const LossNeeds& needs, const Network& student) = 0;

  /// For the losses of `student`, with the stage's teachers.
  Loss::Context loss_context(const Network& student);
  /// For losses with other teachers, such as peers.
  Loss::Context loss_context(const Network& student, std::vector<TeacherInfo> teachers);
};

/// The teachers of a stage, each with its share. Those of weight 0 are left out.
class KD_API Teachers {
 public:
  /// Throws RecipeError where every teacher of the stage has weight 0.
  explicit Teachers(StageContext& context);

  /// What a loss is told of them.
  const std::vector<TeacherInfo>& infos() const { return infos_; }
  /// Answers to the images of the batch.
  std::vector<Outputs> outputs(const Batch& batch, const TapRequest& taps) const;
  /// Answers to other images.
  std::vector<Outputs> forward(const at::Tensor& images, const TapRequest& taps) const;

 private:
  std::vector<Teacher*> teachers_;
  std::vector<TeacherInfo> infos_;
};

/// What the training accuracy of an update is counted from: answers, and what they should have been.
struct KD_API Counted {
  const at::Tensor& logits;  ///< N×classes; the gradient is of no concern
  const Targets& targets;    ///< of the same rows
};

/// Carries out updates. Owned by the engine, which does zeroing, backward, scaling, clipping, the optimizer and EMA.
class KD_API Updater {
 public:
  virtual ~Updater();
  /// Moves `network` down the gradient of Σ weight · value.
  virtual void update(Network& network, const std::vector<Term>& terms, const Counted& counted) = 0;
  virtual ScheduleTime time() const = 0;
  /// For what is random in the step at hand: another key in every step of every stage.
  virtual RandomKey key() const = 0;
  /// For what follows from a sample alone in the epoch at hand, drawn for `batch.index`: such draws are looked up on a
  /// GPU (kd/random_tensors.h).
  virtual RandomKey epoch_key() const = 0;
};

/// A network's outputs for a batch, and its logits for extra views.
struct KD_API Pass {
  Outputs outputs;
  std::vector<ViewLogits> views;
};

/// Forward pass of a network on the images of a batch and on the views that `needs` names; see ViewRequest.
KD_API Pass forward(Network& network, const LossNeeds& needs, const Batch& batch);

/// What a loss sees of a pass; `teachers` are outputs for the same rows.
KD_API LossInput loss_input(const Pass& pass, const Batch& batch, std::span<const Outputs> teachers,
                            const Updater& updater);

/// Some rows of outputs with the features `taps`.
KD_API Outputs rows_of(const Outputs& outputs, const TapRequest& taps, std::int64_t begin, std::int64_t count);
/// The same outputs without gradient.
KD_API Outputs detached(const Outputs& outputs, const TapRequest& taps);

/// The losses of one network, set up in its stage: what most schemes do with each of their networks.
class KD_API Objective {
 public:
  Objective(const std::vector<ComponentSpec>& losses, StageContext& context, Network& network);

  Network& network() const { return network_; }
  const LossList& losses() const { return losses_; }
  const LossNeeds& needs() const { return needs_; }
  /// The network's forward pass on the batch and one update by all terms; without outputs of teachers, by those that
  /// need none.
  void step(const Batch& batch, std::span<const Outputs> teachers, Updater& updater) const;

 private:
  Network& network_;
  LossList losses_;
  LossNeeds needs_;
};

class KD_API Scheme {
 public:
  static constexpr const char* kKind = "scheme";
  struct Context {};

  virtual ~Scheme();
  /// Called once, before the first step. Keep what you need of the context; it lives as long as the stage.
  virtual void setup(StageContext& context) = 0;
  /// One batch: forward passes, then updater.update() as often as the algorithm asks for. Runs under the stage's
  /// autocast; what must be exact is computed of precise() tensors (kd/logits.h).
  virtual void step(const Batch& batch, Updater& updater) = 0;
  /// Whether the kernels of one step of whole batches, recorded once, can be run again for all others of its epoch: on
  /// a GPU that spares the host most of its work. Say so only where no number of the host that changes within an epoch
  /// enters a step: no key() or time(), no count of its own, no tensor made anew and kept. What changes from epoch to
  /// epoch (epoch_key(), ScheduleTime::whole_epoch()) may. Asked once, after setup(); everything that takes part is
  /// asked: the losses, the networks and their optimizers.
  virtual bool recordable() const { return false; }
};

}  // namespace kd
