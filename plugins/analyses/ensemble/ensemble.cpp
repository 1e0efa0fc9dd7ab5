// Trained networks that answer together, with weights: accuracy and calibration of the ensemble beside its members'.
//   analysis = [{ type = "ensemble", stages = ["teacher_mixup", "teacher_cutmix"], combine = "probabilities" }]
#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "kd/analysis.h"
#include "kd/calibration.h"
#include "kd/diagnostics.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

/// The geometric mean of probabilities, normalised, is the softmax of the mean of logits.
enum class Combination { kProbabilities, kLogits };

struct Member {
  std::string name;
  kd::TrainedModel& network;
  double weight;  ///< all sum to 1
};

bool is_plain(const std::string& name) {
  const std::string allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  return !name.empty() && name.find_first_not_of(allowed) == std::string::npos;
}

void require_one_test_split(const std::vector<Member>& members) {
  const Member& first = members.front();
  for (const Member& member : members) {
    if (member.network.labels(kd::Split::kTest).equal(first.network.labels(kd::Split::kTest)) &&
        member.network.data().class_names == first.network.data().class_names)
      continue;
    throw kd::Error(first.name + " and " + member.name +
                    " were tested on different data; the members of an ensemble need one test split");
  }
}

/// Weighted mean of what `of` gives for each member, in double precision.
template <class Function>
at::Tensor average(const std::vector<Member>& members, const Function& of) {
  at::Tensor sum = at::zeros_like(members.front().network.logits(kd::Split::kTest), at::kDouble);
  for (const Member& member : members)
    sum += of(member.network.logits(kd::Split::kTest).to(at::kDouble)) * member.weight;
  return sum;
}

class Ensemble final : public kd::Analysis {
 public:
  struct Params : kd::BinSettings {
    std::vector<std::string> stages, networks, runs;
    std::vector<double> weights;
    std::vector<double> published;
    Combination combine = Combination::kProbabilities;
    std::string name, data;

    static void schema(kd::Schema<Params>& s) {
      s.field("stages", &Params::stages, "the stage of each member");
      s.field("networks", &Params::networks,
              "which network of its stage each member is; an empty name, or an empty list: its only one")
          .def(std::vector<std::string>{});
      s.field("runs", &Params::runs,
              "the run folder of each member, so that the networks of several seeds answer together; an empty one, or "
              "an empty list: this run")
          .def(std::vector<std::string>{});
      s.field("weights", &Params::weights,
              "the weight of each member, of which only the ratios count; empty: all equal")
          .def(std::vector<double>{})
          .at_least(0);
      s.choice("combine", &Params::combine,
               {{"probabilities", Combination::kProbabilities},
                {"logits", Combination::kLogits},
                {"geometric", Combination::kLogits}},
               "probabilities: weighted mean of the softmaxes; logits: softmax of the weighted mean of the logits; "
               "geometric: weighted geometric mean of the softmaxes, normalised, which is the same as logits")
          .def("probabilities");
      s.field("published", &Params::published,
              "published accuracy, ECE and OE of the ensemble, shown under its own; an empty list: nothing")
          .def(std::vector<double>{})
          .range(0, 1);
      s.field("data", &Params::data,
              "the data set that they were published for: of another they are not shown; empty: any")
          .def("");
      s.field("name", &Params::name, "part of the name of the file, ensemble_NAME.csv").def("ensemble");
      kd::declare_bins(s);
    }
  };

  explicit Ensemble(const Params& params) : params_(params) {
    if (params_.stages.empty()) throw kd::RecipeError("'stages' names no member");
    const std::size_t members = params_.stages.size();
    if (!params_.networks.empty()) kd::require_one_for_each("networks", params_.networks.size(), "stages", members);
    if (!params_.runs.empty()) kd::require_one_for_each("runs", params_.runs.size(), "stages", members);
    if (!params_.weights.empty()) kd::require_one_for_each("weights", params_.weights.size(), "stages", members);
    if (!params_.weights.empty() && std::accumulate(params_.weights.begin(), params_.weights.end(), 0.0) <= 0)
      throw kd::RecipeError("all 'weights' are 0");
    if (!params_.published.empty() && params_.published.size() != 3)
      throw kd::RecipeError("'published' wants three numbers, [accuracy, ece, oe], and has " +
                            std::to_string(params_.published.size()));
    if (!is_plain(params_.name))
      throw kd::RecipeError("'name' is to have letters, digits, '_' and '-', and is '" + params_.name + "'");
  }

  void check(const std::vector<kd::NetworkName>& networks) const override {
    for (std::size_t i = 0; i < params_.stages.size(); ++i) {
      if (run_of(i).empty()) {
        kd::find_network(networks, params_.stages[i], network_of(i));
      } else if (!std::filesystem::is_directory(std::filesystem::path(run_of(i)) / "stages" / params_.stages[i])) {
        throw kd::RecipeError(run_of(i) + " is no run folder with a stage '" + params_.stages[i] + "'");
      }
    }
  }

  void run(kd::AnalysisContext& context) override {
    const std::vector<Member> members = find_members(context);
    require_one_test_split(members);
    kd::Table table{
        .name = "ensemble_" + params_.name,
        .caption = "ensemble '" + params_.name + "' on the test split, " + std::to_string(params_.bins) + " bins",
        .columns = {{"network", kd::ColumnType::kText},
                    {"weight", kd::ColumnType::kNumber},
                    {"accuracy", kd::ColumnType::kShare},
                    {"ece", kd::ColumnType::kNumber, "ECE"},
                    {"oe", kd::ColumnType::kNumber, "OE"},
                    {"nll", kd::ColumnType::kNumber, "NLL"},
                    {"brier", kd::ColumnType::kNumber, "Brier"}},
        .rows = {}};
    const auto add = [&](const std::string& name, double weight, const kd::Calibration& c) {
      table.rows.push_back({name, weight, c.accuracy, c.ece, c.oe, c.nll, c.brier});
    };
    for (const Member& member : members) {
      add(member.name, member.weight,
          kd::measure_calibration_of_logits(member.network.logits(kd::Split::kTest),
                                            member.network.labels(kd::Split::kTest), params_));
    }
    add(params_.name, 1, measure(members));
    const bool same_data = params_.data.empty() || members.front().network.data().name == params_.data;
    if (!params_.published.empty() && same_data) {
      const std::vector<double>& published = params_.published;
      table.rows.push_back({"(published)", {}, published[0], published[1], published[2], {}, {}});
    }
    context.table(table);
  }

 private:
  std::string network_of(std::size_t member) const {
    return params_.networks.empty() ? std::string() : params_.networks[member];
  }
  std::string run_of(std::size_t member) const { return params_.runs.empty() ? std::string() : params_.runs[member]; }

  std::vector<Member> find_members(kd::AnalysisContext& context) const {
    const std::vector<double> weights =
        params_.weights.empty() ? std::vector<double>(params_.stages.size(), 1.0) : params_.weights;
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    std::vector<Member> members;
    for (std::size_t i = 0; i < params_.stages.size(); ++i) {
      const std::string run = run_of(i);
      kd::TrainedModel& network = run.empty() ? context.network(params_.stages[i], network_of(i))
                                              : context.load(run, params_.stages[i], network_of(i));
      const std::string name = network.name().text();
      members.push_back({run.empty() ? name : run + ": " + name, network, weights[i] / sum});
    }
    return members;
  }

  kd::Calibration measure(const std::vector<Member>& members) const {
    const at::Tensor& labels = members.front().network.labels(kd::Split::kTest);
    if (params_.combine == Combination::kLogits) {
      const at::Tensor logits = average(members, [](const at::Tensor& rows) { return rows; });
      return kd::measure_calibration_of_logits(logits, labels, params_);
    }
    const at::Tensor mean = average(members, [](const at::Tensor& rows) { return rows.softmax(1); });
    return kd::measure_calibration_of_probabilities(mean, labels, params_);
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "ensemble", Ensemble,
            "trained networks that answer together: accuracy and calibration of their weighted ensemble")
