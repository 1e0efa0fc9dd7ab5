// Tests of updates of several batches: each batch weighs as many rows as count.
#include "engine/update_windows.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <numeric>

namespace {

at::Tensor plain_order(std::int64_t) { return at::arange(10, at::kLong); }

TEST(UpdateWindows, OneBatchIsTheWholeUpdate) {
  const std::vector<std::int64_t> labels(10, 1);
  kd::UpdateWindows windows({.samples = 10, .batch_size = 4, .batches = 3, .steps = 6, .accumulate = 1}, labels,
                            plain_order);
  for (std::int64_t step = 0; step < 6; ++step) {
    EXPECT_EQ(windows.part(step).share, 1);
    EXPECT_TRUE(windows.part(step).last);
    EXPECT_EQ(windows.first_step(step), step);
  }
}

TEST(UpdateWindows, ABatchWeighsItsRows) {
  const std::vector<std::int64_t> labels(10, 1);
  // Batches of 4, 4, 2 rows, 4, 4, 2 …: updates of (4, 4), (2, 4), (4, 2), and of the one that is left.
  kd::UpdateWindows windows({.samples = 10, .batch_size = 4, .batches = 3, .steps = 7, .accumulate = 2}, labels,
                            plain_order);
  const std::vector<double> shares = {0.5, 0.5, 1.0 / 3, 2.0 / 3, 2.0 / 3, 1.0 / 3, 1};
  for (std::size_t step = 0; step < shares.size(); ++step) {
    const kd::UpdatePart part = windows.part(static_cast<std::int64_t>(step));
    EXPECT_DOUBLE_EQ(part.share, shares[step]) << step;
    EXPECT_DOUBLE_EQ(part.labelled_share, shares[step]) << step;
    EXPECT_EQ(part.last, step % 2 == 1 || step == 6) << step;
  }
}

TEST(UpdateWindows, ALossOnLabelsWeighsLabels) {
  std::vector<std::int64_t> labels(10, -1);
  labels[0] = labels[5] = labels[6] = 3;
  const auto order = [](std::int64_t epoch) {
    return epoch == 0 ? plain_order(0) : plain_order(0).flip({0}).contiguous();
  };
  kd::UpdateWindows windows({.samples = 10, .batch_size = 5, .batches = 2, .steps = 4, .accumulate = 2}, labels, order);
  EXPECT_DOUBLE_EQ(windows.part(0).labelled_share, 1.0 / 3);
  EXPECT_DOUBLE_EQ(windows.part(1).labelled_share, 2.0 / 3);
  EXPECT_DOUBLE_EQ(windows.part(2).labelled_share, 2.0 / 3);
  EXPECT_DOUBLE_EQ(windows.part(3).labelled_share, 1.0 / 3);
  EXPECT_DOUBLE_EQ(windows.part(0).share, 0.5);
}

}  // namespace
