// Tests of the analysis "embedding" and of its t-SNE.
#include <ATen/ops/allclose.h>

#include <algorithm>
#include <cmath>

#include "../shared/feature_model.h"
#include "kd/testing/basics.h"
#include "tsne.h"

namespace {

namespace ka = kd::analyses;

using kd::testing::FeatureContext;
using kd::testing::normal;
using kd::testing::number;
using kd::testing::Rows;

std::string toml(const std::string& parameters = "") { return "{ type = 'embedding'" + parameters + " }"; }

/// 0, 1, 2, 0, 1, 2, …
std::vector<std::int64_t> labels(std::int64_t count, std::int64_t classes = 3) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < count; ++i) all.push_back(i % classes);
  return all;
}

/// Points around places of their classes, `apart` from one another.
at::Tensor clusters(std::int64_t count, double apart, std::uint64_t seed) {
  const at::Tensor places = at::eye(3, at::kFloat) * apart;
  return normal({count, 3}, seed) + places.index_select(0, at::tensor(labels(count), at::kLong));
}

double distance(const Rows& rows, std::size_t i, std::size_t j) {
  double sum = 0;
  for (std::size_t c = 0; c < rows[i].size(); ++c) sum += (rows[i][c] - rows[j][c]) * (rows[i][c] - rows[j][c]);
  return std::sqrt(sum);
}

/// How many others are nearer to i than j is.
std::size_t nearer(const Rows& rows, std::size_t i, std::size_t j) {
  std::size_t count = 0;
  for (std::size_t m = 0; m < rows.size(); ++m)
    if (m != i && distance(rows, i, m) < distance(rows, i, j)) ++count;
  return count;
}

TEST(Tsne, EachRowReachesThePerplexity) {
  at::Tensor points = clusters(60, 50, 1);
  points[7] += 1e4;  // one that is far from all
  for (const double perplexity : {2.0, 15.0}) {
    const Rows p = kd::testing::rows(ka::neighbour_probabilities(ka::pair_distances(points), perplexity));
    for (std::size_t i = 0; i < p.size(); ++i) {
      double sum = 0, entropy = 0;
      for (const double one : p[i]) {
        sum += one;
        if (one > 0) entropy -= one * std::log(one);
      }
      EXPECT_EQ(p[i][i], 0);
      EXPECT_NEAR(sum, 1, 1e-9);
      EXPECT_NEAR(std::exp(entropy), perplexity, 1e-5) << i;
    }
  }
}

TEST(Tsne, NearNeighboursAreLikelyAsTheNormalDensityHasIt) {
  const Rows rows = kd::testing::rows(normal({12, 2}, 1));
  const Rows p = kd::testing::rows(ka::neighbour_probabilities(ka::pair_distances(normal({12, 2}, 1)), 4));
  for (std::size_t i = 2; i < rows.size(); ++i) {  // ln p is linear in d², with one slope for a row
    const auto square = [&](std::size_t j) { return distance(rows, 0, j) * distance(rows, 0, j); };
    EXPECT_NEAR(std::log(p[0][i] / p[0][1]) / (square(i) - square(1)),
                std::log(p[0][2] / p[0][1]) / (square(2) - square(1)), 1e-6);
  }
  EXPECT_LT(std::log(p[0][2] / p[0][1]) / (std::pow(distance(rows, 0, 2), 2) - std::pow(distance(rows, 0, 1), 2)), 0);
  const at::Tensor joint = ka::joint_probabilities(ka::pair_distances(normal({12, 2}, 1)), 4);
  EXPECT_TRUE(joint.equal(joint.t()));
  EXPECT_NEAR(joint.sum().item<double>(), 1, 1e-9);
  EXPECT_NEAR(kd::testing::rows(joint)[0][5], (p[0][5] + p[5][0]) / 24, 1e-12);
}

TEST(Tsne, TheDivergenceIsThatOfStudentsKernel) {
  const at::Tensor p = ka::joint_probabilities(ka::pair_distances(normal({9, 4}, 1)), 2.5);
  const at::Tensor map = normal({9, 2}, 2).to(at::kDouble);
  const Rows pairs = kd::testing::rows(p), points = kd::testing::rows(map);
  double sum = 0, kl = 0;
  const auto kernel = [&](std::size_t i, std::size_t j) { return 1 / (1 + std::pow(distance(points, i, j), 2)); };
  for (std::size_t i = 0; i < 9; ++i)
    for (std::size_t j = 0; j < 9; ++j) sum += i == j ? 0 : kernel(i, j);
  for (std::size_t i = 0; i < 9; ++i)
    for (std::size_t j = 0; j < 9; ++j) kl += i == j ? 0 : pairs[i][j] * std::log(pairs[i][j] * sum / kernel(i, j));
  EXPECT_NEAR(ka::divergence(p, map), kl, 1e-12);
}

TEST(Tsne, ItsGradientAgreesWithDifferences) {
  const at::Tensor p = ka::joint_probabilities(ka::pair_distances(normal({20, 5}, 1)), 5);
  const at::Tensor map = normal({20, 2}, 2).to(at::kDouble);
  const at::Tensor gradient = ka::divergence_gradient(p, map);
  constexpr double kStep = 1e-5;
  for (std::int64_t i = 0; i < 20; ++i) {
    for (std::int64_t c = 0; c < 2; ++c) {
      const auto moved = [&](double step) {
        at::Tensor changed = map.clone();
        changed[i][c] += step;
        return ka::divergence(p, changed);
      };
      EXPECT_NEAR(gradient[i][c].item<double>(), (moved(kStep) - moved(-kStep)) / (2 * kStep), 1e-8);
    }
  }
  EXPECT_GT(gradient.abs().max().item<double>(), 1e-3);
}

TEST(Tsne, ComponentsKeepDistancesAndPointTheSameWay) {
  const at::Tensor rows = normal({30, 6}, 1) * at::tensor(std::vector<double>{1, 9, 2, 5, 3, 4}, at::kFloat) + 7;
  const at::Tensor all = ka::principal_components(rows, 50), two = ka::principal_components(rows, 2);
  EXPECT_EQ(all.sizes(), (at::IntArrayRef{30, 6}));
  EXPECT_TRUE(at::allclose(two, all.narrow(1, 0, 2)));
  EXPECT_TRUE(at::allclose(ka::pair_distances(all), ka::pair_distances(rows), 1e-6, 1e-6));
  const at::Tensor products = at::matmul(all.t(), all);
  EXPECT_TRUE(at::allclose(products, products.diagonal().diag(), 1e-9, 1e-8)) << "they do not correlate";
  EXPECT_TRUE(products.diagonal().slice(0, 1).lt(products.diagonal().slice(0, 0, 5)).all().item<bool>());
  const at::Tensor places = normal({8, 1}, 2);
  const at::Tensor line = ka::principal_components(at::cat({places * -3, places}, 1), 1);
  EXPECT_TRUE(at::allclose(line, (places - places.mean()).to(at::kDouble) * -std::sqrt(10.0), 1e-6, 1e-6));
}

TEST(Tsne, FarClustersStayApart) {
  const at::Tensor rows = clusters(90, 30, 1);
  const ka::TsneMap map = ka::embed(rows, {.perplexity = 10, .iterations = 500});
  const Rows points = kd::testing::rows(map.points);
  const std::vector<std::int64_t> classes = labels(90);
  double within = 0, between = INFINITY;
  for (std::size_t i = 0; i < points.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (classes[i] == classes[j]) within = std::max(within, distance(points, i, j));
      if (classes[i] != classes[j]) between = std::min(between, distance(points, i, j));
    }
  }
  EXPECT_LT(within, between);
  EXPECT_LT(map.kl, 0.8);
  EXPECT_GT(map.kl, 0);
  EXPECT_TRUE(map.points.equal(ka::embed(rows, {.perplexity = 10, .iterations = 500}).points))
      << "it is the same again";
  const at::Tensor none = ka::embed(at::ones({12, 3}), {.perplexity = 3, .iterations = 250}).points;
  EXPECT_TRUE(none.isfinite().all().item<bool>()) << "points in one place";
}

TEST(Tsne, TrustworthinessAgreesWithItsDefinition) {
  const at::Tensor rows = normal({25, 4}, 1), map = normal({25, 2}, 2) + rows.narrow(1, 0, 2);
  constexpr std::int64_t kCount = 6;
  const Rows truth = kd::testing::rows(rows), drawn = kd::testing::rows(map);
  double excess = 0;
  for (std::size_t i = 0; i < 25; ++i) {
    for (std::size_t j = 0; j < 25; ++j) {
      if (i == j || nearer(drawn, i, j) >= kCount) continue;
      const std::size_t rank = nearer(truth, i, j) + 1;
      if (rank > kCount) excess += static_cast<double>(rank - kCount);
    }
  }
  EXPECT_GT(excess, 0);
  EXPECT_NEAR(ka::trustworthiness(rows, ka::nearest(map, kCount)),
              1 - 2 * excess / (25.0 * kCount * (2 * 25 - 3 * kCount - 1)), 1e-12);
  EXPECT_EQ(ka::trustworthiness(rows, ka::nearest(rows, kCount)), 1);
}

TEST(Embedding, EmbedsNetworksOfOneWidthJointly) {
  FeatureContext context;
  const at::Tensor features = clusters(60, 30, 1);
  context.add("a", "net", features, labels(60));
  context.add("b", "net", features + 500, labels(60));
  context.add("other", "net", features, labels(60, 2));  // of other samples
  context.analyse(toml());
  const kd::Table& table = context.tables.at("embedding");
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"networks", "points", "perplexity", "kl", "trustworthiness", "same_class",
                                      "same_network"}));
  ASSERT_EQ(table.rows.size(), 1U);
  EXPECT_EQ(table.rows[0][0], kd::Cell("a/net + b/net"));
  EXPECT_EQ(number(table, 0, "points"), 120);
  EXPECT_EQ(number(table, 0, "perplexity"), 30);
  EXPECT_EQ(number(table, 0, "same_class"), 1);
  EXPECT_EQ(number(table, 0, "same_network"), 1);
  EXPECT_GT(number(table, 0, "trustworthiness"), 0.95);
  const kd::Figure& figure = context.figures.at("embedding");
  ASSERT_EQ(figure.panels.size(), 2U);
  ASSERT_EQ(figure.panels[0].marks.size(), 3U);
  EXPECT_EQ(std::get<kd::Curve>(figure.panels[0].marks[2]).name, "class 2");
  EXPECT_EQ(std::get<kd::Curve>(figure.panels[0].marks[2]).x.size(), 40U);
  EXPECT_EQ(figure.panels[1].title, "by network");
  ASSERT_EQ(figure.panels[1].marks.size(), 2U);
  const auto& second = std::get<kd::Curve>(figure.panels[1].marks[1]);
  EXPECT_EQ(second.name, "b/net");
  const at::Tensor map =
      ka::embed(at::cat({features, features + 500}).to(at::kDouble), {.perplexity = 30, .iterations = 1000}).points;
  EXPECT_EQ(second.x[3], map[63][0].item<double>());
  EXPECT_EQ(second.y[3], map[63][1].item<double>());
}

TEST(Embedding, NetworksWithTheSameFeaturesMix) {
  FeatureContext context;
  const at::Tensor features = clusters(80, 10, 1);
  context.add("a", "net", features, labels(80));
  context.add("a", "net_2", features + normal({80, 3}, 2) * 0.01, labels(80));
  context.analyse(toml());
  EXPECT_NEAR(number(context.tables.at("embedding"), 0, "same_network"), 0.5, 0.1);
}

TEST(Embedding, GivesNetworksOfOtherWidthsMapsOfTheirOwn) {
  FeatureContext context;
  const at::Tensor features = clusters(60, 30, 1);
  context.add("a", "net", features, labels(60));
  context.add("b", "net", features.narrow(1, 0, 2), labels(60));
  context.analyse(toml());
  const kd::Table apart = context.tables.at("embedding");
  ASSERT_EQ(apart.rows.size(), 2U);
  EXPECT_EQ(apart.rows[1][0], kd::Cell("b/net"));
  EXPECT_EQ(apart.rows[1][6], kd::Cell()) << "there is one network alone";
  EXPECT_NEAR(number(apart, 0, "perplexity"), 59 / 3.0, 1e-12) << "of 60 points no more";
  EXPECT_EQ(context.figures.at("embedding").panels.at(1).title, "b/net");
  EXPECT_NE(context.refusal(toml(", jointly = 'yes'")).find("features 'pooled' of a/net and b/net have other widths"),
            std::string::npos);
  context.analyse(toml(", stages = ['a']"));
  EXPECT_EQ(context.tables.at("embedding").rows, (std::vector<kd::Row>{apart.rows[0]}));
  context.add("c", "net", features, labels(60));
  context.analyse(toml(", stages = ['a', 'c'], networks = ['', 'net'], jointly = 'no'"));
  ASSERT_EQ(context.tables.at("embedding").rows.size(), 2U);
  EXPECT_EQ(context.tables.at("embedding").rows[0], apart.rows[0]);
  context.analyse(toml(", stages = ['a', 'c'], jointly = 'yes'"));
  EXPECT_EQ(number(context.tables.at("embedding"), 0, "points"), 120);
}

TEST(Embedding, LooksAtTheFirstSamplesOfItsClasses) {
  FeatureContext context;
  kd::testing::FeatureModel& network = context.add("a", "net", clusters(60, 30, 1), labels(60));
  network.passed = 0;
  context.analyse(toml(", classes = [2, 0], samples = 21"));
  EXPECT_EQ(network.passed, 21) << "no other image is looked at";
  const std::vector<kd::Mark>& marks = context.figures.at("embedding").panels.at(0).marks;
  ASSERT_EQ(marks.size(), 2U);
  EXPECT_EQ(std::get<kd::Curve>(marks[0]).name, "class 2");
  EXPECT_EQ(std::get<kd::Curve>(marks[0]).x.size(), 10U);
  EXPECT_EQ(std::get<kd::Curve>(marks[1]).x.size(), 11U);
  FeatureContext many;
  many.add("a", "net", normal({60, 4}, 1), labels(60, 12), /*classes=*/12);
  many.analyse(toml());
  EXPECT_EQ(many.figures.at("embedding").panels.at(0).marks.size(), 10U);
  EXPECT_EQ(number(many.tables.at("embedding"), 0, "points"), 50);
}

TEST(Embedding, SaysWhatIsWrong) {
  FeatureContext context;
  context.add("a", "net", clusters(60, 30, 1), labels(60));
  context.add("a", "net_2", clusters(60, 30, 2), labels(60));
  EXPECT_NE(context.refusal(toml(", samples = 2001"))
                .find("a map of 2 networks with 2001 samples each would have 4002 points, and holds 4000"),
            std::string::npos);
  EXPECT_EQ(context.refusal(toml(", samples = 2001, jointly = 'no'")), "");
  EXPECT_EQ(context.refusal(toml(", samples = 2001, stages = ['a'], networks = ['net']")), "");
  EXPECT_NE(context.refusal(toml(", samples = 4001")), "");
  EXPECT_NE(context.refusal(toml(", stages = ['b']")).find("there is no stage 'b'"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", stages = ['a'], networks = ['nett']")).find("did you mean 'net'?"),
            std::string::npos);
  EXPECT_NE(context.refusal(toml(", networks = ['net']")).find("'networks' has 1 entries"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", classes = [1, 2, 1]")).find("'classes' names class 1 twice"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", classes = [3]")).find("'classes' names class 3, and a/net knows classes 0 to 2"),
            std::string::npos);
  EXPECT_NE(context.refusal(toml(", tap = 'poled'")).find("did you mean 'pooled'?"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", iterations = 100")), "");
  FeatureContext few;
  few.add("a", "net", normal({3, 2}), labels(3));
  EXPECT_NE(few.refusal(toml()).find("has 3 samples of the classes to embed, and t-SNE wants 4"), std::string::npos);
}

}  // namespace
