// The mean square between a feature of the student and one of the teacher, after a learned 1×1 convolution or linear
// layer where their widths differ: the plain form of matching features, as in Hsu, Smith, Shen, Kira and Jin, "A Closer
// Look at Knowledge Distillation with Features, Logits, and Gradients", 2022, arXiv 2203.10163.
//   losses = [{ type = "cross_entropy" }, { type = "feature_mse", weight = 1.0, taps = ["pooled"] }]
#include "../shared/to_teacher.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

class FeatureMse final : public kd::Loss {
 public:
  struct Params : kd::TapParams {
    static void schema(kd::Schema<Params>& s) { kd::declare_taps(s, {"pooled"}); }
  };

  FeatureMse(const Params& params, const Context& context)
      : taps_(params, context, kd::TapPairs::kAny), to_teacher_(taps_) {
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      if (taps_.student_shape(i).size() == taps_.teacher_shape(i).size()) continue;
      throw kd::RecipeError("'" + params.taps[i] + "' of the student and '" + taps_.teacher_name(i) +
                            "' of the teacher are a map and a vector");
    }
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return to_teacher_.module(); }

  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      at::Tensor student = to_teacher_(i, taps_.student(input, i)), teacher = taps_.teacher(input, i);
      if (student.dim() == 4) std::tie(student, teacher) = kd::at_common_size(student, teacher);
      terms.push_back(kd::mean_square(student, teacher));
    }
    return at::stack(terms).sum();
  }

 private:
  const kd::TapPairs taps_;
  const to_teacher::Layers to_teacher_;
};

}  // namespace

KD_REGISTER(kd::Loss, "feature_mse", FeatureMse,
            "mean square between features of student and teacher, through a learned layer where their widths differ")
