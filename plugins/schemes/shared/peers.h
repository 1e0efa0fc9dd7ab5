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

namespace peers {

enum class Order { kAlternating, kSimultaneous };
enum class Strategy { kEachPeer, kEnsemble };
enum class Placement { kTogether, kSpread };
enum class Target { kPosteriorMean, kLogitMean, kIncludeSelf };

constexpr const char* kPooled = "pooled";

struct Options {
  std::vector<kd::ComponentSpec> losses, mimicry;
  kd::Scheduled mimicry_weight;
  Order order = Order::kAlternating;
  Placement placement = Placement::kTogether;
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
  s.template choice<Placement>(
       "placement", &P::placement, {{"together", Placement::kTogether}, {"spread", Placement::kSpread}},
       "where several processes train: each takes its rows of a batch for all networks; or each trains a network of "
       "its "
       "own on whole batches and tells the others its logits, with order = 'simultaneous' and mimicry of logits")
      .def("together");
}

/// The scheme of all that train peers.
class PeerScheme : public kd::Scheme {
 public:
  static kd::Roles roles() { return {.fewest_networks = 2, .most_networks = kd::Roles::kAnyNumber}; }

  explicit PeerScheme(Options options) : options_(std::move(options)), mimicry_weight_(options_.mimicry_weight) {}

  void setup(kd::StageContext& context) override {
    if (options_.placement == Placement::kSpread) {
      if (options_.order != Order::kSimultaneous) {
        throw kd::RecipeError(
            "placement = \"spread\" has all networks learn at once; take order = \"simultaneous\" with it");
      }
      processes_ = context.spread();
    }
    const std::vector<kd::Network*>& networks = context.networks();
    for (kd::Network* network : networks)
      members_.emplace_back(*network, options_, tutors_of(*network, context), context);
    refuse_features_of_ensemble();
    answer_taps_ = members_.front().mimicry.needs().teacher_taps;
    if (options_.feature_l2 > 0) {
      answer_taps_ = kd::merged({.student_taps = answer_taps_}, {.student_taps = {kPooled}}).student_taps;
    }
    if (options_.placement == Placement::kSpread && !answer_taps_.empty()) {
      throw kd::RecipeError("placement = \"spread\" exchanges logits, not the feature '" + answer_taps_.front() +
                            "'; take placement = \"together\", or mimicry of logits");
    }
    for (Member& member : members_) require(member, context);
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    if (processes_ != nullptr) return step_of_own(batch, updater);
    std::vector<kd::Pass> passes;
    std::vector<kd::Outputs> answers;
    for (const Member& member : members_) {
      passes.push_back(kd::forward(member.network, member.needs, batch));
      answers.push_back(kd::detached(passes.back().outputs, answer_taps_));
    }
    if (options_.feature_l2 > 0) refuse_unequal_widths(answers);
    for (std::size_t k = 0; k < members_.size(); ++k) {
      updater.update(members_[k].network, terms(k, passes[k], batch, answers, updater),
                     {.logits = passes[k].outputs.logits, .targets = batch.targets});
      passes[k] = {};
      const bool last = k + 1 == members_.size();
      const bool again = options_.order == Order::kAlternating && (!last || options_.batch_norm_twice);
      if (again) answers[k] = second_answer(members_[k].network, batch.images);
    }
  }

  bool recordable() const override {
    return mimicry_weight_.constant() && std::all_of(members_.begin(), members_.end(), [](const Member& member) {
             return member.losses.recordable() && member.mimicry.recordable();
           });
  }

 private:
  /// The part of a step that is the network's of this process.
  void step_of_own(const kd::Batch& batch, kd::Updater& updater) const {
    const auto own = static_cast<std::size_t>(processes_->rank());
    const Member& member = members_[own];
    const kd::Pass pass = kd::forward(member.network, member.needs, batch);
    const at::Tensor all = processes_->gather(pass.outputs.logits.detach().unsqueeze(0));
    std::vector<kd::Outputs> answers;
    for (std::int64_t k = 0; k < all.size(0); ++k) answers.push_back({.logits = all[k], .taps = {}});
    updater.update(member.network, terms(own, pass, batch, answers, updater),
                   {.logits = pass.outputs.logits, .targets = batch.targets});
  }

  struct Member {
    Member(kd::Network& of, const Options& options, const std::vector<kd::TeacherInfo>& tutors,
           kd::StageContext& context)
        : network(of),
          losses(options.losses, context.loss_context(of, {})),
          mimicry(options.mimicry, context.loss_context(of, tutors)) {
      for (const kd::LossList* list : {&losses, &mimicry}) {
        for (const kd::NamedModule& adapter : list->adapters()) context.train_with(network, adapter);
      }
    }

    kd::Network& network;
    kd::LossList losses, mimicry;
    kd::LossNeeds needs;
  };

  /// Those that a network mimics: each of its peers, or their ensemble, which has no features.
  std::vector<kd::TeacherInfo> tutors_of(const kd::Network& network, kd::StageContext& context) const {
    if (options_.strategy == Strategy::kEnsemble) return {{}};
    std::vector<kd::TeacherInfo> peers;
    for (const kd::Network* peer : context.networks()) {
      if (peer != &network) peers.push_back({.taps = context.shapes(*peer)});
    }
    for (kd::TeacherInfo& peer : peers) peer.share = 1.0 / static_cast<double>(peers.size());
    return peers;
  }

  /// Peers stand in for the teachers that a stage would need.
  void require(Member& member, kd::StageContext& context) const {
    kd::LossNeeds of_mimicry = member.mimicry.needs();
    of_mimicry.teacher = false;
    of_mimicry.teacher_taps.clear();
    of_mimicry = kd::merged(std::move(of_mimicry), {.student_taps = answer_taps_});
    member.needs = kd::merged(member.losses.needs(), of_mimicry);
    context.require(member.needs, member.network);
  }

  void refuse_features_of_ensemble() const {
    const kd::TapRequest wanted = members_.front().mimicry.needs().teacher_taps;
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

  std::vector<kd::Term> terms(std::size_t k, const kd::Pass& pass, const kd::Batch& batch,
                              const std::vector<kd::Outputs>& answers, const kd::Updater& updater) const {
    std::vector<kd::Term> terms = members_[k].losses(kd::loss_input(pass, batch, {}, updater));
    const double weight = mimicry_weight_.at(updater.time());
    if (weight != 0) {
      const std::vector<kd::Outputs> from = tutors(k, answers);
      for (kd::Term& term : members_[k].mimicry(kd::loss_input(pass, batch, from, updater))) {
        term.weight *= weight;
        terms.push_back(std::move(term));
      }
    }
    if (options_.feature_l2 > 0) {
      terms.push_back({"feature_l2", feature_distance(k, pass.outputs, answers), options_.feature_l2});
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
  kd::Group* processes_ = nullptr;  // one for each network
};

}  // namespace peers
