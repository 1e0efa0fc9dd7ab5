// How flat the minimum is that a network was trained to: its loss and accuracy as Gaussian noise is added to every
// parameter (Zhang et al., CVPR 2018, arXiv 1706.00384, section 3.6 and figure 4: mutual learning is to find a flatter
// one; that flat minima generalise better: Keskar et al., ICLR 2017, arXiv 1609.04836). Absolute noise N(0, σ²) weighs
// with the size of the weights, which batch norm makes arbitrary; relative noise is σ times each tensor's root mean
// square. A draw is a direction, the same for every σ and for networks of equal shapes.
//   analysis = [{ type = "flatness", deviations = [0, 0.01, 0.02], relative = [0, 0.2], draws = 10, samples = 2000 }]
#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "../shared/chosen_networks.h"
#include "../shared/splits.h"
#include "kd/analysis.h"
#include "kd/diagnostics.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"
#include "kd/tensor.h"

namespace {

enum class BatchNorm { kKept, kEstimated, kBoth };

/// A grid of deviations, and the one at which networks are compared in one number.
struct Scale {
  std::string name, axis;
  bool relative;
  std::vector<double> deviations;  ///< ascending
  double at;
};

struct Measured {
  double loss, accuracy;
};

/// One network on one split at one deviation: an entry for each draw.
struct Point {
  double deviation;
  std::vector<double> losses, accuracies;
};

/// How one network changes over the deviations of a scale.
struct Series {
  kd::TrainedModel& network;
  const Scale& scale;
  kd::Split split;
  bool estimated;  ///< batch norm's statistics, anew after the noise
  int colour;      ///< of the network
  std::vector<Point> points;
};

std::string text_of(double number) {
  std::ostringstream text;
  text << number;
  return text.str();
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// Unbiased; NaN of a single value.
double deviation(const std::vector<double>& values) {
  const double middle = mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - middle) * (value - middle);
  return values.size() < 2 ? std::numeric_limits<double>::quiet_NaN()
                           : std::sqrt(squares / static_cast<double>(values.size() - 1));
}

/// Over the labelled samples. A sample with a logit that is not finite is answered wrongly, and makes the loss NaN.
Measured measure(const at::Tensor& given_logits, const at::Tensor& given_labels) {
  const at::Tensor labelled = given_labels.ge(0);
  const at::Tensor logits = given_logits.cpu().to(at::kDouble).index({labelled}),
                   labels = given_labels.index({labelled});
  const at::Tensor finite = logits.isfinite().all(1);
  const double loss = at::nll_loss(at::log_softmax(logits, 1), labels).item<double>();
  const at::Tensor right = logits.argmax(1).eq(labels).logical_and(finite);
  return {finite.all().item<bool>() ? loss : std::numeric_limits<double>::quiet_NaN(),
          right.to(at::kDouble).mean().item<double>()};
}

void add_noise(const std::vector<kd::NamedParameter>& weights, const Scale& scale, double sigma, kd::RandomKey key) {
  for (const kd::NamedParameter& weight : weights) {
    at::Tensor tensor = weight.tensor;
    const at::Tensor counters = at::arange(tensor.numel(), tensor.options().dtype(at::kLong));
    const at::Tensor noise = kd::random_normal(key.with(weight.name), counters, 1).view_as(tensor);
    tensor.add_(scale.relative ? noise * tensor.square().mean().sqrt() : noise, sigma);
  }
}

/// Means over the draws with their deviation, without points that are not finite.
kd::Curve curve_of(const Series& series, std::vector<double> Point::* values) {
  kd::Curve curve{.name = series.network.name().text() + (series.estimated ? ", estimated" : ""), .x = {}, .y = {}};
  for (const Point& point : series.points) {
    const double middle = mean(point.*values), spread = deviation(point.*values);
    if (!std::isfinite(middle)) continue;
    curve.x.push_back(point.deviation);
    curve.y.push_back(middle);
    curve.spread.push_back(std::isfinite(spread) ? spread : 0);
  }
  curve.style = series.estimated ? kd::Curve::Style::kDashed : kd::Curve::Style::kLine;
  curve.colour = series.colour;
  return curve;
}

/// Losses beyond twice that of a guess, ln C, are not drawn: they would hide where the others begin to rise.
kd::Panel loss_panel(const std::vector<const Series*>& all) {
  kd::Panel panel{.y = {.title = "loss, nats", .low = 0}, .marks = {}, .height = 0.75};
  double highest = 0, most = 0;
  for (const Series* series : all) {
    const kd::Curve curve = curve_of(*series, &Point::losses);
    for (const double loss : curve.y) highest = std::max(highest, loss);
    most = std::max(most, 2 * std::log(static_cast<double>(series->network.data().classes())));
    panel.marks.emplace_back(curve);
  }
  if (highest > most) panel.y.high = most;
  return panel;
}

kd::Panel accuracy_panel(const std::vector<const Series*>& all) {
  kd::Panel panel{.y = {.title = "accuracy", .low = 0, .high = 1}, .marks = {}, .height = 0.75};
  for (const Series* series : all) panel.marks.emplace_back(curve_of(*series, &Point::accuracies));
  return panel;
}

class Flatness final : public kd::Analysis {
 public:
  struct Params {
    std::vector<std::string> stages, splits;
    std::vector<double> deviations, relative;
    double at = 0.02, at_relative = 0.2;
    std::int64_t draws = 10, samples = 2000, estimate_samples = 2000;
    BatchNorm batch_norm = BatchNorm::kKept;

    static void schema(kd::Schema<Params>& s) {
      kd::analyses::declare_stages(s);
      kd::analyses::declare_splits(s, {"train", "test"}, "; the summary is of the first");
      s.field("deviations", &Params::deviations,
              "absolute: σ of the noise on every parameter, in the parameters' unit; empty: none")
          .def(std::vector<double>{0, 0.0025, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.0175, 0.02, 0.03, 0.04, 0.05})
          .at_least(0);
      s.field("relative", &Params::relative,
              "relative: σ in units of the root mean square of each parameter tensor; empty: none")
          .def(std::vector<double>{0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4})
          .at_least(0);
      s.field("at", &Params::at, "which of 'deviations' the summary is for").def(0.02).above(0);
      s.field("at_relative", &Params::at_relative, "which of 'relative' the summary is for").def(0.2).above(0);
      s.field("draws", &Params::draws, "how many times noise is drawn for each σ above 0").def(10).range(1, 10000);
      s.field("samples", &Params::samples, "how many samples of a split are asked, from its first on; all of a smaller")
          .def(2000)
          .at_least(1);
      s.choice("batch_norm", &Params::batch_norm,
               {{"kept", BatchNorm::kKept}, {"estimated", BatchNorm::kEstimated}, {"both", BatchNorm::kBoth}},
               "the running statistics of batch norm under noise: kept as trained, estimated anew with the noisy "
               "weights, or one after the other")
          .def("kept");
      s.field("estimate_samples", &Params::estimate_samples,
              "how many training samples the statistics are estimated from, from the first on")
          .def(2000)
          .at_least(2);
    }
  };

  explicit Flatness(const Params& params) : params_(params), splits_(kd::analyses::splits_of(params.splits)) {
    add_scale("deviations", "at", {"absolute", "deviation σ of the noise", false, params.deviations, params.at});
    add_scale("relative", "at_relative",
              {"relative", "deviation σ of the noise, in units of a tensor's root mean square", true, params.relative,
               params.at_relative});
    if (scales_.empty()) throw kd::RecipeError("'deviations' and 'relative' are both empty");
  }

  void check(const std::vector<kd::NetworkName>& networks) const override {
    kd::analyses::check_stages(params_.stages, networks);
  }

  void run(kd::AnalysisContext& context) override {
    std::vector<Series> all;
    int colour = 0;
    for (kd::TrainedModel* network : kd::analyses::chosen_networks(context, params_.stages)) {
      for (const Scale& scale : scales_) {
        for (Series& series : measure_scale(*network, scale, context.key())) {
          series.colour = colour;
          all.push_back(std::move(series));
        }
      }
      ++colour;
    }
    context.keep(table_of(all));
    context.table(summary_of(all));
    for (const Scale& scale : scales_) context.figure(draw(all, scale));
  }

 private:
  /// Losses are compared with the loss at 0, and summed up at one σ: both have to be in the grid.
  void add_scale(const std::string& grid, const std::string& at, Scale scale) {
    if (scale.deviations.empty()) return;
    std::sort(scale.deviations.begin(), scale.deviations.end());
    if (scale.deviations.front() != 0) throw kd::RecipeError("'" + grid + "' is to hold 0, the network as it is");
    if (std::find(scale.deviations.begin(), scale.deviations.end(), scale.at) == scale.deviations.end())
      throw kd::RecipeError("'" + grid + "' does not hold " + text_of(scale.at) + ", which '" + at + "' asks for");
    scales_.push_back(std::move(scale));
  }

  /// A series for each split that there is, and for each way with batch norm.
  std::vector<Series> measure_scale(kd::TrainedModel& network, const Scale& scale, kd::RandomKey key) const {
    std::vector<Series> all;
    for (const bool estimated : {false, true}) {
      if (params_.batch_norm == (estimated ? BatchNorm::kKept : BatchNorm::kEstimated)) continue;
      for (const kd::Split split : splits_) {
        if (network.has(split)) all.push_back({network, scale, split, estimated, 0, {}});
      }
    }
    for (const double sigma : scale.deviations) {
      for (Series& series : all) series.points.push_back({sigma, {}, {}});
      const std::int64_t draws = sigma == 0 ? 1 : params_.draws;
      for (std::int64_t draw = 0; draw < draws; ++draw)
        measure_draw(network, scale, sigma, key.with(static_cast<std::uint64_t>(draw)), all);
    }
    return all;
  }

  /// Adds what one draw gives to the last point of each series: those that keep batch norm's statistics come first.
  void measure_draw(kd::TrainedModel& network, const Scale& scale, double sigma, kd::RandomKey key,
                    std::vector<Series>& all) const {
    network.with_weights([&](const std::vector<kd::NamedParameter>& weights) {
      if (sigma > 0) add_noise(weights, scale, sigma, key);
      bool estimated = false;
      for (Series& series : all) {
        if (series.estimated && !estimated) network.estimate_statistics(kd::Split::kTrain, params_.estimate_samples);
        estimated = series.estimated;
        const at::Tensor logits = network.compute_logits(series.split, params_.samples);
        const Measured measured = measure(logits, network.labels(series.split).narrow(0, 0, logits.size(0)));
        series.points.back().losses.push_back(measured.loss);
        series.points.back().accuracies.push_back(measured.accuracy);
      }
    });
  }

  static const char* way_of(const Series& series) { return series.estimated ? "estimated" : "kept"; }

  static kd::Table table_of(const std::vector<Series>& all) {
    using enum kd::ColumnType;
    kd::Table table{.name = "flatness",
                    .caption =
                        "loss in nats and accuracy under Gaussian noise on every parameter: mean and deviation "
                        "over draws; no loss where that of a draw is not finite",
                    .columns = {{"stage", kText},
                                {"network", kText},
                                {"scale", kText},
                                {"batch_norm", kText},
                                {"split", kText},
                                {"deviation", kNumber},
                                {"draws", kCount},
                                {"loss", kNumber},
                                {"loss_deviation", kNumber},
                                {"accuracy", kShare},
                                {"accuracy_deviation", kShare}},
                    .rows = {}};
    for (const Series& series : all) {
      for (const Point& point : series.points) {
        table.rows.push_back({series.network.name().stage, series.network.name().network, series.scale.name,
                              way_of(series), kd::analyses::split_name(series.split), point.deviation,
                              point.losses.size(), mean(point.losses), deviation(point.losses), mean(point.accuracies),
                              deviation(point.accuracies)});
      }
    }
    return table;
  }

  /// By how much noise at one σ of each scale raises the loss on the first split: one row for each network and each way
  /// with batch norm.
  kd::Table summary_of(const std::vector<Series>& all) const {
    using enum kd::ColumnType;
    std::string caption =
        "loss in nats, and its increase under Gaussian noise on every parameter, mean and deviation "
        "over draws:";
    for (const Scale& scale : scales_)
      caption += " " + scale.name + " at σ = " + text_of(scale.at) + (&scale == &scales_.back() ? "" : ",");
    kd::Table table{.name = "flatness_summary",
                    .caption = caption,
                    .columns = {{"stage", kText},
                                {"network", kText},
                                {"batch_norm", kText},
                                {"split", kText},
                                {"loss", kNumber},
                                {"absolute", kNumber},
                                {"absolute_deviation", kNumber, "±"},
                                {"relative", kNumber},
                                {"relative_deviation", kNumber, "±"}},
                    .rows = {}};
    constexpr std::size_t kNames = 4, kAbsolute = 5, kRelative = 7;
    for (const Series& series : all) {
      if (series.split != splits_.front()) continue;
      const double loss = mean(series.points.front().losses);
      kd::Row row{series.network.name().stage, series.network.name().network, way_of(series),
                  kd::analyses::split_name(series.split), loss};
      auto place = std::find_if(table.rows.begin(), table.rows.end(), [&](const kd::Row& other) {
        return std::equal(row.begin(), row.begin() + kNames, other.begin());
      });
      if (place == table.rows.end()) {
        row.resize(table.columns.size());
        place = table.rows.insert(place, row);
      }
      const auto noisy = std::find_if(series.points.begin(), series.points.end(),
                                      [&](const Point& point) { return point.deviation == series.scale.at; });
      const std::size_t column = series.scale.relative ? kRelative : kAbsolute;
      (*place)[column] = mean(noisy->losses) - loss;
      (*place)[column + 1] = deviation(noisy->losses);
    }
    return table;
  }

  /// Losses above, accuracies below, a column for each split.
  kd::Figure draw(const std::vector<Series>& all, const Scale& scale) const {
    kd::Figure figure{.name = "flatness_" + scale.name,
                      .title = "Loss and accuracy under noise on every parameter",
                      .panels = {},
                      .columns = static_cast<int>(splits_.size())};
    for (const auto values : {&Point::losses, &Point::accuracies}) {
      for (const kd::Split split : splits_) {
        std::vector<const Series*> drawn;
        for (const Series& series : all) {
          if (&series.scale == &scale && series.split == split) drawn.push_back(&series);
        }
        kd::Panel panel = values == &Point::losses ? loss_panel(drawn) : accuracy_panel(drawn);
        panel.title = kd::analyses::split_name(split) + " split";
        panel.x.title = scale.axis;
        figure.panels.push_back(panel);
      }
    }
    return figure;
  }

  const Params params_;
  const std::vector<kd::Split> splits_;
  std::vector<Scale> scales_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "flatness", Flatness,
            "loss and accuracy under Gaussian noise on every parameter, absolute and relative (Zhang et al., 2018)")
