// The fast gradient sign method (Goodfellow, Shlens and Szegedy, ICLR 2015, arXiv 1412.6572), built outside kdrun's
// tree: accuracy on images that are moved by ε along the sign of the loss's gradient.
#include "kd/analysis.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

class OutsideFgsm final : public kd::Analysis {
 public:
  struct Params {
    std::vector<double> steps;
    std::int64_t samples = 500;

    static void schema(kd::Schema<Params>& s) {
      s.field("steps", &Params::steps, "ε, in units of the images that the network sees")
          .def(std::vector<double>{0, 0.01, 0.03, 0.1})
          .at_least(0);
      s.field("samples", &Params::samples, "of the test split").def(500).at_least(1);
    }
  };

  explicit OutsideFgsm(const Params& params) : params_(params) {}

  void run(kd::AnalysisContext& context) override {
    kd::Table table{.name = "fgsm",
                    .caption = "accuracy under the fast gradient sign method",
                    .columns = {{"network", kd::ColumnType::kText}},
                    .rows = {}};
    for (const double step : params_.steps)
      table.columns.push_back({"eps_" + kd::shown(step, kd::ColumnType::kNumber), kd::ColumnType::kShare});
    for (kd::TrainedModel* network : context.networks()) {
      const at::Tensor images = network->images(kd::Split::kTest, 0, params_.samples).clone().requires_grad_(true);
      const at::Tensor labels = network->labels(kd::Split::kTest).narrow(0, 0, images.size(0)).to(images.device());
      const at::Tensor loss =
          at::nll_loss(at::log_softmax(network->forward(images, {}, kd::Gradient::kToImages).logits, 1), labels);
      const at::Tensor direction = kd::gradients(loss, {images})[0].sign();
      kd::Row row{network->name().text()};
      for (const double step : params_.steps) {
        const at::Tensor answers = network->forward(images.detach() + direction * step).logits.argmax(1);
        row.emplace_back(answers.eq(labels).to(at::kDouble).mean().item<double>());
      }
      table.rows.push_back(std::move(row));
    }
    context.table(table);
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "outside_fgsm", OutsideFgsm, "accuracy under the fast gradient sign method")
