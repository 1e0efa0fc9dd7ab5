// Images that are read when they are needed: samples of a reader, brought to one size, on threads of their own.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "data/worker_pool.h"
#include "kd/api.h"
#include "kd/augmentation.h"
#include "kd/dataset.h"
#include "kd/random.h"

namespace kd {

/// The decoded images of a reader, kept from the first reading on where all of them fit.
class KD_API DecodedImages {
 public:
  DecodedImages(std::shared_ptr<const ImageReader> reader, bool keep);

  /// For several threads at once.
  at::Tensor get(std::int64_t sample) const;

 private:
  std::shared_ptr<const ImageReader> reader_;
  mutable std::vector<at::Tensor> kept_;  // empty: none is
  mutable std::array<std::mutex, 64> guards_;
};

/// The images of a split in one size.
class KD_API SampleLoader {
 public:
  /// `samples` are numbers of the reader. Where `sizing` is null the images must have the size `info` says.
  SampleLoader(std::shared_ptr<const DecodedImages> images, std::vector<std::int64_t> samples,
               std::shared_ptr<const Sizing> sizing, const DataInfo& info, std::shared_ptr<WorkerPool> pool);

  /// A batch that is being loaded. Whoever began it waits for it or drops it, while the loader lives.
  class KD_API Pending {
   public:
    /// Waits for it: uint8, N×C×H×W, on the CPU. Throws what reading threw.
    at::Tensor wait();
    /// Waits until nothing works on it any more; what was not begun is left out.
    void drop();

   private:
    friend class SampleLoader;
    at::Tensor images_;
    std::vector<std::int64_t> index_;
    std::optional<RandomKey> key_;
    std::mutex mutex_;
    std::condition_variable done_;
    std::int64_t left_ = 0;
    std::atomic<bool> dropped_ = false;
    std::exception_ptr failure_;
  };

  /// Begins to load the samples at `index` (int64, on the CPU), sized as in training under `key`, or as in evaluation.
  /// With `pinned`, into memory that a GPU copies from.
  std::shared_ptr<Pending> begin(const at::Tensor& index, const std::optional<RandomKey>& key, bool pinned) const;
  std::int64_t bytes_of_image() const { return info_.channels * info_.height * info_.width; }

 private:
  void load_row(Pending& pending, std::int64_t row) const;
  void fill_row(Pending& pending, std::int64_t row) const;

  std::shared_ptr<const DecodedImages> images_;
  std::vector<std::int64_t> samples_;
  std::shared_ptr<const Sizing> sizing_;
  DataInfo info_;
  std::shared_ptr<WorkerPool> pool_;
};

}  // namespace kd
