// Tests of the scheme "diversified"; what it shares with "ctsl_mkt" is tested there.
#include <ATen/ops/arange.h>

#include "../shared/peer_checks.h"

namespace {

namespace fakes = kd::testing::fakes;

using peer_checks::Snapshot;

fakes::Stage make(const std::string& parameters, const at::Device& device = at::kCPU) {
  return fakes::Stage("{ type = 'diversified'" + parameters + " }", device, {.networks = 2, .teacher_weights = {1}});
}

const std::vector<kd::Term>& terms(const fakes::Stage& stage, std::size_t k) { return stage.updater.updates[k].second; }

/// Mean of (a − b)² over all numbers; taps of a fake network are its logits.
double mean_square(const at::Tensor& a, const at::Tensor& b) { return (a - b).square().mean().item<double>(); }

TEST(Diversified, TeachesTheFirstPredictionsTheSecondFeaturesAndLetsThemExchangeBoth) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage = make(", label_weight = 0.5, teacher_weight = 2, exchange_weight = 3", device);
    stage.updater.learning_rate = 0.1;
    const Snapshot before(stage);
    const at::Tensor teacher = stage.teacher.classifier.logits(stage.batch.images);
    stage.step();
    const Snapshot after(stage);
    EXPECT_EQ(stage.events, fakes::Events({"forward a", "forward b", "update a", "answer a", "update b"}));
    ASSERT_EQ(fakes::names(terms(stage, 0)),
              fakes::Names({"cross_entropy", "teacher_kd", "peer_kd", "peer_feature_mse"}));
    ASSERT_EQ(fakes::names(terms(stage, 1)),
              fakes::Names({"cross_entropy", "teacher_feature_mse", "peer_kd", "peer_feature_mse"}));
    for (const std::size_t k : {0, 1}) {
      const at::Tensor peer = k == 0 ? before.logits[1] : after.logits[0];
      EXPECT_EQ(fakes::weights(terms(stage, k)), std::vector<double>({0.5, 2, 3, 3}));
      EXPECT_NEAR(terms(stage, k)[0].value.item<double>(), fakes::cross_entropy(before.logits[k]), 1e-5);
      EXPECT_NEAR(terms(stage, k)[2].value.item<double>(),
                  fakes::divergence(fakes::probabilities(peer, 1), before.p[k]), 1e-5);
      EXPECT_NEAR(terms(stage, k)[3].value.item<double>(), mean_square(before.logits[k], peer), 1e-4);
      EXPECT_TRUE(peer_checks::has_no_gradient(terms(stage, k), stage.all_networks[1 - k]));
    }
    EXPECT_NEAR(terms(stage, 0)[1].value.item<double>(),
                16 * fakes::divergence(fakes::probabilities(teacher, 4), fakes::probabilities(before.logits[0], 4)),
                1e-3);
    EXPECT_NEAR(terms(stage, 1)[1].value.item<double>(), mean_square(before.logits[1], teacher), 1e-4);
  }
}

TEST(Diversified, AsksTheTeacherOnceInAStepAndNotAtWeightZero) {
  fakes::Stage stage = make("");
  stage.step();
  EXPECT_EQ(stage.teacher.seen_batches, std::vector<const kd::Batch*>({&stage.batch}));
  EXPECT_EQ(stage.teacher.forward_passes, 0);
  EXPECT_TRUE(stage.required[0].second.teacher_taps.empty());
  EXPECT_EQ(stage.required[1].second.teacher_taps, kd::TapRequest({"pooled"}));
  fakes::Stage without = make(", teacher_weight = 0");
  without.step();
  EXPECT_TRUE(without.teacher.seen_batches.empty());
  EXPECT_EQ(fakes::names(terms(without, 1)), fakes::Names({"cross_entropy", "peer_kd", "peer_feature_mse"}));
}

TEST(Diversified, GivesEachListWhatItsLossesAskFor) {
  fakes::Stage stage = make(", second_from_teacher = [{ type = 'recorder' }], exchange = []");
  ASSERT_EQ(stage.adapters.size(), 1U);
  EXPECT_EQ(stage.adapters[0].first, &stage.all_networks[1]);
  EXPECT_EQ(stage.adapters[0].second.name, "teacher_recorder");
  stage.step();
  const fakes::Seen& seen = fakes::Recorder::seen;
  EXPECT_TRUE(seen.student_logits.equal(stage.all_networks[1].classifier.logits(stage.batch.images)));
  EXPECT_TRUE(seen.teacher_logits.equal(stage.teacher.classifier.logits(stage.batch.images)));
  EXPECT_EQ(fakes::names(terms(stage, 0)), fakes::Names({"cross_entropy", "teacher_kd"}));
}

TEST(Diversified, KeepsUnlabelledRowsOutOfLossesOnLabels) {
  fakes::Stage some = make(""), none = make("");
  some.batch.targets.labels.index_fill_(0, at::arange(3, at::kLong), -1);
  none.batch.targets.labels.fill_(-1);
  const Snapshot at(some);
  some.step();
  none.step();
  const std::vector<double> rows = fakes::label_losses(at.p[1]);
  EXPECT_NEAR(terms(some, 1)[0].value.item<double>(), (rows[3] + rows[4] + rows[5]) / 3, 1e-5);
  EXPECT_EQ(terms(none, 1)[0].value.item<double>(), 0);
  for (const std::size_t i : {1, 2, 3}) EXPECT_TRUE(terms(some, 1)[i].value.equal(terms(none, 1)[i].value));
}

TEST(Diversified, WantsTwoStudentsAndOneTeacher) {
  fakes::load_components();
  const kd::Roles roles = kd::registered_components().roles("scheme", "diversified");
  EXPECT_EQ(roles.fewest_networks, 2);
  EXPECT_EQ(roles.most_networks, 2);
  EXPECT_EQ(roles.fewest_teachers, 1);
  EXPECT_EQ(roles.most_teachers, 1);
}

}  // namespace
