// The shape of the loss around a trained network: on a plane through its weights along two random directions, in which
// every filter has the norm of the network's own (Li et al., NeurIPS 2018, arXiv 1712.09913), so that the scale of the
// weights, which batch norm makes arbitrary, does not count. Biases and batch norm stay as they are. The directions are
// the same for networks of equal shapes.
//   analysis = [{ type = "loss_surface", points = 11, reach = 1.0, samples = 500 }]
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "../shared/chosen_networks.h"
#include "kd/analysis.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"
#include "kd/tensor.h"

namespace {

/// Losses by the place along the second direction and along the first.
using Grid = std::vector<std::vector<double>>;

/// One tensor for each of the weights: random numbers, of which each filter (a neuron's weights, in a linear layer) has
/// the norm that it has in the network; 0 for what has no filters.
std::vector<at::Tensor> direction(const std::vector<kd::NamedParameter>& weights, kd::RandomKey key) {
  std::vector<at::Tensor> all;
  for (const kd::NamedParameter& weight : weights) {
    const at::Tensor& tensor = weight.tensor;
    if (tensor.dim() < 2) {
      all.push_back(at::zeros_like(tensor));
      continue;
    }
    const at::Tensor places = at::arange(tensor.numel(), tensor.options().dtype(at::kLong));
    const at::Tensor noise =
        kd::random_normal(key.with(weight.name), places, 1).to(at::kDouble).view({tensor.size(0), -1});
    const at::Tensor filters = tensor.reshape({tensor.size(0), -1}).to(at::kDouble);
    const at::Tensor factors = (filters.square().sum(1, true) / noise.square().sum(1, true)).sqrt();
    all.push_back((noise * factors).view_as(tensor).to(tensor.scalar_type()));
  }
  return all;
}

/// Of the labelled samples. NaN where it is not finite.
double loss_of(const at::Tensor& logits, const at::Tensor& labels) {
  const at::Tensor log_p = at::log_softmax(logits.cpu().to(at::kDouble), 1);
  return at::nll_loss(log_p, labels.narrow(0, 0, logits.size(0)), {}, at::Reduction::Mean, /*ignore_index=*/-1)
      .item<double>();
}

class LossSurface final : public kd::Analysis {
 public:
  struct Params {
    std::vector<std::string> stages;
    std::int64_t points = 11, samples = 500;
    double reach = 1;

    static void schema(kd::Schema<Params>& s) {
      kd::analyses::declare_stages(s);
      s.field("points", &Params::points, "along each direction; an odd number has the network itself in the middle")
          .def(11)
          .range(2, 201);
      s.field("reach", &Params::reach, "how far the plane goes each way, in norms of the filters").def(1.0).above(0);
      s.field("samples", &Params::samples, "of the training split, the first ones, at most").def(500).at_least(1);
    }
  };

  explicit LossSurface(const Params& params) : params_(params) {
    for (std::int64_t i = 0; i < params.points; ++i)
      places_.push_back(params.reach * (2 * static_cast<double>(i) / static_cast<double>(params.points - 1) - 1));
  }

  void check(const std::vector<kd::NetworkName>& networks) const override {
    kd::analyses::check_stages(params_.stages, networks);
  }

  void run(kd::AnalysisContext& context) override {
    kd::Table table{.name = "loss_surface",
                    .caption =
                        "cross entropy of training samples, in nats, along two directions of the norms of the "
                        "network's filters",
                    .columns = {{"stage", kd::ColumnType::kText},
                                {"network", kd::ColumnType::kText},
                                {"first", kd::ColumnType::kNumber},
                                {"second", kd::ColumnType::kNumber},
                                {"loss", kd::ColumnType::kNumber}},
                    .rows = {}};
    kd::Table summary{.name = "loss_surface_summary",
                      .caption =
                          "cross entropy of training samples, in nats: of the network, and on the plane around "
                          "it along two directions of the norms of its filters",
                      .columns = {{"stage", kd::ColumnType::kText},
                                  {"network", kd::ColumnType::kText},
                                  {"loss", kd::ColumnType::kNumber},
                                  {"mean", kd::ColumnType::kNumber, "mean of the plane"},
                                  {"largest", kd::ColumnType::kNumber, "largest of the plane"}},
                      .rows = {}};
    kd::Figure figure{
        .name = "loss_surface", .title = "Training loss around the network, log10 of nats", .panels = {}, .columns = 2};
    for (kd::TrainedModel* network : kd::analyses::chosen_networks(context, params_.stages)) {
      const auto& [stage, name] = network->name();
      const Grid losses = measure(*network, context.key());
      double sum = 0, largest = 0;
      for (std::size_t row = 0; row < places_.size(); ++row) {
        for (std::size_t column = 0; column < places_.size(); ++column) {
          const double loss = losses[row][column];
          table.rows.push_back({stage, name, places_[column], places_[row], loss});
          sum += loss;
          largest = std::max(largest, loss);
        }
      }
      const double at_network =
          loss_of(network->compute_logits(kd::Split::kTrain, params_.samples), network->labels(kd::Split::kTrain));
      const auto count = static_cast<double>(places_.size() * places_.size());
      summary.rows.push_back({stage, name, at_network, sum / count, largest});
      figure.panels.push_back(panel(network->name().text(), losses));
    }
    give_one_scale(figure);
    context.keep(table);
    context.figure(figure);
    context.table(summary);
  }

 private:
  Grid measure(kd::TrainedModel& network, kd::RandomKey key) const {
    return network.with_weights([&](const std::vector<kd::NamedParameter>& weights) {
      const std::vector<at::Tensor> first = direction(weights, key.with("first"));
      const std::vector<at::Tensor> second = direction(weights, key.with("second"));
      std::vector<at::Tensor> trained;
      for (const kd::NamedParameter& weight : weights) trained.push_back(weight.tensor.clone());
      Grid losses;
      for (const double y : places_) {
        losses.emplace_back();
        for (const double x : places_) {
          for (std::size_t i = 0; i < weights.size(); ++i) {
            at::Tensor weight = weights[i].tensor;
            weight.copy_(trained[i] + first[i] * x + second[i] * y);
          }
          losses.back().push_back(
              loss_of(network.compute_logits(kd::Split::kTrain, params_.samples), network.labels(kd::Split::kTrain)));
        }
      }
      return losses;
    });
  }

  kd::Panel panel(const std::string& name, const Grid& losses) const {
    kd::HeatMap map{.values = {}, .numbers = false};
    for (auto row = losses.rbegin(); row != losses.rend(); ++row) {  // the top row is the farthest
      map.values.emplace_back();
      for (const double loss : *row) map.values.back().push_back(std::log10(loss));
    }
    const std::vector<std::string> names = place_names();
    return {.title = name,
            .x = {.title = "first direction", .categories = names},
            .y = {.title = "second direction", .categories = {names.rbegin(), names.rend()}},
            .marks = {map}};
  }

  /// As many as fit below the figure.
  std::vector<std::string> place_names() const {
    const std::size_t each = (places_.size() + 10) / 11;
    std::vector<std::string> names(places_.size());
    for (std::size_t i = 0; i < places_.size(); i += each) {
      std::array<char, 32> text{};
      std::snprintf(text.data(), text.size(), "%.2g", places_[i]);
      names[i] = text.data();
    }
    return names;
  }

  /// So that colours mean the same for each network.
  static void give_one_scale(kd::Figure& figure) {
    double low = INFINITY, high = -INFINITY;
    for (const kd::Panel& panel : figure.panels) {
      for (const auto& row : std::get<kd::HeatMap>(panel.marks.front()).values) {
        for (const double value : row) {
          if (!std::isfinite(value)) continue;
          low = std::min(low, value);
          high = std::max(high, value);
        }
      }
    }
    if (low > high) return;
    for (kd::Panel& panel : figure.panels) {
      auto& map = std::get<kd::HeatMap>(panel.marks.front());
      map.low = low;
      map.high = high;
    }
  }

  const Params params_;
  std::vector<double> places_;  ///< along either direction
};

}  // namespace

KD_REGISTER(kd::Analysis, "loss_surface", LossSurface,
            "the training loss on a plane through each network's weights along two filter-normalised random directions "
            "(Li et al., 2018)")
