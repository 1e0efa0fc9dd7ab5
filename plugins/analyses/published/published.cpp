// What a run measured beside what a paper published.
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

class Published final : public kd::Analysis {
 public:
  struct Params : kd::BinSettings {
    std::string source;
    std::vector<std::string> stages, networks;
    std::vector<double> accuracy, ece, oe;

    static void schema(kd::Schema<Params>& s) {
      s.field("source", &Params::source, "what published the numbers; part of the heading");
      s.field("stages", &Params::stages, "the stage that each published network is compared with");
      s.field("networks", &Params::networks,
              "which network of its stage; an empty name, or an empty list: its only one")
          .def(std::vector<std::string>{});
      s.field("accuracy", &Params::accuracy, "published share of right answers of each, in [0, 1]").range(0, 1);
      s.field("ece", &Params::ece, "published expected calibration error of each; an empty list: none was published")
          .def(std::vector<double>{})
          .range(0, 1);
      s.field("oe", &Params::oe, "published overconfidence error of each; an empty list: none was published")
          .def(std::vector<double>{})
          .range(0, 1);
      bins::declare(s);
    }
  };

  explicit Published(const Params& params) : params_(params) {
    if (params_.stages.empty()) throw kd::RecipeError("'stages' names no network");
    const std::size_t networks = params_.stages.size();
    find_network::require_one_for_each("accuracy", params_.accuracy.size(), networks);
    if (!params_.networks.empty()) find_network::require_one_for_each("networks", params_.networks.size(), networks);
    if (!params_.ece.empty()) find_network::require_one_for_each("ece", params_.ece.size(), networks);
    if (!params_.oe.empty()) find_network::require_one_for_each("oe", params_.oe.size(), networks);
  }

  void check(const std::vector<kd::NetworkName>& networks) const override {
    for (std::size_t i = 0; i < params_.stages.size(); ++i) find(networks, i);
  }

  void run(kd::AnalysisContext& context) override {
    tables::Line head = {"network", "accuracy", "published_accuracy"};
    if (!params_.ece.empty()) head.insert(head.end(), {"ece", "published_ece"});
    if (!params_.oe.empty()) head.insert(head.end(), {"oe", "published_oe"});
    std::vector<tables::Line> lines = {head};
    for (std::size_t i = 0; i < params_.stages.size(); ++i) {
      const kd::AnalysedNetwork& network = find(context.networks(), i);
      const auto measured = kd::measure_calibration_of_logits(network.test_logits, network.test_labels, params_);
      tables::Line line = {network.stage + "/" + network.network};
      const auto add = [&line](double number, double published) {
        line.push_back(format_number(number, 4, "-"));
        line.push_back(format_number(published, 4, "-"));
      };
      add(measured.accuracy, params_.accuracy[i]);
      if (!params_.ece.empty()) add(measured.ece, params_.ece[i]);
      if (!params_.oe.empty()) add(measured.oe, params_.oe[i]);
      lines.push_back(line);
    }
    context.write("published.csv", tables::csv(lines, 1));
    context.print("measured here, and published by " + params_.source + tables::align(lines));
  }

 private:
  template <class Named>
  const Named& find(const std::vector<Named>& networks, std::size_t i) const {
    return find_network::find(networks, params_.stages[i],
                              params_.networks.empty() ? std::string() : params_.networks[i], "published");
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "published", Published, "what the run measured beside what a paper published")
