// Trained networks that answer together, with weights: accuracy and calibration of the ensemble beside its members'.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "../shared/bins.h"
#include "../shared/find_network.h"
#include "../shared/tables.h"
#include "kd/analysis.h"
#include "kd/calibration.h"
#include "kd/plugin.h"

namespace {

using tables::format_number;

/// The geometric mean of probabilities, normalised, is the softmax of the mean of logits.
enum class Combination { kProbabilities, kLogits };

struct Member {
  std::string name;
  kd::AnalysedNetwork network;
  double weight;  ///< all sum to 1
};

bool is_plain(const std::string& name) {
  const std::string allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  return !name.empty() && name.find_first_not_of(allowed) == std::string::npos;
}

void require_one_test_split(const std::vector<Member>& members) {
  const Member& first = members.front();
  for (const Member& member : members) {
    if (at::equal(member.network.test_labels, first.network.test_labels) &&
        member.network.class_names == first.network.class_names)
      continue;
    throw kd::Error("analysis 'ensemble': " + first.name + " and " + member.name +
                    " were tested on different data; the members of an ensemble need one test split");
  }
}

/// Weighted mean of what `of` gives for each member, in double precision.
template <class Function>
at::Tensor average(const std::vector<Member>& members, const Function& of) {
  at::Tensor sum = at::zeros_like(members.front().network.test_logits, at::kDouble);
  for (const Member& member : members) sum += of(member.network.test_logits.to(at::kDouble)) * member.weight;
  return sum;
}

class Ensemble final : public kd::Analysis {
 public:
  struct Params : kd::BinSettings {
    std::vector<std::string> stages, networks, runs;
    std::vector<double> weights;
    std::vector<double> published;
    Combination combine = Combination::kProbabilities;
    std::string name;

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
      s.field("name", &Params::name, "part of the name of the file, ensemble_NAME.csv").def("ensemble");
      bins::declare(s);
    }
  };

  explicit Ensemble(const Params& params) : params_(params) {
    if (params_.stages.empty()) throw kd::RecipeError("'stages' names no member");
    const std::size_t members = params_.stages.size();
    if (!params_.networks.empty()) find_network::require_one_for_each("networks", params_.networks.size(), members);
    if (!params_.runs.empty()) find_network::require_one_for_each("runs", params_.runs.size(), members);
    if (!params_.weights.empty()) find_network::require_one_for_each("weights", params_.weights.size(), members);
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
        find_network::find(networks, params_.stages[i], network_of(i), "ensemble");
      } else if (!std::filesystem::is_directory(std::filesystem::path(run_of(i)) / "stages" / params_.stages[i])) {
        throw kd::RecipeError("analysis 'ensemble': " + run_of(i) + " is no run folder with a stage '" +
                              params_.stages[i] + "'");
      }
    }
  }

  void run(kd::AnalysisContext& context) override {
    const std::vector<Member> members = find_members(context);
    require_one_test_split(members);
    std::vector<tables::Line> file = {{"network", "weight", "accuracy", "ece", "oe", "nll", "brier"}};
    std::vector<tables::Line> shown = file;
    const auto add = [&](const std::string& name, double weight, const kd::Calibration& calibration) {
      file.push_back(make_line(name, weight, calibration, 6));
      shown.push_back(make_line(name, weight, calibration, 4));
    };
    for (const Member& member : members) {
      add(member.name, member.weight,
          kd::measure_calibration_of_logits(member.network.test_logits, member.network.test_labels, params_));
    }
    add(params_.name, 1, measure(members));
    if (!params_.published.empty()) shown.push_back(published_line());
    context.write("ensemble_" + params_.name + ".csv", tables::csv(file, 1));
    context.print("ensemble '" + params_.name + "' on the test split, " + std::to_string(params_.bins) + " bins" +
                  tables::align(shown));
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
      kd::AnalysedNetwork network =
          run.empty() ? find_network::find(context.networks(), params_.stages[i], network_of(i), "ensemble")
                      : context.load(run, params_.stages[i], network_of(i));
      const std::string name = network.stage + "/" + network.network;
      members.push_back({run.empty() ? name : run + ": " + name, std::move(network), weights[i] / sum});
    }
    return members;
  }

  kd::Calibration measure(const std::vector<Member>& members) const {
    const at::Tensor& labels = members.front().network.test_labels;
    if (params_.combine == Combination::kLogits) {
      const at::Tensor logits = average(members, [](const at::Tensor& rows) { return rows; });
      return kd::measure_calibration_of_logits(logits, labels, params_);
    }
    const at::Tensor mean = average(members, [](const at::Tensor& rows) { return rows.softmax(1); });
    return kd::measure_calibration_of_probabilities(mean, labels, params_);
  }

  tables::Line published_line() const {
    tables::Line line = {"(published)", "-"};
    for (const double number : params_.published) line.push_back(format_number(number, 4, ""));
    line.insert(line.end(), {"-", "-"});
    return line;
  }

  static tables::Line make_line(const std::string& name, double weight, const kd::Calibration& calibration,
                                int decimals) {
    tables::Line line = {name};
    for (const double number :
         {weight, calibration.accuracy, calibration.ece, calibration.oe, calibration.nll, calibration.brier})
      line.push_back(format_number(number, decimals, ""));
    return line;
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "ensemble", Ensemble,
            "trained networks that answer together: accuracy and calibration of their weighted ensemble")
