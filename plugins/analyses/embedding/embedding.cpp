// What features look like from afar: t-SNE (van der Maaten and Hinton, JMLR 2008) of networks' features of the same
// test images, in one map where they have one width. Deep mutual learning shows by it that networks that learned
// together keep features of their own (Zhang, Xiang, Hospedales and Lu, CVPR 2018, arXiv 1706.00384): same_network says
// how far. Networks whose units only stand in another order lie apart as well: the analysis `similarity` sees through
// that.
//   analysis = [{ type = "embedding", stages = ["together"], classes = [0, 1, 2], samples = 500, perplexity = 30 }]
#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "../shared/chosen_networks.h"
#include "../shared/clouds.h"
#include "../shared/features_at.h"
#include "kd/analysis.h"
#include "kd/plugin.h"
#include "kd/tensor.h"
#include "tsne.h"

namespace {

namespace ka = kd::analyses;

constexpr kd::Split kTest = kd::Split::kTest;
constexpr std::int64_t kFewestPoints = 4, kMostPoints = 4000;  // of a map: matrices of all pairs
constexpr std::int64_t kNeighbours = 10, kShownClasses = 10;

enum class Jointly { kAuto, kYes, kNo };

/// The points of a map, and what they are of.
struct Points {
  std::vector<std::string> networks;
  at::Tensor rows;             ///< N×D: networks one after the other, each with the same samples
  at::Tensor classes, owners;  ///< int64, N: places in the lists of classes and of networks
};

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " + ") + name;
  return text;
}

kd::Panel panel_of(const std::string& title, const at::Tensor& map, const at::Tensor& groups,
                   const std::vector<std::string>& names) {
  kd::Panel panel{.title = title,
                  .x = {.title = "first coordinate"},
                  .y = {.title = "second coordinate"},
                  .marks = ka::clouds(map, groups, names)};
  ka::show_square(panel, map);
  return panel;
}

/// The share of neighbours, N×k, that are of the same group.
double share_of_same(const at::Tensor& neighbours, const at::Tensor& groups) {
  const at::Tensor theirs = groups.index({neighbours});
  return theirs.eq(groups.unsqueeze(1)).to(at::kDouble).mean().item<double>();
}

class Embedding final : public kd::Analysis {
 public:
  struct Params {
    std::vector<std::string> stages, networks;
    std::string tap;
    std::vector<std::int64_t> classes;
    std::int64_t samples = 500, iterations = 1000;
    double perplexity = 30;
    Jointly jointly = Jointly::kAuto;

    static void schema(kd::Schema<Params>& s) {
      ka::declare_stages(s);
      ka::declare_networks(s);
      s.field("tap", &Params::tap, "the feature; maps are averaged over the image").def("pooled");
      s.field("classes", &Params::classes,
              "the numbers of the classes that are shown, from 0; an empty list: the first ten")
          .def(std::vector<std::int64_t>{})
          .at_least(0);
      s.field("samples", &Params::samples, "of these classes, the first ones of the test split, at most, per network")
          .def(500)
          .range(static_cast<double>(kFewestPoints), static_cast<double>(kMostPoints));
      s.choice("jointly", &Params::jointly, {{"auto", Jointly::kAuto}, {"yes", Jointly::kYes}, {"no", Jointly::kNo}},
               "whether all networks share a map, for which their features need one width; auto: where they have it")
          .def("auto");
      s.field("perplexity", &Params::perplexity,
              "how many neighbours a point is placed by, in effect; of few points, a third of them at most")
          .def(30.0)
          .at_least(1);
      s.field("iterations", &Params::iterations, "of gradient descent, the first 250 of them with early exaggeration")
          .def(1000)
          .range(250, 100000);
    }
  };

  explicit Embedding(const Params& params) : params_(params) {
    ka::require_network_for_each(params.stages, params.networks);
    for (auto one = params.classes.begin(); one != params.classes.end(); ++one) {
      if (std::find(params.classes.begin(), one, *one) != one)
        throw kd::RecipeError("'classes' names class " + std::to_string(*one) + " twice");
    }
  }

  void check(const std::vector<kd::NetworkName>& networks) const override {
    ka::check_networks(params_.stages, params_.networks, networks);
    const std::int64_t count = count_networks(networks);
    if (params_.jointly != Jointly::kNo && count * params_.samples > kMostPoints)
      throw kd::RecipeError({},
                            "a map of " + std::to_string(count) + " networks with " + std::to_string(params_.samples) +
                                " samples each would have " + std::to_string(count * params_.samples) +
                                " points, and holds " + std::to_string(kMostPoints),
                            "name 'stages', take fewer 'samples', or set jointly = \"no\"");
  }

  void run(kd::AnalysisContext& context) override {
    const std::vector<kd::TrainedModel*> networks = ka::comparable_networks(context, params_.stages, params_.networks);
    const std::vector<std::int64_t> classes = find_classes(*networks.front());
    std::vector<std::string> class_names;
    for (const std::int64_t one : classes)
      class_names.push_back(networks.front()->data().class_names[static_cast<std::size_t>(one)]);
    kd::Table table = empty_table();
    kd::Figure figure{.name = "embedding",
                      .title = "t-SNE of the features '" + params_.tap + "' of test images",
                      .panels = {},
                      .columns = 2};
    for (const Points& points : in_maps(look_at(networks, classes))) {
      const std::int64_t count = points.rows.size(0);
      const double perplexity = std::min(params_.perplexity, static_cast<double>(count - 1) / 3);
      const ka::TsneMap map = ka::embed(points.rows, {perplexity, params_.iterations});
      const at::Tensor neighbours = ka::nearest(map.points, std::min(kNeighbours, (count - 1) / 2));
      const bool several = points.networks.size() > 1;
      table.rows.push_back({joined(points.networks), count, perplexity, map.kl,
                            ka::trustworthiness(points.rows, neighbours), share_of_same(neighbours, points.classes),
                            several ? share_of_same(neighbours, points.owners) : kd::Cell()});
      figure.panels.push_back(
          panel_of(several ? "by class" : points.networks.front(), map.points, points.classes, class_names));
      if (several) figure.panels.push_back(panel_of("by network", map.points, points.owners, points.networks));
    }
    context.table(table);
    context.figure(figure);
  }

 private:
  std::int64_t count_networks(const std::vector<kd::NetworkName>& networks) const {
    if (!params_.networks.empty()) return std::ssize(params_.networks);
    return std::count_if(networks.begin(), networks.end(), [&](const kd::NetworkName& network) {
      return params_.stages.empty() ||
             std::find(params_.stages.begin(), params_.stages.end(), network.stage) != params_.stages.end();
    });
  }

  std::vector<std::int64_t> find_classes(kd::TrainedModel& network) const {
    std::vector<std::int64_t> classes = params_.classes;
    if (classes.empty()) {
      classes.resize(static_cast<std::size_t>(std::min(kShownClasses, network.data().classes())));
      std::iota(classes.begin(), classes.end(), 0);
    }
    const std::int64_t highest = *std::max_element(classes.begin(), classes.end());
    if (highest >= network.data().classes())
      throw kd::RecipeError("'classes' names class " + std::to_string(highest) + ", and " + network.name().text() +
                            " knows classes 0 to " + std::to_string(network.data().classes() - 1));
    return classes;
  }

  /// The features of each network.
  std::vector<Points> look_at(const std::vector<kd::TrainedModel*>& networks,
                              const std::vector<std::int64_t>& classes) const {
    kd::TrainedModel& first = *networks.front();
    const at::Tensor& labels = first.labels(kTest);
    std::vector<std::int64_t> samples, of_samples;
    for (std::int64_t i = 0; i < labels.size(0) && std::ssize(samples) < params_.samples; ++i) {
      const auto found = std::find(classes.begin(), classes.end(), labels.const_data_ptr<std::int64_t>()[i]);
      if (found == classes.end()) continue;
      samples.push_back(i);
      of_samples.push_back(found - classes.begin());
    }
    if (std::ssize(samples) < kFewestPoints)
      throw kd::Error("the test split of " + first.name().text() + " has " + std::to_string(samples.size()) +
                      " samples of the classes to embed, and t-SNE wants " + std::to_string(kFewestPoints));
    std::vector<Points> all;
    for (kd::TrainedModel* network : networks) {
      all.push_back({{network->name().text()},
                     ka::features_at(*network, kTest, {params_.tap}, samples).front(),
                     at::tensor(of_samples, at::kLong),
                     at::zeros({std::ssize(samples)}, at::kLong)});
    }
    return all;
  }

  /// All in one map, or each in one of its own.
  std::vector<Points> in_maps(std::vector<Points> each) const {
    const std::int64_t width = each.front().rows.size(1);
    const auto other =
        std::find_if(each.begin(), each.end(), [&](const Points& one) { return one.rows.size(1) != width; });
    if (params_.jointly == Jointly::kYes && other != each.end())
      throw kd::RecipeError({},
                            "features '" + params_.tap + "' of " + each.front().networks.front() + " and " +
                                other->networks.front() + " have other widths, and cannot share a map",
                            "jointly = \"auto\" or \"no\" gives each a map of its own");
    if (params_.jointly == Jointly::kNo || other != each.end() || each.size() == 1) return each;
    Points all;
    std::vector<at::Tensor> rows, classes, owners;
    for (const Points& one : each) {
      owners.push_back(one.owners + std::ssize(all.networks));
      all.networks.push_back(one.networks.front());
      rows.push_back(one.rows);
      classes.push_back(one.classes);
    }
    all.rows = at::cat(rows);
    all.classes = at::cat(classes);
    all.owners = at::cat(owners);
    return {all};
  }

  kd::Table empty_table() const {
    using enum kd::ColumnType;
    return {.name = "embedding",
            .caption = "t-SNE of the features '" + params_.tap +
                       "' of test images: KL in nats, and of the nearest neighbours in the map, trustworthiness and "
                       "the shares that are of the same class and of the same network",
            .columns = {{"networks", kText},
                        {"points", kCount},
                        {"perplexity", kNumber},
                        {"kl", kNumber, "KL"},
                        {"trustworthiness", kNumber},
                        {"same_class", kShare, "same class"},
                        {"same_network", kShare, "same network"}},
            .rows = {}};
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "embedding", Embedding,
            "t-SNE of networks' features, together or apart, and whose neighbours are whose (van der Maaten and "
            "Hinton, 2008)")
