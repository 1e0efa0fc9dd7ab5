// recorded_step.h
#include "engine/recorded_step.h"

#include <cstddef>

#include "kd/diagnostics.h"

namespace kd {

RecordedStep::RecordedStep(bool possible, const std::vector<std::unique_ptr<TrainedNetwork>>& networks)
    : networks_(networks), state_(possible ? State::kCold : State::kImpossible) {}

void RecordedStep::begin_epoch() {
  graph_.clear();
  if (state_ != State::kImpossible) state_ = State::kCold;
}

void RecordedStep::make(const std::function<void()>& step, bool whole_batch) {
  if (state_ == State::kImpossible || !whole_batch) return step();
  // Algorithms are chosen, and what an epoch draws once is drawn, in a step that is computed.
  if (state_ == State::kCold) {
    step();
    state_ = State::kWarm;
    return;
  }
  if (state_ == State::kWarm) {
    if (!record(step)) return step();
  } else {
    for (std::size_t i = 0; i < networks_.size(); ++i) networks_[i]->advance(of_a_step_[i]);
  }
  graph_.run();
}

bool RecordedStep::record(const std::function<void()>& step) {
  std::vector<TrainedNetwork::Counts> before;
  for (const auto& network : networks_) before.push_back(network->counts());
  try {
    graph_.record(step);
  } catch (const std::exception& error) {
    trouble_ = message_of(error);
    for (std::size_t i = 0; i < networks_.size(); ++i) networks_[i]->forget_step(before[i]);
    state_ = State::kImpossible;
    return false;
  }
  of_a_step_.clear();
  for (std::size_t i = 0; i < networks_.size(); ++i) {
    const TrainedNetwork::Counts after = networks_[i]->counts();
    of_a_step_.push_back({after.passes - before[i].passes, after.updates - before[i].updates});
  }
  state_ = State::kRecorded;
  return true;
}

}  // namespace kd
