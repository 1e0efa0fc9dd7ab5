// Reused classifier: Chen, Mei, Zhang, Wang, Feng and Chen, "Knowledge Distillation with the Reused Teacher
// Classifier", CVPR 2022, arXiv 2203.14001. The mean square between the student's last map, brought to the teacher's,
// and the teacher's is all that is trained with: the student answers with the teacher's classifier. The model
// "reused_classifier" is such a student: its feature "transferred" is that map; `init` takes the classifier from the
// teacher and `freeze` keeps it.
//   losses = [{ type = "simkd", weight = 1.0, taps = ["transferred"], teacher_taps = ["stage3"] }]
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

class ReusedClassifier final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "Chen et al., CVPR 2022, arXiv 2203.14001",
                                            .weight = "1.0",
                                            .result = "CIFAR-100, resnet32x4 → resnet8x4: 78.08 % top-1"};

  struct Params : kd::TapParams {
    static void schema(kd::Schema<Params>& s) {
      s.field("taps", &Params::taps, "the student's map that its classifier sees")
          .def(std::vector<std::string>{"transferred"});
      s.field("teacher_taps", &Params::teacher_taps, "the teacher's").def(std::vector<std::string>{"stage3"});
    }
  };

  ReusedClassifier(const Params& params, const Context& context) : taps_(params, context, kd::TapPairs::kMaps) {
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const std::int64_t student = taps_.student_shape(i)[0], teacher = taps_.teacher_shape(i)[0];
      if (student == teacher) continue;
      throw kd::RecipeError({},
                            "'" + params.taps[i] + "' of the student has " + std::to_string(student) +
                                " channels, and the teacher's classifier sees " + std::to_string(teacher),
                            "model = { type = \"reused_classifier\", channels = " + std::to_string(teacher) + ", … }");
    }
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const auto [student, teacher] = kd::at_common_size(taps_.student(input, i), taps_.teacher(input, i));
      terms.push_back(kd::mean_square(student, teacher));
    }
    return at::stack(terms).sum();
  }

 private:
  const kd::TapPairs taps_;
};

}  // namespace

KD_REGISTER(kd::Loss, "simkd", ReusedClassifier,
            "the map that the student's classifier, the teacher's own, sees against the teacher's (SimKD)")
