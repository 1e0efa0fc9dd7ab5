// A hint with a learned 1×1 convolution (Romero et al., "FitNets", ICLR 2015, arXiv 1412.6550), built outside kdrun's
// tree: the student's map, brought to the teacher's channels, is to be the teacher's.
#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

class OutsideHint final : public kd::Loss {
 public:
  struct Params {
    std::string tap;

    static void schema(kd::Schema<Params>& s) {
      s.field("tap", &Params::tap, "the feature, of student and teacher").def("stage2");
    }
  };

  OutsideHint(const Params& params, const Context& context)
      : params_(params),
        regressor_(adapter_.layers("regressor")
                       .convolution(kd::channels(kd::shape_of(context.student, params.tap, "student")),
                                    kd::channels(kd::shape_of(context.teacher().taps, params.tap, "teacher")))) {}

  kd::LossNeeds needs() const override {
    return {.teacher = true, .student_taps = {params_.tap}, .teacher_taps = {params_.tap}};
  }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] =
        kd::at_common_size(regressor_(input.student.taps.at(params_.tap)), input.teacher().taps.at(params_.tap));
    return at::mse_loss(kd::precise(student), kd::precise(teacher));
  }

 private:
  const Params params_;
  kd::AdapterModule adapter_;
  kd::Layers regressor_;
};

}  // namespace

KD_REGISTER(kd::Loss, "outside_hint", OutsideHint, "hint through a learned 1x1 convolution")
