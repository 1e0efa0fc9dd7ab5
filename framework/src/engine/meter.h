// Running sums of a training epoch, on the device: adding to them never waits for it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kd/batch.h"
#include "kd/group.h"
#include "kd/loss.h"
#include "record/safetensors.h"

namespace kd {

class KD_API TrainingMeter {
 public:
  /// `logits` are the answers that are right or wrong by `targets`, row by row. Rows with a label are counted on the
  /// device, but where `all_labelled`.
  void add(const std::vector<Term>& terms, const at::Tensor& logits, const Targets& targets, bool all_labelled = false);
  void reset() { sums_.clear(); }

  /// Means over the samples so far, by name: every loss term as "loss/…", their weighted sum as "loss", hits as "top1".
  /// Terms of labelled rows are means over these, as is "top1", which is left out where there are none. Waits for the
  /// device. Of `group`, whose processes all ask, over the samples of each.
  std::map<std::string, double> means(Group& group = Group::alone()) const;

  /// For checkpoints in the middle of an epoch: the sums of all processes of `group`, which all ask.
  TensorMap state(const std::string& prefix, Group& group) const;
  void restore(const std::string& prefix, const TensorMap& state);

 private:
  std::map<std::string, at::Tensor> sums_;  // double scalars, by what they are sums over and then by name
};

}  // namespace kd
