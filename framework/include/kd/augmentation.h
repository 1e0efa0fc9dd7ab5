// A change of the images of a batch, on the device, for the whole batch at once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/batch.h"
#include "kd/dataset.h"
#include "kd/images.h"
#include "kd/random.h"

namespace kd {

class KD_API Augmentation {
 public:
  static constexpr const char* kKind = "augmentation";
  struct Context {
    DataInfo data;
  };

  virtual ~Augmentation();
  /// Changes the batch in place by assigning new tensors (batch.change_images()). The key holds for one epoch: what
  /// happens to a sample must follow from the key and `batch.index` alone (random_uniform(key, batch.index, lanes)).
  virtual void apply(Batch& batch, RandomKey key) const = 0;
  /// How many different views of one sample it makes; 0 where they are not counted.
  virtual std::int64_t views() const { return 0; }
  /// Which of them apply() makes of each sample under this key: int64 in [0, views()), N. Asked only where there is
  /// more than one.
  virtual at::Tensor view_numbers(const at::Tensor& index, RandomKey key) const;
  /// Whether it mixes samples, so that a target has two labels.
  virtual bool mixes() const { return false; }
  /// Names of the extra views that it adds to a batch.
  virtual std::vector<std::string> view_names() const { return {}; }
  /// Samples of the training set that it wants beside those at `index`, as positions (int64, N), or undefined for none.
  /// apply() finds them in the batch, changed by the augmentations before this one. `labels` are those of the whole
  /// training set.
  virtual at::Tensor extra_samples(const at::Tensor& index, const at::Tensor& labels, RandomKey key) const;
  /// Whether it is also applied in evaluation, as normalisation is.
  virtual bool at_evaluation() const { return false; }
  /// Whether its settings speak of pixels as they are stored, so that it cannot come after normalisation.
  virtual bool expects_pixels() const { return false; }
};

/// Makes images of one size of images of any size: one by one, on the CPU, while they are read, on several threads at
/// once. The first augmentation of a stage, or none.
class KD_API Sizing : public Augmentation {
 public:
  /// Of every image that it makes.
  virtual ImageExtent extent() const = 0;
  /// Whether what it makes of an image in training is another in each epoch.
  virtual bool is_random() const = 0;
  /// `image` is uint8, C×H×W; so is what it makes of it. The key is that of the sample in the epoch at hand.
  virtual at::Tensor size_in_training(const at::Tensor& image, RandomKey key) const = 0;
  virtual at::Tensor size_in_evaluation(const at::Tensor& image) const = 0;

  std::int64_t views() const override { return is_random() ? 0 : 1; }
  /// On the images of a batch, which have one size already. The key of sample i is key.with(batch.index[i]).
  void apply(Batch& batch, RandomKey key) const override;
};

/// Float images in [0, 1] of uint8 ones; float images as they are.
KD_API at::Tensor to_float(const at::Tensor& images);

}  // namespace kd
