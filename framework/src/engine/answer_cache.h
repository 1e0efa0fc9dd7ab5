// What teachers answered, kept for the students after: exact where an augmentation makes a counted number of views, as
// a crop and a flip do.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "kd/api.h"

namespace kd {

/// Which answers a cache is for.
struct KD_API AnswerShape {
  std::int64_t samples = 0;  ///< of the training set
  std::int64_t views = 1;    ///< of each sample
  std::int64_t classes = 0;
};

/// Logits of one teacher for every view of every training sample. Memory is used as answers come in.
class KD_API AnswerCache {
 public:
  explicit AnswerCache(const AnswerShape& shape);

  /// Logits of the samples at `index` in the views `view` (both int64, N), as they were put in: N×classes.
  at::Tensor get(const at::Tensor& index, const at::Tensor& view) const;
  void put(const at::Tensor& index, const at::Tensor& view, const at::Tensor& logits);
  /// Those of the samples at `index` in the views `view`, both on the CPU, whose answers are not there. They count as
  /// there from now on: the caller puts them in. Kept on the host, so that it never waits for the device.
  at::Tensor take_missing(const at::Tensor& index, const at::Tensor& view);

 private:
  /// Where the answers lie in the table.
  at::Tensor slots(const at::Tensor& index, const at::Tensor& view) const;

  AnswerShape shape_;
  at::Tensor filled_;  // bool, samples·views, on the CPU
  at::Tensor logits_;  // samples·views × classes; undefined before the first put()
};

/// The caches of the stages of a run: two students of a teacher that see the same views share one.
class KD_API AnswerCaches {
 public:
  /// `most_bytes` is what all caches together may come to hold.
  explicit AnswerCaches(std::int64_t most_bytes) : most_bytes_(most_bytes) {}

  /// The cache of that name, made where there is none; caches that no stage uses any more make room for it. Null where
  /// there is no room. `bytes_of_number` is the size of one logit.
  std::shared_ptr<AnswerCache> find(const std::string& name, const AnswerShape& shape, std::int64_t bytes_of_number);

 private:
  struct Entry {
    std::shared_ptr<AnswerCache> cache;
    std::int64_t bytes;
  };

  std::int64_t most_bytes_;
  std::map<std::string, Entry> entries_;
};

/// What the caches of a run may hold on this device: a third of the machine's memory, or half of
/// what is free of a GPU's.
KD_API std::int64_t most_cache_bytes(at::Device device);

}  // namespace kd
