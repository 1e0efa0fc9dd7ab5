// Neuron selectivity transfer: Huang and Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer",
// 2017, arXiv 1707.01219. The squared maximum mean discrepancy, with the kernel (aᵀb)², between the channels of both
// networks' maps, each over its length. Means of squared inner products are squared norms of matrix products, over the
// channels or, where there are more of these, over the places.
//   losses = [{ type = "cross_entropy" }, { type = "nst", weight = 50.0 }]
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

/// N×C×(H·W), each channel of length 1.
at::Tensor channels_of(const at::Tensor& map) {
  const at::Tensor exact = kd::precise(map).flatten(2);
  return kd::unit_rows(exact.flatten(0, 1)).view(exact.sizes());
}

/// Mean over samples and pairs of channels of (aᵀb)².
at::Tensor mean_kernel(const at::Tensor& a, const at::Tensor& b) {
  const kd::WithoutAutocast exact(a.device());
  const auto pairs = static_cast<double>(a.size(0) * a.size(1) * b.size(1));
  if (a.size(1) * b.size(1) <= a.size(2) * a.size(2)) {
    return at::matmul(a, b.transpose(1, 2)).square().sum() / pairs;
  }
  // Σ (aᵀb)² = ⟨Aᵀ·A, Bᵀ·B⟩
  return (at::matmul(a.transpose(1, 2), a) * at::matmul(b.transpose(1, 2), b)).sum() / pairs;
}

class NeuronSelectivity final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Huang and Wang, 2017, arXiv 1707.01219",
      .weight = "50.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 73.30 % top-1 (RepDistiller)"};

  struct Params : kd::TapParams {
    static void schema(kd::Schema<Params>& s) { kd::declare_taps(s, {"stage1", "stage2", "stage3"}); }
  };

  NeuronSelectivity(const Params& params, const Context& context) : taps_(params, context, kd::TapPairs::kMaps) {}

  kd::LossNeeds needs() const override { return taps_.needs(); }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const auto [student, teacher] = kd::at_common_size(taps_.student(input, i), taps_.teacher(input, i));
      const at::Tensor s = channels_of(student), t = channels_of(teacher);
      terms.push_back(mean_kernel(t, t) + mean_kernel(s, s) - mean_kernel(s, t) * 2);
    }
    return at::stack(terms).sum();
  }

 private:
  const kd::TapPairs taps_;
};

}  // namespace

KD_REGISTER(kd::Loss, "nst", NeuronSelectivity,
            "what the channels of the student's maps respond to against those of the teacher's (neuron selectivity)")
