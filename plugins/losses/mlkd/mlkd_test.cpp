// Tests of the loss "mlkd".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

/// Σ over pairs of the squared difference of inner products of rows.
double relations(const Rows& p, const Rows& q) {
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    for (std::size_t j = 0; j < p.size(); ++j) {
      double difference = 0;
      for (std::size_t c = 0; c < p[i].size(); ++c) difference += q[i][c] * q[j][c] - p[i][c] * p[j][c];
      sum += difference * difference;
    }
  }
  return sum;
}

Rows transposed(const Rows& rows) {
  Rows result(rows[0].size());
  for (const Row& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) result[c].push_back(row[c]);
  }
  return result;
}

TEST(Mlkd, FollowsTheDefinition) {
  double expected = 0;
  for (const double temperature : {1.5, 4.0}) {
    const Rows p = softmax(student(), temperature), q = softmax(teacher(), temperature);
    expected += temperature * temperature * mean_of_rows([&](std::size_t i) { return divergence(q[i], p[i]); });
    expected += 2 * relations(p, q) / kRows + 3 * relations(transposed(p), transposed(q)) / kClasses;
  }
  expect_value(make("mlkd", "temperatures = [1.5, 4.0], batch = 2, classes = 3, share = 0.25"),
               {.teacher = teacher(), .targets = hard(kLabels)}, expected / 4);
}

TEST(Mlkd, IsSound) { expect_sound(make("mlkd"), {.teacher = teacher(), .targets = mixed()}); }

TEST(Mlkd, OfSamplesAloneIsKd) {
  const Given given{.teacher = teacher().to(at::kDouble), .targets = hard(kLabels)};
  EXPECT_NEAR(
      value(make("mlkd", "temperatures = [4], batch = 0, classes = 0, share = 1"), student().to(at::kDouble), given)
          .item<double>(),
      value(make("kd", "temperature = 4"), student().to(at::kDouble), given).item<double>(), 1e-10);
}

TEST(Mlkd, WantsATemperature) {
  EXPECT_THROW(make("mlkd", "temperatures = []"), kd::Error);
  EXPECT_THROW(make("mlkd", "temperatures = [2, 0]"), kd::Error);
}

}  // namespace
