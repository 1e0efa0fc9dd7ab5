// How closely the networks of a run follow one of them: whether a student really learned what its teacher answers,
// which its accuracy does not show (Stanton et al., NeurIPS 2021, arXiv 2106.05945).
//   analysis = [{ type = "agreement", teacher = "teacher" }]
#include "kd/analysis.h"
#include "kd/calibration.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

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

  void check(const std::vector<kd::NetworkName>& networks) const override {
    kd::find_network(networks, params_.teacher, params_.network);
  }

  void run(kd::AnalysisContext& context) override {
    kd::TrainedModel& teacher = context.network(params_.teacher, params_.network);
    const std::string name = teacher.name().text();
    kd::Table table{.name = "agreement_" + params_.teacher,
                    .caption = "agreement with " + name + " on the test split: equal answers, and KL(" + name +
                               "‖network) in nats; a network that never saw its answers is the control",
                    .columns = {{"stage", kd::ColumnType::kText},
                                {"network", kd::ColumnType::kText},
                                {"agreement", kd::ColumnType::kShare},
                                {"kl", kd::ColumnType::kNumber, "KL"}},
                    .rows = {}};
    for (kd::TrainedModel* one : context.networks()) {
      if (one == &teacher || !answers_same_samples(*one, teacher)) continue;
      const kd::Agreement agreement =
          kd::measure_agreement(teacher.logits(kd::Split::kTest), one->logits(kd::Split::kTest));
      table.rows.push_back({one->name().stage, one->name().network, agreement.top1, agreement.kl});
    }
    context.table(table);
  }

 private:
  /// Stages may differ in their classes, and then have nothing to agree on.
  static bool answers_same_samples(kd::TrainedModel& one, kd::TrainedModel& other) {
    return one.data().class_names == other.data().class_names &&
           one.labels(kd::Split::kTest).equal(other.labels(kd::Split::kTest));
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "agreement", AgreementAnalysis,
            "how closely every network follows one of them, its teacher: equal answers and KL (Stanton et al., 2021)")
