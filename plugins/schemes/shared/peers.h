// Networks that teach each other while they train: deep mutual learning (Zhang et al., CVPR 2018, arXiv 1706.00384).
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "kd/diagnostics.h"
#include "kd/plugin.h"
#include "kd/scheme.h"
#include "lessons.h"
#include "passes.h"

namespace peers {

enum class Order { kAlternating, kSimultaneous };
enum class Strategy { kEachPeer, kEnsemble };
enum class Target { kPosteriorMean, kLogitMean, kIncludeSelf };

constexpr const char* kPooled = "pooled";

struct Options {
  std::vector<kd::ComponentSpec> losses, mimicry;
  kd::Scheduled mimicry_weight;
  Order order = Order::kAlternating;
  bool batch_norm_twice = false;
  Strategy strategy = Strategy::kEachPeer;
  Target target = Target::kPosteriorMean;
  double target_temperature = 1, feature_l2 = 0;
};

/// The parameters of every scheme of peers; `P` derives from Options.
template <class P>
void declare(kd::Schema<P>& s) {
  s.components("losses", &P::losses, "loss", "of each network on the labels; rows without a label are left out")
      .with(kd::LossList::extras())
      .def_toml("[{ type = 'cross_entropy' }]");
  s.components("mimicry", &P::mimicry, "loss",
               "of each network with its peers' answers, which get no gradient, in the place of a teacher's")
      .with(kd::LossList::extras())
      .def_toml("[{ type = 'kd', temperature = 1.0 }]");
  s.field("mimicry_weight", &P::mimicry_weight,
          "factor of all mimicry: a number or a schedule. Of several peers the mean counts; their number gives the sum "
          "(the authors' code)")
      .def(1.0);
  s.template choice<Order>(
       "order", &P::order, {{"alternating", Order::kAlternating}, {"simultaneous", Order::kSimultaneous}},
       "one network after the other, each from its peers' newest answers, with a second forward pass after its update "
       "(as published); or all from the answers before the step (most public code, one pass less)")
      .def("alternating");
  s.field(
       "batch_norm_twice", &P::batch_norm_twice,
       "with order = 'alternating': the second pass also updates the running statistics of batch norm (as published)")
      .def(false);
}

/// The scheme of all that train peers.
class PeerScheme : public kd::Scheme {
 public:
  static kd::Roles roles() { return {.fewest_networks = 2, .most_networks = lessons::kAnyNumber}; }

  explicit PeerScheme(Options options) : options_(std::move(options)), mimicry_weight_(options_.mimicry_weight) {}

  void setup(kd::StageContext& context) override {
    const std::vector<kd::Network*>& networks = context.networks();
    const std::size_t tutors = options_.strategy == Strategy::kEachPeer ? networks.size() - 1 : 1;
    const lessons::Plan plan{options_.losses, options_.mimicry};
    for (kd::Network* network : networks) {
      const std::vector<double> shares(tutors, 1.0 / static_cast<double>(tutors));
      members_.emplace_back(*network, plan, shares, context);
    }
    refuse_features_of_ensemble();
    answer_taps_ = members_.front().lessons.tutor_needs().teacher_taps;
    if (options_.feature_l2 > 0) {
      answer_taps_ = kd::merged({.student_taps = answer_taps_}, {.student_taps = {kPooled}}).student_taps;
    }
    for (Member& member : members_) require(member, context);
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    std::vector<kd::Pass> passes;
    std::vector<kd::Outputs> answers;
    for (const Member& member : members_) {
      passes.push_back(kd::forward(member.network, member.needs, batch));
      answers.push_back(passes::detached(passes.back().outputs, answer_taps_));
    }
    if (options_.feature_l2 > 0) refuse_unequal_widths(answers);
    for (std::size_t k = 0; k < members_.size(); ++k) {
      updater.update(members_[k].network, terms(k, passes::input(passes[k], batch, updater.time()), answers),
                     {.logits = passes[k].outputs.logits, .targets = batch.targets});
      passes[k] = {};
      const bool last = k + 1 == members_.size();
      const bool again = options_.order == Order::kAlternating && (!last || options_.batch_norm_twice);
      if (again) answers[k] = second_answer(members_[k].network, batch.images);
    }
  }

 private:
  struct Member {
    Member(kd::Network& of, const lessons::Plan& plan, const std::vector<double>& shares, kd::StageContext& context)
        : network(of), lessons(plan, shares, context, of) {}

    kd::Network& network;
    lessons::Lessons lessons;
    kd::LossNeeds needs;
  };

  /// Peers stand in for the teachers that a stage would need.
  void require(Member& member, kd::StageContext& context) const {
    kd::LossNeeds of_mimicry = member.lessons.tutor_needs();
    of_mimicry.teacher = false;
    of_mimicry.teacher_taps.clear();
    of_mimicry = kd::merged(std::move(of_mimicry), {.student_taps = answer_taps_});
    member.needs = kd::merged(member.lessons.label_needs(), of_mimicry);
    context.require(member.needs, member.network);
  }

  void refuse_features_of_ensemble() const {
    const kd::TapRequest wanted = members_.front().lessons.tutor_needs().teacher_taps;
    if (options_.strategy == Strategy::kEnsemble && !wanted.empty()) {
      throw kd::RecipeError("an ensemble of peers has no feature '" + wanted.front() +
                            "'; take strategy = \"each_peer\", or mimicry of logits");
    }
  }

  void refuse_unequal_widths(const std::vector<kd::Outputs>& answers) const {
    const auto width = [&](std::size_t k) { return answers[k].taps.at(kPooled).size(1); };
    for (std::size_t k = 1; k < answers.size(); ++k) {
      if (width(k) == width(0)) continue;
      throw kd::RecipeError("feature_l2 wants pooled features of one width; '" + members_[0].network.name() + "' has " +
                            std::to_string(width(0)) + " and '" + members_[k].network.name() + "' has " +
                            std::to_string(width(k)));
    }
  }

  kd::Outputs second_answer(kd::Network& network, const at::Tensor& images) const {
    if (!options_.batch_norm_twice) return network.answer(images, answer_taps_);
    const c10::AutoGradMode no_gradient(false);
    return network.forward(images, answer_taps_);
  }

  lessons::Terms terms(std::size_t k, const kd::LossInput& input, const std::vector<kd::Outputs>& answers) const {
    lessons::Terms terms = members_[k].lessons.on_labels(input);
    const double weight = mimicry_weight_.at(input.time);
    if (weight != 0) {
      for (kd::Term& term : members_[k].lessons.from_tutors(input, tutors(k, answers))) {
        term.weight *= weight;
        terms.push_back(std::move(term));
      }
    }
    if (options_.feature_l2 > 0) {
      terms.push_back({"feature_l2", feature_distance(k, input.student, answers), options_.feature_l2});
    }
    return terms;
  }

  std::vector<kd::Outputs> tutors(std::size_t k, const std::vector<kd::Outputs>& answers) const {
    if (options_.strategy == Strategy::kEnsemble) return {ensemble(k, answers)};
    std::vector<kd::Outputs> others = answers;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(k));
    return others;
  }

  /// The answer of the peers of `k` together. Mean posteriors come as logits whose softmax at the target's temperature
  /// they are.
  kd::Outputs ensemble(std::size_t k, const std::vector<kd::Outputs>& answers) const {
    std::vector<at::Tensor> each;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      if (i != k || options_.target == Target::kIncludeSelf) each.push_back(answers[i].logits);
    }
    const at::Tensor logits = at::stack(each);
    if (options_.target == Target::kLogitMean) return {.logits = logits.mean(0), .taps = {}};
    const double temperature = options_.target_temperature;
    const at::Tensor log_sum = at::logsumexp(at::log_softmax(logits / temperature, 2), at::IntArrayRef{0});
    return {.logits = (log_sum - std::log(each.size())) * temperature, .taps = {}};
  }

  /// Squared distance of the pooled features to those of each peer: mean over the batch and the peers.
  static at::Tensor feature_distance(std::size_t k, const kd::Outputs& own, const std::vector<kd::Outputs>& answers) {
    const at::Tensor features = own.taps.at(kPooled);
    at::Tensor sum;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      if (i == k) continue;
      const at::Tensor distance = (features - answers[i].taps.at(kPooled)).square().sum();
      sum = sum.defined() ? sum + distance : distance;
    }
    return sum / static_cast<double>(features.size(0) * static_cast<std::int64_t>(answers.size() - 1));
  }

  const Options options_;
  const kd::ScheduledValue mimicry_weight_;
  std::deque<Member> members_;
  kd::TapRequest answer_taps_;
};

}  // namespace peers
