// A change of the images of a batch, on the device, for the whole batch at once.
#pragma once

#include <cstdint>

#include "kd/api.h"
#include "kd/batch.h"
#include "kd/dataset.h"
#include "kd/random.h"

namespace kd {

class KD_API Augmentation {
 public:
  static constexpr const char* kKind = "augmentation";
  struct Context {
    DataInfo data;
  };

  virtual ~Augmentation();
  /// Changes the batch in place by assigning new tensors. The key holds for one epoch: what happens to a sample must
  /// follow from the key and `batch.index` alone (random_uniform(key, batch.index, lanes)).
  virtual void apply(Batch& batch, RandomKey key) const = 0;
  /// How many different views of one sample it makes; 0 where they are not counted. With more than one, apply() numbers
  /// them: view = view · views() + its own number.
  virtual std::int64_t views() const { return 0; }
  /// Whether it is also applied in evaluation, as normalisation is.
  virtual bool at_evaluation() const { return false; }
};

/// Float images in [0, 1] of uint8 ones; float images as they are.
KD_API at::Tensor to_float(const at::Tensor& images);

}  // namespace kd
