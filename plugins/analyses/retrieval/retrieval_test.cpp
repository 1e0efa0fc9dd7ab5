// Tests of the analysis "retrieval": rankings against plain loops, and which features are joined.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "../shared/feature_model.h"
#include "kd/testing/basics.h"
#include "ranking.h"

namespace {

namespace ka = kd::analyses;

using kd::testing::FeatureContext;
using kd::testing::normal;
using kd::testing::number;
using kd::testing::Rows;

std::string toml(const std::string& parameters = "") { return "{ type = 'retrieval'" + parameters + " }"; }

std::vector<std::int64_t> labels(std::int64_t count, std::int64_t classes = 3) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < count; ++i) all.push_back(i * i % 7 % classes);
  return all;
}

double cosine(const std::vector<double>& one, const std::vector<double>& other) {
  const auto product = [](const auto& a, const auto& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  };
  return product(one, other) / std::sqrt(product(one, one) * product(other, other));
}

/// As it is defined, one image after the other.
ka::Ranking plainly(const Rows& rows, const std::vector<std::int64_t>& of, std::size_t step) {
  double precision = 0, first = 0, asked = 0;
  for (std::size_t q = 0; q < rows.size(); q += step) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (i != q) order.push_back(i);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return cosine(rows[q], rows[a]) > cosine(rows[q], rows[b]); });
    double found = 0, sum = 0;
    for (std::size_t place = 0; place < order.size(); ++place) {
      if (of[order[place]] != of[q]) continue;
      found += 1;
      sum += found / static_cast<double>(place + 1);
    }
    if (found == 0) continue;
    asked += 1;
    precision += sum / found;
    first += of[order[0]] == of[q] ? 1 : 0;
  }
  return {precision / asked, first / asked, static_cast<std::int64_t>(asked)};
}

TEST(Ranking, AgreesWithItsDefinition) {
  constexpr std::int64_t kCount = 420;  // of two batches of queries
  const at::Tensor features = normal({kCount, 5}, 1);
  std::vector<std::int64_t> of = labels(kCount);
  of[7] = 9;  // nobody else is of this class
  const at::Tensor all = at::arange(kCount, at::kLong), truth = at::tensor(of, at::kLong);
  const ka::Ranking found = ka::rank(features.to(at::kDouble), truth, all);
  const ka::Ranking wanted = plainly(kd::testing::rows(features), of, 1);
  EXPECT_NEAR(found.mean_average_precision, wanted.mean_average_precision, 1e-12);
  EXPECT_NEAR(found.rank_1, wanted.rank_1, 1e-12);
  EXPECT_EQ(found.asked, kCount - 1);
  EXPECT_LT(found.mean_average_precision, 0.6);
  const ka::Ranking third = ka::rank(features.to(at::kDouble), truth, all.slice(0, 0, kCount, 3));
  EXPECT_NEAR(third.mean_average_precision, plainly(kd::testing::rows(features), of, 3).mean_average_precision, 1e-12);
}

TEST(Ranking, IsOfAnglesAndPerfectWhereClassesLieApart) {
  const std::vector<std::int64_t> of = labels(30);
  const at::Tensor truth = at::tensor(of, at::kLong), all = at::arange(30, at::kLong);
  const at::Tensor lengths = normal({30, 1}, 3).to(at::kDouble).abs() + 0.1;
  const at::Tensor apart = at::eye(3, at::kDouble).index_select(0, truth) * lengths;
  EXPECT_EQ(ka::rank(apart, truth, all).mean_average_precision, 1);
  EXPECT_EQ(ka::rank(apart, truth, all).rank_1, 1);
  const at::Tensor features = normal({30, 4}, 1).to(at::kDouble);
  EXPECT_NEAR(ka::rank(features, truth, all).mean_average_precision,
              ka::rank(features * lengths, truth, all).mean_average_precision, 1e-12);
}

TEST(Ranking, TakesTheFirstOfEqualOnesAndRowsOfZeros) {
  const at::Tensor zeros = at::zeros({4, 3}, at::kDouble), truth = at::tensor({0, 1, 0, 1}, at::kLong);
  const ka::Ranking found = ka::rank(zeros, truth, at::arange(4, at::kLong));
  // 0 finds 1, 2, 3; 1 finds 0, 2, 3; 2 finds 0 …; 3 finds 0, 1 …
  EXPECT_NEAR(found.mean_average_precision, (1 / 2. + 1 / 3. + 1 + 1 / 2.) / 4, 1e-12);
  EXPECT_NEAR(found.rank_1, 0.25, 1e-12);
}

TEST(Retrieval, RanksEachNetworkAndTheJoinedFeaturesOfAStage) {
  FeatureContext context;
  const std::vector<std::int64_t> of = labels(60);
  const at::Tensor one = normal({60, 3}, 1), two = normal({60, 4}, 2) * 50;
  context.add("alone", "net", one, of);
  context.add("pair", "net", one, of);
  context.add("pair", "net_2", two, of);
  context.add("other", "net", one, labels(60, 2));  // of other samples
  context.analyse(toml());
  const kd::Table table = context.tables.at("retrieval");
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"networks", "width", "queries", "map", "rank_1"}));
  ASSERT_EQ(table.rows.size(), 4U);
  EXPECT_EQ(table.rows[0][0], kd::Cell("alone/net"));
  EXPECT_EQ(table.rows[3][0], kd::Cell("pair (joined)"));
  EXPECT_EQ(number(table, 3, "width"), 7);
  EXPECT_EQ(number(table, 3, "queries"), 60);
  EXPECT_EQ(number(table, 0, "map"), number(table, 1, "map"));
  const auto unit = [](const at::Tensor& rows) { return rows / rows.norm(2, {1}, true); };
  const ka::Ranking joined = plainly(kd::testing::rows(at::cat({unit(one), unit(two)}, 1)), of, 1);
  EXPECT_NEAR(number(table, 3, "map"), joined.mean_average_precision, 1e-6);
  EXPECT_NEAR(number(table, 3, "rank_1"), joined.rank_1, 1e-12);
}

TEST(Retrieval, JoinsAllNetworksOnRequest) {
  FeatureContext context;
  const std::vector<std::int64_t> of = labels(60);
  context.add("a", "net", normal({60, 3}, 1), of);
  context.add("b", "net", normal({60, 3}, 1), of);
  context.add("b", "net_2", normal({60, 3}, 2), of);
  context.analyse(toml(", stages = ['a', 'b'], networks = ['', 'net'], joined = 'all', queries = 20"));
  const kd::Table& table = context.tables.at("retrieval");
  ASSERT_EQ(table.rows.size(), 3U);
  EXPECT_EQ(table.rows[2][0], kd::Cell("all (joined)"));
  EXPECT_EQ(number(table, 0, "queries"), 20);
  EXPECT_NEAR(number(table, 2, "map"), number(table, 0, "map"), 1e-12) << "a network joined with itself is itself";
  EXPECT_NEAR(number(table, 0, "map"), plainly(kd::testing::rows(normal({60, 3}, 1)), of, 3).mean_average_precision,
              1e-6);
}

TEST(Retrieval, SaysWhatIsWrong) {
  FeatureContext context;
  context.add("a", "net", normal({6, 3}, 1), labels(6));
  EXPECT_NE(context.refusal(toml(", stages = ['b']")).find("there is no stage 'b'"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", networks = ['net']")).find("'networks' has 1 entries"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", tap = 'poled'")).find("did you mean 'pooled'?"), std::string::npos);
  for (const std::int64_t count : {1, 2}) {
    FeatureContext few;
    few.add("a", "net", normal({count, 3}, 1),
            count == 1 ? std::vector<std::int64_t>{0} : std::vector<std::int64_t>{0, 1});
    EXPECT_NE(few.refusal(toml()).find("no image that asks has another of its class"), std::string::npos);
  }
}

}  // namespace
