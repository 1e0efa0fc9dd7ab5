// Tests of the analysis "ensemble".
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "../shared/fake_context.h"

namespace {

using analysis_checks::FakeContext;
using analysis_checks::split_csv;

using Matrix = std::vector<std::vector<double>>;

const std::vector<std::int64_t> kLabels = {0, 1, 2, 1};
const Matrix kFirst = {{2, 1, 0}, {0.5, 0, 1}, {-1, 0, 3}, {0, 1, 2}};
const Matrix kSecond = {{0, 3, 1}, {0, 4, 0}, {1, 1.25, 0}, {2, 5, 1}};

at::Tensor to_tensor(const Matrix& rows) {
  std::vector<double> flat;
  for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
  return at::tensor(flat, at::kFloat).view({static_cast<std::int64_t>(rows.size()), -1});
}

FakeContext two_networks() {
  FakeContext context;
  context.add("none", "net", to_tensor(kFirst), kLabels);
  context.add("cutmix", "net", to_tensor(kSecond), kLabels);
  return context;
}

void analyse(FakeContext& context, const std::string& parameters) {
  kd::load_plugins();
  kd::make<kd::Analysis>("{ type = 'ensemble', " + parameters + " }")->run(context);
}

std::string error_of(FakeContext& context, const std::string& parameters) {
  try {
    analyse(context, parameters);
  } catch (const kd::Error& error) {
    return error.what();
  }
  return "";
}

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

void expect_row(const std::vector<std::string>& row, const Matrix& p) {
  const Scores expected = score(p);
  ASSERT_EQ(row.size(), 7U);
  EXPECT_NEAR(std::stod(row[2]), expected.accuracy, 1e-6) << row[0];
  EXPECT_NEAR(std::stod(row[3]), expected.ece, 1e-6) << row[0];
  EXPECT_NEAR(std::stod(row[4]), expected.oe, 1e-6) << row[0];
  EXPECT_NEAR(std::stod(row[5]), expected.nll, 1e-6) << row[0];
  EXPECT_NEAR(std::stod(row[6]), expected.brier, 1e-6) << row[0];
}

TEST(Ensemble, AveragesProbabilitiesWithWeights) {
  FakeContext context = two_networks();
  analyse(context, "stages = ['none', 'cutmix'], weights = [5, 1], bins = 1, name = 'five_one'");
  const auto rows = split_csv(context.files["ensemble_five_one.csv"]);
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_EQ(rows[0], (std::vector<std::string>{"network", "weight", "accuracy", "ece", "oe", "nll", "brier"}));
  EXPECT_EQ(rows[1][0], "none/net");
  EXPECT_EQ(rows[1][1], "0.833333");
  expect_row(rows[1], combine([](double p, double) { return p; }));
  EXPECT_EQ(rows[2][0], "cutmix/net");
  expect_row(rows[2], combine([](double, double q) { return q; }));
  EXPECT_EQ(rows[3][0], "five_one");
  expect_row(rows[3], combine([](double p, double q) { return (5 * p + q) / 6; }));
  EXPECT_NE(context.printed.find("cutmix/net"), std::string::npos) << context.printed;
}

TEST(Ensemble, WeighsAllAlikeWhereNothingIsSaid) {
  FakeContext context = two_networks();
  analyse(context, "stages = ['none', 'cutmix'], bins = 1");
  expect_row(split_csv(context.files["ensemble_ensemble.csv"])[3],
             combine([](double p, double q) { return (p + q) / 2; }));
}

TEST(Ensemble, TheMeanOfLogitsIsTheGeometricMeanOfProbabilities) {
  for (const std::string form : {"logits", "geometric"}) {
    FakeContext context = two_networks();
    analyse(context, "stages = ['none', 'cutmix'], weights = [0.5, 1.5], bins = 1, combine = '" + form + "'");
    expect_row(split_csv(context.files["ensemble_ensemble.csv"])[3],
               combine([](double p, double q) { return std::pow(p, 0.25) * std::pow(q, 0.75); }));
  }
}

TEST(Ensemble, TakesNetworksByName) {
  FakeContext context = two_networks();
  context.add("cutmix", "second", to_tensor(kFirst), kLabels);
  analyse(context, "stages = ['none', 'cutmix'], networks = ['', 'second'], bins = 1");
  const auto rows = split_csv(context.files["ensemble_ensemble.csv"]);
  EXPECT_EQ(rows[2][0], "cutmix/second");
  expect_row(rows[3], combine([](double p, double) { return p; }));
  EXPECT_NE(error_of(context, "stages = ['none', 'cutmix']").find("several networks"), std::string::npos);
  EXPECT_NE(error_of(context, "stages = ['cutmix'], networks = ['secnd']").find("did you mean 'second'?"),
            std::string::npos);
}

TEST(Ensemble, SaysWhatIsWrong) {
  FakeContext context = two_networks();
  context.add("other", "net", to_tensor(kFirst), {0, 1, 2, 0});
  const std::string unknown = error_of(context, "stages = ['none', 'cutmx']");
  EXPECT_NE(unknown.find("there is no stage 'cutmx'"), std::string::npos) << unknown;
  EXPECT_NE(unknown.find("did you mean 'cutmix'?"), std::string::npos) << unknown;
  EXPECT_NE(error_of(context, "stages = ['none', 'other']").find("different data"), std::string::npos);
  EXPECT_NE(error_of(context, "stages = []").find("names no member"), std::string::npos);
  EXPECT_NE(error_of(context, "stages = ['none'], weights = [1, 2]").find("'weights' has 2 entries"),
            std::string::npos);
  EXPECT_NE(error_of(context, "stages = ['none'], networks = ['net', 'net']").find("'networks' has 2 entries"),
            std::string::npos);
  EXPECT_NE(error_of(context, "stages = ['none'], weights = [0]").find("all 'weights' are 0"), std::string::npos);
  EXPECT_NE(error_of(context, "stages = ['none'], name = '../x'").find("'name'"), std::string::npos);
  EXPECT_THROW(analyse(context, "stages = ['none'], weights = [-1]"), kd::RecipeError);
  EXPECT_TRUE(context.files.empty());
}

TEST(Ensemble, TakesMembersOfOtherRuns) {
  FakeContext one_run = two_networks();
  analyse(one_run, "stages = ['none', 'cutmix'], name = 'both'");
  FakeContext context, other;
  context.add("none", "net", to_tensor(kFirst), kLabels);
  other.add("cutmix", "net", to_tensor(kSecond), kLabels);
  context.other_runs["runs/seed_1"] = other.networks();
  analyse(context, "stages = ['none', 'cutmix'], runs = ['', 'runs/seed_1'], name = 'both'");
  const auto expected = split_csv(one_run.files.at("ensemble_both.csv"));
  const auto lines = split_csv(context.files.at("ensemble_both.csv"));
  EXPECT_EQ(lines[2][0], "runs/seed_1: cutmix/net");
  EXPECT_EQ(lines[3], expected[3]);
}

TEST(Ensemble, ChecksOtherRunsBeforeTraining) {
  const auto analysis = kd::make<kd::Analysis>("{ type = 'ensemble', stages = ['a'], runs = ['no/such/run'] }");
  EXPECT_THROW(analysis->check({{"a", "model"}}), kd::RecipeError);
  FakeContext context = two_networks();
  EXPECT_NE(error_of(context, "stages = ['none', 'cutmix'], runs = ['x']").find("'runs' has 1 entries"),
            std::string::npos);
}

TEST(Ensemble, ShowsWhatWasPublishedUnderIt) {
  FakeContext context = two_networks();
  analyse(context, "stages = ['none', 'cutmix'], published = [0.8174, 0.0709, 0.0003]");
  EXPECT_NE(context.printed.find("(published)"), std::string::npos) << context.printed;
  EXPECT_NE(context.printed.find("0.8174  0.0709  0.0003"), std::string::npos) << context.printed;
  EXPECT_NE(error_of(context, "stages = ['none'], published = [0.8]").find("wants three numbers"), std::string::npos);
}

}  // namespace
