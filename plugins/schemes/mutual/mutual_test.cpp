// Tests of the scheme "mutual".
#include "../shared/peer_checks.h"

namespace {

namespace fakes = kd::testing::fakes;

using peer_checks::Snapshot;

TEST(Mutual, TrainsOneAfterTheOtherFromTheNewestAnswers) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage = peer_checks::make("type = 'mutual'", 2, device);
    stage.updater.learning_rate = 0.5;
    const Snapshot before(stage);
    stage.step();
    const Snapshot after(stage);
    EXPECT_EQ(stage.events, fakes::Events({"forward a", "forward b", "update a", "answer a", "update b"}));
    const auto& [first, second] = std::pair(stage.updater.updates[0].second, stage.updater.updates[1].second);
    ASSERT_EQ(fakes::names(first), fakes::Names({"cross_entropy", "kd"}));
    EXPECT_EQ(fakes::weights(first), std::vector<double>({1, 1}));
    EXPECT_NEAR(first[0].value.item<double>(), fakes::cross_entropy(before.logits[0]), 1e-5);
    EXPECT_NEAR(first[1].value.item<double>(), fakes::divergence(before.p[1], before.p[0]), 1e-5);
    EXPECT_NEAR(second[0].value.item<double>(), fakes::cross_entropy(before.logits[1]), 1e-5);
    EXPECT_NEAR(second[1].value.item<double>(), fakes::divergence(after.p[0], before.p[1]), 1e-5);
    EXPECT_GT(fakes::divergence(after.p[0], before.p[0]), 1e-3);  // so that the order shows
  }
}

TEST(Mutual, MayTrainAllFromTheAnswersBeforeTheStep) {
  fakes::Stage stage = peer_checks::make("type = 'mutual', order = 'simultaneous'", 2);
  stage.updater.learning_rate = 0.5;
  const Snapshot before(stage);
  stage.step();
  EXPECT_EQ(stage.events, fakes::Events({"forward a", "forward b", "update a", "update b"}));
  for (const std::size_t k : {0, 1}) {
    EXPECT_NEAR(stage.updater.updates[k].second[1].value.item<double>(),
                fakes::divergence(before.p[1 - k], before.p[k]), 1e-5);
  }
}

TEST(Mutual, MayPassEachNetworkTwiceInTrainingAsPublished) {
  fakes::Stage stage = peer_checks::make("type = 'mutual', batch_norm_twice = true", 2);
  stage.step();
  EXPECT_EQ(stage.events, fakes::Events({"forward a", "forward b", "update a", "forward without gradient a", "update b",
                                         "forward without gradient b"}));
}

TEST(Mutual, CyclesThroughMoreNetworksAndTakesTheMeanOverPeers) {
  fakes::Stage stage = peer_checks::make("type = 'mutual'", 3);
  stage.updater.learning_rate = 0.5;
  const Snapshot before(stage);
  stage.step();
  const Snapshot after(stage);
  EXPECT_EQ(stage.events, fakes::Events({"forward a", "forward b", "forward c", "update a", "answer a", "update b",
                                         "answer b", "update c"}));
  const auto mimicry = [&](std::size_t k) { return stage.updater.updates[k].second[1].value.item<double>(); };
  const auto mean = [&](const fakes::Rows& q, const fakes::Rows& r, std::size_t k) {
    return (fakes::divergence(q, before.p[k]) + fakes::divergence(r, before.p[k])) / 2;
  };
  EXPECT_NEAR(mimicry(0), mean(before.p[1], before.p[2], 0), 1e-5);
  EXPECT_NEAR(mimicry(1), mean(after.p[0], before.p[2], 1), 1e-5);
  EXPECT_NEAR(mimicry(2), mean(after.p[0], after.p[1], 2), 1e-5);
}

TEST(Mutual, SendsNoGradientToThePeers) {
  for (const std::string order : {"alternating", "simultaneous"}) {
    fakes::Stage stage = peer_checks::make("type = 'mutual', order = '" + order + "'", 2);
    const Snapshot at(stage);
    stage.step();
    for (const std::size_t k : {0, 1}) {
      const std::vector<kd::Term>& terms = stage.updater.updates[k].second;
      EXPECT_TRUE(peer_checks::has_no_gradient(terms, stage.all_networks[1 - k]));
      EXPECT_LT(fakes::largest_difference(fakes::gradient(terms, stage.all_networks[k]),
                                          peer_checks::expected_gradient(stage, at.p[k], at.p[1 - k], 1)),
                1e-6);
    }
  }
}

TEST(Mutual, GivesMimicryThePeersFeaturesWithoutGradient) {
  fakes::Stage stage =
      peer_checks::make("type = 'mutual', order = 'simultaneous', mimicry = [{ type = 'recorder' }]", 2);
  ASSERT_EQ(stage.required.size(), 2U);
  for (const std::size_t k : {0, 1}) {
    EXPECT_EQ(stage.required[k].first, &stage.all_networks[k]);
    EXPECT_FALSE(stage.required[k].second.teacher);
    EXPECT_TRUE(stage.required[k].second.teacher_taps.empty());
    EXPECT_EQ(stage.required[k].second.student_taps, kd::TapRequest({"stage1", "stage2"}));
    EXPECT_EQ(stage.adapters[k].first, &stage.all_networks[k]);
  }
  const Snapshot at(stage);
  stage.step();
  const fakes::Seen& seen = fakes::Recorder::seen;
  EXPECT_TRUE(seen.student_logits.requires_grad());
  EXPECT_FALSE(seen.teacher_logits.requires_grad());
  EXPECT_FALSE(seen.teacher_tap.requires_grad());
  EXPECT_TRUE(seen.teacher_tap.equal(at.logits[0]));
}

TEST(Mutual, LeavesTeachersOfItsLabelLossesToTheStage) {
  fakes::Stage stage = peer_checks::make("type = 'mutual', losses = [{ type = 'kd' }]", 2);
  EXPECT_TRUE(stage.required[0].second.teacher);  // which the engine refuses, for lack of one
}

TEST(Mutual, FollowsTheScheduleOfMimicry) {
  fakes::Stage stage = peer_checks::make(
      "type = 'mutual', mimicry_weight = { type = 'linear', from = 0, to = 4 }, "
      "mimicry = [{ type = 'kd', weight = 0.5, temperature = 1 }]",
      2);
  EXPECT_EQ(fakes::names(stage.step(0)), fakes::Names({"cross_entropy"}));
  EXPECT_EQ(fakes::weights(stage.step(10)), std::vector<double>({1, 1}));
}

TEST(Mutual, WantsTwoOrMoreNetworksAndNoTeacher) {
  fakes::load_components();
  const kd::Roles roles = kd::registered_components().roles("scheme", "mutual");
  EXPECT_EQ(roles.fewest_networks, 2);
  EXPECT_GT(roles.most_networks, 1000);
  EXPECT_EQ(roles.most_teachers, 0);
}

}  // namespace
