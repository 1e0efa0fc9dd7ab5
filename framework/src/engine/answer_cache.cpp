// answer_cache.h
#include "engine/answer_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <iterator>

#include "engine/device.h"

namespace kd {

AnswerCache::AnswerCache(const AnswerShape& shape)
    : shape_(shape), filled_(at::zeros({shape.samples * shape.views}, at::TensorOptions().dtype(at::kBool))) {}

at::Tensor AnswerCache::slots(const at::Tensor& index, const at::Tensor& view) const {
  return index * shape_.views + view;
}

at::Tensor AnswerCache::get(const at::Tensor& index, const at::Tensor& view) const {
  return logits_.index_select(0, slots(index, view));
}

void AnswerCache::put(const at::Tensor& index, const at::Tensor& view, const at::Tensor& logits) {
  // Left uninitialised, so that the pages of views that no epoch shows are never touched.
  if (!logits_.defined()) logits_ = at::empty({filled_.size(0), shape_.classes}, logits.options());
  logits_.index_copy_(0, slots(index, view), logits);
}

at::Tensor AnswerCache::take_missing(const at::Tensor& index, const at::Tensor& view) {
  const at::Tensor where = slots(index, view);
  const at::Tensor missing = filled_.index_select(0, where).logical_not().nonzero().squeeze(1);
  filled_.index_fill_(0, where, true);
  return index.index_select(0, missing);
}

std::shared_ptr<AnswerCache> AnswerCaches::find(const std::string& name, const AnswerShape& shape,
                                                std::int64_t bytes_of_number) {
  if (const auto found = entries_.find(name); found != entries_.end()) return found->second.cache;
  const std::int64_t bytes = shape.samples * shape.views * (shape.classes * bytes_of_number + 1);
  if (bytes > most_bytes_) return nullptr;
  std::int64_t used = bytes;
  for (const auto& [other, entry] : entries_) used += entry.bytes;
  for (auto entry = entries_.begin(); entry != entries_.end() && used > most_bytes_;) {
    const auto next = std::next(entry);
    if (entry->second.cache.use_count() == 1) {
      used -= entry->second.bytes;
      entries_.erase(entry);
    }
    entry = next;
  }
  if (used > most_bytes_) return nullptr;
  return entries_.emplace(name, Entry{std::make_shared<AnswerCache>(shape), bytes}).first->second.cache;
}

std::int64_t most_cache_bytes(at::Device device) {
  // The rest is for networks, batches, and what LibTorch keeps in reserve.
  return free_memory(device) / (device.is_cpu() ? 3 : 2);
}

}  // namespace kd
