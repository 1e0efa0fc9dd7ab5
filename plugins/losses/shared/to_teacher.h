// A learned layer from each of a student's features to the teacher's width, where they differ: shared by the losses
// "cwd", "pkd" and "feature_mse".
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kd/adapters.h"
#include "kd/tap_pairs.h"

namespace to_teacher {

class Layers {
 public:
  /// 1×1 convolutions of maps, linear layers of vectors.
  explicit Layers(const kd::TapPairs& taps) {
    for (std::size_t i = 0; i < taps.size(); ++i) {
      const kd::FeatureShape &student = taps.student_shape(i), &teacher = taps.teacher_shape(i);
      layers_.push_back(adapter_.layers("to_teacher" + std::to_string(i + 1)));
      if (student[0] == teacher[0]) continue;
      student.size() == 3 ? layers_.back().convolution(student[0], teacher[0])
                          : layers_.back().linear(student[0], teacher[0]);
      learned_ = true;
    }
  }

  /// The i-th feature at the teacher's width; as it is where it has that.
  at::Tensor operator()(std::size_t i, const at::Tensor& feature) const { return layers_[i](feature); }
  /// For Loss::module(): null where every feature has the teacher's width.
  std::shared_ptr<torch::nn::Module> module() const { return learned_ ? adapter_.module() : nullptr; }

 private:
  kd::AdapterModule adapter_;
  std::vector<kd::Layers> layers_;
  bool learned_ = false;
};

}  // namespace to_teacher
