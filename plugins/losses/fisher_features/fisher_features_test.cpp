// Tests of the loss "fisher_features".
#include <ATen/ops/avg_pool2d.h>

#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;
using kd::testing::rows;
using kd::testing::Rows;

/// softmax(z/T) of a row.
std::vector<double> softmax(std::vector<double> row, double temperature) {
  double sum = 0;
  for (double& z : row) sum += z = std::exp(z / temperature);
  for (double& p : row) p /= sum;
  return row;
}

/// The classes of a row from the most probable on.
std::vector<std::size_t> ranked(const std::vector<double>& q) {
  std::vector<std::size_t> order;
  for (std::size_t c = 0; c < q.size(); ++c) order.push_back(c);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return q[a] > q[b]; });
  return order;
}

struct Expected {
  bool full = false, normalize = false;
  double temperature = 1;
  std::size_t classes = kClasses;
};

/// A setting of equal widths whose teacher's logits are those of its head.
Setting agreeing(const std::string& parameters, const Shapes& shapes, const std::string& tap) {
  Setting setting("fisher_features", parameters, shapes);
  setting.make_double();
  setting.teacher["logits"] = setting.teacher_head().head(setting.teacher[tap], tap);
  return setting;
}

/// Mean over the samples of ½ΔᵀFΔ for a linear head z = fᵀW: the gradient of ln q_c is W_c − Σ q·W, of logits over T
/// times T.
double reference(Setting& setting, const Expected& expected) {
  const Rows s = rows(setting.student["pooled"]), t = rows(setting.teacher["pooled"]);
  const Rows z = rows(setting.teacher["logits"]), w = rows(setting.teacher_head().weight());
  double sum = 0;
  for (std::size_t i = 0; i < s.size(); ++i) {
    const std::vector<double> q = softmax(z[i], expected.temperature);
    const std::vector<std::size_t> order = ranked(q);
    double whole = 0;
    std::vector<double> diagonal(w.size(), 0);
    for (std::size_t k = 0; k < expected.classes; ++k) {
      double along = 0;
      for (std::size_t d = 0; d < w.size(); ++d) {
        double mean = 0;
        for (std::size_t c = 0; c < q.size(); ++c) mean += q[c] * w[d][c];
        const double gradient = w[d][order[k]] - mean;
        along += gradient * (s[i][d] - t[i][d]);
        diagonal[d] += q[order[k]] * gradient * gradient;
      }
      whole += q[order[k]] * along * along;
    }
    double weighed = 0, mean_weight = 0;
    for (std::size_t d = 0; d < w.size(); ++d) {
      weighed += diagonal[d] * (s[i][d] - t[i][d]) * (s[i][d] - t[i][d]);
      mean_weight += diagonal[d] / static_cast<double>(w.size());
    }
    sum += (expected.full ? whole : weighed) / (expected.normalize ? mean_weight : 1);
  }
  return sum / 2 / static_cast<double>(s.size());
}

void expect_reference(const std::string& parameters, const Expected& expected) {
  Setting setting = agreeing(parameters, equal(), "pooled");
  EXPECT_EQ(setting.loss().module(), nullptr);
  const double wanted = reference(setting, expected);
  // The head's fixed weights are single numbers.
  EXPECT_NEAR(setting.value().item<double>(), wanted, 1e-6 * wanted) << parameters;
}

TEST(FisherFeatures, FollowsTheDefinition) {
  expect_reference("", {});
  expect_reference("form = 'full'", {.full = true});
  expect_reference("temperature = 3", {.temperature = 3});
  expect_reference("form = 'full', temperature = 3", {.full = true, .temperature = 3});
  expect_reference("classes = 2", {.classes = 2});
  expect_reference("classes = 99", {});
  expect_reference("normalize = true", {.normalize = true});
  expect_reference("form = 'full', normalize = true, classes = 1", {.full = true, .normalize = true, .classes = 1});
}

TEST(FisherFeatures, OfALinearHeadIsTheWeighedDifferenceOfItsLogits) {
  Setting setting = agreeing("form = 'full'", equal(), "pooled");
  const auto logits = kd::make<kd::Loss>("{ type = 'fisher_logits' }", {.classes = kClasses, .teachers = {{}}});
  const auto answer = [&](const at::Tensor& feature) {
    return kd::Outputs{.logits = setting.teacher_head().head(feature, "pooled"), .taps = {}};
  };
  const kd::Outputs student = answer(setting.student["pooled"]), teacher = answer(setting.teacher["pooled"]);
  const double wanted =
      (*logits)({.student = student, .teachers = {&teacher, 1}, .batch = setting.batch}).item<double>();
  EXPECT_NEAR(setting.value().item<double>(), wanted, 1e-9 * wanted);
}

TEST(FisherFeatures, NearTheTeacherIsTheDivergence) {
  Setting setting = agreeing("taps = ['stage3'], form = 'full'", equal(), "stage3");
  setting.student["stage3"] = setting.teacher["stage3"] + setting.student["stage3"] * 1e-4;
  const Rows s = rows(setting.teacher_head().head(setting.student["stage3"], "stage3"));
  const Rows t = rows(setting.teacher["logits"]);
  double divergence = 0;
  for (std::size_t i = 0; i < s.size(); ++i) {
    const std::vector<double> p = softmax(s[i], 1), q = softmax(t[i], 1);
    for (std::size_t c = 0; c < q.size(); ++c)
      divergence += q[c] * std::log(q[c] / p[c]) / static_cast<double>(s.size());
  }
  EXPECT_NEAR(setting.value().item<double>() / divergence, 1, 2e-3);
}

TEST(FisherFeatures, OfASmallerMapWeighsTheMeansOfRegions) {
  // A student's map that is the teacher's, averaged over regions, plus a constant: as if the whole map had moved.
  const Shapes smaller{network_shapes(2, 4), network_shapes(2, 8)};
  Setting setting = agreeing("taps = ['stage3'], form = 'full'", smaller, "stage3");
  setting.student["stage3"] = at::avg_pool2d(setting.teacher["stage3"], 2) + 0.1;
  Setting same = agreeing("taps = ['stage3'], form = 'full'", {smaller.teacher, smaller.teacher}, "stage3");
  same.student["stage3"] = same.teacher["stage3"] + 0.1;
  const double wanted = same.value().item<double>();
  EXPECT_GT(wanted, 0);
  EXPECT_NEAR(setting.value().item<double>(), wanted, 1e-9 * wanted);
}

TEST(FisherFeatures, IsZeroWhereTheFeaturesAgree) {
  Setting setting("fisher_features", "taps = ['stage3', 'pooled']", equal());
  setting.student = setting.teacher;
  EXPECT_EQ(setting.value().item<double>(), 0);
}

TEST(FisherFeatures, TakesTheSumOverFeaturesAndNeedsNoGradientMode) {
  Setting both("fisher_features", "taps = ['stage3', 'pooled']", equal());
  Setting map("fisher_features", "taps = ['stage3']", equal()), vector("fisher_features", "", equal());
  for (Setting* setting : {&both, &map, &vector}) {
    setting->student["stage3"] = kd::testing::normal({3, 6, 1, 1}, 5).abs();
    setting->teacher["stage3"] = kd::testing::normal({3, 6, 1, 1}, 6).abs();
    setting->student["pooled"] = kd::testing::normal({3, 6}, 7);
    setting->teacher["pooled"] = kd::testing::normal({3, 6}, 8);
    setting->teacher["logits"] = kd::testing::normal({3, kClasses}, 9);
  }
  const at::NoGradGuard no_gradient;
  EXPECT_NEAR(both.value().item<double>(), map.value().item<double>() + vector.value().item<double>(), 1e-5);
}

TEST(FisherFeatures, IsSound) {
  expect_sound("fisher_features");
  expect_sound("fisher_features", "taps = ['stage3'], classes = 2", {equal(), narrower_and_larger()});
  expect_sound("fisher_features", "taps = ['stage3', 'pooled'], form = 'full', temperature = 2, normalize = true",
               {equal(), wider_and_smaller()});
}

TEST(FisherFeatures, RefusesAMapAgainstAVector) {
  expect_refusal("fisher_features", "taps = ['stage1'], teacher_taps = ['pooled']", equal(),
                 "'stage1' of the student and 'pooled' of the teacher are a map and a vector");
}

}  // namespace
