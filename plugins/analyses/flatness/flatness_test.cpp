// Tests of the analysis "flatness".
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "kd/tensor.h"
#include "kd/testing/analyses.h"

namespace {

using kd::testing::FakeAnalysisContext;
using kd::testing::FakeModel;
using kd::testing::number;

at::Tensor labels(const std::vector<std::int64_t>& all) { return at::tensor(all, at::kLong); }

/// Its logits are its bias, whatever the image is.
FakeModel& add_biases(FakeAnalysisContext& context, const std::string& stage, const std::vector<double>& biases,
                      const std::vector<std::int64_t>& truths) {
  const at::Tensor bias = at::tensor(biases, at::kFloat);
  const auto samples = static_cast<std::int64_t>(truths.size());
  FakeModel& model = context.add(stage, "net", at::zeros({samples, bias.size(0)}), truths);
  model.answers[kd::Split::kTrain] = model.answers[kd::Split::kTest];
  model.truths[kd::Split::kTrain] = labels(truths);
  model.pictures = at::zeros({samples, 1, 1, 1});
  model.parameters = {{"bias", bias}};
  model.run = [bias](const at::Tensor& images) { return bias.expand({images.size(0), -1}).clone(); };
  return model;
}

double cross_entropy(const std::vector<double>& logits, std::size_t label) {
  double sum = 0;
  for (const double z : logits) sum += std::exp(z);
  return std::log(sum) - logits[label];
}

/// The only row of the table "flatness" with these words and this deviation.
std::size_t row_of(const kd::Table& table, const std::vector<std::string>& names, double deviation) {
  std::vector<std::size_t> found;
  for (std::size_t row = 0; row < table.rows.size(); ++row) {
    const bool named = std::equal(names.begin(), names.end(), table.rows[row].begin(),
                                  [](const std::string& name, const kd::Cell& cell) { return cell == kd::Cell(name); });
    if (named && number(table, row, "deviation") == deviation) found.push_back(row);
  }
  if (found.size() != 1) throw kd::Error(std::to_string(found.size()) + " rows are meant");
  return found[0];
}

/// Keeps what the parameter `bias` is at each pass.
std::vector<at::Tensor> watch(FakeAnalysisContext& context, FakeModel& model, const std::string& toml) {
  std::vector<at::Tensor> seen;
  model.run = [&](const at::Tensor& images) {
    seen.push_back(model.parameters[0].tensor.to(at::kDouble));
    return at::zeros({images.size(0), 2});
  };
  context.analyse(toml);
  return seen;
}

TEST(Flatness, MeasuresTheNetworkAsItIsWithoutNoise) {
  FakeAnalysisContext context;
  FakeModel& model = add_biases(context, "student", {1, 0, 2}, {2, 0, 2, -1});
  model.truths[kd::Split::kTrain] = labels({0, 0, 1, 1});
  context.analyse("{ type = 'flatness', draws = 3 }");
  const kd::Table& table = context.tables.at("flatness");
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"stage", "network", "scale", "batch_norm", "split", "deviation", "draws", "loss",
                                      "loss_deviation", "accuracy", "accuracy_deviation"}));
  EXPECT_EQ(table.rows.size(), 2U * (12 + 7));
  const std::vector<double> logits = {1, 0, 2};
  for (const std::string scale : {"absolute", "relative"}) {
    const std::size_t test = row_of(table, {"student", "net", scale, "kept", "test"}, 0);
    EXPECT_EQ(number(table, test, "draws"), 1);
    EXPECT_NEAR(number(table, test, "loss"), (2 * cross_entropy(logits, 2) + cross_entropy(logits, 0)) / 3, 1e-6);
    EXPECT_NEAR(number(table, test, "accuracy"), 2 / 3.0, 1e-12) << "the sample without a label does not count";
    EXPECT_TRUE(std::isnan(number(table, test, "loss_deviation"))) << "of one draw";
    const std::size_t train = row_of(table, {"student", "net", scale, "kept", "train"}, 0);
    EXPECT_NEAR(number(table, train, "loss"), (cross_entropy(logits, 0) + cross_entropy(logits, 1)) / 2, 1e-6);
    EXPECT_EQ(number(table, train, "accuracy"), 0);
  }
  EXPECT_EQ(number(table, row_of(table, {"student", "net", "absolute", "kept", "test"}, 0.02), "draws"), 3);
  EXPECT_TRUE(model.parameters[0].tensor.equal(at::tensor({1.0, 0.0, 2.0}, at::kFloat))) << "the weights came back";
  ASSERT_EQ(context.shown.size(), 1U);
  EXPECT_EQ(context.shown[0].name, "flatness_summary") << "the long one is a file alone";
}

// To second order the loss rises by σ²/2 · tr H; of logits that are all 0, H = diag p − ppᵀ has the trace 1 − 1/C, and
// with labels of every class the loss has no slope.
TEST(Flatness, ALossRisesByHalfItsCurvatureTimesTheVariance) {
  FakeAnalysisContext context;
  add_biases(context, "a", {0, 0, 0, 0}, {0, 1, 2, 3});
  context.analyse(
      "{ type = 'flatness', deviations = [0, 0.05], at = 0.05, relative = [], draws = 1000, splits = ['train'] }");
  const kd::Table& summary = context.tables.at("flatness_summary");
  const double expected = 0.05 * 0.05 / 2 * (1 - 1 / 4.0);
  EXPECT_NEAR(number(summary, 0, "absolute"), expected, 0.08 * expected);
  // A χ² of 3 degrees of freedom times σ²/8.
  EXPECT_NEAR(number(summary, 0, "absolute_deviation"), expected * std::sqrt(2 / 3.0), 0.1 * expected);
}

TEST(Flatness, NoiseIsNormalAlongDirectionsThatAreTheSameForEverySigma) {
  FakeAnalysisContext context;
  FakeModel& model = add_biases(context, "a", {0, 0}, {0});
  const at::Tensor weight = at::arange(20000).view({100, 200}).to(at::kFloat) / 1000;
  model.parameters = {{"weight", weight.clone()}};
  const std::vector<at::Tensor> seen = watch(context, model,
                                             "{ type = 'flatness', deviations = [0, 0.5, 1], at = 1, relative = [0, "
                                             "2], at_relative = 2, draws = 2, splits = ['test'] }");
  // Absolute 0, then two draws at 0.5 and at 1; relative 0, then two draws at 2.
  ASSERT_EQ(seen.size(), 8U);
  const at::Tensor original = weight.to(at::kDouble);
  EXPECT_TRUE(seen[0].equal(original));
  EXPECT_TRUE(seen[5].equal(original));
  const at::Tensor first = seen[3] - original, second = seen[4] - original;
  for (const at::Tensor& noise : {first, second}) {
    EXPECT_NEAR(noise.mean().item<double>(), 0, 0.03);
    EXPECT_NEAR(noise.std().item<double>(), 1, 0.02);
    EXPECT_NEAR(noise.pow(4).mean().item<double>(), 3, 0.2) << "the fourth moment of a normal distribution";
  }
  EXPECT_NEAR((first * second).mean().item<double>(), 0, 0.03) << "draws are independent";
  EXPECT_TRUE((seen[1] - original).allclose(first * 0.5, 1e-4, 1e-5));
  EXPECT_TRUE((seen[2] - original).allclose(second * 0.5, 1e-4, 1e-5));
  const double root_mean_square = original.square().mean().sqrt().item<double>();
  EXPECT_TRUE((seen[6] - original).allclose(first * 2 * root_mean_square, 1e-4, 1e-4));
  EXPECT_TRUE((seen[7] - original).allclose(second * 2 * root_mean_square, 1e-4, 1e-4));
}

TEST(Flatness, NoiseIsThatOfAParameterOfThisNameWhicheverTheNetwork) {
  const auto noise_of = [](const std::string& stage, const std::string& parameter) {
    FakeAnalysisContext context;
    FakeModel& model = add_biases(context, stage, {0, 0}, {0});
    model.parameters = {{parameter, at::zeros({50})}};
    return watch(context, model,
                 "{ type = 'flatness', deviations = [0, 1], at = 1, relative = [], draws = 1, splits = ['test'] }")
        .back();
  };
  EXPECT_TRUE(noise_of("a", "weight").equal(noise_of("b", "weight")));
  EXPECT_LT((noise_of("a", "weight") * noise_of("a", "bias")).mean().abs().item<double>(), 0.5);
}

TEST(Flatness, EveryParameterGetsNoise) {
  FakeAnalysisContext context;
  FakeModel& model = add_biases(context, "a", {0, 0}, {0});
  model.parameters = {{"weight", at::ones({3, 2})}, {"bn.bias", at::ones({2})}, {"scalar", at::ones({})}};
  std::map<std::string, std::int64_t> changed;
  model.run = [&](const at::Tensor& images) {
    for (const auto& [name, tensor] : model.parameters) changed[name] += tensor.ne(1).sum().item<std::int64_t>();
    return at::zeros({images.size(0), 2});
  };
  context.analyse(
      "{ type = 'flatness', deviations = [0, 0.1], at = 0.1, relative = [], draws = 1, splits = ['test'] }");
  EXPECT_EQ(changed, (std::map<std::string, std::int64_t>{{"weight", 6}, {"bn.bias", 2}, {"scalar", 1}}));
}

TEST(Flatness, EstimatesBatchNormAnewAfterTheNoise) {
  FakeAnalysisContext context;
  FakeModel& model = add_biases(context, "a", {1, 1}, {0});
  const at::Tensor weight = model.parameters[0].tensor, running = at::zeros({1});
  model.running = {{"running_mean", running}};
  std::vector<std::int64_t> asked;
  bool after_noise = true;
  model.estimate = [&](kd::Split split, std::int64_t most) {
    EXPECT_EQ(split, kd::Split::kTrain);
    asked.push_back(most);
    if (asked.size() > 1) after_noise &= weight.ne(1).all().item<bool>();
    at::Tensor changed = running;
    changed.fill_(5);
  };
  // The first class is answered with the statistics: 0 as they are kept, 5 estimated.
  model.run = [&](const at::Tensor& images) {
    return at::cat({running, at::zeros({1})}).expand({images.size(0), -1}).clone();
  };
  const std::string grid = "deviations = [0, 0.1], at = 0.1, relative = [], draws = 3, estimate_samples = 7";
  context.analyse("{ type = 'flatness', batch_norm = 'both', " + grid + " }");
  EXPECT_EQ(asked, (std::vector<std::int64_t>{7, 7, 7, 7})) << "once a draw, not once a split";
  EXPECT_TRUE(after_noise);
  EXPECT_EQ(running.item<double>(), 0) << "the statistics came back";
  const kd::Table& table = context.tables.at("flatness");
  for (const double deviation : {0.0, 0.1}) {
    for (const std::string split : {"train", "test"}) {
      const std::size_t kept = row_of(table, {"a", "net", "absolute", "kept", split}, deviation);
      const std::size_t estimated = row_of(table, {"a", "net", "absolute", "estimated", split}, deviation);
      EXPECT_NEAR(number(table, kept, "loss"), std::log(2), 1e-6);
      EXPECT_NEAR(number(table, estimated, "loss"), std::log1p(std::exp(-5)), 1e-6);
    }
  }
  ASSERT_EQ(context.tables.at("flatness_summary").rows.size(), 2U);
  context.analyse("{ type = 'flatness', batch_norm = 'estimated', " + grid + " }");
  for (const kd::Row& row : context.tables.at("flatness").rows) EXPECT_EQ(row[3], kd::Cell("estimated"));
}

TEST(Flatness, ALossThatIsNotFiniteIsNoNumberAndItsAnswerIsWrong) {
  FakeAnalysisContext context;
  FakeModel& model = add_biases(context, "a", {1, 1}, {0, 1});
  const at::Tensor weight = model.parameters[0].tensor;
  // With noise the first sample, whose label is 0, has no logits any more; the other is answered rightly.
  model.run = [&](const at::Tensor& /*images*/) {
    const double first = weight.eq(1).all().item<bool>() ? 1 : std::numeric_limits<double>::quiet_NaN();
    return at::tensor({first, 0.0, 0.0, 1.0}, at::kFloat).view({2, 2});
  };
  context.analyse(
      "{ type = 'flatness', deviations = [0, 0.1], at = 0.1, relative = [], draws = 2, splits = ['test'] }");
  const kd::Table& table = context.tables.at("flatness");
  EXPECT_NEAR(number(table, 0, "loss"), std::log1p(std::exp(-1)), 1e-6);
  EXPECT_EQ(number(table, 0, "accuracy"), 1);
  EXPECT_TRUE(std::isnan(number(table, 1, "loss")));
  EXPECT_EQ(number(table, 1, "accuracy"), 0.5);
  EXPECT_TRUE(std::isnan(number(context.tables.at("flatness_summary"), 0, "absolute")));
  const auto& curve = std::get<kd::Curve>(context.figures.at("flatness_absolute").panels[0].marks[0]);
  EXPECT_EQ(curve.x, (std::vector<double>{0})) << "what is not finite is not drawn";
}

TEST(Flatness, SumsUpTheIncreaseOnTheFirstSplit) {
  FakeAnalysisContext context;
  for (const char* stage : {"a", "b"}) add_biases(context, stage, {1, 0, 3}, {2, 0, 2});
  context.analyse("{ type = 'flatness', at = 0.05, at_relative = 0.4, draws = 5, splits = ['test', 'train'] }");
  const kd::Table& summary = context.tables.at("flatness_summary");
  EXPECT_EQ(kd::testing::column_names(summary),
            (std::vector<std::string>{"stage", "network", "batch_norm", "split", "loss", "absolute",
                                      "absolute_deviation", "relative", "relative_deviation"}));
  ASSERT_EQ(summary.rows.size(), 2U);
  const kd::Table& table = context.tables.at("flatness");
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string stage = i == 0 ? "a" : "b";
    EXPECT_EQ(summary.rows[i][0], kd::Cell(stage));
    EXPECT_EQ(summary.rows[i][3], kd::Cell("test"));
    for (const auto& [scale, at] : std::map<std::string, double>{{"absolute", 0.05}, {"relative", 0.4}}) {
      const std::size_t still = row_of(table, {stage, "net", scale, "kept", "test"}, 0);
      const std::size_t noisy = row_of(table, {stage, "net", scale, "kept", "test"}, at);
      EXPECT_EQ(number(summary, i, "loss"), number(table, still, "loss"));
      EXPECT_EQ(number(summary, i, scale), number(table, noisy, "loss") - number(table, still, "loss"));
      EXPECT_EQ(number(summary, i, scale + "_deviation"), number(table, noisy, "loss_deviation"));
      EXPECT_GT(number(summary, i, scale + "_deviation"), 0);
    }
  }
  EXPECT_EQ(summary.rows[0][5], summary.rows[1][5]) << "equal networks get equal noise";
}

TEST(Flatness, AsksTheFirstSamplesAlone) {
  FakeAnalysisContext context;
  FakeModel& model = add_biases(context, "a", {1, 0}, {1, 1, 0, 0, 0});
  std::vector<std::int64_t> asked;
  model.run = [&](const at::Tensor& images) {
    asked.push_back(images.size(0));
    return at::tensor({1.0, 0.0}, at::kFloat).expand({images.size(0), -1}).clone();
  };
  context.analyse("{ type = 'flatness', deviations = [], draws = 1, samples = 3, splits = ['test'] }");
  EXPECT_EQ(asked, std::vector<std::int64_t>(7, 3));
  EXPECT_NEAR(number(context.tables.at("flatness"), 0, "accuracy"), 1 / 3.0, 1e-12);
}

TEST(Flatness, DrawsLossAndAccuracyOfEachSplit) {
  FakeAnalysisContext context;
  add_biases(context, "a", {1, 0, 3}, {2, 0, 2});
  add_biases(context, "b", {1, 0, 3}, {2, 0, 2});
  context.analyse("{ type = 'flatness', draws = 2, relative = [0, 0.2] }");
  ASSERT_EQ(context.figures.size(), 2U);
  const kd::Figure& figure = context.figures.at("flatness_absolute");
  ASSERT_EQ(figure.panels.size(), 4U);
  EXPECT_EQ(figure.columns, 2);
  EXPECT_EQ(figure.panels[0].title, "train split");
  EXPECT_EQ(figure.panels[3].title, "test split");
  EXPECT_EQ(figure.panels[1].y.title, "loss, nats");
  EXPECT_EQ(figure.panels[3].y.title, "accuracy");
  const kd::Table& table = context.tables.at("flatness");
  const auto& curve = std::get<kd::Curve>(figure.panels[1].marks.at(1));
  EXPECT_EQ(curve.name, "b/net");
  ASSERT_EQ(curve.x.size(), 12U);
  EXPECT_EQ(curve.spread[0], 0);
  const std::size_t row = row_of(table, {"b", "net", "absolute", "kept", "test"}, 0.05);
  EXPECT_EQ(curve.x.back(), 0.05);
  EXPECT_EQ(curve.y.back(), number(table, row, "loss"));
  EXPECT_EQ(curve.spread.back(), number(table, row, "loss_deviation"));
}

TEST(Flatness, EndsTheAxisOfLossesFarBeyondAGuess) {
  const auto axis_of = [](double logit) {
    FakeAnalysisContext context;
    add_biases(context, "a", {logit, 0}, {1});
    context.analyse("{ type = 'flatness', draws = 1 }");
    return context.figures.at("flatness_absolute").panels.at(0).y;
  };
  EXPECT_EQ(axis_of(100).high, 2 * std::log(2)) << "of two classes";
  EXPECT_FALSE(axis_of(0).high.has_value());
}

TEST(Flatness, SaysWhatIsWrong) {
  FakeAnalysisContext context;
  add_biases(context, "a", {1, 0}, {1});
  const auto refusal = [&](const std::string& parameters) {
    return context.refusal("{ type = 'flatness', " + parameters + " }");
  };
  EXPECT_EQ(refusal("deviations = [0.02]"),
            "value:1:1: error: analysis 'flatness': 'deviations' is to hold 0, the network as it is");
  EXPECT_EQ(refusal("relative = [0.2, 0.4]"),
            "value:1:1: error: analysis 'flatness': 'relative' is to hold 0, the network as it is");
  EXPECT_EQ(refusal("at = 0.021"),
            "value:1:1: error: analysis 'flatness': 'deviations' does not hold 0.021, which 'at' asks for");
  EXPECT_EQ(refusal("at_relative = 0.25"),
            "value:1:1: error: analysis 'flatness': 'relative' does not hold 0.25, which 'at_relative' asks for");
  EXPECT_EQ(refusal("deviations = [], relative = []"),
            "value:1:1: error: analysis 'flatness': 'deviations' and 'relative' are both empty");
  EXPECT_EQ(refusal("stages = ['b']"), "error: there is no stage 'b'\n    hint: did you mean 'a'?");
  EXPECT_NE(refusal("splits = ['all']"), "");
  EXPECT_NE(refusal("deviations = [0, -0.02]"), "");
  EXPECT_NE(refusal("draws = 0"), "");
  EXPECT_TRUE(context.tables.empty());
  EXPECT_EQ(refusal("deviations = [], at = 0.021, draws = 1"), "") << "a scale that is not measured asks for nothing";
}

}  // namespace
