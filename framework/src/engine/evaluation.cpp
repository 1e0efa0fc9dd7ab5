// evaluation.h
#include "engine/evaluation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "data/batch_source.h"
#include "engine/device.h"

namespace kd {

at::Tensor evaluate_logits(Model& model, const Placement& placement, const SplitData& set,
                           const AugmentationChain& augmentations, std::int64_t batch_size, std::int64_t most,
                           Group& group) {
  const at::NoGradGuard no_gradient;
  const EvaluationMode evaluation(model);
  const std::int64_t all = std::min(most, set.samples());
  const Shard shard{group.rank(), group.size()};
  const std::int64_t samples = shard.count(all);
  ImageBatches batches(set, batch_size, shard.begin(all), shard.end(all));
  at::Tensor logits;
  for (std::int64_t begin = 0; begin < samples; begin += batch_size) {
    const std::int64_t count = std::min(batch_size, samples - begin);
    const at::Tensor images = in_memory_order(augmentations.apply_in_evaluation(batches.next()), placement);
    const AutocastGuard autocast(placement.device, placement.precision);
    const at::Tensor rows = model.forward(images, {});
    if (!logits.defined()) logits = at::empty({samples, rows.size(1)}, rows.options().dtype(at::kFloat));
    logits.narrow(0, begin, count).copy_(rows);
  }
  return group.gather(logits);
}

}  // namespace kd
