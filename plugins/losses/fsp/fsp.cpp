// The flow of solution procedure: Yim, Joo, Bae and Kim, "A Gift from Knowledge Distillation", CVPR 2017. Between two
// stages, F = f_aᵀ·f_b over the places of their maps, divided by their number: the mean square of the difference of the
// student's and the teacher's. As published it is a first stage of a recipe, with this loss alone, that another begins
// with.
//   losses = [{ type = "fsp", weight = 50.0, taps = ["stem", "stage1", "stage2", "stage3"] }]
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

/// N×C_b×C_a.
at::Tensor flow(const at::Tensor& first, const at::Tensor& second) {
  const auto [a, b] = kd::at_common_size(kd::precise(first), kd::precise(second));
  const kd::WithoutAutocast exact(a.device());
  return at::matmul(b.flatten(2), a.flatten(2).transpose(1, 2)) / static_cast<double>(a.size(2) * a.size(3));
}

class SolutionFlow final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Yim et al., CVPR 2017",
      .weight = "50.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 72.62 % top-1 (RepDistiller, 30 epochs before training)"};

  struct Params : kd::TapParams {
    static void schema(kd::Schema<Params>& s) { kd::declare_taps(s, {"stem", "stage1", "stage2", "stage3"}); }
  };

  SolutionFlow(const Params& params, const Context& context) : taps_(params, context, kd::TapPairs::kMaps, 2) {
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const std::int64_t student = taps_.student_shape(i)[0], teacher = taps_.teacher_shape(i)[0];
      if (student == teacher) continue;
      throw kd::RecipeError({},
                            "the feature '" + params.taps[i] + "' has " + std::to_string(student) +
                                " channels in the student and " + std::to_string(teacher) +
                                " in the teacher, and this loss compares products of channels",
                            "take features with equal channels, or another loss");
    }
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 1; i < taps_.size(); ++i) {
      const at::Tensor student = flow(taps_.student(input, i - 1), taps_.student(input, i));
      const at::Tensor teacher = flow(taps_.teacher(input, i - 1), taps_.teacher(input, i));
      terms.push_back((student - teacher).square().mean());
    }
    return at::stack(terms).sum();
  }

 private:
  const kd::TapPairs taps_;
};

}  // namespace

KD_REGISTER(kd::Loss, "fsp", SolutionFlow,
            "products of the maps of consecutive stages, student's against teacher's (flow of solution procedure)")
