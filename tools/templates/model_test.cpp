// Tests of the model "KD_NAME_HERE", with the checks that the tests of networks share.
#include "kd/testing/networks.h"

namespace {

constexpr kd::Model::Context kImages{.channels = 2, .height = 3, .width = 4, .classes = 7};
const std::string kNetwork = "{ type = 'KD_NAME_HERE', hidden = 5 }";

TEST(KdClassHere, OffersItsTapsInOrder) {
  EXPECT_EQ(kd::testing::describe_taps(kNetwork, kImages), "pooled 5\nlogits 7\n");
  kd::testing::expect_head(kNetwork, kImages);
}

TEST(KdClassHere, HasTheParametersOfItsLayers) {
  const auto model = kd::testing::make_network(kNetwork, kImages);
  EXPECT_EQ(kd::testing::count_parameters(*model), (2 * 3 * 4 + 1) * 5 + (5 + 1) * 7);
}

// Every parameter gets a gradient, and a small step against it lowers the loss as much as it says.
TEST(KdClassHere, Trains) { kd::testing::expect_training_step(kNetwork); }

TEST(KdClassHere, ComputesInBfloat16WhatItDoesInFp32) { kd::testing::expect_bfloat16(kNetwork); }

}  // namespace
