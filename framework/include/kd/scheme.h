// A training scheme: what one step does with the networks of a stage.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/batch.h"
#include "kd/dataset.h"
#include "kd/loss.h"
#include "kd/model.h"
#include "kd/plugin.h"
#include "kd/random.h"
#include "kd/schedule.h"

namespace kd {

/// A network that the stage trains.
class KD_API Network {
 public:
  virtual ~Network();
  virtual const std::string& name() const = 0;
  /// Forward pass in training mode and in the stage's precision; logits come back as float.
  virtual Outputs forward(const at::Tensor& images, const TapRequest& taps = {}) = 0;
  /// The same without gradient, leaving the running statistics of batch norm as they were: for an answer that others
  /// learn from.
  virtual Outputs answer(const at::Tensor& images, const TapRequest& taps = {}) = 0;
};

/// A frozen network. Its outputs carry no gradient.
class KD_API Teacher {
 public:
  virtual ~Teacher();
  virtual const std::string& name() const = 0;
  /// What stands beside it in the recipe.
  virtual double weight() const = 0;
  /// Outputs for the images of the batch; logits come from the cache where that is exact.
  virtual Outputs outputs(const Batch& batch, const TapRequest& taps = {}) = 0;
  /// Forward pass in evaluation mode on images of your own.
  virtual Outputs forward(const at::Tensor& images, const TapRequest& taps = {}) = 0;
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
  /// Trains `module` together with `network`: an adapter of a loss.
  virtual void train_with(Network& network, const std::shared_ptr<torch::nn::Module>& module) = 0;
  /// Reports a loss list that needs what the stage lacks: a teacher, a tap that its model does not offer, an extra view
  /// that no augmentation makes, or targets with one label.
  virtual void require(const LossNeeds& needs, const Network& student) = 0;

  Loss::Context loss_context() const { return {data().classes(), samples()}; }
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

/// The losses of one network, set up in its stage: what most schemes do with each of their networks.
class KD_API Objective {
 public:
  Objective(const std::vector<ComponentSpec>& losses, StageContext& context, Network& network);

  const LossNeeds& needs() const { return needs_; }
  /// The network's forward pass on the batch and one update.
  void step(const Batch& batch, const Outputs* teacher, Updater& updater) const;

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
  /// One batch: forward passes, then updater.update() as often as the algorithm asks for.
  virtual void step(const Batch& batch, Updater& updater) = 0;
};

}  // namespace kd
