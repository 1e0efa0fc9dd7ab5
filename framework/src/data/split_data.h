// A split of a stage's data: its labels, and its images in memory or read when they are needed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "data/sample_loader.h"
#include "kd/api.h"
#include "kd/dataset.h"
#include "kd/random.h"

namespace kd {

/// Positions in a split, int64, N, where they are wanted: images in memory are found by those on the device, and images
/// of files by those on the host. On the CPU both are one tensor.
struct SampleIndex {
  at::Tensor host, device;
};

/// Every image has the same size.
class KD_API SplitData {
 public:
  SplitData() = default;  // without samples
  /// In memory, on the device of the labels.
  explicit SplitData(const ImageSet& set) : labels_(set.labels), images_(set.images) {}
  /// Read when they are needed; `labels` are on the device of the run.
  SplitData(const at::Tensor& labels, const at::Tensor& host_labels, std::shared_ptr<const SampleLoader> loader)
      : labels_(labels), host_labels_(host_labels), loader_(std::move(loader)) {}

  bool defined() const { return labels_.defined(); }
  std::int64_t samples() const { return defined() ? labels_.size(0) : 0; }
  /// int64, N, on the device of the run.
  const at::Tensor& labels() const { return labels_; }
  bool in_memory() const { return images_.defined(); }
  /// Every image, where they are in memory.
  const at::Tensor& all_images() const { return images_; }

  /// Images of the samples at `index`: uint8, N×C×H×W, on the device; sized as in training under `key`, or as in
  /// evaluation.
  at::Tensor images(const SampleIndex& index, const std::optional<RandomKey>& key) const;
  /// The samples from `begin` on, as in evaluation.
  at::Tensor images(std::int64_t begin, std::int64_t count) const;
  /// The positions that `choose(positions, labels)` gives for those of `index`, asked where images are found by them.
  template <class Choose>
  SampleIndex related(const SampleIndex& index, const Choose& choose) const {
    if (in_memory()) return {.host = {}, .device = choose(index.device, labels_)};
    return on_both(choose(index.host, host_labels_));
  }
  /// Positions that are on the host.
  SampleIndex on_both(const at::Tensor& host) const;

 private:
  friend class ImageBatches;
  at::Tensor labels_, images_, host_labels_;
  std::shared_ptr<const SampleLoader> loader_;
};

/// The images of a split batch by batch, read ahead where they are not in memory.
class KD_API ImageBatches {
 public:
  /// In the order `order`, sized as in training under `key`, from the batch `first` on.
  ImageBatches(const SplitData& split, SampleIndex order, std::int64_t batch_size, RandomKey key, std::int64_t first);
  /// The samples from `begin` to before `end` as in evaluation, in their own order.
  ImageBatches(const SplitData& split, std::int64_t batch_size, std::int64_t begin, std::int64_t end);
  ~ImageBatches();
  ImageBatches(const ImageBatches&) = delete;
  ImageBatches& operator=(const ImageBatches&) = delete;

  /// uint8, N×C×H×W, on the device; valid until the next call. There must be a batch left.
  at::Tensor next();

 private:
  std::int64_t rows(std::int64_t batch) const;
  void read_ahead();

  const SplitData& split_;
  const SampleIndex order_;  // undefined: from begin_ on
  const std::int64_t begin_, samples_, batch_size_;
  const std::optional<RandomKey> key_;
  std::int64_t batch_ = 0, begun_ = 0;
  std::deque<std::shared_ptr<SampleLoader::Pending>> pending_;
  at::Tensor on_device_;  // where batches that were read come to on a GPU, each over the one before
};

}  // namespace kd
