// Variational information distillation: Ahn, Hu, Damianou, Lawrence and Dai, CVPR 2019, arXiv 1904.05835. Three 1×1
// convolutions predict the mean of the teacher's map from the student's, a trained number each channel's variance:
// the mean of ½·((μ − f_t)²/σ² + ln σ²), with σ² = softplus(a) + 1e-5.
//   losses = [{ type = "cross_entropy" }, { type = "vid", variance = 5.0 }]
#include <cmath>

#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

constexpr double kLeastVariance = 1e-5;

class VariationalInformation final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Ahn et al., CVPR 2019, arXiv 1904.05835",
      .weight = "1.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 73.09 % top-1 (RepDistiller)"};

  struct Params : kd::TapParams {
    double variance = 5;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"stage1", "stage2", "stage3"});
      s.field("variance", &Params::variance, "what every channel's variance begins as").def(5.0).above(kLeastVariance);
    }
  };

  VariationalInformation(const Params& params, const Context& context) : taps_(params, context, kd::TapPairs::kMaps) {
    const double first = std::log(std::expm1(params.variance - kLeastVariance));
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const std::int64_t in = taps_.student_shape(i)[0], out = taps_.teacher_shape(i)[0];
      const std::string number = std::to_string(i + 1);
      means_.push_back(adapter_.layers("mean" + number)
                           .convolution(in, out, {.bias = false})
                           .relu()
                           .convolution(out, out, {.bias = false})
                           .relu()
                           .convolution(out, out, {.bias = false}));
      raw_variances_.push_back(adapter_.parameter("variance" + number, at::full({out}, first)));
    }
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const auto [student, teacher] = kd::at_common_size(taps_.student(input, i), taps_.teacher(input, i));
      const at::Tensor variance = (at::softplus(raw_variances_[i]) + kLeastVariance).view({1, -1, 1, 1});
      const at::Tensor error = kd::precise(means_[i](student)) - kd::precise(teacher);
      terms.push_back((error.square() / variance).mean() * 0.5 + variance.log().mean() * 0.5);
    }
    return at::stack(terms).sum();
  }

 private:
  const kd::TapPairs taps_;
  kd::AdapterModule adapter_;
  std::vector<kd::Layers> means_;
  std::vector<at::Tensor> raw_variances_;
};

}  // namespace

KD_REGISTER(kd::Loss, "vid", VariationalInformation,
            "how well the teacher's maps can be predicted from the student's, with trained variances (VID)")
