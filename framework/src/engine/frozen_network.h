// A network that only answers: a teacher.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "data/batches.h"
#include "engine/answer_cache.h"
#include "engine/placement.h"
#include "kd/scheme.h"
#include "recipe/plan.h"

namespace kd {

class KD_API FrozenNetwork final : public Teacher {
 public:
  /// `key` is for the dropout of a teacher in training mode.
  FrozenNetwork(std::string name, std::unique_ptr<Model> model, const Placement& placement, const TeacherPlan& plan,
                RandomKey key);
  ~FrozenNetwork() override;

  const std::string& name() const override { return name_; }
  double weight() const override { return plan_.weight; }
  Outputs outputs(const Batch& batch, const TapRequest& taps) override;
  Outputs forward(const at::Tensor& images, const TapRequest& taps, Gradient gradient) override;
  at::Tensor head(const at::Tensor& feature, const std::string& tap) override;
  BatchNormAffine batch_norm(const std::string& tap) override { return model_->batch_norm(tap); }

  /// From now on outputs() looks logits up in `cache`, which fill_cache() keeps ahead of the steps.
  void use_cache(std::shared_ptr<AnswerCache> cache) { cache_ = std::move(cache); }
  /// Computes what the cache lacks of the training samples at `index` (on the CPU), as the epoch of that key shows
  /// them, `rows` at a time.
  void fill_cache(const SplitData& train, const AugmentationChain& augmentations, const at::Tensor& index,
                  RandomKey epoch_key, std::int64_t rows);

  /// Tells the network which step it answers in: a new dropout mask for each, in training mode.
  void begin_step(std::int64_t step) { pass_key_ = key_.with(static_cast<std::uint64_t>(step)); }
  bool has_cache() const { return cache_ != nullptr; }
  bool in_training_mode() const { return plan_.training_mode; }

  Model& model() { return *model_; }

 private:
  /// Logits as the network gives them.
  at::Tensor pass(const at::Tensor& images, Taps* taps, Gradient gradient = Gradient::kNone);
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
