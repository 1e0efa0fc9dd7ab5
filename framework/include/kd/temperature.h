// The temperature of a loss on outputs: a number, a schedule, or one for every sample of either network.
//
//   struct Params : kd::TemperatureParams {
//     static void schema(kd::Schema<Params>& s) { kd::declare_temperature(s).def(4.0); }
//   };
//   explicit Divergence(const Params& params) : temperature_(params) {}
//   …
//   const kd::Softened z = temperature_(input);
//   return z.mean(kd::row_divergences(z.log_teacher(), z.log_student()));
#pragma once

#include <ATen/core/Tensor.h>

#include "kd/api.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/schedule.h"
#include "kd/schema.h"

namespace kd {

/// What makes a sample's temperature another than T.
enum class PerSample {
  kNone,
  kStandardized,  ///< Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024, arXiv 2403.01427
  kConfidence,    ///< Wei and Bai, "Dynamic Temperature Knowledge Distillation", 2024, arXiv 2404.12711
};

struct KD_API TemperatureParams {
  Scheduled temperature;
  PerSample per_sample = PerSample::kNone;
};

/// Declares `per_sample` alone, for a loss with several temperatures.
template <class Params>
FieldBuilder declare_per_sample(Schema<Params>& schema, PerSample Params::* member) {
  return schema
      .choice("per_sample", member,
              {{"none", PerSample::kNone},
               {"standardized", PerSample::kStandardized},
               {"confidence", PerSample::kConfidence}},
              "what multiplies a sample's T: nothing; the deviation of its logits, for each network its own, so that "
              "they are standardised (Sun et al., 2024); or 2m/(m + m'), where m is the network's largest logit and m' "
              "the other's, and so its value too (Wei and Bai, 2024)")
      .def("none");
}

/// Declares `temperature`, whose default the caller adds, and `per_sample`.
template <class Params>
FieldBuilder declare_temperature(Schema<Params>& schema) {
  FieldBuilder temperature =
      schema.field("temperature", &Params::temperature,
                   "T; divides the logits of student and teacher, and the value is multiplied by T²: a number, or a "
                   "schedule whose values are above 0");
  temperature.above(0);
  declare_per_sample(schema, static_cast<PerSample Params::*>(&Params::per_sample));
  return temperature;
}

/// Logits N×classes of student and teacher whose own part of their temperatures they are divided by, but not yet T,
/// which they share.
struct KD_API Softened {
  at::Tensor student, teacher;
  double temperature = 1;   ///< T
  at::Tensor weights = {};  ///< N: what a sample's value has besides T²; undefined for 1

  /// log softmax(z/T).
  at::Tensor log_student() const { return log_softmax_at(student, temperature); }
  at::Tensor log_teacher() const { return log_softmax_at(teacher, temperature); }
  /// Values of samples, N, times what their temperatures make of them.
  at::Tensor weighted(const at::Tensor& rows) const;
  /// The mean of the same.
  at::Tensor mean(const at::Tensor& rows) const { return weighted(rows).mean(); }
  /// The mean of T²·KL(q‖p), in closed form where all samples share T.
  at::Tensor mean_divergence() const;
};

/// `logits` with what `per_sample` says of each sample. The gradient flows through the student's part.
KD_API Softened soften(const LogitPair& logits, double temperature, PerSample per_sample);

/// A declared temperature, ready to be applied.
class KD_API Temperature {
 public:
  explicit Temperature(const TemperatureParams& params) : number_(params.temperature), per_sample_(params.per_sample) {}

  /// Whether T is a number, at any time.
  bool constant() const { return number_.constant(); }
  /// The logits of a step.
  Softened operator()(const LossInput& input) const { return at(precise_logits(input), input.time); }
  /// Any logits, of some moment of the stage.
  Softened at(const LogitPair& logits, const ScheduleTime& time) const {
    return soften(logits, number_.at(time), per_sample_);
  }

 private:
  ScheduledValue number_;
  PerSample per_sample_;
};

}  // namespace kd
