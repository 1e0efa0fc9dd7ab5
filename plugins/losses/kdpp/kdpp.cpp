// Norm and direction: Wang, Cheng, Duan, Xing, Fan, Lu and Qi, "Improving Knowledge Distillation via Regularizing
// Feature Norm and Direction", 2023, arXiv 2305.17007. The student's vector is to point to the centre of its class
// among the teacher's vectors, and to be as long as the teacher's: the mean of 1 − s·e_c / max(‖s‖, ‖t‖), with e_c the
// centre's direction. The authors compute the centres before training, on images as they are; here they are means over
// what the teacher has answered so far. A learned linear layer brings the student's vectors to the teacher's width
// where that differs.
//   losses = [{ type = "cross_entropy" }, { type = "kd" }, { type = "kdpp", weight = 2.0 }]
#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/labels.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

at::Tensor lengths(const at::Tensor& rows) {
  return rows.square().sum(1).clamp_min(1e-24).sqrt();  // the root of 0 has no gradient
}

class NormAndDirection final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Wang et al., 2023, arXiv 2305.17007",
      .weight = "2.0",
      .result = "CIFAR-100, resnet56 → resnet20, with kd: 72.53 % top-1; weight 4 with dkd, dist and review_kd"};

  struct Params : kd::TapParams {
    static void schema(kd::Schema<Params>& s) { kd::declare_taps(s, {"pooled"}); }
  };

  NormAndDirection(const Params& params, const Context& context)
      : group_(*context.group), taps_(params, context, kd::TapPairs::kVectors) {
    if (taps_.size() != 1) throw kd::RecipeError("norm and direction compares one feature");
    const std::int64_t student = taps_.student_shape(0)[0], teacher = taps_.teacher_shape(0)[0];
    if (student != teacher) to_teacher_.linear(student, teacher);
    sums_ = adapter_.buffer("sums", at::zeros({context.classes, teacher}));
  }

  kd::LossNeeds needs() const override {
    kd::LossNeeds needs = taps_.needs();
    needs.one_label = true;
    return needs;
  }
  bool labelled_rows_only() const override { return true; }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const at::Tensor& labels = input.batch.targets.labels;
    const at::Tensor student = kd::precise(to_teacher_(taps_.student(input, 0)));
    const at::Tensor teacher = kd::precise(taps_.teacher(input, 0));
    remember(teacher, labels);
    // A direction needs no count: that of the sum is that of the mean.
    const at::Tensor directions = kd::unit_rows(sums_.to(teacher.scalar_type())).index_select(0, labels.clamp_min(0));
    const at::Tensor longest = at::maximum(lengths(student), lengths(teacher));
    return kd::labelled_mean(1 - (student * directions).sum(1) / longest, input.batch.targets);
  }

 private:
  void remember(const at::Tensor& teacher, const at::Tensor& labels) {
    const at::NoGradGuard no_gradient;
    const at::Tensor all = group_.gather(teacher), all_labels = group_.gather(labels);
    const at::Tensor labelled = (all_labels >= 0).to(all.scalar_type()).unsqueeze(1);
    sums_.index_add_(0, all_labels.clamp_min(0), (all * labelled).to(sums_.scalar_type()));
  }

  kd::Group& group_;
  const kd::TapPairs taps_;
  kd::AdapterModule adapter_;
  kd::Layers to_teacher_ = adapter_.layers("to_teacher");
  at::Tensor sums_;  // of the teacher's vectors of each class
};

}  // namespace

KD_REGISTER(kd::Loss, "kdpp", NormAndDirection,
            "the student's vectors towards their class's centre among the teacher's, and as long (norm and direction)")
