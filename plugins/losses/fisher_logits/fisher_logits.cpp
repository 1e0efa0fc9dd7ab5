// Logits weighed by Fisher's information: Hsu, Smith, Shen, Kira and Jin, "A Closer Look at Knowledge Distillation with
// Features, Logits, and Gradients", 2022, arXiv 2203.10163. To second order KL(q‖p) at T = 1 is ½·Δzᵀ·F·Δz with Δz =
// z_s − z_t and F = diag q − q·qᵀ, the teacher's: the mean of that, or with F's diagonal alone.
//   losses = [{ type = "cross_entropy" }, { type = "fisher_logits", weight = 1.0, form = "full" }]
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

enum class Form { kFull, kDiagonal };

class FisherLogits final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "Hsu et al., 2022, arXiv 2203.10163", .weight = "1.0"};

  struct Params {
    Form form = Form::kFull;
    double temperature = 1;

    static void schema(kd::Schema<Params>& s) {
      s.choice("form", &Params::form, {{"full", Form::kFull}, {"diagonal", Form::kDiagonal}},
               "Fisher's matrix, which does not see a shift of all logits, or its diagonal q·(1 − q)")
          .def("full");
      s.field("temperature", &Params::temperature, "divides the teacher's logits in q").def(1.0).above(0);
    }
  };

  explicit FisherLogits(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const at::Tensor q = at::softmax(teacher / params_.temperature, 1);
    const at::Tensor difference = student - teacher;
    if (params_.form == Form::kDiagonal) return (q * (1 - q) * difference.square()).sum(1).mean() * 0.5;
    // Σ q·Δ² − (Σ q·Δ)² is a variance, and stays above 0 as one.
    const at::Tensor centred = difference - (q * difference).sum(1, true);
    return (q * centred.square()).sum(1).mean() * 0.5;
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "fisher_logits", FisherLogits,
            "squared difference of logits, weighed by the Fisher information of the teacher's softmax")
