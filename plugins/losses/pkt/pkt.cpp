// Probabilistic knowledge transfer: Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge
// Transfer", ECCV 2018, arXiv 1803.10837. The cosines of a batch's vectors, brought to [0, 1] and each row to sum 1,
// are probabilities of being neighbours: the mean over all pairs of t·ln(t/s). The constants are the authors'.
//   losses = [{ type = "cross_entropy" }, { type = "pkt", weight = 30000.0 }]
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

constexpr double kEpsilon = 1e-7;

at::Tensor neighbours(const at::Tensor& rows) {
  // A row of zeros is like no other, and the length of zero has no gradient.
  const at::Tensor lengths = rows.square().sum(1, true).clamp_min(1e-24).sqrt();
  const at::Tensor similarity = (kd::gram(rows / (lengths + kEpsilon)) + 1) / 2;
  return similarity / similarity.sum(1, true);
}

class ProbabilisticTransfer final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Passalis and Tefas, ECCV 2018, arXiv 1803.10837",
      .weight = "30000.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 73.64 % top-1 (RepDistiller)"};

  struct Params : kd::TapParams {
    static void schema(kd::Schema<Params>& s) { kd::declare_taps(s, {"pooled"}); }
  };

  ProbabilisticTransfer(const Params& params, const Context& context) : taps_(params, context, kd::TapPairs::kAny) {}

  kd::LossNeeds needs() const override { return taps_.needs(); }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const at::Tensor s = neighbours(taps_.student_rows(input, i)), t = neighbours(taps_.teacher_rows(input, i));
      terms.push_back((t * ((t + kEpsilon) / (s + kEpsilon)).log()).mean());
    }
    return at::stack(terms).sum();
  }

 private:
  const kd::TapPairs taps_;
};

}  // namespace

KD_REGISTER(kd::Loss, "pkt", ProbabilisticTransfer,
            "the probabilities of samples being neighbours, to the student and to the teacher (PKT)")
