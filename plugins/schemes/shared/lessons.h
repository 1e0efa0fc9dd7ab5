// What a network learns from: losses on labels, and losses that compare it with tutors, which are teachers or peers.
#pragma once

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "kd/scheme.h"
#include "passes.h"

namespace lessons {

using Specs = std::vector<kd::ComponentSpec>;
using Terms = std::vector<kd::Term>;

/// For kd::Roles: no upper limit.
constexpr std::int64_t kAnyNumber = std::int64_t{1} << 32;

/// Adds `share` times each term to the one of its name in `sum`.
inline void add_share(Terms& sum, const Terms& terms, double share) {
  for (const kd::Term& term : terms) {
    const at::Tensor part = share == 1 ? term.value : term.value * share;
    const auto known = std::find_if(sum.begin(), sum.end(), [&](const auto& one) { return one.name == term.name; });
    if (known == sum.end()) {
      sum.push_back({term.name, part, term.weight, term.labelled_rows_only});
    } else {
      known->value = known->value + part;
    }
  }
}

struct Plan {
  Specs on_labels, from_tutors;
};

/// Parts the losses that need a teacher from those that do not.
inline Plan part(const Specs& specs, const kd::Loss::Context& context) {
  Plan plan;
  for (const kd::ComponentSpec& spec : specs) {
    const kd::LossNeeds needs = kd::LossList({spec}, context).needs();
    const bool compares = needs.teacher || !needs.teacher_taps.empty();
    (compares ? plan.from_tutors : plan.on_labels).push_back(spec);
  }
  return plan;
}

/// The lessons of one network. Each tutor has losses of its own, since a loss may keep adapters or a memory of it.
class Lessons {
 public:
  /// `shares`: the factor of each tutor's terms.
  Lessons(const Plan& plan, std::vector<double> shares, kd::StageContext& context, kd::Network& network)
      : shares_(std::move(shares)), on_labels_(plan.on_labels, context.loss_context()) {
    for (std::size_t i = 0; i < shares_.size(); ++i)
      from_tutors_.emplace_back(plan.from_tutors, context.loss_context());
    train_adapters(on_labels_, context, network);
    for (const kd::LossList& losses : from_tutors_) train_adapters(losses, context, network);
  }

  kd::LossNeeds label_needs() const { return on_labels_.needs(); }
  kd::LossNeeds tutor_needs() const { return from_tutors_.front().needs(); }
  kd::LossNeeds needs() const { return kd::merged(label_needs(), tutor_needs()); }

  Terms on_labels(const kd::LossInput& input) const { return on_labels_(input); }
  /// One term per loss: the sum of the tutors' shares.
  Terms from_tutors(kd::LossInput input, const std::vector<kd::Outputs>& tutors) const {
    Terms sum;
    for (std::size_t i = 0; i < tutors.size(); ++i) {
      input.teacher = &tutors[i];
      add_share(sum, from_tutors_[i](input), shares_[i]);
    }
    return sum;
  }

 private:
  static void train_adapters(const kd::LossList& losses, kd::StageContext& context, kd::Network& network) {
    for (const auto& module : losses.modules()) context.train_with(network, module);
  }

  const std::vector<double> shares_;
  const kd::LossList on_labels_;
  std::deque<kd::LossList> from_tutors_;
};

}  // namespace lessons
