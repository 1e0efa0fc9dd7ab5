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

}  // namespace

void BatchSource::begin_epoch(RandomKey order_key, RandomKey view_key, std::int64_t first) {
  const at::Tensor order = epoch_order(train_.samples(), order_key);
  std::vector<at::Tensor> own;
  for (std::int64_t begin = 0; begin < order.size(0) && shard_.size > 1; begin += batch_size_) {
    const std::int64_t rows = std::min(batch_size_, order.size(0) - begin);
    own.push_back(part_of(order, begin + shard_.begin(rows), begin + shard_.end(rows)));
  }
  order_ = train_.on_both(own.empty() ? order : at::cat(own));
  view_key_ = view_key;
  batch_ = first;
  if (!train_.in_memory()) images_.emplace(train_, order_, rows_, augmentations_.sizing_key(view_key), first);
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
}

Batch BatchSource::make_batch() const {
  const at::Tensor images = images_ ? read_images_ : train_.images(index_, std::nullopt);
  return augmentations_.make_batch(images, train_, index_, view_key_);
}

at::Tensor BatchSource::positions(std::int64_t begin, std::int64_t end) const {
  return part_of(order_.host, begin * rows_, std::min(end * rows_, order_.host.size(0)));
}

}  // namespace kd
