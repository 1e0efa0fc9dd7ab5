// Tests of the analysis "loss_surface".
#include <cmath>

#include "kd/tensor.h"
#include "kd/testing/analyses.h"

namespace {

using kd::testing::FakeAnalysisContext;
using kd::testing::FakeModel;
using kd::testing::number;

/// A linear network, and what its weights were each time that it was asked.
struct Linear {
  at::Tensor weight, bias;
  std::vector<at::Tensor> asked = {};
};

const std::vector<std::int64_t> kTruths = {0, 2, 1, 1};

/// Its answers are the weights times the image, over `scale`, plus the bias.
FakeModel& add(FakeAnalysisContext& context, const std::string& stage, Linear& linear, double scale = 1) {
  FakeModel& model = context.add(stage, "net", at::zeros({4, 3}), {0, 0, 0, 0});
  model.truths[kd::Split::kTrain] = at::tensor(kTruths, at::kLong);
  model.pictures = (at::arange(8, at::kDouble) * 1.3).sin().view({4, 2});
  linear.weight = (at::arange(6, at::kDouble) * 0.7 + 0.4).cos().view({3, 2}) * scale;
  linear.bias = at::tensor({0.1, 0.0, -0.2}, at::kDouble);
  model.parameters = {{"fc.weight", linear.weight}, {"fc.bias", linear.bias}};
  model.run = [&linear, scale](const at::Tensor& images) {
    linear.asked.push_back(linear.weight.clone());
    return at::matmul(images, linear.weight.t()) / scale + linear.bias;
  };
  return model;
}

double loss(const FakeModel& model, const Linear& linear, const at::Tensor& weight, std::size_t samples = 4) {
  double sum = 0;
  for (std::size_t i = 0; i < samples; ++i) {
    const at::Tensor logits = at::matmul(weight, model.pictures[static_cast<std::int64_t>(i)]) + linear.bias;
    sum += (logits.exp().sum().log() - logits[kTruths[i]]).item<double>();
  }
  return sum / static_cast<double>(samples);
}

std::string toml(const std::string& parameters) { return "{ type = 'loss_surface', " + parameters + " }"; }

TEST(LossSurface, IsAPlaneAlongDirectionsOfTheNormsOfFilters) {
  FakeAnalysisContext context;
  Linear linear;
  FakeModel& model = add(context, "only", linear);
  const at::Tensor weight = linear.weight.clone(), bias = linear.bias.clone();
  context.analyse(toml("points = 3, reach = 0.5"));
  ASSERT_EQ(linear.asked.size(), 10U) << "nine points, and the network itself";
  const at::Tensor first = (linear.asked[5] - linear.asked[4]) / 0.5,
                   second = (linear.asked[7] - linear.asked[4]) / 0.5;
  for (const at::Tensor& direction : {first, second})
    EXPECT_LT((direction.square().sum(1) - weight.square().sum(1)).abs().max().item<double>(), 1e-12);
  EXPECT_GT((first - second).abs().max().item<double>(), 0.1);
  const kd::Table& table = context.tables.at("loss_surface");
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"stage", "network", "first", "second", "loss"}));
  ASSERT_EQ(table.rows.size(), 9U);
  for (std::size_t i = 0; i < 9; ++i) {
    const double x = 0.5 * (static_cast<double>(i % 3) - 1), y = 0.5 * (static_cast<double>(i / 3) - 1);
    EXPECT_NEAR(number(table, i, "first"), x, 1e-15);
    EXPECT_NEAR(number(table, i, "second"), y, 1e-15);
    EXPECT_NEAR(number(table, i, "loss"), loss(model, linear, weight + first * x + second * y), 1e-12) << i;
  }
  EXPECT_TRUE(linear.weight.equal(weight)) << "and is what it was";
  EXPECT_TRUE(linear.bias.equal(bias));
}

TEST(LossSurface, SumsUp) {
  FakeAnalysisContext context;
  Linear linear;
  FakeModel& model = add(context, "only", linear);
  context.analyse(toml("points = 4, samples = 3"));
  const kd::Table& table = context.tables.at("loss_surface");
  double sum = 0, largest = 0;
  for (std::size_t i = 0; i < 16; ++i) {
    sum += number(table, i, "loss");
    largest = std::max(largest, number(table, i, "loss"));
  }
  ASSERT_EQ(context.shown.size(), 1U);
  const kd::Table& summary = context.tables.at("loss_surface_summary");
  EXPECT_EQ(kd::testing::column_names(summary),
            (std::vector<std::string>{"stage", "network", "loss", "mean", "largest"}));
  EXPECT_NEAR(number(summary, 0, "loss"), loss(model, linear, linear.weight, 3), 1e-12);
  EXPECT_NEAR(number(summary, 0, "mean"), sum / 16, 1e-12);
  EXPECT_EQ(number(summary, 0, "largest"), largest);
}

TEST(LossSurface, DoesNotCountTheScaleOfTheWeights) {
  FakeAnalysisContext context;
  Linear small, large;
  add(context, "small", small);
  add(context, "large", large, 100);
  context.analyse(toml("points = 5"));
  const kd::Table& table = context.tables.at("loss_surface");
  ASSERT_EQ(table.rows.size(), 50U);
  for (std::size_t i = 0; i < 25; ++i) EXPECT_NEAR(number(table, i, "loss"), number(table, i + 25, "loss"), 1e-12) << i;
}

TEST(LossSurface, LeavesOutWhatHasNoLabel) {
  FakeAnalysisContext context;
  Linear linear;
  FakeModel& model = add(context, "only", linear);
  model.truths[kd::Split::kTrain] = at::tensor({0, 2, 1, -1}, at::kLong);
  context.analyse(toml("points = 2"));
  EXPECT_NEAR(number(context.tables.at("loss_surface_summary"), 0, "loss"), loss(model, linear, linear.weight, 3),
              1e-12);
}

TEST(LossSurface, IsTheSameTwice) {
  FakeAnalysisContext once, twice;
  Linear a, b;
  add(once, "only", a);
  add(twice, "only", b);
  once.analyse(toml("points = 3"));
  twice.analyse(toml("points = 3"));
  EXPECT_EQ(once.tables.at("loss_surface").rows, twice.tables.at("loss_surface").rows);
}

TEST(LossSurface, DrawsAMapOfEachNetworkOnOneScale) {
  FakeAnalysisContext context;
  Linear a, b;
  add(context, "a", a);
  add(context, "b", b).run = [](const at::Tensor& images) { return at::zeros({images.size(0), 3}); };
  context.analyse(toml("points = 3, reach = 2"));
  const kd::Figure& figure = context.figures.at("loss_surface");
  ASSERT_EQ(figure.panels.size(), 2U);
  EXPECT_EQ(figure.panels[0].title, "a/net");
  EXPECT_EQ(figure.panels[0].x.categories, (std::vector<std::string>{"-2", "0", "2"}));
  EXPECT_EQ(figure.panels[0].y.categories, (std::vector<std::string>{"2", "0", "-2"}));
  const auto& map = std::get<kd::HeatMap>(figure.panels[0].marks.at(0));
  const kd::Table& table = context.tables.at("loss_surface");
  EXPECT_EQ(map.values.at(0).at(2), std::log10(number(table, 8, "loss"))) << "the top row is the farthest";
  EXPECT_EQ(map.values.at(2).at(1), std::log10(number(table, 1, "loss")));
  const auto& other = std::get<kd::HeatMap>(figure.panels[1].marks.at(0));
  EXPECT_NEAR(other.values.at(1).at(1), std::log10(std::log(3.0)), 1e-7);
  EXPECT_EQ(map.low, other.low);
  EXPECT_EQ(map.high, other.high);
  context.analyse(toml("points = 23"));
  const std::vector<std::string>& names = context.figures.at("loss_surface").panels[0].x.categories;
  EXPECT_EQ(names.size(), 23U);
  EXPECT_EQ(std::count(names.begin(), names.end(), ""), 15) << "every third has a name";
}

TEST(LossSurface, LooksAtTheStagesNamed) {
  FakeAnalysisContext context;
  Linear a, b;
  add(context, "a", a);
  add(context, "b", b);
  context.analyse(toml("points = 2, stages = ['b']"));
  ASSERT_EQ(context.tables.at("loss_surface_summary").rows.size(), 1U);
  EXPECT_EQ(context.tables.at("loss_surface_summary").rows[0][0], kd::Cell("b"));
  EXPECT_NE(context.refusal(toml("stages = ['c']")).find("there is no stage 'c'"), std::string::npos);
  EXPECT_NE(context.refusal(toml("points = 1")), "");
  EXPECT_NE(context.refusal(toml("reach = 0")), "");
}

}  // namespace
