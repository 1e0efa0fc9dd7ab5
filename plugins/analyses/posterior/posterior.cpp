// How much a network's answers say beside the winner: the entropy of its posteriors, their mean when each sample's are
// sorted, and their entropy as a temperature softens them (Zhang et al., CVPR 2018, arXiv 1706.00384, section 3.6 and
// figure 4c). The paper argues that mutual learning leaves more mass on the other classes, so its network ought to have
// the higher entropy; of the published pair, 1.7099 and 0.2602 nats, it is disputed which number is whose.
//   analysis = [{ type = "posterior", top = 10, temperatures = [1, 2, 4, 8] }]
#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "../shared/chosen_networks.h"
#include "kd/analysis.h"
#include "kd/diagnostics.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

/// −Σ p ln p of the softmax of each row.
at::Tensor entropies(const at::Tensor& logits) {
  const at::Tensor log_posteriors = at::log_softmax(logits, 1);
  return -(log_posteriors.exp() * log_posteriors).sum(1);
}

/// The mean over samples of their largest posterior, of their second largest, and so on.
std::vector<double> sorted_posteriors(const at::Tensor& logits, std::int64_t top) {
  const at::Tensor posteriors = at::log_softmax(logits, 1).exp();
  const at::Tensor largest = std::get<0>(posteriors.topk(std::min(top, posteriors.size(1)), 1)).mean(0);
  return {largest.const_data_ptr<double>(), largest.const_data_ptr<double>() + largest.numel()};
}

/// How far down the posteriors go that are shown of any of the networks.
std::int64_t common_top(const std::vector<kd::TrainedModel*>& networks, std::int64_t top) {
  std::int64_t classes = 0;
  for (kd::TrainedModel* network : networks) classes = std::max(classes, network->data().classes());
  return std::min(top, classes);
}

kd::Table posterior_table(std::int64_t top) {
  kd::Table table{.name = "posterior",
                  .caption =
                      "mean entropy of the posteriors on the test split, in nats, and the mean of each sample's "
                      "largest posterior (p1), second largest (p2) and so on",
                  .columns = {{"stage", kd::ColumnType::kText},
                              {"network", kd::ColumnType::kText},
                              {"entropy", kd::ColumnType::kNumber}},
                  .rows = {}};
  for (std::int64_t rank = 1; rank <= top; ++rank) {
    table.columns.push_back({"p", kd::ColumnType::kShare});
    table.columns.back().name += std::to_string(rank);
  }
  return table;
}

class Posterior final : public kd::Analysis {
 public:
  struct Params {
    std::vector<std::string> stages;
    std::int64_t top = 10;
    std::vector<double> temperatures;

    static void schema(kd::Schema<Params>& s) {
      kd::analyses::declare_stages(s);
      s.field("top", &Params::top, "how many of the sorted posteriors are shown; of fewer classes, all")
          .def(10)
          .range(1, 100);
      s.field("temperatures", &Params::temperatures, "what the logits are divided by before their entropy is measured")
          .def(std::vector<double>{0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 20})
          .above(0);
    }
  };

  explicit Posterior(const Params& params) : params_(params), temperatures_(params.temperatures) {
    if (temperatures_.empty()) throw kd::RecipeError("'temperatures' holds no temperature");
    std::sort(temperatures_.begin(), temperatures_.end());
  }

  void check(const std::vector<kd::NetworkName>& networks) const override {
    kd::analyses::check_stages(params_.stages, networks);
  }

  void run(kd::AnalysisContext& context) override {
    const std::vector<kd::TrainedModel*> networks = kd::analyses::chosen_networks(context, params_.stages);
    kd::Table table = posterior_table(common_top(networks, params_.top));
    kd::Table softened{.name = "entropy_against_temperature",
                       .caption =
                           "mean entropy of the softmax of the logits divided by a temperature, in nats, on the "
                           "test split",
                       .columns = {{"stage", kd::ColumnType::kText},
                                   {"network", kd::ColumnType::kText},
                                   {"temperature", kd::ColumnType::kNumber, "T"},
                                   {"entropy", kd::ColumnType::kNumber}},
                       .rows = {}};
    kd::Panel sorted{.x = {.title = "rank of the class among a sample's posteriors"},
                     .y = {.title = "mean posterior", .low = 1e-4, .high = 1, .logarithmic = true},
                     .marks = {},
                     .height = 0.75};
    kd::Panel against{.x = {.title = "temperature", .logarithmic = true},
                      .y = {.title = "mean entropy, nats", .low = 0},
                      .marks = {},
                      .height = 0.75};
    for (kd::TrainedModel* network : networks) {
      const kd::NetworkName& name = network->name();
      const at::Tensor logits = network->logits(kd::Split::kTest).to(at::kDouble);
      const std::vector<double> posteriors = sorted_posteriors(logits, params_.top);
      kd::Row row{name.stage, name.network, entropies(logits).mean().item<double>()};
      row.insert(row.end(), posteriors.begin(), posteriors.end());
      row.resize(table.columns.size());
      table.rows.push_back(row);
      kd::Curve by_rank{.name = name.text(), .x = {}, .y = posteriors};
      for (std::size_t i = 0; i < posteriors.size(); ++i) by_rank.x.push_back(static_cast<double>(i + 1));
      sorted.marks.emplace_back(by_rank);
      kd::Curve by_temperature{.name = name.text(), .x = temperatures_, .y = {}};
      for (const double temperature : temperatures_) {
        by_temperature.y.push_back(entropies(logits / temperature).mean().item<double>());
        softened.rows.push_back({name.stage, name.network, temperature, by_temperature.y.back()});
      }
      against.marks.emplace_back(by_temperature);
    }
    context.table(table);
    context.keep(softened);
    context.figure({.name = "posterior",
                    .title = "Posteriors on the test split: sorted, and their entropy as they are softened",
                    .panels = {sorted, against},
                    .columns = 2});
  }

 private:
  const Params params_;
  std::vector<double> temperatures_;  ///< ascending
};

}  // namespace

KD_REGISTER(kd::Analysis, "posterior", Posterior,
            "entropy of the posteriors, their mean when sorted, and their entropy against temperature (Zhang et al., "
            "2018)")
