// Contrastive representation distillation: Tian, Krishnan and Isola, ICLR 2020, arXiv 1910.10699. Learned linear
// embeddings of both networks' vectors, of length 1, are scored against a bank of the other's: of the sample itself,
// and of K samples of other classes, drawn evenly. With P = exp(s/τ)/Z, where Z is set by the first batch, and noise of
// density 1/N: −[ln P/(P + K/N) + Σ_negatives ln (K/N)/(P + K/N)], the mean over the batch, of both directions. Banks
// follow with momentum. "relax" takes a sample of the same class as the positive one. RepDistiller draws the negatives
// of a sample without repeating one; here they are independent. Scores against the whole bank are one matrix product,
// of which K+1 are gathered: no copy of K+1 vectors for each sample is made.
//   losses = [{ type = "cross_entropy" }, { type = "kd" }, { type = "crd", weight = 0.8, negatives = 16384 }]
#include <cmath>

#include "../shared/sample_banks.h"
#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

enum class Positive { kExact, kRelax };

constexpr double kEpsilon = 1e-7;

class ContrastiveRepresentation final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Tian et al., ICLR 2020, arXiv 1910.10699",
      .weight = "0.8",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 75.51 % top-1 (RepDistiller)"};

  struct Params : kd::TapParams {
    std::int64_t width = 128, negatives = 16384;
    double temperature = 0.07, momentum = 0.5;
    Positive positive = Positive::kExact;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"pooled"});
      s.field("width", &Params::width, "of the embeddings").def(128).at_least(1);
      s.field(
           "negatives", &Params::negatives,
           "K: samples of other classes that each is contrasted with; as many as there are samples where that is less")
          .def(16384)
          .at_least(1);
      s.field("temperature", &Params::temperature, "τ; divides the cosines").def(0.07).above(0);
      s.field("momentum", &Params::momentum, "share of a bank's old vector that is kept").def(0.5).range(0, 1);
      s.choice("positive", &Params::positive, {{"exact", Positive::kExact}, {"relax", Positive::kRelax}},
               "the sample itself, or one of its class")
          .def("exact");
    }
  };

  ContrastiveRepresentation(const Params& params, const Context& context)
      : params_(params),
        samples_(context.samples),
        negatives_(std::min(params.negatives, context.samples)),
        group_(*context.group),
        taps_(params, context, kd::TapPairs::kVectors),
        by_class_(context, adapter_) {
    if (taps_.size() != 1) throw kd::RecipeError("contrastive representation distillation compares one feature");
    // Scores of a sample, forward and backward, of both directions.
    sample_banks::check_memory("crd", context, params.width,
                               4.0 * (4.0 * double(samples_) + 8.0 * double(negatives_ + 1)));
    of_student_.linear(taps_.student_shape(0)[0], params.width);
    of_teacher_.linear(taps_.teacher_shape(0)[0], params.width);
    student_bank_ = adapter_.buffer("student_bank",
                                    sample_banks::first_bank(context.key.with("student_bank"), samples_, params.width));
    teacher_bank_ = adapter_.buffer("teacher_bank",
                                    sample_banks::first_bank(context.key.with("teacher_bank"), samples_, params.width));
    constants_ = adapter_.buffer("constants", at::full({2}, -1.0));
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const kd::WithoutAutocast exact(input.student.logits.device());
    const at::Tensor& index = input.batch.index;
    const at::Tensor student = kd::unit_rows(of_student_(kd::precise(taps_.student(input, 0))));
    const at::Tensor teacher = kd::unit_rows(of_teacher_(kd::precise(taps_.teacher(input, 0))));
    const at::Tensor positive =
        params_.positive == Positive::kExact ? index.unsqueeze(1) : by_class_.alike(input.key.with("positives"), index);
    const at::Tensor chosen = at::cat({positive, by_class_.others(input.key.with("negatives"), index, negatives_)}, 1);
    // The banks change below: what is scored is what they hold now.
    const at::Tensor of_student = scores(student, teacher_bank_, chosen, 0);
    const at::Tensor of_teacher = scores(teacher, student_bank_, chosen, 1);
    const at::Tensor loss = noise_contrast(of_student) + noise_contrast(of_teacher);
    sample_banks::remember(student_bank_, index, student, params_.momentum, group_);
    sample_banks::remember(teacher_bank_, index, teacher, params_.momentum, group_);
    return loss;
  }

 private:
  /// N×(K+1): exp(cosine/τ)/Z against the vectors of the bank at `chosen`.
  at::Tensor scores(const at::Tensor& rows, const at::Tensor& bank, const at::Tensor& chosen, std::int64_t direction) {
    const at::Tensor all = at::matmul(rows, bank.to(rows.scalar_type()).clone().t());
    const at::Tensor exponentials = (at::gather(all, 1, chosen) / params_.temperature).exp();
    const at::Tensor constant = constants_.select(0, direction);
    {
      const at::NoGradGuard no_gradient;
      at::Tensor mean = exponentials.mean();
      if (group_.size() > 1) {  // that of the whole batch
        const at::Tensor sums = at::stack({exponentials.sum(), at::full_like(mean, double(exponentials.numel()))});
        group_.sum({sums});
        mean = sums.select(0, 0) / sums.select(0, 1);
      }
      constant.copy_(at::where(constant < 0, (mean * double(samples_)).to(constant.scalar_type()), constant));
    }
    return exponentials / constant.clone();
  }

  at::Tensor noise_contrast(const at::Tensor& scores) const {
    const double noise = double(negatives_) / double(samples_);
    const at::Tensor log_all = (scores + (noise + kEpsilon)).log();
    const at::Tensor log_positive = scores.select(1, 0).log();
    return (log_all.sum() - log_positive.sum()) / double(scores.size(0)) - double(negatives_) * std::log(noise);
  }

  const Params params_;
  const std::int64_t samples_, negatives_;
  kd::Group& group_;
  const kd::TapPairs taps_;
  kd::AdapterModule adapter_;
  kd::Layers of_student_ = adapter_.layers("student"), of_teacher_ = adapter_.layers("teacher");
  const sample_banks::ByClass by_class_;
  at::Tensor student_bank_, teacher_bank_, constants_;
};

}  // namespace

KD_REGISTER(kd::Loss, "crd", ContrastiveRepresentation,
            "embeddings of a sample by both networks, contrasted with banks of other classes' (CRD)")
