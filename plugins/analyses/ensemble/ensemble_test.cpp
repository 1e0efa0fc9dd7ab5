// Tests of the analysis "ensemble".
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kd/testing/analyses.h"

namespace {

using kd::testing::FakeAnalysisContext;

using Matrix = std::vector<std::vector<double>>;

const std::vector<std::int64_t> kLabels = {0, 1, 2, 1};
const Matrix kFirst = {{2, 1, 0}, {0.5, 0, 1}, {-1, 0, 3}, {0, 1, 2}};
const Matrix kSecond = {{0, 3, 1}, {0, 4, 0}, {1, 1.25, 0}, {2, 5, 1}};

at::Tensor to_tensor(const Matrix& rows) {
  std::vector<double> flat;
  for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
  return at::tensor(flat, at::kFloat).view({static_cast<std::int64_t>(rows.size()), -1});
}

void add_two_networks(FakeAnalysisContext& context) {
  context.add("none", "net", to_tensor(kFirst), kLabels);
  context.add("cutmix", "net", to_tensor(kSecond), kLabels);
}

std::string toml(const std::string& parameters) { return "{ type = 'ensemble', " + parameters + " }"; }

std::vector<double> softmax(const std::vector<double>& z) {
  double sum = 0;
  for (const double v : z) sum += std::exp(v);
  std::vector<double> p;
  for (const double v : z) p.push_back(std::exp(v) / sum);
  return p;
}

/// Rows normalised to a sum of one of f(p, q), element by element.
template <class Function>
Matrix combine(const Function& f) {
  Matrix rows;
  for (std::size_t i = 0; i < kFirst.size(); ++i) {
    const std::vector<double> p = softmax(kFirst[i]), q = softmax(kSecond[i]);
    double sum = 0;
    rows.emplace_back();
    for (std::size_t c = 0; c < p.size(); ++c) {
      rows.back().push_back(f(p[c], q[c]));
      sum += rows.back().back();
    }
    for (double& v : rows.back()) v /= sum;
  }
  return rows;
}

struct Scores {
  double accuracy = 0, ece = 0, oe = 0, nll = 0, brier = 0;
};

/// With one bin.
Scores score(const Matrix& p) {
  Scores scores;
  double confidence = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const auto best = std::max_element(p[i].begin(), p[i].end());
    confidence += *best / static_cast<double>(p.size());
    scores.accuracy += (best - p[i].begin() == kLabels[i] ? 1.0 : 0.0) / static_cast<double>(p.size());
    scores.nll -= std::log(p[i][static_cast<std::size_t>(kLabels[i])]) / static_cast<double>(p.size());
    for (std::size_t c = 0; c < p[i].size(); ++c) {
      const double error = p[i][c] - (static_cast<std::int64_t>(c) == kLabels[i] ? 1 : 0);
      scores.brier += error * error / static_cast<double>(p.size());
    }
  }
  scores.ece = std::abs(confidence - scores.accuracy);
  scores.oe = confidence * std::max(confidence - scores.accuracy, 0.0);
  return scores;
}

void expect_row(const kd::Table& table, std::size_t row, const Matrix& p) {
  const Scores expected = score(p);
  const std::vector<double> numbers = {expected.accuracy, expected.ece, expected.oe, expected.nll, expected.brier};
  ASSERT_EQ(table.rows[row].size(), 7U);
  for (std::size_t i = 0; i < numbers.size(); ++i)
    EXPECT_NEAR(table.rows[row][i + 2].number(), numbers[i], 1e-6) << table.columns[i + 2].name;
}

TEST(Ensemble, AveragesProbabilitiesWithWeights) {
  FakeAnalysisContext context;
  add_two_networks(context);
  context.analyse(toml("stages = ['none', 'cutmix'], weights = [5, 1], bins = 1, name = 'five_one'"));
  const kd::Table& table = context.tables.at("ensemble_five_one");
  ASSERT_EQ(table.rows.size(), 3U);
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"network", "weight", "accuracy", "ece", "oe", "nll", "brier"}));
  EXPECT_EQ(table.rows[0][0], kd::Cell("none/net"));
  EXPECT_NEAR(table.rows[0][1].number(), 5.0 / 6, 1e-12);
  expect_row(table, 0, combine([](double p, double) { return p; }));
  EXPECT_EQ(table.rows[1][0], kd::Cell("cutmix/net"));
  expect_row(table, 1, combine([](double, double q) { return q; }));
  EXPECT_EQ(table.rows[2][0], kd::Cell("five_one"));
  expect_row(table, 2, combine([](double p, double q) { return (5 * p + q) / 6; }));
  EXPECT_EQ(context.shown.size(), 1U);
}

TEST(Ensemble, WeighsAllAlikeWhereNothingIsSaid) {
  FakeAnalysisContext context;
  add_two_networks(context);
  context.analyse(toml("stages = ['none', 'cutmix'], bins = 1"));
  expect_row(context.tables.at("ensemble_ensemble"), 2, combine([](double p, double q) { return (p + q) / 2; }));
}

TEST(Ensemble, TheMeanOfLogitsIsTheGeometricMeanOfProbabilities) {
  for (const std::string form : {"logits", "geometric"}) {
    FakeAnalysisContext context;
    add_two_networks(context);
    context.analyse(toml("stages = ['none', 'cutmix'], weights = [0.5, 1.5], bins = 1, combine = '" + form + "'"));
    expect_row(context.tables.at("ensemble_ensemble"), 2,
               combine([](double p, double q) { return std::pow(p, 0.25) * std::pow(q, 0.75); }));
  }
}

TEST(Ensemble, TakesNetworksByName) {
  FakeAnalysisContext context;
  add_two_networks(context);
  context.add("cutmix", "second", to_tensor(kFirst), kLabels);
  context.analyse(toml("stages = ['none', 'cutmix'], networks = ['', 'second'], bins = 1"));
  const kd::Table& table = context.tables.at("ensemble_ensemble");
  EXPECT_EQ(table.rows[1][0], kd::Cell("cutmix/second"));
  expect_row(table, 2, combine([](double p, double) { return p; }));
  EXPECT_NE(context.refusal(toml("stages = ['none', 'cutmix']")).find("several networks"), std::string::npos);
  EXPECT_NE(context.refusal(toml("stages = ['cutmix'], networks = ['secnd']")).find("did you mean 'second'?"),
            std::string::npos);
}

TEST(Ensemble, SaysWhatIsWrong) {
  FakeAnalysisContext context;
  add_two_networks(context);
  context.add("other", "net", to_tensor(kFirst), {0, 1, 2, 0});
  const std::string unknown = context.refusal(toml("stages = ['none', 'cutmx']"));
  EXPECT_NE(unknown.find("there is no stage 'cutmx'"), std::string::npos) << unknown;
  EXPECT_NE(unknown.find("did you mean 'cutmix'?"), std::string::npos) << unknown;
  EXPECT_NE(context.refusal(toml("stages = ['none', 'other']")).find("different data"), std::string::npos);
  EXPECT_NE(context.refusal(toml("stages = []")).find("names no member"), std::string::npos);
  EXPECT_NE(context.refusal(toml("stages = ['none'], weights = [1, 2]")).find("'weights' has 2 entries"),
            std::string::npos);
  EXPECT_NE(context.refusal(toml("stages = ['none'], networks = ['net', 'net']")).find("'networks' has 2 entries"),
            std::string::npos);
  EXPECT_NE(context.refusal(toml("stages = ['none'], weights = [0]")).find("all 'weights' are 0"), std::string::npos);
  EXPECT_NE(context.refusal(toml("stages = ['none'], name = '../x'")).find("'name'"), std::string::npos);
  EXPECT_NE(context.refusal(toml("stages = ['none'], weights = [-1]")), "");
  EXPECT_TRUE(context.tables.empty());
}

TEST(Ensemble, TakesMembersOfOtherRuns) {
  FakeAnalysisContext one_run;
  add_two_networks(one_run);
  one_run.analyse(toml("stages = ['none', 'cutmix'], name = 'both'"));
  FakeAnalysisContext context;
  context.add("none", "net", to_tensor(kFirst), kLabels);
  context.other_runs["runs/seed_1"].emplace_back(kd::NetworkName{"cutmix", "net"}, to_tensor(kSecond),
                                                 at::tensor(kLabels, at::kLong));
  // check() would look for the folder.
  kd::make<kd::Analysis>(toml("stages = ['none', 'cutmix'], runs = ['', 'runs/seed_1'], name = 'both'"))->run(context);
  const kd::Table& expected = one_run.tables.at("ensemble_both");
  const kd::Table& table = context.tables.at("ensemble_both");
  EXPECT_EQ(table.rows[1][0], kd::Cell("runs/seed_1: cutmix/net"));
  EXPECT_EQ(table.rows[2], expected.rows[2]);
}

TEST(Ensemble, ChecksOtherRunsBeforeTraining) {
  const auto analysis = kd::make<kd::Analysis>("{ type = 'ensemble', stages = ['a'], runs = ['no/such/run'] }");
  EXPECT_THROW(analysis->check({{"a", "model"}}), kd::RecipeError);
  FakeAnalysisContext context;
  add_two_networks(context);
  EXPECT_NE(context.refusal(toml("stages = ['none', 'cutmix'], runs = ['x']")).find("'runs' has 1 entries"),
            std::string::npos);
}

TEST(Ensemble, ShowsWhatWasPublishedUnderIt) {
  FakeAnalysisContext context;
  add_two_networks(context);
  context.analyse(toml("stages = ['none', 'cutmix'], published = [0.8174, 0.0709, 0.0003]"));
  EXPECT_EQ(context.shown[0].rows[3], (kd::Row{"(published)", {}, 0.8174, 0.0709, 0.0003, {}, {}}));
  context.analyse(toml("stages = ['none', 'cutmix'], published = [0.8174, 0.0709, 0.0003], data = 'cifar100'"));
  EXPECT_EQ(context.shown[1].rows.size(), 3U) << "the data is another";
  EXPECT_NE(context.refusal(toml("stages = ['none'], published = [0.8]")).find("wants three numbers"),
            std::string::npos);
}

}  // namespace
