// Tests of the scheme "ctsl_mkt".
#include <ATen/ops/arange.h>

#include "../shared/peer_checks.h"

namespace {

namespace fakes = kd::testing::fakes;

using peer_checks::Snapshot;

constexpr double kTemperature = 3;
/// Mimicry of posteriors alone, so that terms have closed forms.
constexpr const char* kOnLogits = ", mimicry = [{ type = 'kd', temperature = 1 }]";

/// Two networks with their frozen selves; `parameters` follow the type.
fakes::Stage make(const std::string& parameters, const fakes::Cast& cast = {.networks = 2, .teacher_weights = {1, 1}},
                  const at::Device& device = at::kCPU) {
  return fakes::Stage("{ type = 'ctsl_mkt'" + parameters + " }", device, cast);
}

fakes::Rows answer_of_self(const fakes::Stage& stage, std::size_t k) {
  return fakes::probabilities(stage.all_teachers[k].classifier.logits(stage.batch.images), kTemperature);
}

double self_loss(const fakes::Stage& stage, const Snapshot& at, std::size_t k) {
  return fakes::divergence(answer_of_self(stage, k), fakes::probabilities(at.logits[k], kTemperature));
}

const std::vector<kd::Term>& terms(const fakes::Stage& stage, std::size_t k) { return stage.updater.updates[k].second; }

TEST(CtslMkt, LearnsFromLabelsItsFrozenSelfAndThePeersNewestAnswer) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage = make(kOnLogits, {.networks = 2, .teacher_weights = {1, 1}}, device);
    stage.updater.learning_rate = 0.5;
    const Snapshot before(stage);
    stage.step();
    const Snapshot after(stage);
    EXPECT_EQ(stage.events, fakes::Events({"forward a", "forward b", "update a", "answer a", "update b"}));
    for (const std::size_t k : {0, 1}) {
      ASSERT_EQ(fakes::names(terms(stage, k)), fakes::Names({"cross_entropy", "self_kd", "peer_kd"}));
      EXPECT_EQ(fakes::weights(terms(stage, k)), std::vector<double>({1, 1, 1}));
      EXPECT_NEAR(terms(stage, k)[0].value.item<double>(), fakes::cross_entropy(before.logits[k]), 1e-5);
      EXPECT_NEAR(terms(stage, k)[1].value.item<double>(), self_loss(stage, before, k), 1e-4);
      EXPECT_EQ(stage.all_teachers[k].seen_batches, std::vector<const kd::Batch*>({&stage.batch}));
    }
    EXPECT_NEAR(terms(stage, 0)[2].value.item<double>(), fakes::divergence(before.p[1], before.p[0]), 1e-5);
    EXPECT_NEAR(terms(stage, 1)[2].value.item<double>(), fakes::divergence(after.p[0], before.p[1]), 1e-5);
    EXPECT_GT(fakes::divergence(after.p[0], before.p[0]), 1e-3);  // so that the order shows
  }
}

TEST(CtslMkt, ComparesRelationsWithThePeerByDefault) {
  fakes::Stage stage = make("");
  stage.step();
  EXPECT_EQ(fakes::names(terms(stage, 0)), fakes::Names({"cross_entropy", "self_kd", "peer_rkd", "peer_kd"}));
  for (const auto& [network, needs] : stage.required) {
    EXPECT_EQ(needs.student_taps, kd::TapRequest({"pooled"}));
    EXPECT_TRUE(needs.teacher);               // its frozen self
    EXPECT_TRUE(needs.teacher_taps.empty());  // whose logits alone are wanted, so that they may be cached
  }
  // Scaling a peer's features leaves its relations, which are over mean distances.
  const double before = terms(stage, 0)[2].value.item<double>();
  EXPECT_GT(before, 1e-3);
  stage.all_networks[1].classifier.weight.data().mul_(2);
  stage.step();
  EXPECT_NEAR(stage.updater.updates[2].second[2].value.item<double>(), before, 1e-4);
}

TEST(CtslMkt, MayTrainAllFromTheAnswersBeforeTheStep) {
  fakes::Stage stage = make(std::string(kOnLogits) + ", order = 'simultaneous'");
  stage.updater.learning_rate = 0.5;
  const Snapshot before(stage);
  stage.step();
  EXPECT_EQ(stage.events, fakes::Events({"forward a", "forward b", "update a", "update b"}));
  for (const std::size_t k : {0, 1}) {
    EXPECT_NEAR(terms(stage, k)[2].value.item<double>(), fakes::divergence(before.p[1 - k], before.p[k]), 1e-5);
  }
}

TEST(CtslMkt, HasTheGradientOfTheObjectiveAndSendsNoneToPeers) {
  fakes::Stage stage = make(std::string(kOnLogits) + ", label_weight = 0.7, mimicry_weight = 0.3, self_weight = 0.2");
  const Snapshot at(stage);
  stage.step();
  for (const std::size_t k : {0, 1}) {
    EXPECT_EQ(fakes::weights(terms(stage, k)), std::vector<double>({0.7, 0.2, 0.3}));
    EXPECT_TRUE(peer_checks::has_no_gradient(terms(stage, k), stage.all_networks[1 - k]));
    // By the logits: α(p − y) + β(p − p') + γ(p^T − q^T)/T, over the batch.
    const fakes::Rows soft = fakes::probabilities(at.logits[k], kTemperature), self = answer_of_self(stage, k);
    fakes::Rows by_logits = at.p[k];
    for (std::size_t i = 0; i < by_logits.size(); ++i) {
      for (std::size_t c = 0; c < by_logits[i].size(); ++c) {
        const double p = at.p[k][i][c], label = i % fakes::kClasses == c ? 1 : 0;
        by_logits[i][c] =
            (0.7 * (p - label) + 0.3 * (p - at.p[1 - k][i][c]) + 0.2 / kTemperature * (soft[i][c] - self[i][c])) /
            fakes::kSamples;
      }
    }
    EXPECT_LT(fakes::largest_difference(fakes::gradient(terms(stage, k), stage.all_networks[k]),
                                        fakes::weight_gradient(stage.batch.images, by_logits)),
              1e-6);
  }
}

TEST(CtslMkt, LeavesTheFrozenSelvesUnaskedAtWeightZero) {
  fakes::Stage stage = make(std::string(kOnLogits) + ", self_weight = { type = 'linear', from = 0, to = 2 }");
  EXPECT_EQ(fakes::names(stage.step(0)), fakes::Names({"cross_entropy", "peer_kd"}));
  for (const fakes::Teacher& self : stage.all_teachers) EXPECT_TRUE(self.seen_batches.empty());
  EXPECT_EQ(fakes::weights(stage.step(10)), std::vector<double>({1, 1, 1}));
  for (const fakes::Teacher& self : stage.all_teachers) EXPECT_EQ(self.seen_batches.size(), 1U);
}

TEST(CtslMkt, TakesTheMeanOverMorePeers) {
  fakes::Stage stage =
      make(std::string(kOnLogits) + ", order = 'simultaneous'", {.networks = 3, .teacher_weights = {1, 1, 1}});
  const Snapshot at(stage);
  stage.step();
  for (const std::size_t k : {0, 1, 2}) {
    const fakes::Rows &q = at.p[(k + 1) % 3], &r = at.p[(k + 2) % 3];
    EXPECT_NEAR(terms(stage, k)[2].value.item<double>(),
                (fakes::divergence(q, at.p[k]) + fakes::divergence(r, at.p[k])) / 2, 1e-5);
    EXPECT_NEAR(terms(stage, k)[1].value.item<double>(), self_loss(stage, at, k), 1e-4);
  }
}

TEST(CtslMkt, KeepsUnlabelledRowsOutOfLossesOnLabels) {
  // What stands beside the label of a row that has none does not count: the mean is over the others.
  fakes::Stage stage = make(kOnLogits);
  stage.batch.targets.labels.index_fill_(0, at::arange(3, at::kLong), -1);
  const Snapshot at(stage);
  stage.step();
  const std::vector<double> rows = fakes::label_losses(at.p[0]);
  EXPECT_NEAR(terms(stage, 0)[0].value.item<double>(), (rows[3] + rows[4] + rows[5]) / 3, 1e-5);
  EXPECT_NEAR(terms(stage, 0)[1].value.item<double>(), self_loss(stage, at, 0), 1e-4);
}

TEST(CtslMkt, GivesAdaptersOfEachListANameOfTheirOwn) {
  fakes::Stage stage = make(", mimicry = [{ type = 'recorder' }], self = [{ type = 'recorder' }]");
  ASSERT_EQ(stage.adapters.size(), 4U);
  fakes::Names found;
  for (const auto& [network, adapter] : stage.adapters) found.push_back(network->name() + " " + adapter.name);
  EXPECT_EQ(found, fakes::Names({"a self_recorder", "a peer_recorder", "b self_recorder", "b peer_recorder"}));
  stage.step();
  const fakes::Seen& seen = fakes::Recorder::seen;  // the last: of b, with a as its peer
  EXPECT_FALSE(seen.teacher_tap.requires_grad());
  EXPECT_TRUE(seen.teacher_logits.equal(stage.all_networks[0].classifier.logits(stage.batch.images)));
}

std::string error_of(const std::string& parameters, const fakes::Cast& cast) {
  try {
    make(parameters, cast);
  } catch (const kd::RecipeError& error) {
    return error.what();
  }
  return "";
}

TEST(CtslMkt, RefusesWhatItCannotDo) {
  EXPECT_EQ(error_of("", {.networks = 2, .teacher_weights = {1, 1}}), "");
  EXPECT_NE(error_of("", {.networks = 3, .teacher_weights = {1, 1}}).find("there are 3 networks and 2 teachers"),
            std::string::npos);
  EXPECT_NE(error_of("", {.networks = 2, .teacher_weights = {1, 0.5}}).find("a teacher takes no 'weight'"),
            std::string::npos);
  EXPECT_NE(error_of(", losses = [{ type = 'kd' }]", {.networks = 2, .teacher_weights = {1, 1}})
                .find("'losses' are those on labels"),
            std::string::npos);
}

TEST(CtslMkt, IsRecordableWithConstantWeights) {
  fakes::load_components();
  const auto recordable = [](const std::string& parameters) {
    fakes::Stage stage = make("");
    const auto scheme = kd::make<kd::Scheme>("{ type = 'ctsl_mkt'" + parameters + " }");
    scheme->setup(stage);
    return scheme->recordable();
  };
  EXPECT_TRUE(recordable(""));
  EXPECT_FALSE(recordable(", self_weight = { type = 'linear', from = 0, to = 2 }"));
  EXPECT_FALSE(recordable(", mimicry = [{ type = 'recorder' }]"));
}

TEST(CtslMkt, WantsATeacherForEachOfTwoOrMoreNetworks) {
  fakes::load_components();
  const kd::Roles roles = kd::registered_components().roles("scheme", "ctsl_mkt");
  EXPECT_EQ(roles.fewest_networks, 2);
  EXPECT_EQ(roles.fewest_teachers, 2);
  EXPECT_GT(roles.most_teachers, 1000);
}

}  // namespace
