// The loss "KD_NAME_HERE": scaled squared distance between the logits of student and teacher.
// Say here what yours computes, and cite the paper that it comes from.
#include "kd/loss.h"

#include "kd/logits.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

class KdClassHere final : public kd::Loss {
 public:
  // What recipes can set. Every parameter has its meaning, and a default unless the recipe must give it.
  struct Params {
    double scale = 1;

    static void schema(kd::Schema<Params>& s) {
      s.field("scale", &Params::scale, "factor of the squared distance").def(1.0).above(0);
    }
  };

  explicit KdClassHere(const Params& params) : params_(params) {}

  // List features of student or teacher here if the loss compares them: {.teacher = true, .student_taps = {"pooled"}}.
  kd::LossNeeds needs() const override { return {.teacher = true}; }

  // One scalar, the mean over the batch, in fp32 whatever the stage computes in. Labels are in input.batch.targets;
  // automatic differentiation does the rest.
  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    return at::mse_loss(student, teacher) * params_.scale;
  }

 private:
  const Params params_;
};

}  // namespace

// Recipes find the class under this name: losses = [{ type = "KD_NAME_HERE", scale = 2 }].
KD_REGISTER(kd::Loss, "KD_NAME_HERE", KdClassHere, "scaled squared distance between the logits")
