// Joint training of the widths of a slimmable network: Yu et al., "Slimmable Neural Networks", ICLR 2019, arXiv
// 1812.08928, where each width learns from the labels and the losses are summed; or, as in Yu and Huang, "Universally
// Slimmable Networks", ICCV 2019, arXiv 1903.05134, the widest learns from the labels and the others from its answers,
// which get no gradient. The network is a "slimmable".
//   losses = [{ type = "slimmable", narrow_learn_from = "labels" }]
#include "kd/labels.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/soft_targets.h"
#include "kd/tensor.h"

namespace {

enum class Source { kLabels, kWidest };

class SlimmableLoss final : public kd::Loss {
 public:
  struct Params {
    Source narrow_learn_from = Source::kLabels;
    double temperature = 1;

    static void schema(kd::Schema<Params>& s) {
      s.choice("narrow_learn_from", &Params::narrow_learn_from,
               {{"labels", Source::kLabels}, {"widest", Source::kWidest}},
               "what all widths but the widest learn from: the labels too, or the widest's answers in their place")
          .def("labels");
      s.field("temperature", &Params::temperature, "T of the widest's answers; their divergence has the factor T²")
          .def(1.0)
          .above(0);
    }
  };

  SlimmableLoss(const Params& params, const Context& context) : params_(params) {
    for (int i = 1; context.student.contains("width" + std::to_string(i)); ++i)
      widths_.push_back("width" + std::to_string(i));
    if (widths_.empty()) {
      throw kd::RecipeError({}, "the network has one width",
                            "the loss \"slimmable\" is of a model = { type = \"slimmable\", … }");
    }
  }

  kd::LossNeeds needs() const override { return {.student_taps = widths_}; }
  bool labelled_rows_only() const override { return params_.narrow_learn_from == Source::kLabels; }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const kd::Targets& targets = input.batch.targets;
    const at::Tensor widest = kd::precise(input.student.taps.at(widths_.back()));
    const double t = params_.temperature;
    const double factor = t * t / static_cast<double>(widest.size(0));
    at::Tensor sum = label_loss(widest, targets);
    for (std::size_t i = 0; i + 1 < widths_.size(); ++i) {
      const at::Tensor logits = kd::precise(input.student.taps.at(widths_[i]));
      sum = sum + (params_.narrow_learn_from == Source::kLabels
                       ? label_loss(logits, targets)
                       : kd::soft_target_divergence(logits, widest.detach(), t, factor));
    }
    return sum;
  }

 private:
  static at::Tensor label_loss(const at::Tensor& logits, const kd::Targets& targets) {
    return kd::labelled_mean(kd::label_losses(at::log_softmax(logits, 1), targets), targets);
  }

  const Params params_;
  std::vector<std::string> widths_;
};

}  // namespace

KD_REGISTER(kd::Loss, "slimmable", SlimmableLoss, "every width of a slimmable network learns at once (Yu et al., 2019)")
