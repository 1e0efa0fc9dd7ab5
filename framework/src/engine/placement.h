// Where and how a network computes, and networks made for such a place.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "kd/dataset.h"
#include "kd/model.h"
#include "kd/random.h"
#include "kd/schema.h"

namespace kd {

struct KD_API Placement {
  at::Device device{at::kCPU};
  at::ScalarType precision = at::kFloat;
  bool channels_last = false;
};

/// Images in the memory order of the placement.
KD_API at::Tensor in_memory_order(const at::Tensor& images, const Placement& placement);

/// Brings the weights of convolutions into the memory order of the placement.
KD_API void set_memory_order(Model& model, const Placement& placement);

/// Makes a model with its random initialisation and moves it to its place.
KD_API std::unique_ptr<Model> place_model(const ComponentSpec& spec, const DataInfo& info, RandomKey key,
                                          const Placement& placement);

/// Number of scalars among its parameters.
KD_API std::int64_t count_parameters(Model& model);

/// The features that the model offers for such images, without the batch: one pass in evaluation mode, which changes
/// nothing.
KD_API TapShapes tap_shapes(Model& model, const Placement& placement, const at::Tensor& images);

/// While it lives, every part of a network is in evaluation mode; afterwards each is as it was, a frozen part too.
class KD_API EvaluationMode {
 public:
  explicit EvaluationMode(Model& model);
  ~EvaluationMode();
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;

 private:
  std::vector<std::pair<std::shared_ptr<torch::nn::Module>, bool>> parts_;
};

}  // namespace kd
