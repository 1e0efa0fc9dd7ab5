// A number that changes over training: a factor of the learning rate, a loss weight, a temperature.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kd/api.h"
#include "kd/plugin.h"
#include "kd/schema.h"

namespace kd {

/// A moment of a stage: `step` batches have been seen out of steps_per_epoch · epochs, however many of them make one
/// update.
struct KD_API ScheduleTime {
  std::int64_t step = 0, steps_per_epoch = 1, epochs = 1;

  /// Epochs passed, fractional.
  double epoch() const { return static_cast<double>(step) / static_cast<double>(steps_per_epoch); }
  /// Whole epochs passed.
  std::int64_t whole_epoch() const { return step / steps_per_epoch; }
};

class KD_API Schedule {
 public:
  static constexpr const char* kKind = "schedule";
  struct Context {};

  virtual ~Schedule();
  /// The number at `time`. As schedule of an optimizer it is a factor of the learning rate.
  virtual double value(const ScheduleTime& time) const = 0;
  /// Told once per evaluation: the loss (NLL) on the validation split, or on the test split where there is none.
  virtual void observe(double /*loss*/) {}
  /// What observe() has gathered, for checkpoints.
  virtual std::vector<double> state() const { return {}; }
  virtual void restore(const std::vector<double>& /*state*/) {}
};

/// A declared number or schedule, ready to be asked.
class KD_API ScheduledValue {
 public:
  explicit ScheduledValue(const Scheduled& declared)
      : number_(declared.number), schedule_(declared.schedule ? make<Schedule>(declared.schedule) : nullptr) {}

  /// Whether it is a number, at any time.
  bool constant() const { return schedule_ == nullptr; }
  double at(const ScheduleTime& time) const { return schedule_ ? schedule_->value(time) : number_; }

 private:
  double number_;
  std::unique_ptr<Schedule> schedule_;
};

}  // namespace kd
