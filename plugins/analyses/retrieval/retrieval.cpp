// Images found by features: each test image asks for the others of its class, nearest first. Mean average precision and
// rank 1 of each network, and of the joined features of those that learned together: what deep mutual learning shows of
// cohorts (Zhang, Xiang, Hospedales and Lu, CVPR 2018, arXiv 1706.00384), there of persons that were not seen in
// training, here of the classes that the networks know.
//   analysis = [{ type = "retrieval", stages = ["alone", "together"], tap = "pooled" }]
#include <ATen/ops/arange.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "../shared/chosen_networks.h"
#include "../shared/features_at.h"
#include "kd/analysis.h"
#include "kd/plugin.h"
#include "kd/tensor.h"
#include "ranking.h"

namespace {

namespace ka = kd::analyses;

constexpr kd::Split kTest = kd::Split::kTest;

/// Which networks answer together beside each alone.
enum class Joining { kStage, kAll };

struct Group {
  std::string name;
  std::vector<kd::TrainedModel*> networks;
};

std::vector<Group> by_stage(const std::vector<kd::TrainedModel*>& networks) {
  std::vector<Group> groups;
  for (kd::TrainedModel* network : networks) {
    const std::string& stage = network->name().stage;
    const auto found = std::find_if(groups.begin(), groups.end(), [&](const Group& one) { return one.name == stage; });
    if (found == groups.end()) {
      groups.push_back({stage, {network}});
    } else {
      found->networks.push_back(network);
    }
  }
  return groups;
}

class Retrieval final : public kd::Analysis {
 public:
  struct Params {
    std::vector<std::string> stages, networks;
    std::string tap;
    Joining joined = Joining::kStage;
    std::int64_t queries = 2000;

    static void schema(kd::Schema<Params>& s) {
      ka::declare_stages(s);
      ka::declare_networks(s);
      s.field("tap", &Params::tap, "the feature; maps are averaged over the image").def("pooled");
      s.choice("joined", &Params::joined, {{"stage", Joining::kStage}, {"all", Joining::kAll}},
               "whose features are joined: those of each stage with several networks, or of all networks")
          .def("stage");
      s.field("queries", &Params::queries,
              "how many images of the test split ask, at most, evenly spread over it; each asks for all the others")
          .def(2000)
          .at_least(1);
    }
  };

  explicit Retrieval(const Params& params) : params_(params) {
    ka::require_network_for_each(params.stages, params.networks);
  }

  void check(const std::vector<kd::NetworkName>& networks) const override {
    ka::check_networks(params_.stages, params_.networks, networks);
  }

  void run(kd::AnalysisContext& context) override {
    const std::vector<kd::TrainedModel*> networks = ka::comparable_networks(context, params_.stages, params_.networks);
    const at::Tensor labels = networks.front()->labels(kTest).cpu();
    const std::int64_t images = labels.size(0), asking = std::min(images, params_.queries);
    const at::Tensor queries = at::arange(asking, at::kLong).mul(images).floor_divide(asking);
    kd::Table table = empty_table();
    const auto add = [&](const std::string& name, const at::Tensor& features) {
      const ka::Ranking ranking = ka::rank(features, labels, queries);
      table.rows.push_back({name, features.size(1), ranking.asked, ranking.mean_average_precision, ranking.rank_1});
    };
    const std::vector<Group> groups =
        params_.joined == Joining::kAll ? std::vector<Group>{{"all", networks}} : by_stage(networks);
    for (const Group& group : groups) {
      std::vector<at::Tensor> features;
      for (kd::TrainedModel* network : group.networks) {
        features.push_back(ka::at_unit_length(features_of(*network, images)));
        add(network->name().text(), features.back());
      }
      if (features.size() > 1) add(group.name + " (joined)", at::cat(features, 1));
    }
    context.table(table);
  }

 private:
  at::Tensor features_of(kd::TrainedModel& network, std::int64_t images) const {
    std::vector<std::int64_t> all(static_cast<std::size_t>(images));
    std::iota(all.begin(), all.end(), 0);
    return ka::features_at(network, kTest, {params_.tap}, all).front();
  }

  kd::Table empty_table() const {
    using enum kd::ColumnType;
    return {.name = "retrieval",
            .caption = "test images of a class found by the features '" + params_.tap +
                       "' of one of it: mean average precision (mAP), and how often the nearest is of the class",
            .columns = {{"networks", kText},
                        {"width", kCount},
                        {"queries", kCount},
                        {"map", kShare, "mAP"},
                        {"rank_1", kShare, "rank 1"}},
            .rows = {}};
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "retrieval", Retrieval,
            "images of a class found by features: mean average precision of each network and of a cohort's joined "
            "features (Zhang et al., CVPR 2018)")
