// The analysis "KD_NAME_HERE": a table with the top-k accuracy of every trained network.
// Say here what yours measures, and cite the paper that it comes from.
#include "kd/analysis.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <sstream>

#include "kd/plugin.h"

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

  // Once, after the last stage.
  void run(kd::AnalysisContext& context) override {
    std::ostringstream table;
    table << "stage,network,accuracy\n";
    for (const kd::AnalysedNetwork& network : context.networks()) {
      table << network.stage << ',' << network.network << ',' << accuracy(network.test_logits, network.test_labels)
            << '\n';
    }
    context.write("KD_NAME_HERE.csv", table.str());
    context.print(table.str());
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
