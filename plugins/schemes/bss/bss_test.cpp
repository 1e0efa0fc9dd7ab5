// Tests of the scheme "bss".
#include <algorithm>

#include "../shared/adversarial.h"
#include "../shared/two_layers.h"
#include "kd/random_tensors.h"
#include "kd/testing/stages.h"

namespace {

namespace fakes = kd::testing::fakes;

using kd::testing::start_images;
using kd::testing::two_layers;

constexpr std::size_t kRows = fakes::kSamples;
constexpr double kTemperature = 3;

// ---------------------------------------------------------------------------------------------------------------------
// The attack against a plain PyTorch script
// ---------------------------------------------------------------------------------------------------------------------

at::Tensor targets_of_script() { return at::tensor(std::vector<std::int64_t>{1, 2, 0}); }

/// What ten steps of 0.3 with a clip of 1.02 make of start_images for these targets: printed by a
/// PyTorch script of the same network with the steps of the authors' attack.
constexpr float kAtBoundary[] = {
    0.4932924F,  0.4986394F,  0.6075666F,  0.4254404F,  1.0200000F,  0.8400554F,  0.2061909F,  0.5261063F,  1.0200000F,
    -0.5097237F, -0.4520334F, -0.4326308F, -1.0200000F, -1.0200000F, -0.3795735F, 0.0392851F,  -0.1248675F, 0.7841902F,
    0.1640014F,  1.0200000F,  0.4627159F,  0.1520466F,  0.3868455F,  0.7760555F,  -0.9412659F, -0.8924033F, -0.9461964F,
    -0.6268333F, -0.0891643F, 0.1649352F,  0.6018880F,  1.0155067F,  0.8091761F,  0.3528797F,  -0.3717328F, -1.0200000F,
    -0.7792234F, -0.3103418F, 0.5215136F,  1.0200000F,  0.7412519F,  0.5457962F,  -0.5713923F, -1.0200000F, -0.6782007F,
    0.1560023F,  0.5337960F,  0.6312459F,  0.2885782F,  -0.5643125F, -0.7413277F, -0.9793118F, -0.0351795F, 0.8178133F,
    0.9030883F,  0.1709768F,  -0.7693834F, -1.0200000F, -0.4160966F, 0.5718980F,  1.0200000F,  0.0280703F,  -0.8022286F,
    -0.8419832F, 0.4704059F,  0.8519824F,  0.4556329F,  -0.1311224F, -1.0080472F, 0.3753420F,  1.0200000F,  1.0200000F,
    -0.2621685F, -0.9010811F, -0.2950266F, 0.7445345F,  1.0200000F,  0.0050517F,  -1.0200000F, -0.5754079F, 0.7548148F,
    0.2065708F,  -0.6558869F, -0.8904842F, 0.1183451F,  0.5569056F,  -0.9527031F, -0.8877798F, 0.0596984F,  1.0125526F,
    0.0528121F,  -0.8547663F, 0.3004930F,  0.4972766F,  -0.1419415F, -0.9787228F};

TEST(Bss, AttacksAsAPlainScriptDoes) {
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor start = start_images(3).to(device), target = targets_of_script().to(device);
    const at::Tensor moved =
        adversarial::move_to_boundary(two_layers, start, target, {.steps = 10, .step = 0.3, .clip = 1.02});
    const at::Tensor expected = at::tensor(at::ArrayRef<float>(kAtBoundary)).view({3, 2, 4, 4});
    EXPECT_LT(fakes::largest_difference(moved.cpu(), expected), 1e-5);
    EXPECT_FALSE((two_layers(start).argmax(1) == two_layers(moved).argmax(1)).any().item<bool>());
  }
}

TEST(Bss, LeavesImagesWhereTheAnswerHasChanged) {
  const auto after = [&](std::int64_t steps) {
    return adversarial::move_to_boundary(two_layers, start_images(3), targets_of_script(),
                                         {.steps = steps, .step = 0.3, .clip = 1.02});
  };
  const at::Tensor ten = after(10);
  EXPECT_TRUE(after(40).equal(ten));
  EXPECT_FALSE(after(1).equal(ten));
}

// ---------------------------------------------------------------------------------------------------------------------
// The target
// ---------------------------------------------------------------------------------------------------------------------

std::vector<std::int64_t> drawn(const std::vector<float>& logits, std::int64_t label,
                                const std::vector<double>& uniform) {
  const auto rows = static_cast<std::int64_t>(uniform.size());
  const at::Tensor z = at::tensor(logits).unsqueeze(0).expand({rows, -1});
  const at::Tensor result = adversarial::draw_wrong_class(z, at::full({rows}, label, at::kLong), at::tensor(uniform));
  return {result.const_data_ptr<std::int64_t>(), result.const_data_ptr<std::int64_t>() + rows};
}

TEST(Bss, DrawsATargetInProportionToTheTeachersProbabilities) {
  // 0.1, 0.6, 0.2, 0.1: without class 1, shares of 1/4, 1/2 and 1/4.
  const std::vector<float> logits = {std::log(1.0F), std::log(6.0F), std::log(2.0F), std::log(1.0F)};
  EXPECT_EQ(drawn(logits, 1, {0, 0.2499, 0.2501, 0.7499, 0.7501, 0.9999999}),
            std::vector<std::int64_t>({0, 0, 2, 2, 3, 3}));
  EXPECT_EQ(drawn(logits, 0, {0, 0.6665, 0.6668, 0.8887, 0.889}), std::vector<std::int64_t>({1, 1, 2, 2, 3}));
  EXPECT_EQ(drawn(logits, 3, {0, 0.9999999}), std::vector<std::int64_t>({0, 2}));
}

TEST(Bss, DrawsAWrongClassOfASureTeacherToo) {
  EXPECT_EQ(drawn({0, 1000, 0}, 1, {0, 0.49, 0.51, 1 - 0x1p-24}), std::vector<std::int64_t>({0, 0, 2, 2}));
  EXPECT_EQ(drawn({0, 500, 1000}, 2, {1e-9, 0.5, 1 - 0x1p-24}), std::vector<std::int64_t>({1, 1, 1}));
}

// ---------------------------------------------------------------------------------------------------------------------
// The scheme
// ---------------------------------------------------------------------------------------------------------------------

constexpr const char* kAlone = ", losses = [{ type = 'cross_entropy' }], boundary_weight = 1.5, step = 40, clip = 0";

/// Float images as a scheme sees them; the student is near the teacher, and the labels are the teacher's answers, so
/// that both are right about some images. The fake networks divide images by 255, hence long steps.
struct Setting {
  explicit Setting(const std::string& parameters, const at::Device& device = at::kCPU)
      : stage("{ type = 'bss'" + parameters + " }", device) {
    stage.batch.images = stage.batch.images.to(at::kFloat);
    const at::Tensor teacher = stage.teacher.classifier.weight.data();
    stage.network.classifier.weight.data().mul_(0.4).add_(teacher, 0.6);
    stage.batch.targets.labels = stage.teacher.classifier.logits(stage.batch.images).argmax(1).detach();
  }
  fakes::Rows student() const { return fakes::rows(stage.network.classifier.logits(stage.batch.images)); }
  fakes::Rows teacher() const { return fakes::rows(stage.teacher.classifier.logits(stage.batch.images)); }
  std::vector<std::int64_t> labels() const {
    const at::Tensor on_cpu = stage.batch.targets.labels.cpu();
    return {on_cpu.const_data_ptr<std::int64_t>(), on_cpu.const_data_ptr<std::int64_t>() + kRows};
  }

  fakes::Stage stage;
};

std::int64_t largest(const std::vector<double>& row) { return std::max_element(row.begin(), row.end()) - row.begin(); }

std::vector<double> softmax(std::vector<double> z, double temperature) {
  double sum = 0;
  for (double& value : z) sum += value = std::exp(value / temperature);
  for (double& value : z) value /= sum;
  return z;
}

/// The rows that both are right about, those of the largest gap first.
std::vector<std::size_t> bases(const Setting& setting) {
  const fakes::Rows student = setting.student(), teacher = setting.teacher();
  const std::vector<std::int64_t> labels = setting.labels();
  std::vector<std::pair<double, std::size_t>> ranked;
  for (std::size_t i = 0; i < kRows; ++i) {
    if (largest(student[i]) != labels[i] || largest(teacher[i]) != labels[i]) continue;
    const std::vector<double> p = softmax(student[i], 1), q = softmax(teacher[i], 1);
    double gap = 0;
    for (std::size_t c = 0; c < p.size(); ++c) {
      if (static_cast<std::int64_t>(c) != labels[i]) gap += (q[c] - p[c]) * (q[c] - p[c]);
    }
    ranked.emplace_back(-gap, i);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::size_t> rows;
  for (const auto& [gap, row] : ranked) rows.push_back(row);
  return rows;
}

/// An image as the attack leaves it, in double precision: the teacher is linear.
std::vector<double> attacked(const Setting& setting, std::size_t row, std::size_t target, int steps, double step) {
  const fakes::Rows weight = fakes::rows(setting.stage.teacher.classifier.weight);
  std::vector<double> x = fakes::rows(setting.stage.batch.images.flatten(1))[row];
  std::vector<double> gradient(x.size());
  const auto logits = [&] {
    std::vector<double> z(fakes::kClasses);
    for (std::size_t f = 0; f < x.size(); ++f)
      for (std::size_t c = 0; c < z.size(); ++c) z[c] += x[f] / 255 * weight[f][c];
    return z;
  };
  const auto own = static_cast<std::size_t>(largest(logits()));
  double norm = 0;
  for (std::size_t f = 0; f < x.size(); ++f) {
    gradient[f] = (weight[f][target] - weight[f][own]) / 255;
    norm += gradient[f] * gradient[f];
  }
  for (int i = 0; i < steps; ++i) {
    const std::vector<double> z = logits();
    if (static_cast<std::size_t>(largest(z)) != own) break;
    const double length = step * (z[own] - z[target] + 1e-4) / std::sqrt(norm);
    for (std::size_t f = 0; f < x.size(); ++f) x[f] += length * gradient[f];
  }
  return x;
}

std::vector<std::size_t> targets(const Setting& setting, std::int64_t epoch) {
  const fakes::Rows teacher = setting.teacher();
  const std::vector<std::int64_t> labels = setting.labels();
  const kd::RandomKey key = kd::RandomKey{}.with(static_cast<std::uint64_t>(epoch)).with("target class");
  const fakes::Rows uniform = fakes::rows(kd::random_uniform(key, setting.stage.batch.index.cpu(), 1));
  std::vector<std::size_t> result;
  for (std::size_t i = 0; i < kRows; ++i) {
    const std::vector<double> q = softmax(teacher[i], 1);
    double left = uniform[i][0] * (1 - q[static_cast<std::size_t>(std::max<std::int64_t>(labels[i], 0))]);
    std::size_t chosen = 0;
    for (std::size_t c = 0; c < q.size(); ++c) {
      if (static_cast<std::int64_t>(c) == labels[i]) continue;
      chosen = c;
      left -= q[c];
      if (left < 0) break;
    }
    result.push_back(chosen);
  }
  return result;
}

/// H(q, p) of an image, at the temperature of the scheme.
double soft_loss(const Setting& setting, const std::vector<double>& image) {
  const auto answer = [&](const at::Tensor& classifier_weight) {
    const fakes::Rows weight = fakes::rows(classifier_weight);
    std::vector<double> z(fakes::kClasses);
    for (std::size_t f = 0; f < image.size(); ++f)
      for (std::size_t c = 0; c < z.size(); ++c) z[c] += image[f] / 255 * weight[f][c];
    return softmax(z, kTemperature);
  };
  const std::vector<double> p = answer(setting.stage.network.classifier.weight);
  const std::vector<double> q = answer(setting.stage.teacher.classifier.weight);
  double sum = 0;
  for (std::size_t c = 0; c < p.size(); ++c) sum -= q[c] * std::log(p[c]);
  return sum;
}

TEST(Bss, LearnsTheTeachersAnswersAtItsBoundary) {
  for (const at::Device& device : kd::testing::devices()) {
    Setting setting(kAlone, device);
    fakes::Stage& stage = setting.stage;
    const std::vector<std::size_t> rows = bases(setting);
    ASSERT_GT(rows.size(), 1U);
    ASSERT_LT(rows.size(), kRows);  // so that some slots do not count
    const std::vector<std::size_t> target = targets(setting, 0);
    double expected = 0;
    for (const std::size_t row : rows) {
      expected += soft_loss(setting, attacked(setting, row, target[row], 10, 40)) / static_cast<double>(rows.size());
    }
    const std::vector<kd::Term> terms = stage.step();
    ASSERT_EQ(fakes::names(terms), fakes::Names({"cross_entropy", "boundary"}));
    EXPECT_EQ(fakes::weights(terms), std::vector<double>({1, 1.5}));
    EXPECT_TRUE(terms[1].from_teachers);
    EXPECT_NEAR(terms[1].value.item<double>(), expected, 1e-5);
    double untouched = 0;
    for (const std::size_t row : rows) {
      untouched +=
          soft_loss(setting, fakes::rows(stage.batch.images.flatten(1))[row]) / static_cast<double>(rows.size());
    }
    EXPECT_GT(std::abs(untouched - expected), 1e-3);
  }
}

TEST(Bss, AsksTheStudentTwiceAndTheTeacherAtEachStep) {
  Setting setting(std::string(kAlone) + ", steps = 4");
  fakes::Stage& stage = setting.stage;
  stage.step();
  EXPECT_EQ(stage.events, fakes::Events({"forward a", "forward a", "update a"}));
  EXPECT_TRUE(stage.network.seen_images[0].is_same(stage.batch.images));
  EXPECT_TRUE(stage.network.seen_images[1].is_same(stage.teacher.forward_images));
  EXPECT_FALSE(stage.network.seen_images[1].requires_grad());
  EXPECT_EQ(stage.teacher.seen_batches, std::vector<const kd::Batch*>({&stage.batch}));  // so that its cache serves
  EXPECT_EQ(stage.teacher.forward_passes, 4 + 1);
  EXPECT_TRUE(stage.updater.counted_logits[0].equal(stage.network.classifier.logits(stage.batch.images)));
}

TEST(Bss, SendsTheGradientToTheStudentOnly) {
  Setting setting(std::string(kAlone) + ", samples = 2");
  fakes::Stage& stage = setting.stage;
  ASSERT_GT(bases(setting).size(), 2U);
  const std::vector<kd::Term> terms = stage.step();
  terms[1].value.backward();
  EXPECT_FALSE(stage.teacher.classifier.weight.grad().defined());
  const at::Tensor images = stage.network.seen_images[1];
  fakes::Rows by_logits = fakes::probabilities(stage.network.classifier.logits(images), kTemperature);
  const fakes::Rows q = fakes::probabilities(stage.teacher.classifier.logits(images), kTemperature);
  for (std::size_t i = 0; i < by_logits.size(); ++i) {
    for (std::size_t c = 0; c < q[i].size(); ++c) by_logits[i][c] = (by_logits[i][c] - q[i][c]) / kTemperature / 2;
  }
  const at::Tensor gradient = stage.network.classifier.weight.grad().to(at::kDouble);
  EXPECT_LT(fakes::largest_difference(gradient, fakes::weight_gradient(images, by_logits)), 1e-6);
}

/// The rows of the batch that the student saw in its second pass, where the attack moves nothing.
std::vector<std::size_t> shown(const fakes::Stage& stage) {
  const fakes::Rows all = fakes::rows(stage.batch.images.flatten(1));
  std::vector<std::size_t> rows;
  for (const std::vector<double>& image : fakes::rows(stage.network.seen_images[1].flatten(1))) {
    for (std::size_t i = 0; i < kRows; ++i) {
      double distance = 0;
      for (std::size_t f = 0; f < image.size(); ++f) distance += std::abs(image[f] - all[i][f]);
      if (distance < 1e-3) rows.push_back(i);
    }
  }
  return rows;
}

constexpr const char* kStill = ", losses = [{ type = 'cross_entropy' }], boundary_weight = 1, step = 1e-9, clip = 0";

TEST(Bss, TakesThoseThatBothAreRightAboutAndAnswerMostDifferently) {
  Setting setting(std::string(kStill) + ", samples = 2");
  const std::vector<std::size_t> rows = bases(setting);
  ASSERT_GT(rows.size(), 2U);
  setting.stage.step();
  EXPECT_EQ(shown(setting.stage), std::vector<std::size_t>({rows[0], rows[1]}));
}

TEST(Bss, RepeatsTheChosenWhereThereAreFewer) {
  Setting setting(std::string(kStill) + ", samples = 64");
  const std::vector<std::size_t> rows = bases(setting);
  ASSERT_LT(rows.size(), kRows);
  setting.stage.step();
  const std::vector<std::size_t> seen = shown(setting.stage);
  ASSERT_EQ(seen.size(), kRows);
  for (std::size_t i = 0; i < kRows; ++i) EXPECT_EQ(seen[i], rows[i % rows.size()]);
}

TEST(Bss, NeverTakesARowWithoutALabel) {
  Setting setting(std::string(kStill) + ", samples = 64");
  const std::vector<std::size_t> rows = bases(setting);
  ASSERT_GT(rows.size(), 1U);
  setting.stage.batch.targets.labels[static_cast<std::int64_t>(rows[0])] = -1;
  setting.stage.step();
  const std::vector<std::size_t> seen = shown(setting.stage);
  EXPECT_EQ(std::count(seen.begin(), seen.end(), rows[0]), 0);
  EXPECT_EQ(bases(setting).size(), rows.size() - 1);
}

TEST(Bss, HasNoLossWhereNoImageIsABase) {
  Setting setting(kAlone);
  fakes::Stage& stage = setting.stage;
  stage.batch.targets.labels = at::full_like(stage.batch.targets.labels, -1);
  const std::vector<kd::Term> terms = stage.step();
  EXPECT_EQ(terms[1].value.item<double>(), 0);
  const at::Tensor gradient = fakes::gradient({terms[1]}, stage.network);
  EXPECT_EQ(gradient.abs().max().item<double>(), 0);
}

TEST(Bss, HasTheAuthorsWeightsByDefault) {
  Setting setting("");
  setting.stage.updater.now.epochs = 80;
  const std::vector<kd::Term> first = setting.stage.step(0);
  ASSERT_EQ(fakes::names(first), fakes::Names({"cross_entropy", "kd", "boundary"}));
  // 1 + 3(1 − e/80) and max(2(1 − 4e/240), 0) in epoch e = 1, 2, …
  EXPECT_NEAR(first[1].weight, 1 + 3 * (1 - 1 / 80.0), 1e-12);
  EXPECT_NEAR(first[2].weight, 2 * (1 - 4 / 240.0), 1e-12);
  const fakes::Rows p = fakes::probabilities(setting.stage.network.classifier.logits(setting.stage.batch.images), 3);
  const fakes::Rows q = fakes::probabilities(setting.stage.teacher.classifier.logits(setting.stage.batch.images), 3);
  double soft = 0;
  for (std::size_t i = 0; i < kRows; ++i)
    for (std::size_t c = 0; c < q[i].size(); ++c) soft -= q[i][c] * std::log(p[i][c]) / static_cast<double>(kRows);
  EXPECT_NEAR(first[1].value.item<double>(), soft, 1e-5);       // no T²
  const std::vector<kd::Term> later = setting.stage.step(395);  // of ten steps an epoch: in epoch 40
  EXPECT_NEAR(later[1].weight, 1 + 3 * (1 - 40 / 80.0), 1e-12);
  EXPECT_NEAR(later[2].weight, 2 * (1 - 160 / 240.0), 1e-12);
}

TEST(Bss, AttacksNothingWhereTheWeightIsZero) {
  Setting setting("");
  setting.stage.updater.now.epochs = 80;
  EXPECT_EQ(fakes::names(setting.stage.step(590)), fakes::Names({"cross_entropy", "kd"}));  // epoch 60
  EXPECT_EQ(setting.stage.teacher.forward_passes, 0);
  EXPECT_EQ(setting.stage.events, fakes::Events({"forward a", "update a"}));
}

TEST(Bss, DrawsTheSameTargetsInAStepThatIsRepeatedAndOthersInTheNextEpoch) {
  std::vector<at::Tensor> seen;
  for (const std::int64_t number : {3, 3, 13, 23, 33}) {
    Setting setting(kAlone);
    setting.stage.step(number);
    seen.push_back(setting.stage.network.seen_images[1]);
  }
  EXPECT_TRUE(seen[0].equal(seen[1]));
  EXPECT_FALSE(seen[0].equal(seen[2]) && seen[0].equal(seen[3]) && seen[0].equal(seen[4]));
}

TEST(Bss, WantsOneStudentOneTeacherAndOneLabel) {
  fakes::load_components();
  const kd::Roles roles = kd::registered_components().roles("scheme", "bss");
  EXPECT_EQ(roles.most_networks, 1);
  EXPECT_EQ(roles.fewest_teachers, 1);
  EXPECT_EQ(roles.most_teachers, 1);
  const fakes::Stage stage("{ type = 'bss' }");
  const auto asks = [&](bool kd::LossNeeds::* what) {
    return std::any_of(stage.required.begin(), stage.required.end(), [&](const auto& r) { return r.second.*what; });
  };
  EXPECT_TRUE(asks(&kd::LossNeeds::teacher));
  EXPECT_TRUE(asks(&kd::LossNeeds::one_label));
}

}  // namespace
