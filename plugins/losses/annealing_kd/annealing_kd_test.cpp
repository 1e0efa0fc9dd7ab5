// Tests of the loss "annealing_kd".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

/// A moment in the middle of `epoch` of a stage of `epochs`.
kd::ScheduleTime in_epoch(std::int64_t epoch, std::int64_t epochs) {
  return {.step = 10 * epoch + 4, .steps_per_epoch = 10, .epochs = epochs};
}

/// Mean over rows and classes of (z_s − Φ·z_t)².
double squares(double annealing) {
  return mean_of_rows([&](std::size_t i) {
    const Row s = rows(student())[i], t = rows(teacher())[i];
    double sum = 0;
    for (std::size_t c = 0; c < s.size(); ++c) sum += (s[c] - annealing * t[c]) * (s[c] - annealing * t[c]);
    return sum / kClasses;
  });
}

/// Φ in each epoch, with τ counted as the paper counts it: down by one after every k = epochs/τ_max epochs.
std::vector<double> annealing_of_epochs(std::int64_t epochs, std::int64_t max_temperature) {
  std::vector<double> result;
  std::int64_t temperature = max_temperature;
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
    if (epoch > 0 && epoch % (epochs / max_temperature) == 0) --temperature;
    result.push_back(1 - static_cast<double>(temperature - 1) / static_cast<double>(max_temperature));
  }
  return result;
}

TEST(AnnealingKd, FollowsTheDefinitionInEveryEpoch) {
  const std::vector<double> annealing = annealing_of_epochs(12, 4);
  EXPECT_EQ(annealing.front(), 0.25);
  EXPECT_EQ(annealing.back(), 1);
  for (std::int64_t epoch = 0; epoch < 12; ++epoch) {
    expect_value(make("annealing_kd", "max_temperature = 4"), {.teacher = teacher(), .time = in_epoch(epoch, 12)},
                 squares(annealing[static_cast<std::size_t>(epoch)]));
  }
}

TEST(AnnealingKd, HasTenStepsAndMayLeaveOutTheClassesInTheMean) {
  expect_value(make("annealing_kd"), {.teacher = teacher(), .time = in_epoch(0, 160)}, squares(0.1));
  expect_value(make("annealing_kd", "reduction = 'batchmean'"), {.teacher = teacher(), .time = in_epoch(31, 160)},
               squares(0.2) * kClasses);
}

TEST(AnnealingKd, EndsAtTheTeachersLogitsInAnyNumberOfEpochs) {
  for (const std::int64_t epochs : {1, 3, 7, 10, 25}) {
    expect_value(make("annealing_kd"), {.teacher = teacher(), .time = in_epoch(epochs - 1, epochs)}, squares(1));
    // A step that is asked for after the end keeps to it.
    expect_value(make("annealing_kd"), {.teacher = teacher(), .time = in_epoch(epochs + 2, epochs)}, squares(1));
  }
}

TEST(AnnealingKd, NeverTurnsBack) {
  double before = 0;
  for (std::int64_t epoch = 0; epoch < 25; ++epoch) {
    // Of a student that says 0 everywhere the value is Φ² times the teacher's squares.
    const at::Tensor silent = student() * 0;
    const double now =
        value(make("annealing_kd"), silent, {.teacher = teacher(), .time = in_epoch(epoch, 25)}).item<double>();
    EXPECT_GE(now, before);
    before = now;
  }
  EXPECT_GT(before, 0);
}

TEST(AnnealingKd, WithOneStepIsTheSquaredDifferenceOfTheLogits) {
  const Given given{.teacher = teacher(), .time = in_epoch(0, 5)};
  EXPECT_EQ(value(make("annealing_kd", "max_temperature = 1"), student(), given).item<double>(),
            value(make("mse_logits"), student(), given).item<double>());
}

TEST(AnnealingKd, IsSound) {
  for (const auto* parameters : {"", "max_temperature = 3, reduction = 'batchmean'"})
    expect_sound(make("annealing_kd", parameters), {.teacher = teacher(), .time = in_epoch(2, 12)});
}

TEST(AnnealingKd, RefusesNoStep) { EXPECT_THROW(make("annealing_kd", "max_temperature = 0"), kd::Error); }

}  // namespace
