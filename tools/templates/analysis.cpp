// The analysis "KD_NAME_HERE": a table with the top-k accuracy of every trained network.
// Say here what yours measures, and cite the paper that it comes from.
#include "kd/analysis.h"

#include <algorithm>

#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

class KdClassHere final : public kd::Analysis {
 public:
  // What recipes can set. Every parameter has its meaning, and a default unless the recipe must give it.
  struct Params {
    std::int64_t k = 1;

    static void schema(kd::Schema<Params>& s) {
      s.field("k", &Params::k, "an answer counts as right if the label is among the k most probable classes")
          .def(1)
          .at_least(1);
    }
  };

  explicit KdClassHere(const Params& params) : params_(params) {}

  // Once, after the last stage. A table goes to the console, into files of the run, and to `kdrun compare`; see
  // kd/figure.h for figures, and kd::TrainedModel for what there is of a network beside its answers.
  void run(kd::AnalysisContext& context) override {
    kd::Table table{.name = "KD_NAME_HERE",
                    .caption = "top-" + std::to_string(params_.k) + " accuracy on the test split",
                    .columns = {{"stage", kd::ColumnType::kText},
                                {"network", kd::ColumnType::kText},
                                {"accuracy", kd::ColumnType::kShare}},
                    .rows = {}};
    for (kd::TrainedModel* network : context.networks()) {
      table.rows.push_back({network->name().stage, network->name().network,
                            accuracy(network->logits(kd::Split::kTest), network->labels(kd::Split::kTest))});
    }
    context.table(table);
  }

 private:
  double accuracy(const at::Tensor& logits, const at::Tensor& labels) const {
    const std::int64_t k = std::min(params_.k, logits.size(1));
    const at::Tensor best = std::get<1>(logits.topk(k, /*dim=*/1));
    return (best == labels.unsqueeze(1)).any(1).to(at::kDouble).mean().item<double>();
  }

  const Params params_;
};

}  // namespace

// Recipes find the class under this name: [[analysis]] type = "KD_NAME_HERE".
KD_REGISTER(kd::Analysis, "KD_NAME_HERE", KdClassHere, "a table of accuracies")
