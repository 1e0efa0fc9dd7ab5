// Softmax regression representation learning: Yang, Martinez, Bulat and Tzimiropoulos, "Knowledge Distillation via
// Softmax Regression Representation Learning", ICLR 2021. The teacher's own head, on the student's map brought to the
// teacher's, is to give the teacher's logits, and the averages of both maps are to agree.
//   losses = [{ type = "cross_entropy" }, { type = "srrl", logits = 1.0, features = 1.0 }]
#include "../shared/teacher_head.h"

namespace {

class SoftmaxRegression final : public teacher_head::Loss {
 public:
  using Params = teacher_head::Params;
  using Loss::Loss;

  static constexpr kd::Published kPublished{
      .paper = "Yang et al., ICLR 2021",
      .weight = "1.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 75.39 % top-1 (as SimKD reports it)"};
};

}  // namespace

KD_REGISTER(kd::Loss, "srrl", SoftmaxRegression,
            "what the teacher's head makes of the student's map against its logits (softmax regression representation "
            "learning)")
