// Annealing knowledge distillation, its first stage: Jafari, Rezagholizadeh, Sharma and Ghodsi, "Annealing Knowledge
// Distillation", EACL 2021, arXiv 2104.07163. The student follows the teacher's logits times Φ(τ) = 1 − (τ − 1)/τ_max,
// whose τ falls from τ_max to 1 in equal steps over the stage. The second stage is cross-entropy alone, begun from it.
//   losses = [{ type = "annealing_kd", max_temperature = 10 }]
#include <algorithm>

#include "kd/features.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

/// τ in an epoch: τ_max − ⌊epoch / k⌋ with k = epochs/τ_max. Counted from the end, so that it is 1 in the last epoch
/// even where a stage has fewer epochs than steps.
std::int64_t temperature_at(std::int64_t epoch, std::int64_t epochs, std::int64_t max_temperature) {
  const std::int64_t left = std::clamp<std::int64_t>(epochs - 1 - epoch, 0, epochs - 1);
  return 1 + left * max_temperature / epochs;
}

class AnnealingKd final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "Jafari et al., EACL 2021, arXiv 2104.07163", .weight = "1.0"};

  struct Params {
    std::int64_t max_temperature = 10;
    kd::Reduction reduction = kd::Reduction::kMean;

    static void schema(kd::Schema<Params>& s) {
      s.field(
           "max_temperature", &Params::max_temperature,
           "τ_max: the stage has as many steps, each of epochs/τ_max epochs, with the teacher's logits times 1/τ_max "
           "in the first and times 1 in the last")
          .def(10)
          .range(1, 1000);
      kd::declare_reduction(s, &Params::reduction).def("mean");
    }
  };

  explicit AnnealingKd(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  // Φ changes between epochs alone.
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const std::int64_t tau = temperature_at(input.time.whole_epoch(), input.time.epochs, params_.max_temperature);
    const double annealing = 1 - static_cast<double>(tau - 1) / static_cast<double>(params_.max_temperature);
    const at::Tensor sum = at::mse_loss(student, teacher * annealing, at::Reduction::Sum);
    return sum / kd::reduction_divisor(params_.reduction, student);
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(
    kd::Loss, "annealing_kd", AnnealingKd,
    "squared difference to the teacher's logits times a factor that grows in steps from 1/τ_max to 1 (annealing "
    "KD, first stage)")
