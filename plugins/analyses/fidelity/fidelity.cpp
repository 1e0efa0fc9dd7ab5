// Whether a student really answers what its teacher answers, which its accuracy does not show: equal answers and KL on
// the test split, and on what it was taught with (Stanton et al., NeurIPS 2021, arXiv 2106.05945). Networks of one task
// agree anyway: what a student has over a control that never saw the teacher is what it has from the teacher.
//   analysis = [{ type = "fidelity", teacher = "teacher", control = "student_alone", splits = ["test", "train"] }]
#include <algorithm>
#include <string>
#include <vector>

#include "../shared/same_samples.h"
#include "../shared/splits.h"
#include "kd/analysis.h"
#include "kd/calibration.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

struct Measured {
  const kd::NetworkName& network;
  std::size_t split;  ///< its place in `splits`
  kd::Agreement agreement;
};

kd::Table empty_table(const std::string& stage, const std::string& teacher, const std::string& control) {
  kd::Table table{.name = "fidelity_" + stage,
                  .caption = "fidelity to " + teacher + ": share of equal answers, and KL(" + teacher +
                             "‖network) of their probabilities at temperature 1 in nats, means over samples",
                  .columns = {{"stage", kd::ColumnType::kText},
                              {"network", kd::ColumnType::kText},
                              {"split", kd::ColumnType::kText},
                              {"agreement", kd::ColumnType::kShare},
                              {"kl", kd::ColumnType::kNumber, "KL"}},
                  .rows = {}};
  if (control.empty()) return table;
  table.caption += "; over control: less those of " + control + ", which never saw its answers";
  table.columns.push_back({"agreement_over_control", kd::ColumnType::kNumber, "agreement over control"});
  table.columns.push_back({"kl_over_control", kd::ColumnType::kNumber, "KL over control"});
  return table;
}

/// A group of bars for each split, in which each network has its place.
kd::Figure draw(const std::vector<Measured>& all, const std::string& stage, const std::string& teacher,
                const std::vector<std::string>& splits) {
  std::vector<kd::Bars> bars;
  std::vector<std::string> names;
  for (const Measured& one : all) {
    if (std::find(names.begin(), names.end(), one.network.text()) == names.end()) names.push_back(one.network.text());
  }
  const double width = 0.8 / static_cast<double>(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    kd::Bars& of_network =
        bars.emplace_back(kd::Bars{.name = names[i], .left = {}, .right = {}, .bottom = {}, .top = {}});
    for (const Measured& one : all) {
      if (one.network.text() != names[i]) continue;
      of_network.left.push_back(static_cast<double>(one.split) - 0.4 + static_cast<double>(i) * width);
      of_network.right.push_back(of_network.left.back() + width);
      of_network.top.push_back(one.agreement.top1);
    }
  }
  return {.name = "fidelity_" + stage,
          .title = "Answers equal to those of " + teacher,
          .panels = {{.x = {.title = "split", .categories = splits},
                      .y = {.title = "agreement", .low = 0, .high = 1},
                      .marks = {bars.begin(), bars.end()},
                      .height = 0.75}}};
}

class Fidelity final : public kd::Analysis {
 public:
  struct Params {
    std::string teacher, network, control, control_network;
    std::vector<std::string> splits;
    std::int64_t samples = 10000;

    static void schema(kd::Schema<Params>& s) {
      s.field("teacher", &Params::teacher, "the stage whose network the others are compared with");
      s.field("network", &Params::network, "which network of that stage; empty: its only one").def("");
      s.field("control", &Params::control,
              "a stage whose network never saw the teacher: how much closer than it is each network? Empty: none")
          .def("");
      s.field("control_network", &Params::control_network, "which network of that stage; empty: its only one").def("");
      kd::analyses::declare_splits(s, {"test"}, "; on train a student has seen its teacher's answers");
      s.field("samples", &Params::samples, "the first ones of the training split that are asked, at most; 0: all")
          .def(10000)
          .at_least(0);
    }
  };

  explicit Fidelity(const Params& params) : params_(params), splits_(kd::analyses::splits_of(params.splits)) {
    if (params.control.empty() && !params.control_network.empty())
      throw kd::RecipeError("'control_network' names a network, and 'control' no stage");
  }

  void check(const std::vector<kd::NetworkName>& networks) const override {
    const std::size_t teacher = kd::find_network(networks, params_.teacher, params_.network);
    if (!params_.control.empty() && kd::find_network(networks, params_.control, params_.control_network) == teacher)
      throw kd::RecipeError("'control' is the teacher itself: " + networks[teacher].text());
  }

  void run(kd::AnalysisContext& context) override {
    kd::TrainedModel& teacher = context.network(params_.teacher, params_.network);
    const std::string name = teacher.name().text();
    const std::string control =
        params_.control.empty() ? "" : context.network(params_.control, params_.control_network).name().text();
    const std::vector<Measured> all = measure(context, teacher);
    kd::Table table = empty_table(params_.teacher, name, control);
    for (const Measured& one : all) table.rows.push_back(row_of(one, all, control));
    context.table(table);
    context.figure(draw(all, params_.teacher, name, params_.splits));
  }

 private:
  std::vector<Measured> measure(kd::AnalysisContext& context, kd::TrainedModel& teacher) const {
    std::vector<Measured> all;
    for (std::size_t i = 0; i < splits_.size(); ++i) {
      at::Tensor wanted;
      for (kd::TrainedModel* one : context.networks()) {
        if (one == &teacher || !kd::analyses::have_same_samples(*one, teacher, splits_[i])) continue;
        if (!wanted.defined()) wanted = answers(teacher, splits_[i]);
        all.push_back({one->name(), i, kd::measure_agreement(wanted, answers(*one, splits_[i]))});
      }
    }
    return all;
  }

  at::Tensor answers(kd::TrainedModel& network, kd::Split split) const {
    const bool some =
        split == kd::Split::kTrain && params_.samples > 0 && params_.samples < network.labels(split).size(0);
    return some ? network.compute_logits(split, params_.samples).cpu() : network.logits(split);
  }

  kd::Row row_of(const Measured& one, const std::vector<Measured>& all, const std::string& control) const {
    kd::Row row{one.network.stage, one.network.network, params_.splits[one.split], one.agreement.top1,
                one.agreement.kl};
    if (control.empty()) return row;
    row.resize(row.size() + 2);  // empty where the control has no such split
    for (const Measured& other : all) {
      if (other.network.text() != control || other.split != one.split) continue;
      *(row.end() - 2) = one.agreement.top1 - other.agreement.top1;
      *(row.end() - 1) = one.agreement.kl - other.agreement.kl;
    }
    return row;
  }

  const Params params_;
  const std::vector<kd::Split> splits_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "fidelity", Fidelity,
            "whether students really answer what their teacher answers: agreement and KL, on test and training data, "
            "and over an independent control (Stanton et al., 2021)")
