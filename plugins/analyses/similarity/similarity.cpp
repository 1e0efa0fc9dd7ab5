// How alike the features of two networks are. Equal functions may have their units in another order, so that units in
// their own order tell little: CKA does not see an order (Kornblith, Norouzi, Lee and Hinton, ICML 2019, arXiv
// 1905.00414; its RBF form with the median as the bandwidth, as in Stanton et al., NeurIPS 2021, arXiv 2106.05945), and
// matched correlation pairs the units one to one before it compares them (Li et al., ICLR 2016, arXiv 1511.07543).
//   analysis = [{ type = "similarity", first = "teacher", taps = ["stage2", "stage3", "pooled"], samples = 2000 }]
#include <algorithm>
#include <filesystem>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "../shared/features_at.h"
#include "../shared/same_samples.h"
#include "kd/analysis.h"
#include "kd/assignment.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

constexpr std::int64_t kWidest = 4096;  // of the features: pairs of units are held in memory

struct RbfSettings {
  double bandwidth;
  std::int64_t samples;
};

double norm(const at::Tensor& tensor) { return tensor.square().sum().sqrt().item<double>(); }

/// exp(−d²/2σ²) of the distances of the rows, σ as a factor of their median, with the mean of each row and of each
/// column taken off and a norm of 1.
at::Tensor rbf_kernel(const at::Tensor& rows, double bandwidth) {
  constexpr std::int64_t kExactly = 2;  // without a product of matrices, which would lose what is near
  const std::int64_t count = rows.size(0);
  const at::Tensor distances = at::cdist(rows, rows, 2, kExactly);
  const at::Tensor pairs = at::ones({count, count}, at::kBool).triu(1);
  const double sigma = bandwidth * distances.masked_select(pairs).median().item<double>();
  const at::Tensor kernel = (distances / sigma).square().div(-2).exp();
  const at::Tensor centred = kernel - kernel.mean(0, true) - kernel.mean(1, true) + kernel.mean();
  return centred / norm(centred);
}

/// What a feature is compared by.
struct Representation {
  at::Tensor centred;  ///< N×D
  double norm;         ///< of D×D covariances
  at::Tensor kernel;   ///< of the first samples
  at::Tensor units;    ///< centred, each column with a norm of 1, or of 0 where the unit does not vary
  at::Tensor varies;   ///< bool, D

  Representation(const at::Tensor& rows, const RbfSettings& rbf)
      : centred(rows - rows.mean(0, true)),
        norm(::norm(at::matmul(centred.t(), centred))),
        kernel(rbf_kernel(rows.narrow(0, 0, std::min(rbf.samples, rows.size(0))), rbf.bandwidth)) {
    constexpr double kRounding = 1e-6;  // of single precision, in which the features come
    const at::Tensor lengths = centred.square().sum(0).sqrt();
    varies = lengths.gt(rows.square().sum(0).sqrt() * kRounding);
    units = centred / lengths.masked_fill(varies.logical_not(), 1) * varies;
  }
};

/// ‖XᵀY‖² / (‖XᵀX‖·‖YᵀY‖), in Frobenius norms.
double linear_cka(const Representation& x, const Representation& y) {
  return at::matmul(x.centred.t(), y.centred).square().sum().item<double>() / (x.norm * y.norm);
}

/// Mean correlation of units that vary, each of the smaller set with one of the larger, so that it is the highest.
double matched_correlation(const Representation& x, const Representation& y) {
  const at::Tensor one = x.units.index_select(1, x.varies.nonzero().flatten());
  at::Tensor correlations = at::matmul(one.t(), y.units.index_select(1, y.varies.nonzero().flatten()));
  if (correlations.size(0) > correlations.size(1)) correlations = correlations.t();
  const std::vector<std::int64_t> partners = kd::best_assignment(correlations);
  if (partners.empty()) return std::numeric_limits<double>::quiet_NaN();
  return correlations.gather(1, at::tensor(partners, at::kLong).unsqueeze(1)).mean().item<double>();
}

/// Mean correlation of the units of equal number, where both vary. Nothing where there is another number of units.
kd::Cell aligned_correlation(const Representation& x, const Representation& y) {
  if (x.units.size(1) != y.units.size(1)) return {};
  return (x.units * y.units).sum(0).masked_select(x.varies & y.varies).mean().item<double>();
}

/// The names of columns, as many as stand side by side below a heat map; rows have room for all.
std::vector<std::string> names_that_fit(std::vector<std::string> names) {
  constexpr double kLetters = 45;  // in the width of a heat map
  const double column = kLetters / static_cast<double>(names.size());
  double taken = -kLetters;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const double half = static_cast<double>(names[i].size()) / 2, middle = (static_cast<double>(i) + 0.5) * column;
    if (middle - half < taken + 1) {
      names[i].clear();
    } else {
      taken = middle + half;
    }
  }
  return names;
}

class Similarity final : public kd::Analysis {
 public:
  struct Params {
    std::string first, first_network, second, second_network, run;
    std::vector<std::string> taps, second_taps;
    std::int64_t samples = 2000, rbf_samples = 1000;
    double bandwidth = 1;
    bool pool = true;
    kd::Split split = kd::Split::kTest;

    static void schema(kd::Schema<Params>& s) {
      s.field("first", &Params::first, "the stage whose network is compared");
      s.field("first_network", &Params::first_network, "which network of that stage; empty: its only one").def("");
      s.field("second", &Params::second,
              "the stage whose network it is compared with; empty: all networks of the run with the same samples")
          .def("");
      s.field("second_network", &Params::second_network, "which network of that stage; empty: its only one").def("");
      s.field("run", &Params::run, "the run folder that holds the second; empty: this run").def("");
      s.field("taps", &Params::taps, "features that are compared, each with each")
          .def(std::vector<std::string>{"pooled"});
      s.field("second_taps", &Params::second_taps, "of the second network; empty: the same")
          .def(std::vector<std::string>{});
      s.field("samples", &Params::samples, "of the split, the first ones, at most").def(2000).range(2, 100000);
      s.choice("split", &Params::split,
               {{"train", kd::Split::kTrain}, {"validation", kd::Split::kValidation}, {"test", kd::Split::kTest}},
               "whose samples")
          .def("test");
      s.field("pool", &Params::pool, "maps are averaged over the image; false: each of their places counts as a unit")
          .def(true);
      s.field("rbf_samples", &Params::rbf_samples, "of them, the first ones, for RBF CKA, at most")
          .def(1000)
          .range(2, 10000);
      s.field("bandwidth", &Params::bandwidth, "σ of the RBF kernel, as a factor of the median distance of samples")
          .def(1.0)
          .above(0);
    }
  };

  explicit Similarity(const Params& params) : params_(params) {
    if (params.taps.empty()) throw kd::RecipeError("'taps' names no feature");
    if (params.second.empty() && !params.second_network.empty())
      throw kd::RecipeError("'second_network' names a network, and 'second' no stage");
    if (params.second.empty() && !params.run.empty())
      throw kd::RecipeError("'run' names a run folder, and 'second' no stage of it");
    if (params_.second_taps.empty()) params_.second_taps = params.taps;
  }

  void check(const std::vector<kd::NetworkName>& networks) const override {
    kd::find_network(networks, params_.first, params_.first_network);
    if (params_.second.empty()) return;
    if (params_.run.empty()) {
      kd::find_network(networks, params_.second, params_.second_network);
    } else if (!std::filesystem::is_directory(std::filesystem::path(params_.run) / "stages" / params_.second)) {
      throw kd::RecipeError(params_.run + " is no run folder with a stage '" + params_.second + "'");
    }
  }

  void run(kd::AnalysisContext& context) override {
    kd::TrainedModel& first = context.network(params_.first, params_.first_network);
    const std::vector<Representation> of_first = represent(first, params_.taps);
    kd::Table all = empty_table(), counterparts = empty_table();
    kd::Figure figure{.name = "similarity", .title = "Linear CKA of features", .panels = {}, .columns = 2};
    for (kd::TrainedModel* second : find_seconds(context, first)) {
      const std::string name = (params_.run.empty() ? "" : params_.run + ": ") + second->name().text();
      const std::vector<Representation> of_second = represent(*second, params_.second_taps);
      kd::HeatMap map{.values = {}, .low = 0, .high = 1};
      for (std::size_t i = 0; i < of_first.size(); ++i) {
        map.values.emplace_back();
        for (std::size_t j = 0; j < of_second.size(); ++j) {
          const Representation &x = of_first[i], &y = of_second[j];
          map.values.back().push_back(linear_cka(x, y));
          all.rows.push_back({first.name().text(), name, params_.taps[i], params_.second_taps[j],
                              map.values.back().back(), (x.kernel * y.kernel).sum().item<double>(),
                              matched_correlation(x, y), aligned_correlation(x, y)});
          if (i == j) counterparts.rows.push_back(all.rows.back());
        }
      }
      figure.panels.push_back({.title = "rows: " + first.name().text(),
                               .x = {.title = "columns: " + name, .categories = names_that_fit(params_.second_taps)},
                               .y = {.categories = params_.taps},
                               .marks = {map},
                               .height = 0.82});
    }
    context.keep(all);
    context.show(counterparts);
    if (!figure.panels.empty() && params_.taps.size() * params_.second_taps.size() > 1) context.figure(figure);
  }

 private:
  std::vector<kd::TrainedModel*> find_seconds(kd::AnalysisContext& context, kd::TrainedModel& first) const {
    std::vector<kd::TrainedModel*> seconds;
    if (params_.second.empty()) {
      for (kd::TrainedModel* one : context.networks()) {
        if (one != &first && kd::analyses::have_same_samples(first, *one, params_.split)) seconds.push_back(one);
      }
      return seconds;
    }
    kd::TrainedModel& second = params_.run.empty() ? context.network(params_.second, params_.second_network)
                                                   : context.load(params_.run, params_.second, params_.second_network);
    if (!kd::analyses::have_same_samples(first, second, params_.split))
      throw kd::Error(first.name().text() + " and " + second.name().text() +
                      " have different data; features are compared on the same samples");
    return {&second};
  }

  std::vector<Representation> represent(kd::TrainedModel& network, const std::vector<std::string>& taps) const {
    if (!network.has(params_.split)) throw kd::Error("the data of " + network.name().text() + " has no such split");
    const std::vector<at::Tensor> one = kd::analyses::features_at(network, params_.split, taps, {0}, params_.pool);
    for (std::size_t i = 0; i < taps.size(); ++i) {
      if (one[i].size(1) > kWidest)
        throw kd::RecipeError("'" + taps[i] + "' of " + network.name().text() + " has " +
                              std::to_string(one[i].size(1)) + " units, and no more than " + std::to_string(kWidest) +
                              " can be compared: pool = true averages maps over the image");
    }
    std::vector<std::int64_t> samples(
        static_cast<std::size_t>(std::min(params_.samples, network.labels(params_.split).size(0))));
    std::iota(samples.begin(), samples.end(), 0);
    std::vector<Representation> all;
    for (const at::Tensor& rows : kd::analyses::features_at(network, params_.split, taps, samples, params_.pool))
      all.emplace_back(rows, RbfSettings{params_.bandwidth, params_.rbf_samples});
    return all;
  }

  kd::Table empty_table() const {
    using enum kd::ColumnType;
    return {.name = "similarity",
            .caption =
                "how alike the features of two networks are on the same samples: CKA, and mean correlation of "
                "units, paired one to one so that it is the highest (matched) and by their number (aligned)",
            .columns = {{"first", kText},
                        {"second", kText},
                        {"first_tap", kText, "first feature"},
                        {"second_tap", kText, "second feature"},
                        {"linear_cka", kNumber, "linear CKA"},
                        {"rbf_cka", kNumber, "RBF CKA"},
                        {"matched_correlation", kNumber, "matched"},
                        {"aligned_correlation", kNumber, "aligned"}},
            .rows = {}};
  }

  Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "similarity", Similarity,
            "how alike the features of two networks are, whatever the order of their units: CKA (Kornblith et al., "
            "2019) and matched correlation (Li et al., 2016)")
