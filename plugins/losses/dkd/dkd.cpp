// Decoupled distillation: Zhao, Cui, Song, Qiu and Liang, "Decoupled Knowledge Distillation", CVPR 2022, arXiv
// 2203.08679. Everything is a log-softmax; the released code takes log(softmax), which is NaN where
// logits are saturated.
//   losses = [{ type = "dkd", alpha = 1.0, beta = 8.0, temperature = 4.0 }]
#include "../shared/decoupled.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/temperature.h"
#include "kd/warmup.h"

namespace {

class DecoupledLoss final : public kd::Loss {
 public:
  struct Params : kd::TemperatureParams {
    double alpha = 1, beta = 8;
    std::int64_t warmup = 20;

    static void schema(kd::Schema<Params>& s) {
      s.field("alpha", &Params::alpha, "factor of TCKD, the divergence of (p(label), 1 − p(label))")
          .def(1.0)
          .at_least(0);
      s.field(
           "beta", &Params::beta,
           "factor of NCKD, the divergence over the other classes; CIFAR-100: 8 for resnet8x4 and ShuffleNets, 6 for "
           "wide ResNets and VGG, 2 for resnet20 and resnet32")
          .def(8.0)
          .at_least(0);
      kd::declare_temperature(s).def(4.0);
      kd::declare_warmup(s, &Params::warmup).def(20).at_least(0);
    }
  };

  explicit DecoupledLoss(const Params& params) : params_(params), temperature_(params) {}

  kd::LossNeeds needs() const override {
    return {.teacher = true, .student_taps = {}, .teacher_taps = {}, .views = {}, .one_label = true};
  }
  bool labelled_rows_only() const override { return true; }
  bool recordable() const override { return temperature_.constant(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const kd::Softened z = temperature_(input);
    const at::Tensor rows = decoupled::row_divergences(z, input.batch.targets.labels, params_.alpha, params_.beta);
    return kd::labelled_mean(rows, input.batch.targets) * kd::warmup_factor(params_.warmup, input.time);
  }

 private:
  const Params params_;
  const kd::Temperature temperature_;
};

}  // namespace

KD_REGISTER(kd::Loss, "dkd", DecoupledLoss,
            "soft targets decoupled into the label's class and the others, each with its factor (Zhao et al., 2022)")
