// What a loss trains or remembers: layers between a student's features and a teacher's, trained numbers, memories.
//
//   struct Hint final : kd::Loss {
//     Hint(const Params& p, const Context& context)
//         : to_teacher_(adapter_.layers("regressor").convolution(channels(context.student.at(p.tap)), …)) {}
//     std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }
//     …
//     kd::AdapterModule adapter_;
//     kd::Layers to_teacher_;
//   };
//
// LibTorch's own modules work as well; this needs none of its headers, which take ten seconds to compile.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "kd/api.h"

namespace torch::nn {
class Module;
}

namespace kd {

/// What the weights of a layer begin as.
enum class FirstWeights {
  kTorch,             ///< uniform, as torch.nn has it
  kUniformLinear,     ///< Kaiming-uniform over the inputs for what is followed by no activation
  kNormalOverOutputs  ///< Kaiming-normal over the outputs: deviation sqrt(2 / (kernel² · outputs))
};

/// How a convolution moves over a map.
struct KD_API ConvolutionOptions {
  std::int64_t kernel = 1, stride = 1, padding = 0;
  bool bias = true;
  FirstWeights weights = FirstWeights::kTorch;
};

/// A chain of layers; each call adds one at its end. Copies share their layers.
class KD_API Layers {
 public:
  /// Of maps, N×in×H×W.
  Layers& convolution(std::int64_t in, std::int64_t out, const ConvolutionOptions& options = {});
  Layers& transposed_convolution(std::int64_t in, std::int64_t out, const ConvolutionOptions& options = {});
  /// Of vectors, N×in.
  Layers& linear(std::int64_t in, std::int64_t out, bool bias = true);
  /// Of maps or vectors; like the student's, it trains with batch statistics.
  Layers& batch_norm(std::int64_t channels);
  /// x for x > 0, else slope · x.
  Layers& relu(double slope = 0);

  /// What comes out of the last layer. Convolutions and products run in the stage's precision.
  at::Tensor operator()(const at::Tensor& feature) const;

 private:
  friend class AdapterModule;
  struct Chain;
  explicit Layers(std::shared_ptr<Chain> chain) : chain_(std::move(chain)) {}

  std::shared_ptr<Chain> chain_;
};

/// Everything of a loss that is trained with the student (layers and parameters) or kept in checkpoints (buffers). What
/// it hands out follows the student to its device.
class KD_API AdapterModule {
 public:
  AdapterModule();

  /// An empty chain, under a name that checkpoints know it by.
  Layers layers(const std::string& name);
  /// A trained tensor that begins as `first`.
  at::Tensor parameter(const std::string& name, const at::Tensor& first);
  /// A tensor that is kept and not trained, such as a memory bank. Change it in place.
  at::Tensor buffer(const std::string& name, const at::Tensor& first);
  /// For Loss::module().
  std::shared_ptr<torch::nn::Module> module() const { return module_; }

 private:
  std::shared_ptr<torch::nn::Module> module_;
};

}  // namespace kd
