// The steps of an epoch, of which one is recorded and run again for the others, where that is possible.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/cuda_graph.h"
#include "engine/trained_network.h"

namespace kd {

class RecordedStep {
 public:
  /// `networks` are those that a step trains; `possible` says whether its kernels can be recorded.
  RecordedStep(bool possible, const std::vector<std::unique_ptr<TrainedNetwork>>& networks);

  /// What holds for one epoch, such as the tables of its draws, is made anew: what was recorded holds no longer.
  void begin_epoch();
  /// Makes a step, by running what was recorded of `step` where it can: of steps of whole batches, the first of an
  /// epoch is computed, the second recorded.
  void make(const std::function<void()>& step, bool whole_batch);
  /// Why recording was given up; empty where it was not.
  const std::string& trouble() const { return trouble_; }

 private:
  enum class State { kImpossible, kCold, kWarm, kRecorded };

  /// Whether it worked; where it did not, every step from now on is computed.
  bool record(const std::function<void()>& step);

  const std::vector<std::unique_ptr<TrainedNetwork>>& networks_;
  State state_;
  CudaGraph graph_;
  std::vector<TrainedNetwork::Counts> of_a_step_;  // what each network counts in a step
  std::string trouble_;
};

}  // namespace kd
