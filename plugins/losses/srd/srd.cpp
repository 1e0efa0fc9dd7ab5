// Semantic representational distillation: Yang, Zhu, Bulat, Martinez and Tzimiropoulos, "Knowledge Distillation Meets
// Open-Set Semi-Supervised Learning", 2022, arXiv 2205.06701: the terms of "srrl" on labelled and unlabelled images
// alike.
//   losses = [{ type = "cross_entropy" }, { type = "srd", logits = 1.0, features = 1.0 }]
#include "../shared/teacher_head.h"

namespace {

class SemanticRepresentation final : public teacher_head::Loss {
 public:
  using Params = teacher_head::Params;
  using Loss::Loss;

  static constexpr kd::Published kPublished{.paper = "Yang et al., 2022, arXiv 2205.06701", .weight = "1.0"};
};

}  // namespace

KD_REGISTER(kd::Loss, "srd", SemanticRepresentation,
            "what the teacher's head makes of the student's map against its logits, on unlabelled images too (SRD)")
