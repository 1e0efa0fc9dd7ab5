// Contrast against a memory bank (in the manner of Tian, Krishnan and Isola, "Contrastive Representation Distillation",
// ICLR 2020, arXiv 1910.10699), built outside kdrun's tree: a student's embedding is to be nearer to what the teacher
// answered to its own sample than to what it answered to others, which the bank remembers by their index.
#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"
#include "kd/tensor.h"

namespace {

class OutsideContrast final : public kd::Loss {
 public:
  struct Params {
    std::int64_t width = 16, negatives = 32;
    double temperature = 0.1;

    static void schema(kd::Schema<Params>& s) {
      s.field("width", &Params::width, "of the embeddings").def(16).at_least(1);
      s.field("negatives", &Params::negatives, "samples of the bank that each is contrasted with").def(32).at_least(1);
      s.field("temperature", &Params::temperature, "divides the cosines").def(0.1).above(0);
    }
  };

  OutsideContrast(const Params& params, const Context& context)
      : params_(params),
        samples_(context.samples),
        of_student_(embedding("student", kd::shape_of(context.student, "pooled", "student"))),
        of_teacher_(embedding("teacher", kd::shape_of(context.teacher().taps, "pooled", "teacher"))),
        bank_(adapter_.buffer("bank", kd::unit_rows(first_bank(context.key.with("bank"))))) {}

  kd::LossNeeds needs() const override {
    return {.teacher = true, .student_taps = {"pooled"}, .teacher_taps = {"pooled"}};
  }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const at::Tensor& index = input.batch.index;
    const at::Tensor student = kd::unit_rows(kd::precise(of_student_(input.student.taps.at("pooled"))));
    const at::Tensor teacher = kd::unit_rows(kd::precise(of_teacher_(input.teacher().taps.at("pooled"))));
    const at::Tensor others = kd::random_below(input.key.with("negatives"), index, params_.negatives, samples_);
    const at::Tensor remembered = bank_.index_select(0, others.flatten()).view({-1, params_.negatives, params_.width});
    const at::Tensor own = (student * teacher).sum(1, true);
    const at::Tensor cosines = at::cat({own, (remembered * student.unsqueeze(1)).sum(2)}, 1) / params_.temperature;
    {
      const at::NoGradGuard no_gradient;
      bank_.index_copy_(0, index, teacher);
    }
    return -at::log_softmax(cosines, 1).select(1, 0).mean();
  }

 private:
  kd::Layers embedding(const std::string& name, const std::vector<std::int64_t>& shape) {
    return adapter_.layers(name).linear(kd::channels(shape), params_.width);
  }
  at::Tensor first_bank(kd::RandomKey key) const {
    return kd::random_normal(key, at::arange(samples_, at::TensorOptions().dtype(at::kLong)), params_.width);
  }

  const Params params_;
  const std::int64_t samples_;
  kd::AdapterModule adapter_;
  kd::Layers of_student_, of_teacher_;
  at::Tensor bank_;
};

}  // namespace

KD_REGISTER(kd::Loss, "outside_contrast", OutsideContrast, "contrast against a memory bank")
