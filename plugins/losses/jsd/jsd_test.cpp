// Tests of the loss "jsd".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

at::Tensor view(std::uint64_t seed) { return kd::testing::normal({kRows, kClasses}, seed) * 3; }

Given two_views() { return {.teacher = {}, .targets = {}, .views = {{"augmix_1", view(5)}, {"augmix_2", view(6)}}}; }

/// Mean over rows and distributions of KL(p‖mean of all).
double reference(const std::vector<Rows>& all) {
  const auto count = static_cast<double>(all.size());
  return mean_of_rows([&](std::size_t i) {
    Row m(all[0][i].size(), 0);
    for (const Rows& p : all) {
      for (std::size_t c = 0; c < m.size(); ++c) m[c] += p[i][c] / count;
    }
    double sum = 0;
    for (const Rows& p : all) sum += divergence(p[i], m);
    return sum / count;
  });
}

TEST(Jsd, FollowsTheDefinition) {
  expect_value(make("jsd"), two_views(), reference({softmax(student()), softmax(view(5)), softmax(view(6))}));
  const Given one{.teacher = {}, .targets = {}, .views = {{"other", view(7)}}};
  expect_value(make("jsd", "views = ['other']"), one, reference({softmax(student()), softmax(view(7))}));
}

TEST(Jsd, IsSound) { expect_sound(make("jsd"), two_views()); }

TEST(Jsd, TeachesThroughTheViews) {
  const auto loss = make("jsd");
  for (std::size_t changed_view = 0; changed_view < 2; ++changed_view) {
    const auto f = [&](const at::Tensor& x) {
      Given given = two_views();
      given.views[changed_view].logits = x;
      return value(loss, student().to(at::kDouble), given);
    };
    EXPECT_LT(kd::testing::gradient_error(f, view(8)), 1e-6);
    const at::Tensor leaf = view(8).to(at::kDouble).requires_grad_(true);
    EXPECT_GT(torch::autograd::grad({f(leaf)}, {leaf})[0].abs().max().item<double>(), 1e-3);
  }
}

TEST(Jsd, LiesBetweenZeroAndTheLogarithmOfTheCount) {
  const at::Tensor s = student();
  const Given same{.teacher = {}, .targets = {}, .views = {{"augmix_1", s + 1}, {"augmix_2", s - 2}}};
  EXPECT_NEAR(value(make("jsd"), s, same).item<double>(), 0, 1e-6);
  const Given apart{.teacher = {},
                    .targets = {},
                    .views = {{"augmix_1", matrix({{0, 1e5, 0}})}, {"augmix_2", matrix({{0, 0, 1e5}})}}};
  EXPECT_NEAR(value(make("jsd"), matrix({{1e5, 0, 0}}), apart).item<double>(), std::log(3), 1e-12);
}

TEST(Jsd, BoundsTheMixtureFromBelow) {
  // ln p of the second class is −20.03 in both, of which the mixture shows ln 1e-7 = −16.1.
  const at::Tensor s = matrix({{0, -20}});
  const double rare = std::exp(-20.0) / (1 + std::exp(-20.0)), likely = 1 - rare;
  const double bounded = rare * (std::log(rare) - std::log(1e-7)) + likely * (std::log(likely) - std::log(likely));
  const Given given{.teacher = {}, .targets = {}, .views = {{"v", s}}};
  EXPECT_NEAR(value(make("jsd", "views = ['v']"), s, given).item<double>(), bounded, 1e-15);
}

TEST(Jsd, AsksForItsViewsWithGradient) {
  const std::vector<kd::ViewRequest> requests = make("jsd", "views = ['a', 'b', 'c']")->needs().views;
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_EQ(requests[2].name, "c");
  EXPECT_TRUE(requests[2].gradient);
}

TEST(Jsd, RefusesNoViewAndOneNamedTwice) {
  EXPECT_THROW(make("jsd", "views = []"), kd::Error);
  EXPECT_THROW(make("jsd", "views = ['a', 'a']"), kd::Error);
}

}  // namespace
