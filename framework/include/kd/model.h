// A network: a torch::nn::Module with named features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/batch.h"
#include "kd/random.h"

namespace torch::nn {
class Module;
}

namespace kd {

/// What one forward pass is given besides the images.
struct KD_API ForwardPass {
  Taps* taps = nullptr;  ///< features that are wanted; null for none
  RandomKey key;         ///< for dropout and its like; a new one for every pass
};

class KD_API Model {
 public:
  static constexpr const char* kKind = "model";
  /// The images and classes that the network is for.
  struct Context {
    std::int64_t channels = 0, height = 0, width = 0, classes = 0;
  };

  virtual ~Model();
  /// Logits, N×classes, of float images N×C×H×W. Whether it trains is the module's is_training().
  virtual at::Tensor forward(const at::Tensor& images, const ForwardPass& pass) = 0;
  /// The features that `forward` offers, in order: "stem", "stage1", …, "pooled", "logits". "_pre" marks one before its
  /// last activation.
  virtual std::vector<std::string> tap_names() const = 0;
  /// Logits that the last part of the network gives for one of its last features: the map before pooling, or "pooled".
  /// Throws kd::Error where there is no such part for `tap`.
  virtual at::Tensor head(const at::Tensor& feature, const std::string& tap);
  /// Logits that all of the network behind a feature gives for it: behind the stem, a stage, or what it has a head for.
  /// Throws kd::Error where the network cannot be entered there.
  virtual at::Tensor behind(const at::Tensor& feature, const std::string& tap) { return head(feature, tap); }
  /// See kd::Head.
  virtual BatchNormAffine batch_norm(const std::string& tap);
  virtual std::shared_ptr<torch::nn::Module> module() = 0;
  /// See Scheme::recordable(): not where a pass uses its key, or a count of its own.
  virtual bool recordable() const { return false; }
  /// Whether the network is convolutional, so that channels-last memory pays.
  virtual bool convolutional() const { return false; }
};

}  // namespace kd
