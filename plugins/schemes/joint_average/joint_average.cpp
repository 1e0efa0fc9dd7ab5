// Networks that are trained as one, through the average of their outputs: the control of Allen-Zhu and Li, "Towards
// Understanding Ensemble, Knowledge Distillation and Self-Distillation in Deep Learning", ICLR 2023, arXiv 2012.09816.
// They find no gain in it, where networks that were trained each alone gain by answering together.
//
// Every network gets the gradient of one and the same loss, that of the mean, from answers before the step.
//   scheme = { type = "joint_average", combine = "logits" }
#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "kd/logits.h"
#include "kd/plugin.h"
#include "kd/scheme.h"

namespace {

enum class Combine { kLogits, kProbabilities };

class JointAverage final : public kd::Scheme {
 public:
  struct Params {
    std::vector<kd::ComponentSpec> losses;
    Combine combine = Combine::kLogits;

    static void schema(kd::Schema<Params>& s) {
      s.components("losses", &Params::losses, "loss",
                   "of the networks' average on the labels; it has no features, and rows without a label are left out")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'cross_entropy' }]");
      s.choice(
           "combine", &Params::combine, {{"logits", Combine::kLogits}, {"probabilities", Combine::kProbabilities}},
           "what is averaged: the logits, which are the networks' outputs; or their softmaxes, as an ensemble often "
           "is (its logarithms are then the logits of the losses)")
          .def("logits");
    }
  };

  static kd::Roles roles() { return {.fewest_networks = 2, .most_networks = kd::Roles::kAnyNumber}; }

  explicit JointAverage(const Params& params) : params_(params) {}

  void setup(kd::StageContext& context) override {
    for (kd::Network* network : context.networks()) {
      members_.emplace_back(*network, kd::LossList(params_.losses, context.loss_context(*network, {})));
      const kd::LossNeeds needs = members_.back().losses.needs();
      refuse(needs, members_.back().losses);
      context.require(needs, *network);
    }
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    std::vector<at::Tensor> open, closed;
    for (const Member& member : members_) {
      open.push_back(kd::precise(member.network.forward(batch.images).logits));
      closed.push_back(open.back().detach());
    }
    for (std::size_t k = 0; k < members_.size(); ++k) {
      // The others' answers without gradient: an update moves one network, and the graph of each is used once.
      std::vector<at::Tensor> answers = closed;
      answers[k] = open[k];
      const kd::Pass together{.outputs = {.logits = average(answers), .taps = {}}, .views = {}};
      open[k].reset();
      updater.update(members_[k].network, members_[k].losses(kd::loss_input(together, batch, {}, updater)),
                     {.logits = together.outputs.logits, .targets = batch.targets});
    }
  }

  bool recordable() const override {
    return std::all_of(members_.begin(), members_.end(), [](const Member& m) { return m.losses.recordable(); });
  }

 private:
  struct Member {
    Member(kd::Network& of, kd::LossList list) : network(of), losses(std::move(list)) {}

    kd::Network& network;
    kd::LossList losses;
  };

  static void refuse(const kd::LossNeeds& needs, const kd::LossList& losses) {
    if (needs.teacher) throw kd::RecipeError("joint_average has no teacher: take losses on the labels");
    if (!needs.student_taps.empty()) {
      throw kd::RecipeError("an average of outputs has no feature '" + needs.student_taps.front() +
                            "'; joint_average takes losses of logits");
    }
    if (!needs.views.empty()) throw kd::RecipeError("joint_average takes no loss that wants an extra view");
    if (!losses.adapters().empty()) throw kd::RecipeError("joint_average takes no loss that trains layers of its own");
  }

  at::Tensor average(const std::vector<at::Tensor>& answers) const {
    const at::Tensor all = at::stack(answers);
    if (params_.combine == Combine::kLogits) return all.mean(0);
    return at::logsumexp(at::log_softmax(all, 2), at::IntArrayRef{0}) - std::log(static_cast<double>(answers.size()));
  }

  const Params params_;
  std::deque<Member> members_;
};

}  // namespace

KD_REGISTER(kd::Scheme, "joint_average", JointAverage,
            "networks that are trained as one, through the average of their outputs (Allen-Zhu and Li, 2023)")
