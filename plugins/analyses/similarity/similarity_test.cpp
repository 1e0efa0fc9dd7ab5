// Tests of the analysis "similarity".
#include <ATen/ops/linalg_qr.h>

#include <algorithm>
#include <cmath>

#include "../shared/feature_model.h"
#include "kd/testing/basics.h"

namespace {

using kd::testing::FeatureContext;
using kd::testing::FeatureModel;
using kd::testing::normal;
using kd::testing::number;
using kd::testing::Rows;

std::string toml(const std::string& parameters = "") {
  return "{ type = 'similarity', first = 'a'" + parameters + " }";
}

std::vector<std::int64_t> labels(std::int64_t count) {
  return std::vector<std::int64_t>(static_cast<std::size_t>(count));
}

/// The table of two networks with these features.
kd::Table compare(const at::Tensor& first, const at::Tensor& second, const std::string& parameters = "") {
  FeatureContext context;
  context.add("a", "net", first, labels(first.size(0)));
  context.add("b", "net", second, labels(second.size(0)));
  context.analyse(toml(parameters));
  return context.tables.at("similarity");
}

at::Tensor permuted(const at::Tensor& features, const std::vector<std::int64_t>& order) {
  return features.index_select(1, at::tensor(order, at::kLong));
}

/// CKA by its definition: HSIC of N×N kernels that are centred by H = 1 − 1/N on both sides.
double cka_of_kernels(const Rows& k, const Rows& l) {
  const std::size_t n = k.size();
  const auto centred = [n](const Rows& kernel) {
    const auto h = [n](std::size_t i, std::size_t j) { return (i == j ? 1.0 : 0.0) - 1.0 / static_cast<double>(n); };
    Rows left(n, std::vector<double>(n)), both = left;
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)
        for (std::size_t m = 0; m < n; ++m) left[i][j] += h(i, m) * kernel[m][j];
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)
        for (std::size_t m = 0; m < n; ++m) both[i][j] += left[i][m] * h(m, j);
    return both;
  };
  const Rows a = centred(k), b = centred(l);
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      ab += a[i][j] * b[i][j];
      aa += a[i][j] * a[i][j];
      bb += b[i][j] * b[i][j];
    }
  }
  return ab / std::sqrt(aa * bb);
}

template <class Function>
Rows kernel_of(const at::Tensor& features, const Function& of) {
  const Rows rows = kd::testing::rows(features);
  Rows kernel;
  for (const auto& one : rows) {
    kernel.emplace_back();
    for (const auto& other : rows) kernel.back().push_back(of(one, other));
  }
  return kernel;
}

double product(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

double distance(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += (x[i] - y[i]) * (x[i] - y[i]);
  return std::sqrt(sum);
}

Rows rbf_kernel(const at::Tensor& features, double bandwidth) {
  Rows kernel = kernel_of(features, distance);
  std::vector<double> pairs;
  for (std::size_t i = 0; i < kernel.size(); ++i)
    pairs.insert(pairs.end(), kernel[i].begin(), kernel[i].begin() + static_cast<std::ptrdiff_t>(i));
  std::sort(pairs.begin(), pairs.end());
  const double sigma = bandwidth * pairs[pairs.size() / 2];  // of an odd number of pairs
  for (auto& row : kernel)
    for (double& d : row) d = std::exp(-d * d / (2 * sigma * sigma));
  return kernel;
}

TEST(Similarity, AgreesWithTheDefinitionsOnKernels) {
  const at::Tensor x = normal({15, 4}, 1), y = x.narrow(1, 0, 3) * 2 + normal({15, 3}, 2) + 5;  // 105 pairs
  for (const double bandwidth : {1.0, 0.4}) {
    const kd::Table table = compare(x, y, ", bandwidth = " + std::to_string(bandwidth));
    EXPECT_EQ(kd::testing::column_names(table),
              (std::vector<std::string>{"first", "second", "first_tap", "second_tap", "linear_cka", "rbf_cka",
                                        "matched_correlation", "aligned_correlation"}));
    ASSERT_EQ(table.rows.size(), 1U);
    EXPECT_EQ(table.rows[0][1], kd::Cell("b/net"));
    EXPECT_EQ(table.rows[0][3], kd::Cell("pooled"));
    EXPECT_NEAR(number(table, 0, "linear_cka"), cka_of_kernels(kernel_of(x, product), kernel_of(y, product)), 1e-9);
    EXPECT_NEAR(number(table, 0, "rbf_cka"), cka_of_kernels(rbf_kernel(x, bandwidth), rbf_kernel(y, bandwidth)), 1e-9);
    EXPECT_EQ(table.rows[0][7], kd::Cell()) << "4 units have no counterparts among 3";
  }
}

TEST(Similarity, CkaSeesNoRotationNoScaleAndNoShift) {
  const at::Tensor x = normal({50, 6}, 1);
  const at::Tensor rotation = std::get<0>(at::linalg_qr(normal({6, 6}, 2)));
  const kd::Table rotated = compare(x, at::matmul(x, rotation) * 3 + 2);
  EXPECT_NEAR(number(rotated, 0, "linear_cka"), 1, 1e-6);
  EXPECT_NEAR(number(rotated, 0, "rbf_cka"), 1, 1e-6);
  EXPECT_LT(number(rotated, 0, "matched_correlation"), 0.95);
  const kd::Table stretched = compare(x, x * at::tensor(std::vector<double>{9, 1, 1, 1, 1, 1}, at::kFloat));
  EXPECT_LT(number(stretched, 0, "linear_cka"), 0.7);
  EXPECT_NEAR(number(stretched, 0, "matched_correlation"), 1, 1e-6);
}

TEST(Similarity, MatchingFindsUnitsInAnotherOrder) {
  const at::Tensor x = normal({80, 5}, 1);
  const kd::Table same = compare(x, x);
  EXPECT_NEAR(number(same, 0, "aligned_correlation"), 1, 1e-6);
  const kd::Table switched = compare(x, permuted(x, {3, 0, 4, 1, 2}) * 2 + 1);
  EXPECT_NEAR(number(switched, 0, "matched_correlation"), 1, 1e-6);
  EXPECT_LT(std::abs(number(switched, 0, "aligned_correlation")), 0.2);
  EXPECT_NEAR(number(switched, 0, "linear_cka"), 1, 1e-6);
  const kd::Table negated = compare(x, -x);
  EXPECT_NEAR(number(negated, 0, "aligned_correlation"), -1, 1e-6);
  EXPECT_LT(number(negated, 0, "matched_correlation"), 0.3) << "a negated unit is another one";
}

TEST(Similarity, MatchesAsTheBestOfAllOrders) {
  const at::Tensor x = normal({12, 4}, 1), y = normal({12, 4}, 2) + x * 0.3;
  std::vector<std::int64_t> order = {0, 1, 2, 3};
  double best = -1;
  do {
    best = std::max(best, number(compare(x, permuted(y, order)), 0, "aligned_correlation"));
  } while (std::next_permutation(order.begin(), order.end()));
  EXPECT_NEAR(number(compare(x, y), 0, "matched_correlation"), best, 1e-6);
}

TEST(Similarity, MatchesTheSmallerWidth) {
  const at::Tensor x = normal({60, 7}, 1), part = permuted(x, {5, 1, 6});
  EXPECT_NEAR(number(compare(x, part), 0, "matched_correlation"), 1, 1e-6);
  EXPECT_NEAR(number(compare(part, x), 0, "matched_correlation"), 1, 1e-6);
}

TEST(Similarity, LeavesOutUnitsThatDoNotVary) {
  const at::Tensor x = normal({40, 3}, 1), none = at::zeros({40, 1}), constant = at::full({40, 1}, 0.1);
  const kd::Table table = compare(at::cat({x, none}, 1), at::cat({x.narrow(1, 0, 2), constant, x.narrow(1, 2, 1)}, 1));
  EXPECT_NEAR(number(table, 0, "matched_correlation"), 1, 1e-6);
  EXPECT_NEAR(number(table, 0, "aligned_correlation"), 1, 1e-6) << "of the first two";
  EXPECT_TRUE(std::isnan(number(compare(x, none), 0, "matched_correlation")));
}

TEST(Similarity, IndependentFeaturesAreNotAlike) {
  const kd::Table table = compare(normal({2000, 8}, 1), normal({2000, 8}, 2));
  EXPECT_LT(number(table, 0, "linear_cka"), 0.01);
  EXPECT_LT(number(table, 0, "rbf_cka"), 0.1);
  EXPECT_LT(number(table, 0, "matched_correlation"), 0.05);
  EXPECT_GT(number(table, 0, "rbf_cka"), 0);
}

TEST(Similarity, AveragesMapsOrTakesEachPlace) {
  const at::Tensor maps = normal({30, 2, 3, 3}, 1);
  const std::string of_maps = ", taps = ['map']";
  EXPECT_NEAR(number(compare(maps, maps.flip(3), of_maps), 0, "aligned_correlation"), 1, 1e-6);
  const kd::Table flipped = compare(maps, maps.flip(3), of_maps + ", pool = false");
  EXPECT_NEAR(number(flipped, 0, "matched_correlation"), 1, 1e-6);
  EXPECT_LT(number(flipped, 0, "aligned_correlation"), 0.6) << "the middle column of each map stays where it is";
  FeatureContext context;
  const at::Tensor large = normal({2, 65, 8, 8});
  context.add("a", "net", large, labels(2));
  context.add("b", "net", large, labels(2));
  EXPECT_NE(context.refusal(toml(of_maps + ", pool = false"))
                .find("'map' of a/net has 4160 units, and no more than 4096 can be compared"),
            std::string::npos);
  EXPECT_EQ(context.refusal(toml(of_maps)), "");
}

TEST(Similarity, ComparesEachFeatureWithEach) {
  const at::Tensor x = normal({40, 6}, 1), y = normal({40, 6}, 2);
  FeatureContext context;
  for (const auto& [stage, features] : {std::pair{"a", x}, std::pair{"b", y}}) {
    FeatureModel& network = context.add(stage, "net", features, labels(40));
    network.taps["left"] = [](const at::Tensor& images) { return images.narrow(1, 0, 3); };
  }
  context.analyse(toml(", taps = ['pooled', 'left'], second_taps = ['left', 'map']"));
  const kd::Table& table = context.tables.at("similarity");
  ASSERT_EQ(table.rows.size(), 4U);
  EXPECT_EQ(table.rows[1][2], kd::Cell("pooled"));
  EXPECT_EQ(table.rows[1][3], kd::Cell("map"));
  EXPECT_NEAR(number(table, 1, "linear_cka"), number(compare(x, y), 0, "linear_cka"), 1e-12);
  EXPECT_NEAR(number(table, 2, "linear_cka"), number(compare(x.narrow(1, 0, 3), y.narrow(1, 0, 3)), 0, "linear_cka"),
              1e-12);
  ASSERT_EQ(context.shown.size(), 1U);
  ASSERT_EQ(context.shown[0].rows.size(), 2U) << "of the features at one place in both lists";
  EXPECT_EQ(context.shown[0].rows[1], table.rows[3]);
  const kd::Panel& panel = context.figures.at("similarity").panels.at(0);
  EXPECT_EQ(panel.y.categories, (std::vector<std::string>{"pooled", "left"}));
  EXPECT_EQ(panel.x.categories, (std::vector<std::string>{"left", "map"}));
  EXPECT_EQ(std::get<kd::HeatMap>(panel.marks.at(0)).values[1][0], number(table, 2, "linear_cka"));
}

TEST(Similarity, NamesAsManyColumnsAsFit) {
  FeatureContext context;
  context.add("a", "net", normal({10, 3}), labels(10));
  const auto columns = [&](int count) {
    std::string taps = "'map'";
    for (int i = 1; i < count; ++i) taps += ", 'pooled'";
    context.analyse(toml(", second = 'a', second_taps = [" + taps + "]"));
    return context.figures.at("similarity").panels.at(0).x.categories;
  };
  EXPECT_EQ(columns(3), (std::vector<std::string>{"map", "pooled", "pooled"}));
  EXPECT_EQ(columns(9), (std::vector<std::string>{"map", "", "pooled", "", "pooled", "", "pooled", "", "pooled"}));
}

TEST(Similarity, ComparesWithAllNetworksOfTheSameSamples) {
  const at::Tensor x = normal({20, 3}, 1);
  FeatureContext context;
  context.add("a", "net", x, labels(20));
  context.add("other", "net", x, std::vector<std::int64_t>(20, 1));
  context.add("named", "net", x, labels(20), /*classes=*/4);
  context.add("b", "net", x, labels(20));
  context.add("b", "net_2", x * x, labels(20));
  context.analyse(toml());
  const kd::Table& table = context.tables.at("similarity");
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[0][1], kd::Cell("b/net"));
  EXPECT_EQ(table.rows[1][1], kd::Cell("b/net_2"));
  EXPECT_TRUE(context.figures.empty()) << "one feature makes no heat map";
  context.analyse(toml(", second = 'b', second_network = 'net_2'"));
  ASSERT_EQ(context.tables.at("similarity").rows.size(), 1U);
  EXPECT_EQ(context.tables.at("similarity").rows[0], table.rows[1]);
  EXPECT_NE(context.refusal(toml(", second = 'other'")).find("a/net and other/net have different data"),
            std::string::npos);
}

TEST(Similarity, TakesTheFirstSamplesOfASplit) {
  const at::Tensor x = normal({30, 3}, 1), y = normal({30, 3}, 2);
  const kd::Table whole = compare(x, y, ", rbf_samples = 12, samples = 20");
  EXPECT_EQ(number(whole, 0, "linear_cka"), number(compare(x.narrow(0, 0, 20), y.narrow(0, 0, 20)), 0, "linear_cka"));
  EXPECT_EQ(number(whole, 0, "rbf_cka"), number(compare(x.narrow(0, 0, 12), y.narrow(0, 0, 12)), 0, "rbf_cka"));
  FeatureContext context;
  context.add("a", "net", x, labels(30)).set(kd::Split::kTrain, y, labels(30));
  context.add("b", "net", x, labels(30)).set(kd::Split::kTrain, y * y, labels(30));
  context.analyse(toml(", split = 'train'"));
  EXPECT_EQ(number(context.tables.at("similarity"), 0, "linear_cka"), number(compare(y, y * y), 0, "linear_cka"));
  EXPECT_NE(context.refusal(toml(", split = 'validation'")).find("a/net has no such split"), std::string::npos);
}

TEST(Similarity, TakesTheSecondFromAnotherRun) {
  const at::Tensor x = normal({20, 3}, 1), y = normal({20, 3}, 2);
  FeatureContext context;
  context.add("a", "net", x, labels(20));
  context.other_runs.try_emplace("runs/seed_1", kd::NetworkName{"b", "net"}, y, labels(20), 3);
  // check() would look for the folder.
  kd::make<kd::Analysis>(toml(", run = 'runs/seed_1', second = 'b'"))->run(context);
  const kd::Table& table = context.tables.at("similarity");
  EXPECT_EQ(table.rows.at(0)[1], kd::Cell("runs/seed_1: b/net"));
  EXPECT_EQ(number(table, 0, "linear_cka"), number(compare(x, y), 0, "linear_cka"));
  EXPECT_NE(context.refusal(toml(", run = 'no/such/run', second = 'b'"))
                .find("no/such/run is no run folder with a stage 'b'"),
            std::string::npos);
}

TEST(Similarity, SaysWhatIsWrong) {
  FeatureContext context;
  context.add("a", "net", normal({20, 3}), labels(20));
  EXPECT_NE(context.refusal("{ type = 'similarity', first = 'c' }").find("there is no stage 'c'"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", second = 'c'")).find("there is no stage 'c'"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", taps = []")).find("'taps' names no feature"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", taps = ['poled']")).find("did you mean 'pooled'?"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", second_network = 'net'")).find("'second' no stage"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", run = 'runs/x'")).find("'run' names a run folder"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", samples = 1")), "");
  EXPECT_NE(context.refusal(toml(", bandwidth = 0")), "");
}

}  // namespace
