// batch_source.h
#include "data/batch_source.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

namespace kd {
namespace {

at::Tensor part_of(const at::Tensor& order, std::int64_t begin, std::int64_t end) {
  return order.defined() ? order.narrow(0, begin, end - begin) : order;
}

/// Some rows of a batch as they left the augmentations.
Batch rows_of(Batch batch, std::int64_t first, std::int64_t count) {
  const auto part = [&](const at::Tensor& all) { return part_of(all, first, first + count); };
  batch.change_images(part);
  for (at::Tensor* of_each :
       {&batch.targets.labels, &batch.targets.partner, &batch.targets.weight, &batch.index, &batch.view})
    *of_each = part(*of_each);
  return batch;
}

}  // namespace

void BatchSource::begin_epoch(RandomKey order_key, RandomKey view_key, std::int64_t first) {
  const at::Tensor order = epoch_order(sources_, batch_size_, order_key);
  std::vector<at::Tensor> own;
  for (std::int64_t begin = 0; begin < order.size(0) && shard_.size > 1; begin += batch_size_) {
    const std::int64_t rows = std::min(batch_size_, order.size(0) - begin);
    own.push_back(part_of(order, begin + shard_.begin(rows), begin + shard_.end(rows)));
  }
  order_ = train_.on_both(own.empty() ? order : at::cat(own));
  view_key_ = view_key;
  batch_ = first;
  const bool whole = shard_.size > 1 && augmentations_.mixes();
  order_of_all_ = whole ? train_.on_both(order) : SampleIndex{};
  if (train_.in_memory()) return;
  images_.emplace(train_, whole ? order_of_all_ : order_, whole ? batch_size_ : rows_,
                  augmentations_.sizing_key(view_key), first);
}

void BatchSource::advance() {
  const std::int64_t begin = batch_ * rows_;
  const std::int64_t end = std::min(begin + rows_, order_.host.size(0));
  ++batch_;
  index_ = {.host = part_of(order_.host, begin, end), .device = part_of(order_.device, begin, end)};
  if (index_.device.is_cuda()) {
    if (!device_index_.defined()) device_index_ = at::empty({rows_}, index_.device.options());
    index_.device = device_index_.narrow(0, 0, end - begin).copy_(index_.device);
  }
  if (images_) read_images_ = images_->next();
  if (!order_of_all_.host.defined()) return;
  const std::int64_t begin_of_all = (batch_ - 1) * batch_size_;
  const std::int64_t end_of_all = std::min(begin_of_all + batch_size_, order_of_all_.host.size(0));
  index_of_all_ = {.host = part_of(order_of_all_.host, begin_of_all, end_of_all),
                   .device = part_of(order_of_all_.device, begin_of_all, end_of_all)};
  first_row_ = shard_.begin(end_of_all - begin_of_all);
}

Batch BatchSource::make_batch() const {
  const SampleIndex& index = index_of_all_.host.defined() ? index_of_all_ : index_;
  const at::Tensor images = images_ ? read_images_ : train_.images(index, std::nullopt);
  Batch batch = augmentations_.make_batch(images, train_, index, view_key_);
  return index_of_all_.host.defined() ? rows_of(std::move(batch), first_row_, rows()) : batch;
}

at::Tensor BatchSource::positions(std::int64_t begin, std::int64_t end) const {
  return part_of(order_.host, begin * rows_, std::min(end * rows_, order_.host.size(0)));
}

}  // namespace kd
