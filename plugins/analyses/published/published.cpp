// What a run measured beside what a paper published.
//   analysis = [{ type = "published", source = "table 1", stages = ["student"], accuracy = [0.7561] }]
#include <string>
#include <vector>

#include "kd/analysis.h"
#include "kd/calibration.h"
#include "kd/diagnostics.h"
#include "kd/plugin.h"

namespace {

class Published final : public kd::Analysis {
 public:
  struct Params : kd::BinSettings {
    std::string source, data;
    std::vector<std::string> stages, networks;
    std::vector<double> accuracy, ece, oe;

    static void schema(kd::Schema<Params>& s) {
      s.field("source", &Params::source, "what published the numbers; part of the heading");
      s.field("data", &Params::data,
              "the data set that they were published for: where a run has another, nothing is compared; empty: any")
          .def("");
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
      kd::declare_bins(s);
    }
  };

  explicit Published(const Params& params) : params_(params) {
    if (params_.stages.empty()) throw kd::RecipeError("'stages' names no network");
    kd::require_one_for_each("accuracy", params_.accuracy.size(), "stages", params_.stages.size());
    for (const auto& [name, size] : {std::pair("networks", params_.networks.size()),
                                     std::pair("ece", params_.ece.size()), std::pair("oe", params_.oe.size())}) {
      if (size > 0) kd::require_one_for_each(name, size, "stages", params_.stages.size());
    }
  }

  void check(const std::vector<kd::NetworkName>& networks) const override {
    for (std::size_t i = 0; i < params_.stages.size(); ++i)
      kd::find_network(networks, params_.stages[i], network_of(i));
  }

  void run(kd::AnalysisContext& context) override {
    const std::string& data = context.network(params_.stages[0], network_of(0)).data().name;
    if (!params_.data.empty() && params_.data != data) {
      context.print("what " + params_.source + " published is of " + params_.data + ", and this run's data is " + data +
                    ": not compared");
      return;
    }
    kd::Table table{.name = "published",
                    .caption = "measured here, and published by " + params_.source,
                    .columns = {{"network", kd::ColumnType::kText}},
                    .rows = {}};
    const auto add_columns = [&](const std::string& measure, kd::ColumnType type, const std::string& title) {
      table.columns.push_back({measure, type, title});
      table.columns.push_back({"published_" + measure, type, "published"});
    };
    add_columns("accuracy", kd::ColumnType::kShare, "accuracy");
    if (!params_.ece.empty()) add_columns("ece", kd::ColumnType::kNumber, "ECE");
    if (!params_.oe.empty()) add_columns("oe", kd::ColumnType::kNumber, "OE");
    for (std::size_t i = 0; i < params_.stages.size(); ++i) {
      kd::TrainedModel& network = context.network(params_.stages[i], network_of(i));
      const auto measured = kd::measure_calibration_of_logits(network.logits(kd::Split::kTest),
                                                              network.labels(kd::Split::kTest), params_);
      kd::Row row{network.name().text(), measured.accuracy, params_.accuracy[i]};
      if (!params_.ece.empty()) row.insert(row.end(), {measured.ece, params_.ece[i]});
      if (!params_.oe.empty()) row.insert(row.end(), {measured.oe, params_.oe[i]});
      table.rows.push_back(std::move(row));
    }
    context.table(table);
  }

 private:
  std::string network_of(std::size_t i) const { return params_.networks.empty() ? std::string() : params_.networks[i]; }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "published", Published, "what the run measured beside what a paper published")
