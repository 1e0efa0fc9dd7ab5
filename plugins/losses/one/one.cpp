// Distillation by an on-the-fly native ensemble: Lan, Zhu and Gong, NeurIPS 2018, arXiv 1806.04606. With
// branches b of a network and their gated sum e, all trained at once:
//   Σ_b CE(z_b) + CE(z_e) + w Σ_b T² KL(p_e‖p_b)
// where the softmaxes of the last part are at T and p_e gets no gradient through it. The network is a "branches".
//   losses = [{ type = "one", temperature = 3.0, distillation = { type = "rampup", epochs = 80, each = "epoch" } }]
#include "kd/labels.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/soft_targets.h"
#include "kd/tensor.h"

namespace {

constexpr const char* kEnsemble = "ensemble";

class NativeEnsembleLoss final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Lan et al., NeurIPS 2018, arXiv 1806.04606",
      .weight = "1.0",
      .result = "CIFAR-100, ResNet-32: 26.61 % error with 3 branches, 31.18 % alone (the paper's table)"};

  struct Params {
    double temperature = 3;
    kd::Scheduled distillation;

    static void schema(kd::Schema<Params>& s) {
      s.field("temperature", &Params::temperature,
              "T; divides the logits of the ensemble and its branches, and their divergence has the factor T²")
          .def(3.0)
          .above(0);
      s.field("distillation", &Params::distillation,
              "w, the weight of what the branches learn from the ensemble: a number or a schedule; the authors' code "
              "raises it over 80 epochs, { type = \"rampup\", epochs = 80, each = \"epoch\" }")
          .def(1.0);
    }
  };

  NativeEnsembleLoss(const Params& params, const Context& context)
      : params_(params), distillation_(params.distillation) {
    for (int b = 1; context.student.contains("branch" + std::to_string(b)); ++b)
      branches_.push_back("branch" + std::to_string(b));
    if (branches_.empty() || !context.student.contains(kEnsemble)) {
      throw kd::RecipeError({}, "the network has no branches",
                            "the loss \"one\" is of a model = { type = \"branches\", … }");
    }
  }

  kd::LossNeeds needs() const override {
    kd::TapRequest taps = branches_;
    taps.emplace_back(kEnsemble);
    return {.student_taps = taps};
  }
  bool recordable() const override { return distillation_.constant(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const at::Tensor ensemble = kd::precise(input.student.taps.at(kEnsemble));
    const double t = params_.temperature;
    const double factor = distillation_.at(input.time) * t * t / static_cast<double>(ensemble.size(0));
    at::Tensor sum = label_loss(ensemble, input.batch.targets);
    for (const std::string& branch : branches_) {
      const at::Tensor logits = kd::precise(input.student.taps.at(branch));
      sum = sum + label_loss(logits, input.batch.targets) +
            kd::soft_target_divergence(logits, ensemble.detach(), t, factor);
    }
    return sum;
  }

 private:
  static at::Tensor label_loss(const at::Tensor& logits, const kd::Targets& targets) {
    return kd::labelled_mean(kd::label_losses(at::log_softmax(logits, 1), targets), targets);
  }

  const Params params_;
  const kd::ScheduledValue distillation_;
  std::vector<std::string> branches_;
};

}  // namespace

KD_REGISTER(kd::Loss, "one", NativeEnsembleLoss,
            "branches of a network learn from the labels and from their own gated ensemble (Lan et al., 2018)")
