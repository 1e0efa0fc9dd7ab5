// KL(p‖q) from the student p to the teacher q, the mode-seeking direction: Gu et al., "MiniLLM", arXiv 2306.08543.
//   losses = [{ type = "reverse_kl", temperature = 4.0 }]
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

class ReverseDivergence final : public kd::Loss {
 public:
  struct Params {
    double temperature = 4;

    static void schema(kd::Schema<Params>& s) {
      s.field("temperature", &Params::temperature,
              "T; divides the logits of student and teacher, and the value is multiplied by T²")
          .def(4.0)
          .above(0);
    }
  };

  explicit ReverseDivergence(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const double t = params_.temperature;
    const at::Tensor rows = kd::row_divergences(kd::log_softmax_at(student, t), kd::log_softmax_at(teacher, t));
    return rows.mean() * (t * t);
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "reverse_kl", ReverseDivergence,
            "KL(p‖q)·T² from the student p to the teacher q: \"kd\" with the two exchanged")
