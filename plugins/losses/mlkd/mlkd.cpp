// Multi-level logit distillation: Jin, Wang and Lin, CVPR 2023. At each of several temperatures: of samples T²·KL(q‖p),
// of the batch Σ (Q·Qᵀ − P·Pᵀ)² / B, and of classes Σ (Qᵀ·Q − Pᵀ·P)² / C, where the rows of P and Q are the student's
// and the teacher's softmaxes. The authors also pass strongly augmented images, whose samples' term alone they add, and
// multiply the other terms by the share of rows whose confidence is at or below the median, which is about a half:
// `share` stands for it. Temperatures of samples are those of the samples' part alone, as in
// Sun et al., CVPR 2024.
//   losses = [{ type = "cross_entropy", weight = 0.1 }, { type = "mlkd", weight = 0.9, share = 0.5 }]
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/temperature.h"
#include "kd/tensor.h"

namespace {

class MultiLevel final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "Jin, Wang and Lin, CVPR 2023",
                                            .weight = "0.9",
                                            .result = "CIFAR-100, resnet32x4 → resnet8x4: 77.08 % top-1"};

  struct Params {
    std::vector<double> temperatures;
    kd::PerSample per_sample = kd::PerSample::kNone;
    double samples = 1, batch = 1, classes = 1, share = 0.5;

    static void schema(kd::Schema<Params>& s) {
      s.field("temperatures", &Params::temperatures, "each T divides the logits once")
          .def(std::vector<double>{2, 3, 4, 5, 6})
          .above(0);
      kd::declare_per_sample(s, &Params::per_sample);
      s.field("samples", &Params::samples, "factor of the samples' part").def(1.0).at_least(0);
      s.field("batch", &Params::batch, "factor of the part of relations between samples").def(1.0).at_least(0);
      s.field("classes", &Params::classes, "factor of the part of relations between classes").def(1.0).at_least(0);
      s.field("share", &Params::share, "multiplies everything: the authors' mask of confident rows, on average")
          .def(0.5)
          .above(0);
    }
  };

  MultiLevel(const Params& params, const Context& context) : params_(params), group_(*context.group) {
    if (params.temperatures.empty()) throw kd::RecipeError("temperatures = [] names none");
  }

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [own_student, own_teacher] = kd::precise_logits(input);
    const at::Tensor student = kd::gather_with_gradient(group_, own_student), teacher = group_.gather(own_teacher);
    const kd::WithoutAutocast exact(student.device());
    const auto rows = static_cast<double>(student.size(0)), columns = static_cast<double>(student.size(1));
    std::vector<at::Tensor> terms;
    for (const double temperature : params_.temperatures) {
      const at::Tensor log_p = kd::log_softmax_at(student, temperature), p = log_p.exp();
      const at::Tensor log_q = kd::log_softmax_at(teacher, temperature), q = log_q.exp();
      const at::Tensor of_batch = at::matmul(q, q.t()) - at::matmul(p, p.t());
      const at::Tensor of_classes = at::matmul(q.t(), q) - at::matmul(p.t(), p);
      const at::Tensor of_samples =
          params_.per_sample == kd::PerSample::kNone
              ? kd::row_divergences(log_q, log_p).mean() * (temperature * temperature)
              : kd::soften({student, teacher}, temperature, params_.per_sample).mean_divergence();
      terms.push_back(of_samples * params_.samples + of_batch.square().sum() * (params_.batch / rows) +
                      of_classes.square().sum() * (params_.classes / columns));
    }
    return at::stack(terms).sum() * params_.share;
  }

 private:
  const Params params_;
  kd::Group& group_;
};

}  // namespace

KD_REGISTER(kd::Loss, "mlkd", MultiLevel,
            "softmaxes at several temperatures: of samples, and their products over batch and classes (multi-level)")
