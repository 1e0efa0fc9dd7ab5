// Flatness under weight noise, built outside kdrun's tree: how the accuracy of each network falls as Gaussian noise
// grows in its weights, each tensor's in proportion to its own deviation (as Deep Mutual Learning's analysis has it:
// Zhang et al., CVPR 2018, arXiv 1706.00384).
#include <cmath>

#include "kd/analysis.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"
#include "kd/tensor.h"

namespace {

class OutsideFlatness final : public kd::Analysis {
 public:
  struct Params {
    std::vector<double> deviations;
    std::int64_t repeats = 3, samples = 1000;

    static void schema(kd::Schema<Params>& s) {
      s.field("deviations", &Params::deviations, "of the noise, as a share of each tensor's own")
          .def(std::vector<double>{0, 0.1, 0.2, 0.4, 0.8})
          .at_least(0);
      s.field("repeats", &Params::repeats, "draws of noise for each").def(3).at_least(1);
      s.field("samples", &Params::samples, "of the test split that are asked").def(1000).at_least(1);
    }
  };

  explicit OutsideFlatness(const Params& params) : params_(params) {}

  void run(kd::AnalysisContext& context) override {
    kd::Table table{.name = "flatness",
                    .caption = "accuracy under weight noise, mean over draws",
                    .columns = {{"network", kd::ColumnType::kText},
                                {"deviation", kd::ColumnType::kNumber},
                                {"accuracy", kd::ColumnType::kShare},
                                {"spread", kd::ColumnType::kShare, "±"}},
                    .rows = {}};
    kd::Panel panel{.title = "",
                    .x = {.title = "deviation of the noise, share of the weights'"},
                    .y = {.title = "test accuracy", .low = 0, .high = 1},
                    .marks = {},
                    .height = 0.75};
    for (kd::TrainedModel* network : context.networks()) {
      kd::Curve curve{.name = network->name().text(), .x = params_.deviations, .y = {}, .spread = {}};
      for (const double deviation : params_.deviations) {
        double sum = 0, squares = 0;
        for (std::int64_t i = 0; i < params_.repeats; ++i) {
          const double accuracy =
              noisy_accuracy(*network, deviation, context.key().with(static_cast<std::uint64_t>(i)));
          sum += accuracy;
          squares += accuracy * accuracy;
        }
        const auto count = static_cast<double>(params_.repeats);
        curve.y.push_back(sum / count);
        curve.spread.push_back(std::sqrt(std::max(0.0, squares / count - curve.y.back() * curve.y.back())));
        table.rows.push_back({curve.name, deviation, curve.y.back(), curve.spread.back()});
      }
      panel.marks.emplace_back(curve);
    }
    context.table(table);
    context.figure({.name = "flatness", .title = "Accuracy under weight noise", .panels = {panel}});
  }

 private:
  double noisy_accuracy(kd::TrainedModel& network, double deviation, kd::RandomKey key) const {
    return network.with_weights([&](const std::vector<kd::NamedParameter>& weights) {
      for (const kd::NamedParameter& weight : weights) {
        const at::Tensor counters = at::arange(weight.tensor.numel(), weight.tensor.options().dtype(at::kLong));
        const at::Tensor noise = kd::random_normal(key.with(weight.name), counters, 1).view_as(weight.tensor);
        at::Tensor changed = weight.tensor;
        if (weight.tensor.numel() > 1) changed.add_(noise * weight.tensor.std(), deviation);
      }
      const at::Tensor answers = network.compute_logits(kd::Split::kTest, params_.samples).argmax(1).cpu();
      const at::Tensor labels = network.labels(kd::Split::kTest).narrow(0, 0, answers.size(0));
      return answers.eq(labels).to(at::kDouble).mean().item<double>();
    });
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "outside_flatness", OutsideFlatness, "accuracy under weight noise")
