// Transformed teacher matching: Zheng and Yang, "Knowledge Distillation Based on Transformed Teacher Matching", ICLR
// 2024, arXiv 2402.11148. The student's softmax as it is, T = 1, against the teacher's softmax to the power γ over its
// sum: the mean of KL(q‖p), each sample's times that sum (WTTM), or not (TTM). γ = 1/T; 0.2 is that of the authors'
// example.
//   losses = [{ type = "cross_entropy" }, { type = "wttm", weight = 4.0, power = 0.2 }]
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

class TransformedTeacher final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Zheng and Yang, ICLR 2024, arXiv 2402.11148",
      .weight = "4.0",
      .result = "CIFAR-100, vgg13 → vgg8, beside crd, with this weight and power"};

  struct Params {
    double power = 0.2;
    bool weighted = true;

    static void schema(kd::Schema<Params>& s) {
      s.field("power", &Params::power, "γ of the teacher's softmax^γ: the inverse of a temperature").def(0.2).above(0);
      s.field("weighted", &Params::weighted,
              "whether a sample counts by Σ q^γ, which is large where the teacher is unsure (WTTM), or all alike (TTM)")
          .def(true);
    }
  };

  explicit TransformedTeacher(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const at::Tensor log_powers = at::log_softmax(teacher, 1) * params_.power;
    const at::Tensor log_sum = at::logsumexp(log_powers, 1);
    const at::Tensor rows = kd::row_divergences(log_powers - log_sum.unsqueeze(1), at::log_softmax(student, 1));
    return (params_.weighted ? rows * log_sum.exp() : rows).mean();
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "wttm", TransformedTeacher,
            "the student's plain softmax against the teacher's raised to a power (transformed teacher matching)")
