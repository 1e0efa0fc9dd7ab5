// Knowledge review: Chen, Liu, Zhao and Jia, "Distilling Knowledge via Knowledge Review", CVPR 2021, arXiv 2104.09044.
// From the deepest feature to the first, each of the student's is brought to a common width by a 1×1 convolution, fused
// with what came from below by two attention maps (ABF), and brought to the teacher's channels by a 3×3 convolution.
// Against the teacher's: the mean square at full size and of the averages over 4×4, 2×2 and 1×1 regions, with weights
// 1, ½, ¼, ⅛ over their sum (HCL). As in mdistiller the teacher's maps are those before their activation, and the
// factor grows over the first 20 epochs.
//   losses = [{ type = "cross_entropy" }, { type = "review_kd", weight = 5.0, warmup = 20 }]
#include <algorithm>

#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"
#include "kd/warmup.h"

namespace {

/// A vector as a map of one place.
at::Tensor as_map(const at::Tensor& feature) {
  return feature.dim() == 4 ? feature : feature.unsqueeze(2).unsqueeze(3);
}

at::Tensor resized(const at::Tensor& map, std::int64_t height, std::int64_t width) {
  if (map.size(2) == height && map.size(3) == width) return map;
  return at::upsample_nearest2d(map, {height, width});
}

/// The hierarchical context loss of two maps of one shape. Averages of the difference are differences of averages.
at::Tensor hierarchical_context(const at::Tensor& difference) {
  at::Tensor sum = difference.square().mean();
  double weight = 1, total = 1;
  for (const std::int64_t side : {4, 2, 1}) {
    if (side >= difference.size(2)) continue;
    weight /= 2;
    total += weight;
    sum = sum + at::adaptive_avg_pool2d(difference, {side, side}).square().mean() * weight;
  }
  return sum / total;
}

class ReviewKd final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Chen et al., CVPR 2021, arXiv 2104.09044",
      .weight = "5.0",
      .result =
          "CIFAR-100, resnet32x4 → resnet8x4: 75.63 % top-1; weight 8 for ShuffleNetV2, 0.6 for resnet56 → "
          "resnet20, 1 for resnet110 → resnet32"};

  struct Params : kd::TapParams {
    std::int64_t widest = 512, warmup = 20;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"stage1", "stage2", "stage3", "pooled"});
      s.field("widest", &Params::widest, "the common width is the deepest feature's, or this where that is less")
          .def(512)
          .at_least(1);
      kd::declare_warmup(s, &Params::warmup).def(20).at_least(0);
    }
  };

  ReviewKd(const Params& params, const Context& context)
      : params_(params), taps_(with_preactivation(params, context), context, kd::TapPairs::kAny) {
    const std::int64_t width = std::min(params.widest, taps_.student_shape(taps_.size() - 1)[0]);
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const std::int64_t out = taps_.teacher_shape(i)[0];
      const std::string number = std::to_string(i + 1);
      const auto weights = kd::FirstWeights::kUniformLinear;
      narrow_.push_back(adapter_.layers("narrow" + number)
                            .convolution(taps_.student_shape(i)[0], width, {.bias = false, .weights = weights})
                            .batch_norm(width));
      widen_.push_back(adapter_.layers("widen" + number)
                           .convolution(width, out, {.kernel = 3, .padding = 1, .bias = false, .weights = weights})
                           .batch_norm(out));
      if (i + 1 < taps_.size()) attend_.push_back(adapter_.layers("attend" + number).convolution(2 * width, 2));
    }
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    at::Tensor review;
    for (std::size_t i = taps_.size(); i-- > 0;) {
      const at::Tensor teacher = as_map(taps_.teacher(input, i));
      at::Tensor x = narrow_[i](as_map(taps_.student(input, i)));
      if (review.defined()) {
        const at::Tensor below = resized(review, x.size(2), x.size(3));
        const at::Tensor share = at::sigmoid(attend_[i](at::cat({x, below}, 1)));
        x = x * share.narrow(1, 0, 1) + below * share.narrow(1, 1, 1);
      }
      review = resized(x, teacher.size(2), teacher.size(3));
      terms.push_back(hierarchical_context(kd::precise(widen_[i](review)) - kd::precise(teacher)));
    }
    return at::stack(terms).sum() * kd::warmup_factor(params_.warmup, input.time);
  }

 private:
  /// The teacher's maps before their activation, where a recipe names none and it offers them.
  static kd::TapParams with_preactivation(const Params& params, const Context& context) {
    kd::TapParams pairs{params.taps, params.teacher_taps};
    if (!pairs.teacher_taps.empty() || context.teachers.empty()) return pairs;
    for (const std::string& tap : pairs.taps) {
      const std::string before = tap + "_pre";
      pairs.teacher_taps.push_back(context.teacher().taps.contains(before) ? before : tap);
    }
    return pairs;
  }

  const Params params_;
  const kd::TapPairs taps_;
  kd::AdapterModule adapter_;
  std::vector<kd::Layers> narrow_, attend_, widen_;
};

}  // namespace

KD_REGISTER(kd::Loss, "review_kd", ReviewKd,
            "the student's features, each fused with the deeper ones, against the teacher's (knowledge review)")
