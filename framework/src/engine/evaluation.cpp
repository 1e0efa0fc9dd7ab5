// evaluation.h
#include "engine/evaluation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "engine/device.h"

namespace kd {

at::Tensor evaluate_logits(Model& model, const Placement& placement, const ImageSet& set,
                           const AugmentationChain& augmentations, std::int64_t batch_size) {
  const at::NoGradGuard no_gradient;
  const EvaluationMode evaluation(model);
  const std::int64_t samples = set.labels.size(0);
  at::Tensor logits;
  for (std::int64_t begin = 0; begin < samples; begin += batch_size) {
    const std::int64_t count = std::min(batch_size, samples - begin);
    const at::Tensor images =
        in_memory_order(augmentations.apply_in_evaluation(set.images.narrow(0, begin, count)), placement);
    const AutocastGuard autocast(placement.device, placement.precision);
    const at::Tensor rows = model.forward(images, {});
    if (!logits.defined()) logits = at::empty({samples, rows.size(1)}, rows.options().dtype(at::kFloat));
    logits.narrow(0, begin, count).copy_(rows);
  }
  return logits;
}

}  // namespace kd
