// Tests of kd/temperature.h: temperatures of samples, by themselves and in every loss that takes them.
#include "kd/temperature.h"

#include <algorithm>

#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

/// Those that can be made without features.
std::vector<std::string> losses_with_per_sample() {
  kd::load_plugins();
  const kd::ComponentCatalog& catalog = kd::registered_components();
  std::vector<std::string> found;
  for (const std::string& name : catalog.names("loss")) {
    const auto takes = [&](const char* field) {
      return std::ranges::any_of(*catalog.fields("loss", name), [&](const auto& f) { return f.name == field; });
    };
    if (takes("per_sample") && !takes("taps")) found.push_back(name);
  }
  return found;
}

double largest(const Row& row) { return *std::ranges::max_element(row); }

TEST(Temperature, OfStandardisedLogitsFollowsTheDefinition) {
  const Rows s = standardised(student()), t = standardised(teacher());
  for (const double temperature : {2.0, 4.0}) {
    const double expected = temperature * temperature * mean_of_rows([&](std::size_t i) {
                              return divergence(softmax(t[i], temperature), softmax(s[i], temperature));
                            });
    const auto loss = make("kd", "per_sample = 'standardized', temperature = " + std::to_string(temperature));
    for (const at::Device& device : kd::testing::devices()) {
      const Given given{.teacher = teacher().to(device, at::kDouble)};
      // The published 1e-7 beside σ is not in the reference.
      EXPECT_NEAR(value(loss, student().to(device, at::kDouble), given).item<double>(), expected, 1e-6);
    }
  }
}

TEST(Temperature, OfStandardisedLogitsHasThePublishedEpsilon) {
  // σ = 1e-7 of both, so that z' is half the standardised logits.
  const double size = 1e-7;
  const at::Tensor s = matrix({{size, 0, -size}}), t = matrix({{0, size, -size}});
  const double expected = 4 * divergence(softmax({0, 0.5, -0.5}, 2), softmax({0.5, 0, -0.5}, 2));
  const auto loss = make("kd", "per_sample = 'standardized', temperature = 2");
  EXPECT_NEAR(value(loss, s, {.teacher = t}).item<double>(), expected, 1e-9);
}

TEST(Temperature, ByConfidenceFollowsTheDefinition) {
  const Rows s = rows(student()), t = rows(teacher());
  const double expected = mean_of_rows([&](std::size_t i) {
    const double both = largest(s[i]) + largest(t[i]);
    const double of_student = 2 * largest(s[i]) / both * 4, of_teacher = 2 * largest(t[i]) / both * 4;
    return of_student * of_teacher * divergence(softmax(t[i], of_teacher), softmax(s[i], of_student));
  });
  for (const at::Device& device : kd::testing::devices()) {
    const Given given{.teacher = teacher().to(device, at::kDouble)};
    const auto loss = make("kd", "per_sample = 'confidence'");
    EXPECT_NEAR(value(loss, student().to(device, at::kDouble), given).item<double>(), expected, 1e-9);
  }
}

TEST(Temperature, ByConfidenceIsTheCommonOneWhereBothAreAsSure) {
  const at::Tensor s = student().to(at::kDouble);
  const Given mirrored{.teacher = s.flip({1}), .targets = hard(kLabels)};
  for (const std::string& name : losses_with_per_sample()) {
    if (name == "tekap") continue;  // what noise makes of the teacher is surer or less sure
    EXPECT_NEAR(value(make(name, "per_sample = 'confidence'"), s, mirrored).item<double>(),
                value(make(name), s, mirrored).item<double>(), 1e-9)
        << name;
  }
}

TEST(Temperature, ByConfidenceIsBoundedBeforeTheStudentHasLearned) {
  const at::Tensor s = matrix({{-1, -2, -3}}), t = matrix({{9, 0, 0}});
  const kd::Softened z = kd::soften({s, t}, 4, kd::PerSample::kConfidence);
  EXPECT_NEAR(z.student[0][0].item<double>(), -1 / 0.1, 1e-12);
  EXPECT_NEAR(z.teacher[0][0].item<double>(), 9 / 1.9, 1e-12);
  EXPECT_NEAR(z.weights[0].item<double>(), 0.1 * 1.9, 1e-12);
}

TEST(Temperature, IsSoundInEveryLossThatTakesOnePerSample) {
  const std::vector<std::string> names = losses_with_per_sample();
  EXPECT_GE(names.size(), 8U);
  for (const std::string& name : names) {
    if (name == "wsld") continue;  // its gradient leaves out what its weights of samples depend on
    for (const auto* kind : {"standardized", "confidence"}) {
      SCOPED_TRACE(name + " " + kind);
      expect_sound(make(name, std::string("per_sample = '") + kind + "'"),
                   {.teacher = teacher(), .targets = hard(kLabels)});
    }
  }
}

TEST(Temperature, OfStandardisedLogitsDoesNotSeeTheirMeanAndSize) {
  const at::Tensor s = student().to(at::kDouble), t = teacher().to(at::kDouble);
  // The others also look at logits as they are: wsld and nkd at the label's, mlkd for its relations.
  for (const std::string name : {"kd", "reverse_kl", "js", "dkd", "brier"}) {
    const auto loss = make(name, "per_sample = 'standardized'");
    EXPECT_NEAR(value(loss, s * 5 - 3, {.teacher = t * 2 + 9, .targets = hard(kLabels)}).item<double>(),
                value(loss, s, {.teacher = t, .targets = hard(kLabels)}).item<double>(), 1e-6)
        << name;
  }
}

TEST(Temperature, WithoutTermForTheSquareLeavesItOutForEverySample) {
  const auto with = make("kd", "per_sample = 'confidence'");
  const auto without = make("kd", "per_sample = 'confidence', scale = 'none'");
  const at::Tensor s = student().slice(0, 0, 1).to(at::kDouble), t = teacher().slice(0, 0, 1).to(at::kDouble);
  const double weight = kd::soften({s, t}, 4, kd::PerSample::kConfidence).weights.item<double>();
  EXPECT_NEAR(value(with, s, {.teacher = t}).item<double>(),
              value(without, s, {.teacher = t}).item<double>() * 16 * weight, 1e-12);
}

}  // namespace
