// Another training sample of the same class beside each, as the extra view "same_class": the pairs of Yun et al.,
// "Regularizing class-wise predictions via self-knowledge distillation" (CS-KD), CVPR 2020, arXiv 2003.13964, §2.
//   augment = [{ type = "same_class" }]
#include <ATen/TensorOperators.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/where.h>

#include <mutex>

#include "kd/augmentation.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"

namespace {

class SameClass final : public kd::Augmentation {
 public:
  using Params = kd::NoParameters;

  explicit SameClass(const Params& /*params*/) {}

  at::Tensor extra_samples(const at::Tensor& index, const at::Tensor& labels, kd::RandomKey key) const override {
    const Classes classes = classes_of(labels);
    const at::Tensor label = labels.index_select(0, index);
    const at::Tensor begin = at::searchsorted(classes.labels, label);
    const at::Tensor others = at::searchsorted(classes.labels, label, false, /*right=*/true) - begin - 1;
    const at::Tensor uniform = kd::random_uniform(key, index, 1).squeeze(1).to(at::kDouble);
    const at::Tensor drawn = (uniform * others).to(at::kLong) + begin;
    const at::Tensor own = classes.place.index_select(0, index);
    // All places but the sample's own; the only one of its class is its own companion.
    const at::Tensor place = at::where(drawn.ge(own).logical_and(others.gt(0)), drawn + 1, drawn);
    return classes.order.index_select(0, place);
  }

  void apply(kd::Batch& batch, kd::RandomKey /*key*/) const override {
    batch.extra_views.push_back({"same_class", batch.extra_sample_images});
  }

  std::int64_t views() const override { return 1; }
  std::vector<std::string> view_names() const override { return {"same_class"}; }

 private:
  /// The samples of a set by class.
  struct Classes {
    at::Tensor set_labels;  ///< what it was made of
    at::Tensor order;       ///< positions in the set, class by class
    at::Tensor labels;      ///< in that order
    at::Tensor place;       ///< of each sample in that order
  };

  /// Sorted when a set is first seen: it is the same in every step.
  Classes classes_of(const at::Tensor& labels) const {
    const std::lock_guard lock(mutex_);
    if (!classes_.set_labels.is_same(labels)) {
      const at::Tensor order = labels.argsort(/*stable=*/true, /*dim=*/0, /*descending=*/false);
      classes_ = {labels, order, labels.index_select(0, order), order.argsort()};
    }
    return classes_;
  }

  mutable std::mutex mutex_;
  mutable Classes classes_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "same_class", SameClass,
            "adds another training sample of the same class to each, as a view")
