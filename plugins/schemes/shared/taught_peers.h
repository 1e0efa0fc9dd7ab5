// Networks that learn from labels, each from a frozen teacher, and from each other: shared by the schemes "ctsl_mkt"
// and "diversified".
#pragma once

#include <algorithm>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "peers.h"

namespace taught_peers {

/// A list of losses as a recipe has it, with a factor of all of it. `name` stands before the names of its terms and
/// adapters, so that two lists may have a loss of one type.
struct Lesson {
  std::string name;
  std::vector<kd::ComponentSpec> losses;
  kd::Scheduled weight;
};

/// What one network learns.
struct Lessons {
  Lesson of_labels, of_teacher, of_peers;
  std::size_t teacher = 0;  ///< its own among those of the stage
};

template <class P>
kd::FieldBuilder declare_order(kd::Schema<P>& s) {
  return s.template choice<peers::Order>(
      "order", &P::order, {{"alternating", peers::Order::kAlternating}, {"simultaneous", peers::Order::kSimultaneous}},
      "one network after the other, each from its peers' newest answers, with a second forward pass after its update; "
      "or "
      "all from the answers before the step (one pass less)");
}

/// A lesson of one network, ready.
class Losses {
 public:
  Losses(const Lesson& lesson, kd::Loss::Context context)
      : prefix_(lesson.name.empty() ? "" : lesson.name + "_"),
        losses_(lesson.losses, with_key(std::move(context), lesson.name)),
        weight_(lesson.weight) {}

  kd::LossNeeds needs() const { return losses_.needs(); }
  bool recordable() const { return weight_.constant() && losses_.recordable(); }
  bool counts(const kd::ScheduleTime& time) const { return weight_.at(time) != 0; }

  void train_adapters(kd::Network& network, kd::StageContext& context) const {
    for (const kd::NamedModule& adapter : losses_.adapters())
      context.train_with(network, {prefix_ + adapter.name, adapter.module});
  }

  void add_terms(const kd::LossInput& input, std::vector<kd::Term>& terms) const {
    if (!counts(input.time)) return;
    for (kd::Term& term : losses_(input)) {
      term.name = prefix_ + term.name;
      term.weight *= weight_.at(input.time);
      terms.push_back(std::move(term));
    }
  }

 private:
  static kd::Loss::Context with_key(kd::Loss::Context context, const std::string& name) {
    if (!name.empty()) context.key = context.key.with(name);
    return context;
  }

  const std::string prefix_;
  const kd::LossList losses_;
  const kd::ScheduledValue weight_;
};

class TaughtPeers : public kd::Scheme {
 public:
  explicit TaughtPeers(peers::Order order) : order_(order) {}

  void setup(kd::StageContext& context) override {
    teachers_ = context.teachers();
    for (const kd::Teacher* teacher : teachers_) {
      if (teacher->weight() == 1) continue;
      throw kd::RecipeError({}, "each network has one teacher here: a teacher takes no 'weight'",
                            "the scheme's own weights are factors of what is learnt from teachers");
    }
    const std::vector<kd::Network*>& networks = context.networks();
    for (std::size_t k = 0; k < networks.size(); ++k) pupils_.emplace_back(*networks[k], lessons(k), context);
    teacher_taps_.resize(teachers_.size());
    for (const Pupil& pupil : pupils_) {
      answer_taps_ = joined(answer_taps_, pupil.of_peers.needs().teacher_taps);
      kd::TapRequest& taps = teacher_taps_[pupil.teacher];
      taps = joined(taps, pupil.of_teacher.needs().teacher_taps);
    }
    for (Pupil& pupil : pupils_) pupil.require(answer_taps_, context);
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    std::vector<kd::Pass> passes;
    std::vector<kd::Outputs> answers;
    for (const Pupil& pupil : pupils_) {
      passes.push_back(kd::forward(pupil.network, pupil.needs, batch));
      answers.push_back(kd::detached(passes.back().outputs, answer_taps_));
    }
    const std::vector<kd::Outputs> taught = ask_teachers(batch, updater.time());
    for (std::size_t k = 0; k < pupils_.size(); ++k) {
      const Pupil& pupil = pupils_[k];
      updater.update(pupil.network, terms(k, passes[k], batch, taught, answers, updater),
                     {.logits = passes[k].outputs.logits, .targets = batch.targets});
      passes[k] = {};
      const bool again = order_ == peers::Order::kAlternating && k + 1 < pupils_.size();
      if (again) answers[k] = pupil.network.answer(batch.images, answer_taps_);
    }
  }

  bool recordable() const override {
    return std::all_of(pupils_.begin(), pupils_.end(), [](const Pupil& pupil) {
      return pupil.of_labels.recordable() && pupil.of_teacher.recordable() && pupil.of_peers.recordable();
    });
  }

 protected:
  /// Of the network `k` of the stage; asked once, in setup().
  virtual Lessons lessons(std::size_t k) const = 0;

 private:
  struct Pupil {
    Pupil(kd::Network& of, const Lessons& lessons, kd::StageContext& context)
        : network(of),
          teacher(lessons.teacher),
          of_labels(lessons.of_labels, context.loss_context(of, {})),
          of_teacher(lessons.of_teacher,
                     context.loss_context(of, {{.taps = context.shapes(*context.teachers()[lessons.teacher])}})),
          of_peers(lessons.of_peers, context.loss_context(of, peers_of(of, context))) {
      if (of_labels.needs().teacher) {
        throw kd::RecipeError({}, "'losses' are those on labels: nobody teaches them",
                              "a loss that needs a teacher belongs to another list of the scheme");
      }
      for (const Losses* lesson : {&of_labels, &of_teacher, &of_peers}) lesson->train_adapters(network, context);
    }

    /// Peers stand in for the teachers that their list would need of the stage.
    void require(const kd::TapRequest& answer_taps, kd::StageContext& context) {
      kd::LossNeeds from_peers = of_peers.needs();
      from_peers.teacher = false;
      from_peers.teacher_taps.clear();
      needs = kd::merged(of_labels.needs(), of_teacher.needs());
      needs = kd::merged(std::move(needs), kd::merged(std::move(from_peers), {.student_taps = answer_taps}));
      context.require(needs, network);
    }

    kd::Network& network;
    const std::size_t teacher;
    const Losses of_labels, of_teacher, of_peers;
    kd::LossNeeds needs;
  };

  static std::vector<kd::TeacherInfo> peers_of(const kd::Network& network, kd::StageContext& context) {
    std::vector<kd::TeacherInfo> peers;
    for (const kd::Network* peer : context.networks()) {
      if (peer != &network) peers.push_back({.taps = context.shapes(*peer)});
    }
    for (kd::TeacherInfo& peer : peers) peer.share = 1.0 / static_cast<double>(peers.size());
    return peers;
  }

  static kd::TapRequest joined(const kd::TapRequest& some, const kd::TapRequest& more) {
    return kd::merged({.student_taps = some}, {.student_taps = more}).student_taps;
  }

  /// Each teacher once, and none that nobody learns from at this time.
  std::vector<kd::Outputs> ask_teachers(const kd::Batch& batch, const kd::ScheduleTime& time) const {
    std::vector<kd::Outputs> taught(teachers_.size());
    for (std::size_t t = 0; t < teachers_.size(); ++t) {
      const bool wanted = std::any_of(pupils_.begin(), pupils_.end(), [&](const Pupil& pupil) {
        return pupil.teacher == t && pupil.of_teacher.needs().teacher && pupil.of_teacher.counts(time);
      });
      if (wanted) taught[t] = teachers_[t]->outputs(batch, teacher_taps_[t]);
    }
    return taught;
  }

  std::vector<kd::Term> terms(std::size_t k, const kd::Pass& pass, const kd::Batch& batch,
                              const std::vector<kd::Outputs>& taught, const std::vector<kd::Outputs>& answers,
                              const kd::Updater& updater) const {
    const Pupil& pupil = pupils_[k];
    std::vector<kd::Term> terms;
    pupil.of_labels.add_terms(kd::loss_input(pass, batch, {}, updater), terms);
    pupil.of_teacher.add_terms(kd::loss_input(pass, batch, {&taught[pupil.teacher], 1}, updater), terms);
    std::vector<kd::Outputs> others = answers;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(k));
    pupil.of_peers.add_terms(kd::loss_input(pass, batch, others, updater), terms);
    return terms;
  }

  const peers::Order order_;
  std::vector<kd::Teacher*> teachers_;
  std::deque<Pupil> pupils_;
  kd::TapRequest answer_taps_;
  std::vector<kd::TapRequest> teacher_taps_;  ///< of each teacher
};

}  // namespace taught_peers
