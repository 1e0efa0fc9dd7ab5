// Similarity-preserving distillation: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, arXiv
// 1907.09682. G = F·Fᵀ of the batch's flattened features, its rows at length 1: ‖G_t − G_s‖² / B².
//   losses = [{ type = "cross_entropy" }, { type = "sp", weight = 3000.0, taps = ["stage3"] }]
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

class SimilarityPreserving final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Tung and Mori, ICCV 2019, arXiv 1907.09682",
      .weight = "3000.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 72.94 % top-1 (RepDistiller)"};

  struct Params : kd::TapParams {
    static void schema(kd::Schema<Params>& s) { kd::declare_taps(s, {"stage3"}); }
  };

  SimilarityPreserving(const Params& params, const Context& context) : taps_(params, context, kd::TapPairs::kAny) {}

  kd::LossNeeds needs() const override { return taps_.needs(); }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const at::Tensor student = kd::unit_rows(kd::gram(taps_.student_rows(input, i)));
      const at::Tensor teacher = kd::unit_rows(kd::gram(taps_.teacher_rows(input, i)));
      terms.push_back((student - teacher).square().mean());
    }
    return at::stack(terms).sum();
  }

 private:
  const kd::TapPairs taps_;
};

}  // namespace

KD_REGISTER(kd::Loss, "sp", SimilarityPreserving,
            "which samples of a batch are alike, to the student and to the teacher (similarity preserving)")
