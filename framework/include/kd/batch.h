// What travels through a training step: a batch of images with its targets, and the features a network was asked for.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kd/api.h"

namespace kd {

/// Labels of a batch. Where images are mixed, the target of sample i is weight_i · labels_i + (1 − weight_i) ·
/// partner_i; elsewhere `partner` and `weight` are undefined. A label of −1 means: unlabelled.
struct KD_API Targets {
  at::Tensor labels;   ///< int64, N
  at::Tensor partner;  ///< int64, N, or undefined
  at::Tensor weight;   ///< float, N, in [0, 1], or undefined

  bool mixed() const { return partner.defined(); }
};

/// Other images of the samples of a batch, under the name that a loss asks for them by.
struct KD_API View {
  std::string name;
  at::Tensor images;  ///< N×C×H×W
};

/// A batch on its device. Images come as uint8 N×C×H×W as stored and leave the augmentations as float.
struct KD_API Batch {
  at::Tensor images;
  at::Tensor plain_images;  ///< before mixing, where an augmentation mixes; otherwise undefined
  Targets targets;
  /// int64, N: position of each sample in the stage's training set. On a GPU the next step writes over it: clone it to
  /// keep it.
  at::Tensor index;
  /// int64, N: which of its finitely many views each sample shows; undefined where they are not counted.
  at::Tensor view;
  std::vector<View> extra_views;  ///< those that augmentations added
  /// The samples of the training set that the augmentation in hand asked for, as they came to it; see
  /// Augmentation::extra_samples().
  at::Tensor extra_sample_images, extra_sample_labels;

  std::int64_t size() const { return images.size(0); }

  /// Replaces the images, those before mixing and every extra view by `change` of them.
  template <class Change>
  void change_images(const Change& change) {
    images = change(images);
    if (plain_images.defined()) plain_images = change(plain_images);
    for (View& extra : extra_views) extra.images = change(extra.images);
  }
};

/// Names of the features that are wanted of a network, such as "stage2" or "pooled".
using TapRequest = std::vector<std::string>;

/// The features of one forward pass. A model offers every feature it has; only what was asked for is kept.
class KD_API Taps {
 public:
  Taps() = default;
  explicit Taps(TapRequest wanted) : wanted_(std::move(wanted)) {}

  bool wants(const std::string& name) const { return std::find(wanted_.begin(), wanted_.end(), name) != wanted_.end(); }
  void offer(const std::string& name, const at::Tensor& feature) {
    if (wants(name)) features_[name] = feature;
  }
  /// The feature under `name`. Throws kd::Error where it was not asked for.
  const at::Tensor& at(const std::string& name) const;
  bool has(const std::string& name) const { return features_.contains(name); }

 private:
  TapRequest wanted_;
  std::map<std::string, at::Tensor> features_;
};

/// Shapes of the features that a network offers, by name, each without the batch: {64, 8, 8} of a map, {64} of a
/// vector.
using TapShapes = std::map<std::string, std::vector<std::int64_t>>;

/// Where a gradient flows to in a pass of a frozen network.
enum class Gradient { kNone, kToImages };

/// What a batch norm does after it has normalised, per channel: x · scale + shift.
struct KD_API BatchNormAffine {
  at::Tensor scale, shift;
};

/// The last part of a network, from its features to logits, and what else is known of its inside.
class KD_API Head {
 public:
  virtual ~Head();
  /// Float logits, N×classes, that the network gives for the feature `tap`, which may come from elsewhere, such as from
  /// an adapter on a student's features. A gradient flows to the feature, and to the weights of a network that trains.
  /// Throws kd::Error where the model has no head for that feature.
  virtual at::Tensor head(const at::Tensor& feature, const std::string& tap) = 0;
  /// Of the batch norm that the feature `tap` comes out of; where it is a sum of branches, of the last one's. Without
  /// gradient. Throws kd::Error where the model tells of none for that feature.
  virtual BatchNormAffine batch_norm(const std::string& tap);
};

/// What a network answers to a batch.
struct KD_API Outputs {
  at::Tensor logits;  ///< N×classes
  Taps taps;
  Head* network = nullptr;  ///< whose outputs these are; null where they are those of several, put together
};

}  // namespace kd
