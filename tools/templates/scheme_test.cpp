// Tests of the scheme "KD_NAME_HERE", with stand-ins for what the engine gives it.
#include "kd/testing/stages.h"

namespace {

namespace fakes = kd::testing::fakes;

TEST(KdClassHere, MinimisesTheCrossEntropyByDefault) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage("{ type = 'KD_NAME_HERE' }", device);
    const std::vector<kd::Term> terms = stage.step();
    ASSERT_EQ(fakes::names(terms), fakes::Names({"cross_entropy"}));
    EXPECT_NEAR(terms[0].value.item<double>(),
                fakes::cross_entropy(stage.network.classifier.logits(stage.batch.images)), 1e-5);
  }
}

TEST(KdClassHere, MakesOneUpdatePerBatchWithTheWeightedLosses) {
  fakes::Stage stage("{ type = 'KD_NAME_HERE', losses = [{ type = 'cross_entropy', weight = 0.5 }] }");
  EXPECT_EQ(fakes::weights(stage.step(0)), std::vector<double>({0.5}));
  EXPECT_EQ(fakes::weights(stage.step(1)), std::vector<double>({0.5}));
  EXPECT_EQ(stage.events, fakes::Events({"forward a", "update a", "forward a", "update a"}));
}

// Adapters of losses are trained with the network, and what losses need is asked for before the first step.
TEST(KdClassHere, SetsItsLossesUp) {
  const fakes::Stage stage("{ type = 'KD_NAME_HERE', losses = [{ type = 'recorder', teacher = false }] }");
  ASSERT_EQ(stage.adapters.size(), 1U);
  EXPECT_EQ(stage.adapters[0].first, &stage.network);
  ASSERT_EQ(stage.required.size(), 1U);
  EXPECT_EQ(stage.required[0].second.student_taps, kd::TapRequest({"stage1"}));
}

}  // namespace
