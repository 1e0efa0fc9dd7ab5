// Collaborative teacher-student learning by multiple knowledge transfer: Sun, Gou, Yu, Du and Tao, 2021, arXiv
// 2101.08471. Two networks, each trained alone before, train on together: L = α·CE + β·L_MD + γ·L_SD. L_MD compares
// with each peer relations within the batch (RKD's distances and angles) and posteriors at temperature 1; L_SD is KL
// with the network's own frozen, pretrained self at a temperature. The frozen selves are the stage's teachers, in the
// order of the networks, which begin with the same weights.
//   scheme = { type = "ctsl_mkt", self = [{ type = "kd", temperature = 4.0 }] }
#include "../shared/taught_peers.h"

namespace {

class CollaborativeLearning final : public taught_peers::TaughtPeers {
 public:
  struct Params {
    std::vector<kd::ComponentSpec> losses, mimicry, self;
    kd::Scheduled label_weight, mimicry_weight, self_weight;
    peers::Order order = peers::Order::kAlternating;

    static void schema(kd::Schema<Params>& s) {
      s.components("losses", &Params::losses, "loss",
                   "of each network on the labels; rows without a label are left out")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'cross_entropy' }]");
      s.components(
           "mimicry", &Params::mimicry, "loss",
           "L_MD: of each network with its peers' answers, which get no gradient; of several peers the mean. RKD's "
           "distances, twice as much of its angles, and mutual learning's KL")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'rkd', distance = 1.0, angle = 2.0 }, { type = 'kd', temperature = 1.0 }]");
      s.components("self", &Params::self, "loss",
                   "L_SD: of each network with its frozen self; KL without a factor T², as the paper's equation has it")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'kd', temperature = 3.0, scale = 'none' }]");
      s.field("label_weight", &Params::label_weight, "α; factor of 'losses': a number or a schedule").def(1.0);
      s.field("mimicry_weight", &Params::mimicry_weight, "β; factor of 'mimicry'").def(1.0);
      s.field("self_weight", &Params::self_weight, "γ; factor of 'self'; at 0 the frozen selves are not asked")
          .def(1.0);
      taught_peers::declare_order(s).def("alternating");
    }
  };

  static kd::Roles roles() {
    return {.fewest_networks = 2,
            .most_networks = kd::Roles::kAnyNumber,
            .fewest_teachers = 2,
            .most_teachers = kd::Roles::kAnyNumber};
  }

  explicit CollaborativeLearning(const Params& params) : TaughtPeers(params.order), params_(params) {}

  void setup(kd::StageContext& context) override {
    const std::size_t networks = context.networks().size(), selves = context.teachers().size();
    if (networks != selves) {
      throw kd::RecipeError({},
                            "ctsl_mkt wants the frozen self of each network as a teacher; there are " +
                                std::to_string(networks) + " networks and " + std::to_string(selves) + " teachers",
                            "name in 'teachers' the stages that 'init' of the networks names, in the same order");
    }
    TaughtPeers::setup(context);
  }

 private:
  taught_peers::Lessons lessons(std::size_t k) const override {
    return {.of_labels = {"", params_.losses, params_.label_weight},
            .of_teacher = {"self", params_.self, params_.self_weight},
            .of_peers = {"peer", params_.mimicry, params_.mimicry_weight},
            .teacher = k};
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(
    kd::Scheme, "ctsl_mkt", CollaborativeLearning,
    "pretrained networks learn from labels, each other's answers and relations, and their frozen selves (Sun et "
    "al., 2021)")
