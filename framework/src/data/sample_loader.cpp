// sample_loader.h
#include "data/sample_loader.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "kd/diagnostics.h"

namespace kd {

DecodedImages::DecodedImages(std::shared_ptr<const ImageReader> reader, bool keep) : reader_(std::move(reader)) {
  if (keep) kept_.resize(reader_->labels().size());
}

at::Tensor DecodedImages::get(std::int64_t sample) const {
  if (kept_.empty()) return reader_->read(sample);
  const auto i = static_cast<std::size_t>(sample);
  const std::lock_guard lock(guards_[i % guards_.size()]);
  if (!kept_[i].defined()) kept_[i] = reader_->read(sample);
  return kept_[i];
}

SampleLoader::SampleLoader(std::shared_ptr<const DecodedImages> images, std::vector<std::int64_t> samples,
                           std::shared_ptr<const Sizing> sizing, const DataInfo& info, std::shared_ptr<WorkerPool> pool)
    : images_(std::move(images)),
      samples_(std::move(samples)),
      sizing_(std::move(sizing)),
      info_(info),
      pool_(std::move(pool)) {}

at::Tensor SampleLoader::Pending::wait() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return left_ == 0; });
  if (failure_) std::rethrow_exception(failure_);
  return images_;
}

void SampleLoader::Pending::drop() {
  dropped_ = true;
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return left_ == 0; });
}

std::shared_ptr<SampleLoader::Pending> SampleLoader::begin(const at::Tensor& index, const std::optional<RandomKey>& key,
                                                           bool pinned) const {
  auto pending = std::make_shared<Pending>();
  const at::Tensor positions = index.contiguous();
  const auto* begin = positions.const_data_ptr<std::int64_t>();
  pending->index_.assign(begin, begin + positions.numel());
  pending->key_ = key;
  pending->left_ = positions.numel();
  pending->images_ = at::empty({positions.numel(), info_.channels, info_.height, info_.width},
                               at::TensorOptions().dtype(at::kByte).pinned_memory(pinned));
  for (std::int64_t row = 0; row < positions.numel(); ++row)
    pool_->add([this, pending, row] { load_row(*pending, row); });
  return pending;
}

void SampleLoader::load_row(Pending& pending, std::int64_t row) const {
  std::exception_ptr failure;
  try {
    if (!pending.dropped_) fill_row(pending, row);
  } catch (...) {
    failure = std::current_exception();
    pending.dropped_ = true;
  }
  const std::lock_guard lock(pending.mutex_);
  if (failure && !pending.failure_) pending.failure_ = failure;
  if (--pending.left_ == 0) pending.done_.notify_all();
}

void SampleLoader::fill_row(Pending& pending, std::int64_t row) const {
  const std::int64_t index = pending.index_[static_cast<std::size_t>(row)];
  at::Tensor image = images_->get(samples_.at(static_cast<std::size_t>(index)));
  if (sizing_ != nullptr) {
    image = pending.key_ ? sizing_->size_in_training(image, pending.key_->with(static_cast<std::uint64_t>(index)))
                         : sizing_->size_in_evaluation(image);
  }
  const std::int64_t wanted[] = {info_.channels, info_.height, info_.width};
  if (image.scalar_type() != at::kByte || image.sizes() != at::IntArrayRef(wanted)) {
    throw Error(fmt::format("data set '{}': an image of type {} and shape {}, where bytes of {}×{}×{} are wanted",
                            info_.name, c10::toString(image.scalar_type()), c10::str(image.sizes()), info_.channels,
                            info_.height, info_.width));
  }
  image = image.contiguous();
  std::memcpy(pending.images_.mutable_data_ptr<std::uint8_t>() + row * bytes_of_image(), image.const_data_ptr(),
              static_cast<std::size_t>(bytes_of_image()));
}

}  // namespace kd
