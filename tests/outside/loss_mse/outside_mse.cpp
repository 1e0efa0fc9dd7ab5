// A loss built outside kdrun's tree: mean squared error between the logits of student and teacher.
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

class OutsideMse final : public kd::Loss {
 public:
  struct Params {
    double scale = 1;

    static void schema(kd::Schema<Params>& s) {
      s.field("scale", &Params::scale, "factor of the squared error").def(1.0).above(0);
    }
  };

  explicit OutsideMse(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    return at::mse_loss(student, teacher) * params_.scale;
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "outside_mse", OutsideMse, "mean squared error between the logits")
