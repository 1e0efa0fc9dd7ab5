// Diversified distillation with mutual learning: Niyaz and Bathula, 2022, arXiv 2212.02931. Of one teacher, the first
// of two students learns the predictions and the second the features; the students exchange both with each other: L =
// a·CE + b·L_teacher + c·L_exchange. By the abstract; the paper's weights, features and temperatures are not at hand.
//   scheme = { type = "diversified", exchange_weight = 1.0 }
#include "../shared/taught_peers.h"

namespace {

class Diversified final : public taught_peers::TaughtPeers {
 public:
  struct Params {
    std::vector<kd::ComponentSpec> losses, first_from_teacher, second_from_teacher, exchange;
    kd::Scheduled label_weight, teacher_weight, exchange_weight;
    peers::Order order = peers::Order::kAlternating;

    static void schema(kd::Schema<Params>& s) {
      s.components("losses", &Params::losses, "loss",
                   "of each student on the labels; rows without a label are left out")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'cross_entropy' }]");
      s.components("first_from_teacher", &Params::first_from_teacher, "loss",
                   "of the first student with the teacher: its predictions")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'kd', temperature = 4.0 }]");
      s.components("second_from_teacher", &Params::second_from_teacher, "loss",
                   "of the second student with the teacher: its features, through a learned layer where widths differ")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'feature_mse', taps = ['pooled'] }]");
      s.components("exchange", &Params::exchange, "loss",
                   "of each student with the other's answers, which get no gradient: predictions and features")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'kd', temperature = 1.0 }, { type = 'feature_mse', taps = ['pooled'] }]");
      s.field("label_weight", &Params::label_weight, "a; factor of 'losses': a number or a schedule").def(1.0);
      s.field("teacher_weight", &Params::teacher_weight, "b; factor of both lists with the teacher").def(1.0);
      s.field("exchange_weight", &Params::exchange_weight, "c; factor of 'exchange'").def(1.0);
      taught_peers::declare_order(s).def("alternating");
    }
  };

  static kd::Roles roles() {
    return {.fewest_networks = 2, .most_networks = 2, .fewest_teachers = 1, .most_teachers = 1};
  }

  explicit Diversified(const Params& params) : TaughtPeers(params.order), params_(params) {}

 private:
  taught_peers::Lessons lessons(std::size_t k) const override {
    return {.of_labels = {"", params_.losses, params_.label_weight},
            .of_teacher = {"teacher", k == 0 ? params_.first_from_teacher : params_.second_from_teacher,
                           params_.teacher_weight},
            .of_peers = {"peer", params_.exchange, params_.exchange_weight},
            .teacher = 0};
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Scheme, "diversified", Diversified,
            "two students learn a teacher's predictions and its features, one each, and exchange both (Niyaz and "
            "Bathula, 2022)")
