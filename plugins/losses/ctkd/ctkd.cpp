// Curriculum temperature: Li, Li, Yang, Zhao, Song, Luo, Li and Yang, "Curriculum Temperature for Knowledge
// Distillation", AAAI 2023, arXiv 2211.16231. A trained number t gives one temperature T = lowest + range·sigmoid(t) to
// T²·KL(q‖p), and moves against the student: its gradient is turned round and grows over the first epochs e by (1 −
// cos(π·e/loops))/2. This is the authors' global form.
//   losses = [{ type = "cross_entropy", weight = 0.1 }, { type = "ctkd", weight = 0.9, loops = 10 }]
#include <algorithm>
#include <cmath>
#include <numbers>

#include "kd/adapters.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

class CurriculumTemperature final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "Li et al., AAAI 2023, arXiv 2211.16231",
                                            .weight = "0.9",
                                            .result = "CIFAR-100, resnet56 → resnet20, beside labels of weight 0.1"};

  struct Params {
    double lowest = 1, range = 20, strength = 1;
    std::int64_t loops = 10;

    static void schema(kd::Schema<Params>& s) {
      s.field("lowest", &Params::lowest, "the temperature for t → −∞").def(1.0).above(0);
      s.field("range", &Params::range, "how much higher it is for t → ∞").def(20.0).above(0);
      s.field("loops", &Params::loops, "epochs over which the turned gradient grows; 0 for none").def(10).at_least(0);
      s.field("strength", &Params::strength, "what it grows to").def(1.0).above(0);
    }
  };

  explicit CurriculumTemperature(const Params& params)
      : params_(params), raw_(adapter_.parameter("temperature", at::ones({1}))) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const at::Tensor raw = turned(raw_.to(student.options()), strength(input.time));
    const at::Tensor t = at::sigmoid(raw) * params_.range + params_.lowest;
    const at::Tensor rows = kd::row_divergences(at::log_softmax(teacher / t, 1), at::log_softmax(student / t, 1));
    return rows.mean() * t.square().squeeze();
  }

 private:
  /// x, with a gradient times −strength.
  static at::Tensor turned(const at::Tensor& x, double strength) { return x.detach() * (1 + strength) - x * strength; }

  double strength(const kd::ScheduleTime& time) const {
    if (params_.loops == 0) return params_.strength;
    const auto epoch = static_cast<double>(std::min(time.whole_epoch() + 1, params_.loops));
    return params_.strength * (1 - std::cos(std::numbers::pi * epoch / static_cast<double>(params_.loops))) / 2;
  }

  const Params params_;
  kd::AdapterModule adapter_;
  at::Tensor raw_;
};

}  // namespace

KD_REGISTER(kd::Loss, "ctkd", CurriculumTemperature,
            "soft targets at a temperature that is trained against the student (curriculum temperature)")
