// Tests of the scheme "mixup_kd".
#include <ATen/ops/cat.h>

#include "kd/testing/stages.h"

namespace {

namespace fakes = kd::testing::fakes;

constexpr double kTemperature = 4;
constexpr std::size_t kRows = fakes::kSamples;

/// A stage whose images are float, as they are when a scheme sees them.
fakes::Stage make(const std::string& parameters, const at::Device& device = at::kCPU, const fakes::Cast& cast = {}) {
  return fakes::Stage("{ type = 'mixup_kd'" + parameters + " }", device, cast);
}

std::vector<kd::Term> step(fakes::Stage& stage, std::int64_t number = 0) {
  stage.batch.images = stage.batch.images.to(at::kFloat);
  return stage.step(number);
}

struct Pair {
  std::size_t partner;
  double weight;
};

/// Finds out how each row of `mixed` was made: x̃ = λ·x + (1 − λ)·x_partner, where λ is the projection of x̃ − x_partner
/// on x − x_partner, and the partner is the one that leaves no rest.
std::vector<Pair> unmix(const at::Tensor& images, const at::Tensor& mixed) {
  const fakes::Rows x = fakes::rows(images.flatten(1)), m = fakes::rows(mixed.flatten(1));
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < m.size(); ++i) {
    Pair best{i, 1};
    double least = 0;
    for (std::size_t f = 0; f < m[i].size(); ++f) least += std::pow(m[i][f] - x[i][f], 2);
    for (std::size_t j = 0; j < x.size(); ++j) {
      if (j == i) continue;
      double product = 0, square = 0, rest = 0;
      for (std::size_t f = 0; f < m[i].size(); ++f) {
        product += (m[i][f] - x[j][f]) * (x[i][f] - x[j][f]);
        square += (x[i][f] - x[j][f]) * (x[i][f] - x[j][f]);
      }
      const double weight = product / square;
      for (std::size_t f = 0; f < m[i].size(); ++f) {
        rest += std::pow(m[i][f] - weight * x[i][f] - (1 - weight) * x[j][f], 2);
      }
      if (rest < least - 1e-3) {
        best = {j, weight};
        least = rest;
      }
    }
    EXPECT_LT(least, 1e-3);
    pairs.push_back(best);
  }
  return pairs;
}

/// Mean over mixed rows of λ·CE(label) + (1 − λ)·CE(partner's label).
double mixed_cross_entropy(const fakes::Rows& p, const std::vector<Pair>& pairs) {
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    sum -= pairs[i].weight * std::log(p[i][i % 3]) + (1 - pairs[i].weight) * std::log(p[i][pairs[i].partner % 3]);
  }
  return sum / static_cast<double>(p.size());
}

/// λ·z + (1 − λ)·z_partner of each row, as probabilities at the temperature.
fakes::Rows mixed_answers(const at::Tensor& logits, const std::vector<Pair>& pairs) {
  const fakes::Rows z = fakes::rows(logits);
  fakes::Rows result = z;
  for (std::size_t i = 0; i < z.size(); ++i) {
    double sum = 0;
    for (std::size_t c = 0; c < z[i].size(); ++c) {
      const double mixed = pairs[i].weight * z[i][c] + (1 - pairs[i].weight) * z[pairs[i].partner][c];
      sum += result[i][c] = std::exp(mixed / kTemperature);
    }
    for (double& value : result[i]) value /= sum;
  }
  return result;
}

double soft_loss(const fakes::Rows& q, const at::Tensor& student) {
  return kTemperature * kTemperature * fakes::divergence(q, fakes::probabilities(student, kTemperature));
}

/// The student's images of the last step, from row `begin` on.
at::Tensor seen(const fakes::Stage& stage, std::int64_t begin) {
  return stage.network.seen_images.back().narrow(0, begin, fakes::kSamples);
}

TEST(MixupKd, DoublesTheBatchAndMixesTheTeachersLogits) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage = make("", device);
    const std::vector<kd::Term> terms = step(stage);
    ASSERT_EQ(stage.network.seen_images.size(), 1U);
    EXPECT_EQ(stage.network.seen_images[0].size(0), 2 * fakes::kSamples);
    EXPECT_TRUE(seen(stage, 0).equal(stage.batch.images));
    EXPECT_EQ(stage.teacher.seen_batches, std::vector<const kd::Batch*>({&stage.batch}));  // so that its cache serves
    EXPECT_EQ(stage.teacher.forward_passes, 0);

    const std::vector<Pair> pairs = unmix(stage.batch.images, seen(stage, fakes::kSamples));
    const at::Tensor original = stage.network.classifier.logits(seen(stage, 0));
    const at::Tensor mixed = stage.network.classifier.logits(seen(stage, fakes::kSamples));
    const at::Tensor teacher = stage.teacher.classifier.logits(stage.batch.images);
    ASSERT_EQ(fakes::names(terms), fakes::Names({"cross_entropy", "kd"}));
    EXPECT_EQ(fakes::weights(terms), std::vector<double>({0.1, 0.9}));
    EXPECT_NEAR(terms[0].value.item<double>(),
                (fakes::cross_entropy(original) + mixed_cross_entropy(fakes::probabilities(mixed, 1), pairs)) / 2,
                1e-4);
    EXPECT_NEAR(terms[1].value.item<double>(),
                (soft_loss(fakes::probabilities(teacher, kTemperature), original) +
                 soft_loss(mixed_answers(teacher, pairs), mixed)) /
                    2,
                1e-3);
  }
}

TEST(MixupKd, DrawsOneWeightForTheBatchAndAnotherInTheNextEpoch) {
  fakes::Stage stage = make("");
  std::vector<double> weights;
  for (const std::int64_t number : {0, 10, 0}) {  // of two epochs
    step(stage, number);
    const std::vector<Pair> pairs = unmix(stage.batch.images, seen(stage, fakes::kSamples));
    double weight = 1;
    for (const Pair& pair : pairs) weight = std::min(weight, pair.weight);
    for (std::size_t i = 0; i < kRows; ++i) {
      if (pairs[i].partner == i) continue;
      EXPECT_NEAR(pairs[i].weight, weight, 1e-4);
    }
    weights.push_back(weight);
  }
  EXPECT_GT(std::abs(weights[0] - weights[1]), 1e-3);
  EXPECT_EQ(weights[0], weights[2]);
}

TEST(MixupKd, WeighsTheHalvesInLossesOnLabelsOnly) {
  const fakes::Names names{"cross_entropy", "kd"};
  std::vector<std::vector<double>> values;
  for (const std::string weight : {"0", "1", "0.7"}) {
    fakes::Stage stage = make(", original_weight = " + weight);
    const std::vector<kd::Term> terms = step(stage);
    ASSERT_EQ(fakes::names(terms), names);
    values.push_back({terms[0].value.item<double>(), terms[1].value.item<double>()});
    if (weight == "1") {
      EXPECT_NEAR(values.back()[0], fakes::cross_entropy(stage.network.classifier.logits(stage.batch.images)), 1e-5);
    }
  }
  EXPECT_NEAR(values[2][0], 0.3 * values[0][0] + 0.7 * values[1][0], 1e-5);
  EXPECT_EQ(values[2][1], values[0][1]);
  EXPECT_EQ(values[2][1], values[1][1]);
}

TEST(MixupKd, MayShowBothTheMixedImagesOfAShareOfTheBatch) {
  fakes::Stage stage =
      make(", layout = 'mixed', teacher_input = 'mixed', mix = { type = 'mixup', per = 'sample', share = 0.5 }");
  const std::vector<kd::Term> terms = step(stage);
  EXPECT_EQ(stage.network.seen_images.back().size(0), fakes::kSamples);
  EXPECT_TRUE(stage.teacher.forward_images.is_same(stage.network.seen_images.back()));
  EXPECT_TRUE(stage.teacher.seen_batches.empty());
  int unmixed = 0;
  for (std::int64_t i = 0; i < fakes::kSamples; ++i) unmixed += stage.batch.images[i].equal(seen(stage, 0)[i]);
  EXPECT_GE(unmixed, 3);  // and a row may be its own partner
  EXPECT_LT(unmixed, 6);
  const at::Tensor student = stage.network.classifier.logits(seen(stage, 0));
  const at::Tensor teacher = stage.teacher.classifier.logits(seen(stage, 0));
  EXPECT_NEAR(terms[0].value.item<double>(),
              mixed_cross_entropy(fakes::probabilities(student, 1), unmix(stage.batch.images, seen(stage, 0))), 1e-4);
  EXPECT_NEAR(terms[1].value.item<double>(), soft_loss(fakes::probabilities(teacher, kTemperature), student), 1e-3);
}

TEST(MixupKd, CountsAnswersAgainstWhatTheyShouldHaveBeen) {
  for (const at::Device& device : kd::testing::devices()) {
    for (const bool doubled : {true, false}) {
      fakes::Stage stage = make(doubled ? "" : ", layout = 'mixed'", device);
      step(stage);
      const at::Tensor& images = stage.network.seen_images.back();
      const at::Tensor& counted = stage.updater.counted_logits.back();
      const kd::Targets& targets = stage.updater.counted_targets.back();
      // Of the doubled layout the unmixed half against its labels; mixed images against both of their labels.
      EXPECT_EQ(counted.size(0), fakes::kSamples);
      EXPECT_TRUE(counted.equal(stage.network.classifier.logits(images.narrow(0, 0, fakes::kSamples)).detach()));
      EXPECT_TRUE(targets.labels.equal(stage.batch.targets.labels));
      EXPECT_EQ(targets.mixed(), !doubled);
    }
  }
}

TEST(MixupKd, MayMixTheLogitsOfEachSampleByItsOwnWeight) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage = make(", layout = 'mixed', mix = { type = 'mixup', per = 'sample' }", device);
    const std::vector<kd::Term> terms = step(stage);
    const std::vector<Pair> pairs = unmix(stage.batch.images, seen(stage, 0));
    const at::Tensor teacher = stage.teacher.classifier.logits(stage.batch.images);
    EXPECT_NEAR(terms[1].value.item<double>(),
                soft_loss(mixed_answers(teacher, pairs), stage.network.classifier.logits(seen(stage, 0))), 1e-3);
  }
}

TEST(MixupKd, MayShowTheTeacherBothHalves) {
  fakes::Stage stage = make(", teacher_input = 'mixed'");
  const std::vector<kd::Term> terms = step(stage);
  EXPECT_TRUE(stage.teacher.forward_images.is_same(stage.network.seen_images.back()));
  const at::Tensor& images = stage.network.seen_images.back();
  const fakes::Rows q = fakes::probabilities(stage.teacher.classifier.logits(images), kTemperature);
  EXPECT_NEAR(terms[1].value.item<double>(), soft_loss(q, stage.network.classifier.logits(images)), 1e-3);
}

TEST(MixupKd, SendsTheGradientToTheStudentOnly) {
  for (const std::string more : {"", ", layout = 'mixed'", ", teacher_input = 'mixed'"}) {
    fakes::Stage stage = make(more);
    fakes::objective(step(stage)).backward();
    EXPECT_TRUE(stage.network.classifier.weight.grad().defined());
    EXPECT_FALSE(stage.teacher.classifier.weight.grad().defined());
  }
}

TEST(MixupKd, TakesTheMeanOverTeachersByTheirWeights) {
  const auto loss = [](const std::vector<double>& weights) {
    fakes::Stage stage = make("", at::kCPU, {.networks = 1, .teacher_weights = weights});
    return step(stage)[1].value.item<double>();
  };
  EXPECT_NEAR(loss({1, 3}), 0.25 * loss({1, 0}) + 0.75 * loss({0, 1}), 1e-4);
}

TEST(MixupKd, GivesItsLossesWhatTheyNeed) {
  fakes::Stage stage = make(", teacher_input = 'mixed', losses = [{ type = 'cross_entropy' }, { type = 'recorder' }]");
  ASSERT_EQ(stage.required.size(), 2U);
  EXPECT_EQ(stage.required[0].second.teacher_taps, kd::TapRequest({"stage2"}));
  EXPECT_TRUE(stage.required[1].second.one_label);  // of what the stage's own augmentations leave
  step(stage, 7);
  const fakes::Seen& given = fakes::Recorder::seen;
  EXPECT_EQ(given.student_tap.size(0), 2 * fakes::kSamples);
  EXPECT_EQ(given.teacher_tap.size(0), 2 * fakes::kSamples);
  EXPECT_TRUE(given.labels.equal(at::cat({stage.batch.targets.labels, stage.batch.targets.labels})));
  const std::vector<Pair> pairs = unmix(stage.batch.images, seen(stage, fakes::kSamples));
  for (std::size_t i = 0; i < kRows; ++i) {
    const auto original = static_cast<std::int64_t>(i), mixed = original + fakes::kSamples;
    EXPECT_EQ(given.weight[original].item<double>(), 1);
    if (pairs[i].partner == i) continue;
    EXPECT_NEAR(given.weight[mixed].item<double>(), pairs[i].weight, 1e-4);
    EXPECT_EQ(given.partner[mixed].item<std::int64_t>(), static_cast<std::int64_t>(pairs[i].partner % 3));
  }
  EXPECT_TRUE(given.index.equal(at::cat({stage.batch.index, stage.batch.index})));
  EXPECT_EQ(given.step, 7);
}

TEST(MixupKd, RefusesWhatMixedImagesCannotServe) {
  EXPECT_THROW(make(", mix = { type = 'horizontal_flip' }"), kd::RecipeError);
  EXPECT_THROW(make(", losses = [{ type = 'jsd' }]"), kd::RecipeError);
  EXPECT_THROW(make(", losses = [{ type = 'nkd' }]"), kd::RecipeError);
  EXPECT_THROW(make(", losses = [{ type = 'recorder' }]"), kd::RecipeError);
}

}  // namespace
