// Hints: Romero, Ballas, Kahou, Chassang, Gatta and Bengio, "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv
// 1412.6550. A convolution chosen by both shapes brings the student's map to the teacher's: their mean square. As
// RepDistiller has it, the hint is one term of one training; as the paper has it, a first stage of the recipe trains
// with this loss alone, and a second one begins with `init`.
//   losses = [{ type = "cross_entropy" }, { type = "fitnet", weight = 100.0, taps = ["stage2"] }]
#include "../shared/regressor.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

class FitNet final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Romero et al., ICLR 2015, arXiv 1412.6550",
      .weight = "100.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 73.50 % top-1 (RepDistiller)"};

  struct Params : kd::TapParams {
    bool relu = true;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"stage2"});
      s.field("relu", &Params::relu,
              "whether the regressor ends in an activation; false for hints from before the teacher's activation")
          .def(true);
    }
  };

  FitNet(const Params& params, const Context& context) : taps_(params, context, kd::TapPairs::kMaps) {
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      regressors_.push_back(regressor::make(adapter_.layers("regressor" + std::to_string(i + 1)),
                                            taps_.student_shape(i), taps_.teacher_shape(i), params.relu));
    }
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const auto [student, teacher] =
          kd::at_common_size(regressors_[i](taps_.student(input, i)), taps_.teacher(input, i));
      terms.push_back(kd::mean_square(student, teacher));
    }
    return at::stack(terms).sum();
  }

 private:
  const kd::TapPairs taps_;
  kd::AdapterModule adapter_;
  std::vector<kd::Layers> regressors_;
};

}  // namespace

KD_REGISTER(kd::Loss, "fitnet", FitNet, "the student's map against the teacher's through a learned convolution (hints)")
