// How tight a network's classes are before its classifier: the penultimate features of three classes, projected onto
// the plane through their templates, which are the classifier's rows (Müller, Kornblith and Hinton, NeurIPS 2019, arXiv
// 1906.02629). MIX-KD sees by it that a teacher trained with mixup disperses them, and teaches worse (Choi, Jeon,
// Shukla and Turaga, WACV 2023, arXiv 2211.03946).
//   analysis = [{ type = "penultimate", classes = [0, 1, 2], samples = 100, splits = ["train", "test"] }]
#include <algorithm>
#include <string>
#include <vector>

#include "../shared/chosen_networks.h"
#include "../shared/clouds.h"
#include "../shared/features_at.h"
#include "../shared/splits.h"
#include "kd/analysis.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

constexpr std::int64_t kClasses = 3;  // span a plane

enum class Templates { kClassifier, kMeans };

/// The first samples of each of the three classes: features N×D and, int64, which of the three each is of.
struct Samples {
  at::Tensor features, classes;

  at::Tensor of_class(std::int64_t c) const { return features.index({classes.eq(c)}); }
  at::Tensor means() const { return at::stack({of_class(0).mean(0), of_class(1).mean(0), of_class(2).mean(0)}); }
};

/// How far samples are from the mean of their class, and these means from one another: mean distances.
struct Spread {
  double within, between;

  explicit Spread(const Samples& samples) {
    const at::Tensor means = samples.means();
    within = (samples.features - means.index({samples.classes})).square().sum(1).sqrt().mean().item<double>();
    between = (means - means.roll(1, 0)).square().sum(1).sqrt().mean().item<double>();
  }
  double ratio() const { return within / between; }
};

struct Projection {
  kd::Split split;
  Samples points;  ///< in the plane, N×2
  Spread full;     ///< in the whole space of the features
};

/// The rows of the classifier's weight, classes×D: what its answers to unit vectors have over its answer to none.
at::Tensor classifier_rows(kd::TrainedModel& network, const std::string& tap, std::int64_t width) {
  const at::TensorOptions options = network.weights().front().tensor.options().dtype(at::kFloat);
  const at::Tensor bias = network.head(at::zeros({1, width}, options), tap);
  return (network.head(at::eye(width, options), tap) - bias).t().cpu().to(at::kDouble);
}

at::Tensor unit(const at::Tensor& vector) { return vector / vector.square().sum().sqrt(); }

/// Places in the plane through three templates, 3×D: the first is its origin, and the second lies on its first axis.
at::Tensor project(const at::Tensor& features, const at::Tensor& templates) {
  const at::Tensor first = unit(templates[1] - templates[0]), third = templates[2] - templates[0];
  const at::Tensor second = unit(third - first * at::dot(third, first));
  return at::matmul(features - templates[0], at::stack({first, second}, 1));
}

class Penultimate final : public kd::Analysis {
 public:
  struct Params {
    std::vector<std::string> stages, splits;
    std::vector<std::int64_t> classes;
    std::int64_t samples = 100;
    Templates templates = Templates::kClassifier;
    std::string tap;

    static void schema(kd::Schema<Params>& s) {
      kd::analyses::declare_stages(s);
      s.field("classes", &Params::classes, "the numbers of three classes, from 0")
          .def(std::vector<std::int64_t>{0, 1, 2})
          .at_least(0);
      s.field("samples", &Params::samples, "of each class, the first ones of each split, at most")
          .def(100)
          .range(1, 100000);
      kd::analyses::declare_splits(s, {"train", "test"});
      s.choice("templates", &Params::templates, {{"classifier", Templates::kClassifier}, {"means", Templates::kMeans}},
               "what the plane goes through: classifier: the three rows of the classifier's weight (Müller et al.); "
               "means: the mean feature of each of the three classes on the split")
          .def("classifier");
      s.field("tap", &Params::tap, "the feature; another than pooled only with templates = \"means\"").def("pooled");
    }
  };

  explicit Penultimate(const Params& params) : params_(params), splits_(kd::analyses::splits_of(params.splits)) {
    if (static_cast<std::int64_t>(params.classes.size()) != kClasses)
      throw kd::RecipeError("'classes' wants three classes, and has " + std::to_string(params.classes.size()));
    for (std::size_t i = 0; i < params.classes.size(); ++i) {
      if (params.classes[i] == params.classes[(i + 1) % params.classes.size()])
        throw kd::RecipeError("'classes' names class " + std::to_string(params.classes[i]) + " twice");
    }
    if (params.templates == Templates::kClassifier && params.tap != "pooled")
      throw kd::RecipeError({}, "the classifier has no templates of '" + params.tap + "', as it has of 'pooled'",
                            "templates = \"means\" goes with any feature");
  }

  void check(const std::vector<kd::NetworkName>& networks) const override {
    kd::analyses::check_stages(params_.stages, networks);
  }

  void run(kd::AnalysisContext& context) override {
    kd::Table table = empty_table();
    kd::Figure figure{.name = "penultimate",
                      .title = "Features '" + params_.tap + "' of three classes on the plane through their templates",
                      .panels = {},
                      .columns = std::max(2, static_cast<int>(splits_.size()))};
    for (kd::TrainedModel* network : kd::analyses::chosen_networks(context, params_.stages)) {
      const std::vector<Projection> projections = measure(*network, context);
      std::vector<at::Tensor> points;
      for (const Projection& one : projections) points.push_back(one.points.features);
      for (const Projection& one : projections) {
        table.rows.push_back(row_of(network->name(), one));
        figure.panels.push_back(panel_of(*network, one));
        kd::analyses::show_square(figure.panels.back(), at::cat(points));  // so that its splits can be compared
      }
    }
    context.table(table);
    if (!figure.panels.empty()) context.figure(figure);
  }

 private:
  std::vector<Projection> measure(kd::TrainedModel& network, kd::AnalysisContext& context) const {
    const std::int64_t classes = network.data().classes();
    const std::int64_t highest = *std::max_element(params_.classes.begin(), params_.classes.end());
    if (highest >= classes)
      throw kd::RecipeError("'classes' names class " + std::to_string(highest) + ", and " + network.name().text() +
                            " knows classes 0 to " + std::to_string(classes - 1));
    std::vector<Projection> projections;
    for (const kd::Split split : splits_) {
      if (!network.has(split)) continue;
      const std::vector<std::vector<std::int64_t>> chosen = choose(network.labels(split));
      if (std::any_of(chosen.begin(), chosen.end(), [](const auto& of_class) { return of_class.empty(); })) {
        context.print("penultimate: " + network.name().text() + " has no samples of one of the three classes on the " +
                      kd::analyses::split_name(split) + " split");
        continue;
      }
      const Samples samples = look_at(network, split, chosen);
      const at::Tensor templates = params_.templates == Templates::kMeans ? samples.means() : rows_of(network, samples);
      projections.push_back({split, {project(samples.features, templates), samples.classes}, Spread(samples)});
    }
    return projections;
  }

  /// The first samples of each of the three classes, by class.
  std::vector<std::vector<std::int64_t>> choose(const at::Tensor& labels) const {
    std::vector<std::vector<std::int64_t>> chosen;
    for (const std::int64_t one : params_.classes) {
      const at::Tensor places = labels.eq(one).nonzero().flatten();
      const std::int64_t count = std::min(params_.samples, places.size(0));
      chosen.emplace_back(places.const_data_ptr<std::int64_t>(), places.const_data_ptr<std::int64_t>() + count);
    }
    return chosen;
  }

  Samples look_at(kd::TrainedModel& network, kd::Split split,
                  const std::vector<std::vector<std::int64_t>>& chosen) const {
    std::vector<std::int64_t> samples, classes;
    for (std::size_t c = 0; c < chosen.size(); ++c) {
      samples.insert(samples.end(), chosen[c].begin(), chosen[c].end());
      classes.resize(samples.size(), static_cast<std::int64_t>(c));
    }
    return {kd::analyses::features_at(network, split, {params_.tap}, samples).front(), at::tensor(classes, at::kLong)};
  }

  at::Tensor rows_of(kd::TrainedModel& network, const Samples& samples) const {
    const at::Tensor rows = classifier_rows(network, params_.tap, samples.features.size(1));
    return rows.index_select(0, at::tensor(params_.classes, at::kLong));
  }

  kd::Table empty_table() const {
    using enum kd::ColumnType;
    const std::string plane =
        params_.templates == Templates::kMeans ? "the classes' means" : "the classes' rows of the classifier";
    std::string classes;
    for (const std::int64_t one : params_.classes) classes += (classes.empty() ? "" : ", ") + std::to_string(one);
    return {.name = "penultimate",
            .caption = "features '" + params_.tap + "' of classes " + classes + ": mean distance to the class's mean " +
                       "(within) and between these means, on the plane through " + plane + " and in full",
            .columns = {{"stage", kText},
                        {"network", kText},
                        {"split", kText},
                        {"samples", kCount},
                        {"within", kNumber},
                        {"between", kNumber},
                        {"ratio", kNumber},
                        {"within_full", kNumber, "within, full"},
                        {"between_full", kNumber, "between, full"},
                        {"ratio_full", kNumber, "ratio, full"}},
            .rows = {}};
  }

  static kd::Row row_of(const kd::NetworkName& network, const Projection& one) {
    const Spread plane(one.points);
    return {network.stage,
            network.network,
            kd::analyses::split_name(one.split),
            one.points.features.size(0),
            plane.within,
            plane.between,
            plane.ratio(),
            one.full.within,
            one.full.between,
            one.full.ratio()};
  }

  kd::Panel panel_of(kd::TrainedModel& network, const Projection& one) const {
    std::vector<std::string> names;
    for (const std::int64_t number : params_.classes)
      names.push_back(network.data().class_names[static_cast<std::size_t>(number)]);
    return {.title = network.name().text() + ", " + kd::analyses::split_name(one.split) + " split",
            .x = {.title = "along template 2 − template 1"},
            .y = {.title = "across, towards template 3"},
            .marks = kd::analyses::clouds(one.points.features, one.points.classes, names)};
  }

  const Params params_;
  const std::vector<kd::Split> splits_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "penultimate", Penultimate,
            "penultimate features of three classes on the plane through their templates, and how tight they are "
            "(Müller et al., 2019)")
