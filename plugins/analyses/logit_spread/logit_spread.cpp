// How smooth a network's answers are, as MIX-KD measures it: the standard deviation over the classes of each sample's
// logits, by which its losses divide them (Choi, Jeon, Shukla and Turaga, WACV 2023, arXiv 2211.03946). A smaller one
// is a smoother answer; what is added to all logits of a sample does not count, as it does not in the softmax.
//   analysis = [{ type = "logit_spread", splits = ["train", "test"], bins = 40 }]
#include <algorithm>
#include <string>
#include <vector>

#include "../shared/chosen_networks.h"
#include "../shared/splits.h"
#include "kd/analysis.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

/// The standard deviations of a network's logits on a split: double, a number for each sample.
struct Spreads {
  const kd::NetworkName& network;
  kd::Split split;
  int colour;  ///< of the network
  at::Tensor values;
};

struct Range {
  double low, high;
};

/// What holds the numbers of all, so that their histograms have the same bins.
Range common_range(const std::vector<Spreads>& all) {
  std::vector<at::Tensor> values;
  for (const Spreads& one : all) values.push_back(one.values);
  const at::Tensor together = at::cat(values);
  const Range range{together.min().item<double>(), together.max().item<double>()};
  return range.low < range.high ? range : Range{range.low - 0.5, range.high + 0.5};
}

/// A histogram whose area is 1, as a curve through the middles of its bins.
kd::Curve density(const Spreads& spreads, const Range& range, std::int64_t bins) {
  const double width = (range.high - range.low) / static_cast<double>(bins);
  const at::Tensor counts = spreads.values.histc(bins, range.low, range.high);
  const at::Tensor heights = counts / (static_cast<double>(spreads.values.numel()) * width);
  kd::Curve curve{.name = spreads.network.text() + ", " + kd::analyses::split_name(spreads.split), .x = {}, .y = {}};
  for (std::int64_t bin = 0; bin < bins; ++bin) {
    curve.x.push_back(range.low + (static_cast<double>(bin) + 0.5) * width);
    curve.y.push_back(heights.const_data_ptr<double>()[bin]);
  }
  curve.style = spreads.split == kd::Split::kTest    ? kd::Curve::Style::kLine
                : spreads.split == kd::Split::kTrain ? kd::Curve::Style::kDashed
                                                     : kd::Curve::Style::kDotted;
  curve.colour = spreads.colour;
  return curve;
}

kd::Row row_of(const Spreads& spreads) {
  const at::Tensor& values = spreads.values;
  const auto quantile = [&](double share) { return values.quantile(share).item<double>(); };
  return {spreads.network.stage,
          spreads.network.network,
          kd::analyses::split_name(spreads.split),
          values.mean().item<double>(),
          values.std().item<double>(),
          quantile(0.5),
          quantile(0.05),
          quantile(0.95)};
}

class LogitSpread final : public kd::Analysis {
 public:
  struct Params {
    std::vector<std::string> stages, splits;
    std::int64_t bins = 40;

    static void schema(kd::Schema<Params>& s) {
      kd::analyses::declare_stages(s);
      kd::analyses::declare_splits(s, {"test"});
      s.field("bins", &Params::bins, "number of bins of the histograms, which all networks have in common")
          .def(40)
          .range(2, 1000);
    }
  };

  explicit LogitSpread(const Params& params) : params_(params), splits_(kd::analyses::splits_of(params.splits)) {}

  void check(const std::vector<kd::NetworkName>& networks) const override {
    kd::analyses::check_stages(params_.stages, networks);
  }

  void run(kd::AnalysisContext& context) override {
    using enum kd::ColumnType;
    kd::Table table{.name = "logit_spread",
                    .caption =
                        "standard deviation over the classes of each sample's logits: mean and deviation over "
                        "the samples, median, 5 % and 95 % quantile",
                    .columns = {{"stage", kText},
                                {"network", kText},
                                {"split", kText},
                                {"mean", kNumber},
                                {"deviation", kNumber},
                                {"median", kNumber},
                                {"quantile_5", kNumber, "5 %"},
                                {"quantile_95", kNumber, "95 %"}},
                    .rows = {}};
    const std::vector<Spreads> all = measure(context);
    for (const Spreads& spreads : all) table.rows.push_back(row_of(spreads));
    context.table(table);
    if (!all.empty()) context.figure(draw(all));
  }

 private:
  std::vector<Spreads> measure(kd::AnalysisContext& context) const {
    std::vector<Spreads> all;
    int colour = 0;
    for (kd::TrainedModel* network : kd::analyses::chosen_networks(context, params_.stages)) {
      for (const kd::Split split : splits_) {
        if (!network->has(split)) continue;
        const at::Tensor logits = network->logits(split).to(at::kDouble);
        all.push_back({network->name(), split, colour, logits.std(1, /*unbiased=*/true)});
      }
      ++colour;
    }
    return all;
  }

  kd::Figure draw(const std::vector<Spreads>& all) const {
    kd::Panel panel{.x = {.title = "standard deviation of a sample's logits"},
                    .y = {.title = "density over the samples", .low = 0},
                    .marks = {},
                    .height = 0.75};
    const Range range = common_range(all);
    for (const Spreads& spreads : all) panel.marks.emplace_back(density(spreads, range, params_.bins));
    return {.name = "logit_spread", .title = "Smoothness: spread of the logits over the classes", .panels = {panel}};
  }

  const Params params_;
  const std::vector<kd::Split> splits_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "logit_spread", LogitSpread,
            "standard deviation of each sample's logits, the smoothness of answers (Choi et al., 2023)")
