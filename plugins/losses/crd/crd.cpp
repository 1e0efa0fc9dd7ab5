// Contrastive representation distillation: Tian, Krishnan and Isola, ICLR 2020, arXiv 1910.10699. Learned linear
// embeddings of both networks' vectors, of length 1, are scored against a bank of the other's: of the sample itself,
// and of K samples of other classes, drawn evenly. With P = exp(s/τ)/Z, where Z is set by the first batch, and noise of
// density 1/N: −[ln P/(P + K/N) + Σ_negatives ln (K/N)/(P + K/N)], the mean over the batch, of both directions. Banks
// follow with momentum. "relax" takes a sample of the same class as the positive one. RepDistiller draws the negatives
// of a sample without repeating one; here they are independent. Scores against the whole bank are one matrix product,
// of which K+1 are gathered: no copy of K+1 vectors for each sample is made.
//   losses = [{ type = "cross_entropy" }, { type = "kd" }, { type = "crd", weight = 0.8, negatives = 16384 }]
#include <ATen/ops/searchsorted.h>

#include <cmath>

#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

enum class Positive { kExact, kRelax };

constexpr double kEpsilon = 1e-7;

/// The samples of each class next to each other, and where each sample's class begins and how many it has: int64, N.
struct ByClass {
  at::Tensor order, begin, count;
};

ByClass sort_by_class(const at::Tensor& labels) {
  const at::Tensor order = labels.argsort(/*stable=*/true, 0, /*descending=*/false);
  const at::Tensor sorted = labels.index_select(0, order);
  const at::Tensor begin = at::searchsorted(sorted, labels);
  const at::Tensor end = at::searchsorted(sorted, labels, /*out_int32=*/false, /*right=*/true);
  return {order, begin, end - begin};
}

std::string megabytes(double bytes) { return std::to_string(std::llround(bytes / 1e6)) + " MB"; }

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
        taps_(params, context, kd::TapPairs::kVectors) {
    if (taps_.size() != 1) throw kd::RecipeError("contrastive representation distillation compares one feature");
    if (!context.labels.defined()) throw kd::RecipeError("the classes of the training set are not known");
    check_memory(context);
    of_student_.linear(taps_.student_shape(0)[0], params.width);
    of_teacher_.linear(taps_.teacher_shape(0)[0], params.width);
    student_bank_ = adapter_.buffer("student_bank", first_bank(context.key.with("student_bank")));
    teacher_bank_ = adapter_.buffer("teacher_bank", first_bank(context.key.with("teacher_bank")));
    constants_ = adapter_.buffer("constants", at::full({2}, -1.0));
    const ByClass by_class = sort_by_class(context.labels);
    if ((by_class.count == samples_).all().item<bool>())
      throw kd::RecipeError("every training image is of one class: there is none to contrast it with");
    order_ = adapter_.buffer("order", by_class.order);
    begin_ = adapter_.buffer("begin", by_class.begin);
    count_ = adapter_.buffer("count", by_class.count);
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const kd::WithoutAutocast exact(input.student.logits.device());
    const at::Tensor& index = input.batch.index;
    const at::Tensor student = kd::unit_rows(of_student_(kd::precise(taps_.student(input, 0))));
    const at::Tensor teacher = kd::unit_rows(of_teacher_(kd::precise(taps_.teacher(input, 0))));
    const at::Tensor chosen = at::cat({positives(input.key, index), others(input.key, index)}, 1);
    // The banks change below: what is scored is what they hold now.
    const at::Tensor of_student = scores(student, teacher_bank_, chosen, 0);
    const at::Tensor of_teacher = scores(teacher, student_bank_, chosen, 1);
    const at::Tensor loss = noise_contrast(of_student) + noise_contrast(of_teacher);
    remember(student_bank_, index, student);
    remember(teacher_bank_, index, teacher);
    return loss;
  }

 private:
  void check_memory(const Context& context) const {
    const double bank = 4.0 * double(samples_) * double(params_.width);
    // Scores of a sample, forward and backward, of both directions; banks are cloned once for a step's gradient.
    const double step = 4 * bank, of_sample = 4.0 * (4.0 * double(samples_) + 8.0 * double(negatives_ + 1));
    context.say("crd: two banks of " + std::to_string(samples_) + "×" + std::to_string(params_.width) + " take " +
                megabytes(2 * bank) + ", each sample of a batch " + megabytes(of_sample));
    if (context.free_memory == 0 || step + 64 * of_sample < double(context.free_memory)) return;
    throw kd::RecipeError({},
                          "its banks and the scores of 64 samples take " + megabytes(step + 64 * of_sample) + ", and " +
                              megabytes(double(context.free_memory)) + " are free",
                          "give it fewer 'negatives' or a smaller 'width'");
  }

  /// Uniform in ±1/sqrt(width/3), as the authors begin.
  at::Tensor first_bank(kd::RandomKey key) const {
    const double bound = 1 / std::sqrt(double(params_.width) / 3);
    const at::Tensor sample = at::arange(samples_, at::TensorOptions().dtype(at::kLong));
    return (kd::random_uniform(key, sample, params_.width) * 2 - 1) * bound;
  }

  /// N×1.
  at::Tensor positives(kd::RandomKey key, const at::Tensor& index) const {
    if (params_.positive == Positive::kExact) return index.unsqueeze(1);
    const at::Tensor draw = kd::random_uniform(key.with("positives"), index, 1).squeeze(1);
    const at::Tensor count = count_.index_select(0, index);
    const at::Tensor place = at::minimum((draw * count).to(at::kLong), count - 1);
    return order_.index_select(0, begin_.index_select(0, index) + place).unsqueeze(1);
  }

  /// N×K samples of other classes: in the order by class, those before and those behind the sample's own.
  at::Tensor others(kd::RandomKey key, const at::Tensor& index) const {
    const at::Tensor begin = begin_.index_select(0, index).unsqueeze(1),
                     count = count_.index_select(0, index).unsqueeze(1);
    const at::Tensor draw = kd::random_uniform(key.with("negatives"), index, negatives_);
    const at::Tensor place = at::minimum((draw * (samples_ - count)).to(at::kLong), samples_ - count - 1);
    const at::Tensor beyond = at::where(place < begin, place, place + count);
    return order_.index_select(0, beyond.flatten()).view(beyond.sizes());
  }

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

  void remember(at::Tensor& bank, const at::Tensor& index, const at::Tensor& rows) {
    const at::NoGradGuard no_gradient;
    const at::Tensor all = group_.gather(index), now = group_.gather(rows.detach()).to(bank.scalar_type());
    const at::Tensor moved = bank.index_select(0, all) * params_.momentum + now * (1 - params_.momentum);
    bank.index_copy_(0, all, kd::unit_rows(moved));
  }

  const Params params_;
  const std::int64_t samples_, negatives_;
  kd::Group& group_;
  const kd::TapPairs taps_;
  kd::AdapterModule adapter_;
  kd::Layers of_student_ = adapter_.layers("student"), of_teacher_ = adapter_.layers("teacher");
  at::Tensor student_bank_, teacher_bank_, constants_, order_, begin_, count_;
};

}  // namespace

KD_REGISTER(kd::Loss, "crd", ContrastiveRepresentation,
            "embeddings of a sample by both networks, contrasted with banks of other classes' (CRD)")
