// Attention transfer: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, arXiv 1612.03928.
// A map's attention is the mean over its channels of |f|^p at each place, as a vector of length 1. The authors' code
// takes the mean of the squared differences, which is the default; the paper half the norm of the difference.
//   losses = [{ type = "cross_entropy" }, { type = "at", weight = 1000.0, form = "code" }]
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

enum class Form { kCode, kPaper };

class AttentionTransfer final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Zagoruyko and Komodakis, ICLR 2017, arXiv 1612.03928",
      .weight = "1000.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 73.44 % top-1 (RepDistiller)"};

  struct Params : kd::TapParams {
    Form form = Form::kCode;
    double power = 2;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"stage1", "stage2", "stage3"});
      s.choice(
           "form", &Params::form, {{"code", Form::kCode}, {"paper", Form::kPaper}},
           "of each pair of maps: the mean of squared differences, as the authors' code has it, or half the norm of "
           "the difference, as the paper")
          .def("code");
      s.field("power", &Params::power, "p of |f|^p, whose mean over the channels is the attention").def(2.0).above(0);
    }
  };

  AttentionTransfer(const Params& params, const Context& context)
      : params_(params), taps_(params, context, kd::TapPairs::kMaps) {}

  kd::LossNeeds needs() const override { return taps_.needs(); }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const auto [student, teacher] = kd::at_common_size(taps_.student(input, i), taps_.teacher(input, i));
      const at::Tensor squares = (attention(student) - attention(teacher)).square();
      // The root of 0 has no gradient.
      terms.push_back(params_.form == Form::kCode ? squares.mean()
                                                  : squares.sum(1).clamp_min(kLeastSquare).sqrt().mean() * 0.5);
    }
    return at::stack(terms).sum();
  }

 private:
  static constexpr double kLeastSquare = 1e-24;

  /// N×(H·W), each row of length 1.
  at::Tensor attention(const at::Tensor& map) const {
    const at::Tensor exact = kd::precise(map);
    const at::Tensor powers = params_.power == 2 ? exact.square() : exact.abs().pow(params_.power);
    return kd::unit_rows(powers.mean(1).flatten(1));
  }

  const Params params_;
  const kd::TapPairs taps_;
};

}  // namespace

KD_REGISTER(kd::Loss, "at", AttentionTransfer,
            "where the student's maps look against where the teacher's do (attention transfer)")
