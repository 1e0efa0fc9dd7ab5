// Tests of the loss "crd"; its values are held against plain PyTorch in tests/torch/compare_losses.py.
#include <set>

#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

TEST(Crd, IsSound) {
  expect_sound("crd", "width = 4, negatives = 6, temperature = 0.5");
  expect_sound("crd", "width = 4, negatives = 6, temperature = 0.5, positive = 'relax'", {wider()});
}

at::Tensor buffer(Setting& setting, const std::string& name) {
  return kd::testing::buffers_of(setting.loss()).at(name);
}

/// The classes of the samples that the loss contrasts sample `index` with, found by which rows of a bank matter to it.
std::set<std::int64_t> contrasted(Setting& setting, std::int64_t sample) {
  std::set<std::int64_t> classes;
  const double before = setting.value().item<double>();
  const at::Tensor bank = buffer(setting, "teacher_bank");
  const at::NoGradGuard no_gradient;
  for (std::int64_t row = 0; row < kSamples; ++row) {
    const at::Tensor kept = bank[row].clone();
    bank[row].mul_(-1);
    if (setting.value().item<double>() != before && row != sample) classes.insert(row % kClasses);
    bank[row].copy_(kept);
  }
  return classes;
}

TEST(Crd, NegativesAreOfEveryOtherClassAndNeverOfTheSamplesOwn) {
  for (std::int64_t sample : {0, 4, 7, 11}) {
    Setting setting("crd", "width = 4, negatives = 12, temperature = 0.5", equal(), 1);
    setting.make_double();
    setting.batch.index = setting.batch.index * 0 + sample;
    setting.step(setting.student, setting.teacher);
    std::set<std::int64_t> found;
    for (std::uint64_t step = 0; step < 20; ++step) {
      setting.key = kd::RandomKey{}.with("step").with(step);
      found.merge(contrasted(setting, sample));
    }
    std::set<std::int64_t> expected{0, 1, 2, 3, 4};
    expected.erase(sample % kClasses);
    EXPECT_EQ(found, expected) << sample;
  }
}

TEST(Crd, RelaxedPositivesAreOfTheSamplesClass) {
  Setting setting("crd", "width = 4, negatives = 1, temperature = 0.5, positive = 'relax'", equal(), 1);
  setting.make_double();
  setting.batch.index = setting.batch.index * 0 + 1;  // of class 1, with samples 6 and 11
  setting.step(setting.student, setting.teacher);
  const at::Tensor bank = buffer(setting, "teacher_bank");
  const at::NoGradGuard no_gradient;
  std::set<std::int64_t> positives;
  for (std::uint64_t step = 0; step < 40; ++step) {
    setting.key = kd::RandomKey{}.with("step").with(step);
    const double before = setting.value().item<double>();
    for (const std::int64_t row : {1, 6, 11}) {
      const at::Tensor kept = bank[row].clone();
      bank[row].mul_(-1);
      if (setting.value().item<double>() != before) positives.insert(row);
      bank[row].copy_(kept);
    }
  }
  EXPECT_EQ(positives, (std::set<std::int64_t>{1, 6, 11}));
}

TEST(Crd, BanksFollowWithMomentum) {
  Setting setting("crd", "width = 4, negatives = 6, momentum = 0.25", equal());
  setting.make_double();
  const at::Tensor before = buffer(setting, "student_bank").clone();
  setting.step(setting.student, setting.teacher);
  const auto parameters = kd::testing::parameters_of(setting.loss());
  const at::NoGradGuard no_gradient;
  at::Tensor embedded =
      at::matmul(setting.student["pooled"], parameters.at("student.0.weight").t()) + parameters.at("student.0.bias");
  embedded = embedded / embedded.norm(2, at::IntArrayRef{1}, true);
  at::Tensor expected = before.narrow(0, 0, 3) * 0.25 + embedded * 0.75;
  expected = expected / expected.norm(2, at::IntArrayRef{1}, true);
  EXPECT_LT((buffer(setting, "student_bank").narrow(0, 0, 3) - expected).abs().max().item<double>(), 1e-12);
  EXPECT_TRUE(buffer(setting, "student_bank").narrow(0, 3, 9).equal(before.narrow(0, 3, 9)));
}

TEST(Crd, SetsItsConstantsOnce) {
  Setting setting("crd", "width = 4, negatives = 6", equal());
  setting.step(setting.student, setting.teacher);
  const at::Tensor first = buffer(setting, "constants").clone();
  EXPECT_GT(first.min().item<double>(), 0);
  setting.step(setting.student, setting.teacher);
  EXPECT_TRUE(buffer(setting, "constants").equal(first));
}

TEST(Crd, SaysAndRefusesWhatItsBanksTake) {
  kd::load_plugins();
  std::string said;
  kd::Loss::Context context{.classes = 2,
                            .samples = 50000,
                            .labels = kd::testing::byte_batch(50000, 1, 1, 1, 2).targets.labels,
                            .student = {{"pooled", {64}}},
                            .teachers = {{.taps = {{"pooled", {64}}}}},
                            .free_memory = 0,
                            .say = [&](const std::string& line) { said = line; }};
  kd::make<kd::Loss>("{ type = 'crd' }", context);
  EXPECT_EQ(said, "crd: two banks of 50000×128 take 51 MB, each sample of a batch 1 MB");
  context.free_memory = 100'000'000;
  try {
    kd::make<kd::Loss>("{ type = 'crd' }", context);
    FAIL();
  } catch (const kd::Error& error) {
    EXPECT_NE(std::string(error.what()).find("100 MB are free"), std::string::npos) << error.what();
  }
}

TEST(Crd, RefusesASetOfOneClass) {
  kd::load_plugins();
  EXPECT_THROW(kd::make<kd::Loss>("{ type = 'crd' }", {.classes = 2,
                                                       .samples = 3,
                                                       .labels = kd::testing::byte_batch(3, 1, 1, 1, 1).targets.labels,
                                                       .student = {{"pooled", {4}}},
                                                       .teachers = {{.taps = {{"pooled", {4}}}}}}),
               kd::Error);
}

}  // namespace
