// split_data.h
#include "data/split_data.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>

#include <algorithm>
#include <utility>

#include "data/transfer.h"

namespace kd {
namespace {

/// What is read ahead at most, beside the batch in hand.
constexpr std::int64_t kMostAhead = 4;
constexpr std::int64_t kMostBytesAhead = std::int64_t{512} << 20;

at::Tensor range(std::int64_t begin, std::int64_t count) {
  return at::arange(begin, begin + count, at::TensorOptions().dtype(at::kLong));
}

}  // namespace

at::Tensor SplitData::images(const SampleIndex& index, const std::optional<RandomKey>& key) const {
  if (in_memory()) return images_.index_select(0, index.device);
  const at::Device device = labels_.device();
  return loader_->begin(index.host, key, device.is_cuda())->wait().to(device, /*non_blocking=*/true);
}

at::Tensor SplitData::images(std::int64_t begin, std::int64_t count) const {
  if (in_memory()) return images_.narrow(0, begin, count);
  return images({.host = range(begin, count), .device = {}}, std::nullopt);
}

SampleIndex SplitData::on_both(const at::Tensor& host) const {
  return {.host = host, .device = host.defined() ? to_device(host, labels_.device()) : host};
}

ImageBatches::ImageBatches(const SplitData& split, SampleIndex order, std::int64_t batch_size, RandomKey key,
                           std::int64_t first)
    : split_(split),
      order_(std::move(order)),
      begin_(0),
      samples_((order_.host.defined() ? order_.host : order_.device).size(0)),
      batch_size_(batch_size),
      key_(key),
      batch_(first),
      begun_(first) {}

ImageBatches::ImageBatches(const SplitData& split, std::int64_t batch_size, std::int64_t begin, std::int64_t end)
    : split_(split), begin_(begin), samples_(end - begin), batch_size_(batch_size) {}

ImageBatches::~ImageBatches() {
  for (const auto& pending : pending_) pending->drop();
}

std::int64_t ImageBatches::rows(std::int64_t batch) const {
  return std::min(batch_size_, samples_ - batch * batch_size_);
}

void ImageBatches::read_ahead() {
  const std::int64_t bytes = std::max<std::int64_t>(1, split_.loader_->bytes_of_image() * batch_size_);
  const std::int64_t ahead = std::clamp<std::int64_t>(kMostBytesAhead / bytes, 1, kMostAhead);
  for (; begun_ <= batch_ + ahead && begun_ * batch_size_ < samples_; ++begun_) {
    const std::int64_t begin = begun_ * batch_size_;
    const at::Tensor index =
        order_.host.defined() ? order_.host.narrow(0, begin, rows(begun_)) : range(begin_ + begin, rows(begun_));
    pending_.push_back(split_.loader_->begin(index, key_, split_.labels_.is_cuda()));
  }
}

at::Tensor ImageBatches::next() {
  const std::int64_t begin = batch_ * batch_size_;
  const std::int64_t count = rows(batch_);
  if (split_.in_memory()) {
    ++batch_;
    if (!order_.device.defined()) return split_.images_.narrow(0, begin_ + begin, count);
    return split_.images_.index_select(0, order_.device.narrow(0, begin, count));
  }
  read_ahead();
  ++batch_;
  const auto pending = pending_.front();
  pending_.pop_front();
  const at::Tensor images = pending->wait();
  if (split_.labels_.is_cpu()) return images;
  if (!on_device_.defined()) on_device_ = at::empty_like(images, images.options().device(split_.labels_.device()));
  return on_device_.narrow(0, 0, images.size(0)).copy_(images, /*non_blocking=*/true);
}

}  // namespace kd
