// How closely the networks of a run follow one of them: whether a student really learned what its teacher answers,
// which its accuracy does not show (Stanton et al., NeurIPS 2021, arXiv 2106.05945).
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>

#include <string>
#include <vector>

#include "../shared/find_network.h"
#include "../shared/tables.h"
#include "kd/analysis.h"
#include "kd/calibration.h"
#include "kd/plugin.h"

namespace {

using tables::format_number;

class AgreementAnalysis final : public kd::Analysis {
 public:
  struct Params {
    std::string teacher, network;

    static void schema(kd::Schema<Params>& s) {
      s.field("teacher", &Params::teacher, "the stage whose network the others are compared with");
      s.field("network", &Params::network, "which network of that stage; empty: its only one").def("");
    }
  };

  explicit AgreementAnalysis(const Params& params) : params_(params) {}

  void check(const std::vector<kd::NetworkName>& networks) const override { find(networks); }

  void run(kd::AnalysisContext& context) override {
    const kd::AnalysedNetwork& teacher = find(context.networks());
    std::vector<tables::Line> file = {{"stage", "network", "agreement", "kl"}};
    std::vector<tables::Line> shown = {{"network", "agreement", "kl"}};
    for (const kd::AnalysedNetwork& one : context.networks()) {
      if (&one == &teacher || !answers_same_samples(one, teacher)) continue;
      const kd::Agreement agreement = kd::measure_agreement(teacher.test_logits, one.test_logits);
      file.push_back(
          {one.stage, one.network, format_number(agreement.top1, 6, ""), format_number(agreement.kl, 6, "")});
      shown.push_back(
          {one.stage + "/" + one.network, format_number(agreement.top1, 4, "-"), format_number(agreement.kl, 4, "-")});
    }
    const std::string name = teacher.stage + "/" + teacher.network;
    context.write("agreement_" + teacher.stage + ".csv", tables::csv(file, 2));
    context.print("agreement with " + name + " on the test split: share of equal answers, and KL(" + name +
                  "‖network) in nats; a network that never saw its answers is the control" + tables::align(shown));
  }

 private:
  template <class Named>
  const Named& find(const std::vector<Named>& networks) const {
    return find_network::find(networks, params_.teacher, params_.network, "agreement");
  }

  /// Stages may differ in their classes, and then have nothing to agree on.
  static bool answers_same_samples(const kd::AnalysedNetwork& one, const kd::AnalysedNetwork& other) {
    return one.class_names == other.class_names && at::equal(one.test_labels, other.test_labels);
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "agreement", AgreementAnalysis,
            "how closely every network follows one of them, its teacher: equal answers and KL (Stanton et al., 2021)")
