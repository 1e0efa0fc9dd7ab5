// Squared difference of the logits: Ba and Caruana, "Do Deep Nets Really Need to be Deep?", NeurIPS 2014, arXiv
// 1312.6184.
//   losses = [{ type = "mse_logits", reduction = "mean" }]
#include <ATen/ops/mse_loss.h>

#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

class LogitRegression final : public kd::Loss {
 public:
  struct Params {
    kd::Reduction reduction = kd::Reduction::kMean;

    static void schema(kd::Schema<Params>& s) { kd::declare_reduction(s, &Params::reduction).def("mean"); }
  };

  explicit LogitRegression(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const at::Tensor sum = at::mse_loss(student, teacher, at::Reduction::Sum);
    return sum / kd::reduction_divisor(params_.reduction, student);
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "mse_logits", LogitRegression,
            "squared difference of student's and teacher's logits (Ba and Caruana, 2014)")
