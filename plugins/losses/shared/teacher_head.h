// What the losses "srrl" and "srd" share: a learned layer brings the student's last map to the teacher's, and the
// teacher's own head answers to it.
#pragma once

#include <memory>

#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace teacher_head {

struct Params : kd::TapParams {
  double logits = 1, features = 1;

  static void schema(kd::Schema<Params>& s) {
    kd::declare_taps(s, {"stage3"});
    s.field("logits", &Params::logits,
            "factor of the mean square between what the teacher's head makes of the student's map and its own logits")
        .def(1.0)
        .at_least(0);
    s.field("features", &Params::features,
            "factor of the mean square between the averages of both maps; 10 for ShuffleNetV1 in the code of SRD")
        .def(1.0)
        .at_least(0);
  }
};

/// logits · MSE(head(φ), z_t) + features · mean_c (mean_hw φ − mean_hw f_t)², with φ the student's map after a 1×1
/// convolution, a batch norm and an activation.
class Loss : public kd::Loss {
 public:
  Loss(const Params& params, const Context& context) : params_(params), taps_(params, context, kd::TapPairs::kMaps) {
    if (taps_.size() != 1) throw kd::RecipeError("the teacher has one head: taps names the last map before it alone");
    const std::int64_t out = taps_.teacher_shape(0)[0];
    to_teacher_
        .convolution(taps_.student_shape(0)[0], out, {.bias = false, .weights = kd::FirstWeights::kNormalOverOutputs})
        .batch_norm(out)
        .relu();
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  bool recordable() const override { return true; }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const kd::Outputs& teacher = input.teacher();
    if (teacher.network == nullptr)
      throw kd::Error("this loss asks one teacher's head, and these are answers of several put together");
    const auto [student, target] = kd::at_common_size(to_teacher_(taps_.student(input, 0)), taps_.teacher(input, 0));
    const at::Tensor answered = teacher.network->head(student, taps_.teacher_name(0));
    const auto means = [](const at::Tensor& map) { return kd::precise(map).mean({2, 3}); };
    return kd::mean_square(answered, teacher.logits.detach()) * params_.logits +
           kd::mean_square(means(student), means(target)) * params_.features;
  }

 private:
  const Params params_;
  const kd::TapPairs taps_;
  kd::AdapterModule adapter_;
  kd::Layers to_teacher_ = adapter_.layers("to_teacher");
};

}  // namespace teacher_head
