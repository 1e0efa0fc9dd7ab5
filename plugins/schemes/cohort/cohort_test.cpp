// Tests of the scheme "cohort".
#include "../shared/peer_checks.h"

namespace {

namespace fakes = kd::testing::fakes;

using peer_checks::Snapshot;

constexpr std::size_t kNetworks = 3;

/// Three networks that all learn from the answers before a step.
fakes::Stage make(const std::string& parameters, const at::Device& device = at::kCPU) {
  return peer_checks::make("type = 'cohort', order = 'simultaneous'" + parameters, kNetworks, device);
}

const std::vector<kd::Term>& terms(const fakes::Stage& stage, std::size_t k) { return stage.updater.updates[k].second; }
double mimicry(const fakes::Stage& stage, std::size_t k) { return terms(stage, k)[1].value.item<double>(); }
at::Tensor gradient(const fakes::Stage& stage, std::size_t k) {
  return fakes::gradient(terms(stage, k), stage.all_networks[k]);
}

/// The mean of some networks' posteriors.
fakes::Rows mean(const Snapshot& at, const std::vector<std::size_t>& members) {
  fakes::Rows result = at.p[0];
  for (std::size_t i = 0; i < result.size(); ++i) {
    for (std::size_t c = 0; c < result[i].size(); ++c) {
      result[i][c] = 0;
      for (const std::size_t k : members) result[i][c] += at.p[k][i][c] / static_cast<double>(members.size());
    }
  }
  return result;
}

std::vector<std::size_t> peers_of(std::size_t k) { return {(k + 1) % kNetworks, (k + 2) % kNetworks}; }

TEST(Cohort, MimicsEachPeerByDefault) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage = make("", device);
    stage.step();
    const Snapshot at(stage);
    for (std::size_t k = 0; k < kNetworks; ++k) {
      double expected = 0;
      for (const std::size_t l : peers_of(k)) expected += fakes::divergence(at.p[l], at.p[k]) / 2;
      EXPECT_NEAR(mimicry(stage, k), expected, 1e-5);
    }
  }
}

TEST(Cohort, MayMimicThePeersTogether) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage = make(", strategy = 'ensemble'", device);
    stage.step();
    const Snapshot at(stage);
    for (std::size_t k = 0; k < kNetworks; ++k) {
      EXPECT_NEAR(mimicry(stage, k), fakes::divergence(mean(at, peers_of(k)), at.p[k]), 1e-5);
      for (const std::size_t l : peers_of(k)) {
        EXPECT_TRUE(peer_checks::has_no_gradient(terms(stage, k), stage.all_networks[l]));
      }
    }
  }
}

TEST(Cohort, BothStrategiesTrainAlikeAtOneTemperature) {
  for (const std::string t : {"1.0", "3.0"}) {
    const std::string common = ", mimicry = [{ type = 'kd', temperature = " + t + " }], target_temperature = " + t;
    fakes::Stage each = make(common), together = make(common + ", strategy = 'ensemble'");
    each.step();
    together.step();
    for (std::size_t k = 0; k < kNetworks; ++k) {
      EXPECT_LT(fakes::largest_difference(gradient(each, k), gradient(together, k)), 1e-6);
      EXPECT_GT(mimicry(each, k), mimicry(together, k) + 1e-3);
    }
  }
}

TEST(Cohort, GradientIsThatOfTheMeanPosterior) {
  for (const std::string strategy : {"each_peer", "ensemble"}) {
    fakes::Stage stage = make(", strategy = '" + strategy + "'");
    stage.step();
    const Snapshot at(stage);
    for (std::size_t k = 0; k < kNetworks; ++k) {
      const at::Tensor expected = peer_checks::expected_gradient(stage, at.p[k], mean(at, peers_of(k)), 1);
      EXPECT_LT(fakes::largest_difference(gradient(stage, k), expected), 1e-6);
    }
  }
}

TEST(Cohort, WithItselfInTheMeanANetworkLearnsLessFromItsPeers) {
  fakes::Stage stage = make(", strategy = 'ensemble', target = 'include_self'");
  stage.step();
  const Snapshot at(stage);
  for (std::size_t k = 0; k < kNetworks; ++k) {
    EXPECT_NEAR(mimicry(stage, k), fakes::divergence(mean(at, {0, 1, 2}), at.p[k]), 1e-5);
    // p − mean over all = (K − 1)/K · (p − mean over the peers)
    const at::Tensor expected = peer_checks::expected_gradient(stage, at.p[k], mean(at, peers_of(k)), 2.0 / 3);
    EXPECT_LT(fakes::largest_difference(gradient(stage, k), expected), 1e-6);
  }
}

TEST(Cohort, MayAverageLogits) {
  fakes::Stage stage = make(", strategy = 'ensemble', target = 'logit_mean'");
  stage.step();
  const Snapshot at(stage);
  for (std::size_t k = 0; k < kNetworks; ++k) {
    const at::Tensor logits = (at.logits[peers_of(k)[0]] + at.logits[peers_of(k)[1]]) / 2;
    EXPECT_NEAR(mimicry(stage, k), fakes::divergence(fakes::probabilities(logits, 1), at.p[k]), 1e-5);
  }
}

TEST(Cohort, EnsembleUsesTheNewestAnswersInTurn) {
  fakes::Stage stage = peer_checks::make("type = 'cohort', strategy = 'ensemble'", kNetworks);
  stage.updater.learning_rate = 0.5;
  Snapshot newest(stage);
  const fakes::Rows last = newest.p[2];
  stage.step();
  newest = Snapshot(stage);
  EXPECT_EQ(stage.events.size(), 8U);
  EXPECT_NEAR(mimicry(stage, 2), fakes::divergence(mean(newest, {0, 1}), last), 1e-5);
}

TEST(Cohort, LearnsFromPeersWhereThereAreNoLabels) {
  for (const std::string strategy : {"each_peer", "ensemble"}) {
    fakes::Stage stage = peer_checks::make("type = 'cohort', order = 'simultaneous', strategy = '" + strategy + "'", 2);
    stage.batch.targets.labels.narrow(0, 2, 4).fill_(-1);
    stage.step();
    const Snapshot at(stage);
    for (const std::size_t k : {0, 1}) {
      const std::vector<double> losses = fakes::label_losses(at.p[k]);
      EXPECT_NEAR(terms(stage, k)[0].value.item<double>(), (losses[0] + losses[1]) / 2, 1e-5);
      EXPECT_NEAR(mimicry(stage, k), fakes::divergence(at.p[1 - k], at.p[k]), 1e-5);
    }
  }
}

/// Mean over the batch of ‖z_k − z_l‖²: the fake networks' features are their logits.
double distance(const Snapshot& at, std::size_t k, std::size_t l) {
  double sum = 0;
  const fakes::Rows a = fakes::rows(at.logits[k]), b = fakes::rows(at.logits[l]);
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t c = 0; c < a[i].size(); ++c) sum += (a[i][c] - b[i][c]) * (a[i][c] - b[i][c]);
  }
  return sum / static_cast<double>(a.size());
}

TEST(Cohort, MayPullPooledFeaturesTogether) {
  fakes::Stage stage = make(", feature_l2 = 0.3");
  stage.step();
  EXPECT_EQ(stage.required[2].second.student_taps, kd::TapRequest({"pooled"}));
  const Snapshot at(stage);
  for (std::size_t k = 0; k < kNetworks; ++k) {
    ASSERT_EQ(fakes::names(terms(stage, k)), fakes::Names({"cross_entropy", "kd", "feature_l2"}));
    const kd::Term& term = terms(stage, k)[2];
    EXPECT_EQ(term.weight, 0.3);
    EXPECT_NEAR(term.value.item<double>(), (distance(at, k, peers_of(k)[0]) + distance(at, k, peers_of(k)[1])) / 2,
                1e-4);
    EXPECT_TRUE(peer_checks::has_no_gradient(terms(stage, k), stage.all_networks[peers_of(k)[0]]));
    EXPECT_TRUE(fakes::gradient({term}, stage.all_networks[k]).abs().max().item<double>() > 1e-3);
  }
}

TEST(Cohort, RefusesFeaturesOfUnequalWidthBeforeTheFirstUpdate) {
  fakes::Stage stage = peer_checks::make("type = 'cohort', feature_l2 = 1", 2);
  stage.all_networks[1].classifier.tap_width = 2;
  try {
    stage.step();
    FAIL() << "unequal widths were taken";
  } catch (const kd::RecipeError& error) {
    EXPECT_EQ(std::string(error.what()), "feature_l2 wants pooled features of one width; 'a' has 3 and 'b' has 2");
  }
  EXPECT_TRUE(stage.updater.updates.empty());
}

TEST(Cohort, RefusesFeaturesOfAnEnsemble) {
  const std::string mimicry = "type = 'cohort', mimicry = [{ type = 'recorder' }]";
  EXPECT_NO_THROW(peer_checks::make(mimicry, 2));
  EXPECT_THROW(peer_checks::make(mimicry + ", strategy = 'ensemble'", 2), kd::RecipeError);
}

/// Processes of which this is one, and whose others answer as their networks do.
class Processes final : public kd::Group {
 public:
  std::int64_t rank() const override { return 1; }
  std::int64_t size() const override { return kNetworks; }
  at::Tensor gather(const at::Tensor& rows) override {
    gathered = rows;
    return answers;
  }

  at::Tensor answers, gathered;
};

TEST(Cohort, TrainsItsNetworkAloneWhereEachHasAProcess) {
  for (const std::string strategy : {"each_peer", "ensemble"}) {
    const std::string parameters = "type = 'cohort', order = 'simultaneous', strategy = '" + strategy + "'";
    fakes::Stage together = peer_checks::make(parameters, kNetworks);
    together.step();
    Processes processes;
    fakes::Stage spread("{ " + parameters + ", placement = 'spread' }", at::kCPU,
                        {.networks = kNetworks, .teacher_weights = {}, .processes = &processes});
    processes.answers = at::stack(Snapshot(spread).logits);
    spread.step();
    EXPECT_EQ(spread.events, fakes::Events({"forward b", "update b"}));
    EXPECT_TRUE(processes.gathered.equal(processes.answers.narrow(0, 1, 1)));
    EXPECT_FALSE(processes.gathered.requires_grad());
    ASSERT_EQ(spread.updater.updates.size(), 1U);
    const auto &alone = terms(spread, 0), &of_all = terms(together, 1);
    ASSERT_EQ(fakes::names(alone), fakes::names(of_all));
    for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(alone[i].value.equal(of_all[i].value));
    EXPECT_TRUE(fakes::gradient(alone, spread.all_networks[1]).equal(gradient(together, 1)));
  }
}

TEST(Cohort, SpreadsOnlyWhatLearnsAtOnceFromLogits) {
  const auto error_of = [](const std::string& parameters) -> std::string {
    try {
      peer_checks::make("type = 'cohort', placement = 'spread'" + parameters, 2);
    } catch (const kd::RecipeError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(error_of(", order = 'simultaneous'"), "");
  EXPECT_EQ(error_of(""),
            "placement = \"spread\" has all networks learn at once; take order = \"simultaneous\" with it");
  for (const std::string features : {", feature_l2 = 1", ", mimicry = [{ type = 'recorder' }]"}) {
    EXPECT_NE(error_of(", order = 'simultaneous'" + features).find("exchanges logits, not the feature"),
              std::string::npos);
  }
}

TEST(Cohort, WantsTwoOrMoreNetworksAndNoTeacher) {
  fakes::load_components();
  const kd::Roles roles = kd::registered_components().roles("scheme", "cohort");
  EXPECT_EQ(roles.fewest_networks, 2);
  EXPECT_GT(roles.most_networks, 1000);
  EXPECT_EQ(roles.most_teachers, 0);
}

}  // namespace
