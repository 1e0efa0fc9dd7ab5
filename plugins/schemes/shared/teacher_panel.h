// The teachers of a stage with their shares.
#pragma once

#include <vector>

#include "kd/diagnostics.h"
#include "kd/scheme.h"

namespace panel {

class TeacherPanel {
 public:
  /// Teachers of weight 0 are left out.
  explicit TeacherPanel(const std::vector<kd::Teacher*>& teachers) {
    double sum = 0;
    for (kd::Teacher* teacher : teachers) {
      if (teacher->weight() == 0) continue;
      teachers_.push_back(teacher);
      shares_.push_back(teacher->weight());
      sum += teacher->weight();
    }
    if (teachers_.empty()) throw kd::RecipeError("every teacher of the stage has weight 0");
    for (double& share : shares_) share /= sum;
  }

  /// The weights that stand beside the teachers, divided by their sum.
  const std::vector<double>& shares() const { return shares_; }

  /// Answers to the images of the batch.
  std::vector<kd::Outputs> outputs(const kd::Batch& batch, const kd::TapRequest& taps) const {
    std::vector<kd::Outputs> answers;
    for (kd::Teacher* teacher : teachers_) answers.push_back(teacher->outputs(batch, taps));
    return answers;
  }
  /// Answers to other images.
  std::vector<kd::Outputs> forward(const at::Tensor& images, const kd::TapRequest& taps) const {
    std::vector<kd::Outputs> answers;
    for (kd::Teacher* teacher : teachers_) answers.push_back(teacher->forward(images, taps));
    return answers;
  }

 private:
  std::vector<kd::Teacher*> teachers_;
  std::vector<double> shares_;
};

}  // namespace panel
