// Tests of the analysis "penultimate".
#include <cmath>

#include "../shared/feature_model.h"
#include "kd/testing/networks.h"

namespace {

using kd::testing::FeatureContext;
using kd::testing::FeatureModel;
using kd::testing::number;

at::Tensor rows(const std::vector<double>& numbers, std::int64_t width) {
  return at::tensor(numbers, at::kFloat).view({-1, width});
}

std::string toml(const std::string& parameters = "") {
  return "{ type = 'penultimate', splits = ['test']" + parameters + " }";
}

/// Templates whose plane is x, y at z = 0, from (1, 0) along x; the features leave it in z.
FeatureModel& add_network(FeatureContext& context, const std::string& stage = "a") {
  const at::Tensor features = rows({1, 0, 5, 1, 2, 5, 3, 0, 1, 5, 0, 1, 1, 4, 2, 1, 4, 4}, 3);
  FeatureModel& network = context.add(stage, "net", features, {0, 0, 1, 1, 2, 2});
  network.weight = rows({1, 0, 0, 3, 0, 0, 2, 4, 0}, 3);
  return network;
}

const kd::Curve& cloud(const kd::Figure& figure, std::size_t panel, std::size_t c) {
  return std::get<kd::Curve>(figure.panels.at(panel).marks.at(c));
}

TEST(Penultimate, AgreesWithNumbersByHand) {
  FeatureContext context;
  add_network(context);
  context.analyse(toml());
  const kd::Table& table = context.tables.at("penultimate");
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"stage", "network", "split", "samples", "within", "between", "ratio",
                                      "within_full", "between_full", "ratio_full"}));
  ASSERT_EQ(table.rows.size(), 1U);
  EXPECT_EQ(table.rows[0][2], kd::Cell("test"));
  EXPECT_EQ(number(table, 0, "samples"), 6);
  // In the plane the means are (0, 1), (3, 0) and (0, 4); in full they are at z = 5, 1 and 3.
  const double between = (std::sqrt(10.0) + 5 + 3) / 3, within = (1 + 1 + 0) / 3.0;
  EXPECT_NEAR(number(table, 0, "within"), within, 1e-12);
  EXPECT_NEAR(number(table, 0, "between"), between, 1e-12);
  EXPECT_NEAR(number(table, 0, "ratio"), within / between, 1e-12);
  const double between_full = (std::sqrt(26.0) + std::sqrt(29.0) + std::sqrt(13.0)) / 3;
  EXPECT_NEAR(number(table, 0, "within_full"), 1, 1e-12);
  EXPECT_NEAR(number(table, 0, "between_full"), between_full, 1e-12);
  EXPECT_NEAR(number(table, 0, "ratio_full"), 1 / between_full, 1e-12);
  const kd::Figure& figure = context.figures.at("penultimate");
  EXPECT_EQ(cloud(figure, 0, 0).name, "class 0");
  EXPECT_EQ(cloud(figure, 0, 0).x, (std::vector<double>{0, 0}));
  EXPECT_EQ(cloud(figure, 0, 0).y, (std::vector<double>{0, 2}));
  EXPECT_EQ(cloud(figure, 0, 1).x, (std::vector<double>{2, 4}));
  EXPECT_EQ(cloud(figure, 0, 2).y, (std::vector<double>{4, 4}));
  EXPECT_EQ(cloud(figure, 0, 2).style, kd::Curve::Style::kPoints);
}

TEST(Penultimate, TakesTheTemplatesInTheOrderOfItsClasses) {
  FeatureContext context;
  add_network(context);
  context.analyse(toml(", classes = [1, 0, 2]"));
  const kd::Figure& figure = context.figures.at("penultimate");
  EXPECT_EQ(cloud(figure, 0, 0).name, "class 1");
  EXPECT_EQ(cloud(figure, 0, 0).x, (std::vector<double>{0, -2})) << "from (3, 0) towards smaller x";
  EXPECT_EQ(cloud(figure, 0, 1).x, (std::vector<double>{2, 2}));
}

TEST(Penultimate, ABiasMovesNothing) {
  FeatureContext context;
  add_network(context);
  context.analyse(toml());
  const kd::Table before = context.tables.at("penultimate");
  dynamic_cast<FeatureModel&>(*context.networks()[0]).bias = at::tensor(std::vector<double>{7, -3, 2}, at::kFloat);
  context.analyse(toml());
  for (const std::string column : {"within", "between", "within_full"})
    EXPECT_NEAR(number(context.tables.at("penultimate"), 0, column), number(before, 0, column), 1e-5) << column;
}

TEST(Penultimate, KeepsDistancesWithinThePlaneWhateverItsPlace) {
  constexpr std::int64_t kWidth = 7;
  const at::Tensor templates = kd::testing::normal({3, kWidth}, 1);
  const at::Tensor places = kd::testing::normal({9, 2}, 2);
  const at::Tensor features = templates[0] + at::matmul(places, templates.narrow(0, 1, 2) - templates[0]);
  FeatureContext context;
  context.add("a", "net", features, {0, 1, 2, 0, 1, 2, 0, 1, 2}).weight = templates;
  context.analyse(toml());
  const kd::Table& table = context.tables.at("penultimate");
  EXPECT_GT(number(table, 0, "within"), 0.1);
  EXPECT_NEAR(number(table, 0, "within"), number(table, 0, "within_full"), 1e-5);
  EXPECT_NEAR(number(table, 0, "between"), number(table, 0, "between_full"), 1e-5);
}

TEST(Penultimate, ThePlaneThroughTheMeansKeepsTheirDistances) {
  FeatureContext context;
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < 30; ++i) labels.push_back(i % 3);
  context.add("a", "net", kd::testing::normal({30, 5, 2, 2}), labels);
  for (const std::string tap : {"pooled", "map"}) {  // a map is averaged over the image
    context.analyse(toml(", templates = 'means', tap = '" + tap + "'"));
    const kd::Table& table = context.tables.at("penultimate");
    EXPECT_NE(table.caption.find("through the classes' means"), std::string::npos) << table.caption;
    EXPECT_NEAR(number(table, 0, "between"), number(table, 0, "between_full"), 1e-12);
    EXPECT_LT(number(table, 0, "within"), number(table, 0, "within_full"));
    // The first mean is the origin, and the second lies on the first axis.
    const kd::Figure& figure = context.figures.at("penultimate");
    const auto mean = [](const std::vector<double>& numbers) {
      double sum = 0;
      for (const double one : numbers) sum += one;
      return sum / static_cast<double>(numbers.size());
    };
    EXPECT_NEAR(mean(cloud(figure, 0, 0).x), 0, 1e-12);
    EXPECT_NEAR(mean(cloud(figure, 0, 1).y), 0, 1e-12);
    EXPECT_GT(mean(cloud(figure, 0, 1).x), 0);
    EXPECT_GT(mean(cloud(figure, 0, 2).y), 0);
  }
}

TEST(Penultimate, LooksAtTheFirstSamplesOfEachClassOnEachSplit) {
  FeatureContext context;
  FeatureModel& network = add_network(context);
  network.set(kd::Split::kTrain, rows({9, 9, 9, 1, 0, 0, 1, 6, 0, 4, 0, 0, 1, 1, 0, 8, 8, 8, 1, 3, 0}, 3),
              {-1, 0, 0, 1, 2, 1, 0});
  network.passed = 0;
  context.analyse("{ type = 'penultimate', samples = 2, splits = ['train', 'validation'] }");
  EXPECT_EQ(network.passed, 5) << "no other image is looked at";
  const kd::Figure& figure = context.figures.at("penultimate");
  ASSERT_EQ(figure.panels.size(), 1U) << "there is no validation split";
  EXPECT_EQ(figure.panels[0].title, "a/net, train split");
  EXPECT_EQ(cloud(figure, 0, 0).y, (std::vector<double>{0, 6}));
  EXPECT_EQ(cloud(figure, 0, 1).x, (std::vector<double>{3, 7}));
  EXPECT_EQ(cloud(figure, 0, 2).y, (std::vector<double>{1}));
}

TEST(Penultimate, DrawsTheSplitsOfANetworkInOneSquare) {
  FeatureContext context;
  add_network(context).set(kd::Split::kTrain, rows({11, 0, 0, 1, 0, 0, 1, 2, 0}, 3), {0, 1, 2});
  add_network(context, "b");
  context.analyse("{ type = 'penultimate' }");
  const kd::Figure& figure = context.figures.at("penultimate");
  ASSERT_EQ(figure.panels.size(), 3U);
  EXPECT_EQ(figure.columns, 2);
  const kd::Panel &train = figure.panels[0], &test = figure.panels[1], &other = figure.panels[2];
  EXPECT_EQ(other.title, "b/net, test split");
  EXPECT_EQ(train.x.low, test.x.low);
  EXPECT_EQ(train.y.high, test.y.high);
  EXPECT_NEAR(*train.x.high - *train.x.low, 10.8, 1e-9) << "x goes from 0 to 10, and a little more";
  EXPECT_NEAR(*train.y.high - *train.y.low, 10.8, 1e-9);
  EXPECT_NEAR(*train.y.high + *train.y.low, 4, 1e-9) << "y goes from 0 to 4";
  EXPECT_NEAR(*other.x.high - *other.x.low, 4.32, 1e-9);
}

TEST(Penultimate, SaysWhereAClassHasNoSamples) {
  FeatureContext context;
  add_network(context);
  context.add("b", "net", rows({1, 2, 3, 4}, 2), {0, 1});
  context.analyse(toml());
  EXPECT_EQ(context.tables.at("penultimate").rows.size(), 1U);
  EXPECT_EQ(context.printed, "penultimate: b/net has no samples of one of the three classes on the test split\n");
  context.figures.clear();
  context.analyse(toml(", stages = ['b']"));
  EXPECT_TRUE(context.figures.empty());
}

TEST(Penultimate, SaysWhatIsWrong) {
  FeatureContext context;
  add_network(context);
  EXPECT_NE(context.refusal(toml(", classes = [0, 1]")).find("'classes' wants three classes, and has 2"),
            std::string::npos);
  EXPECT_NE(context.refusal(toml(", classes = [0, 1, 0]")).find("'classes' names class 0 twice"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", classes = [0, 1, -1]")), "");
  EXPECT_NE(
      context.refusal(toml(", classes = [0, 1, 3]")).find("'classes' names class 3, and a/net knows classes 0 to 2"),
      std::string::npos);
  EXPECT_NE(context.refusal(toml(", tap = 'map'")).find("the classifier has no templates of 'map'"), std::string::npos);
  EXPECT_NE(context.refusal(toml(", tap = 'mapp', templates = 'means'")).find("did you mean 'map'?"),
            std::string::npos);
  EXPECT_NE(context.refusal(toml(", stages = ['b']")).find("there is no stage 'b'"), std::string::npos);
}

/// What classifier_rows() goes by.
TEST(Penultimate, NetworksAnswerPooledFeaturesWithAnAffineMap) {
  for (const std::string name : {"resnet", "wrn", "vgg", "mobilenet_v2", "shufflenet_v1", "shufflenet_v2", "mlp"}) {
    const auto model = kd::testing::make_network("{ type = '" + name + "' }");
    model->module()->eval();
    kd::Taps taps({"pooled"});
    model->forward(kd::testing::make_images(kd::testing::kCifar100, 2), {.taps = &taps, .key = {}});
    const at::Tensor pooled = taps.at("pooled").detach();
    const std::int64_t width = pooled.size(1);
    const at::Tensor bias = model->head(at::zeros({1, width}), "pooled");
    const at::Tensor rows = model->head(at::eye(width), "pooled") - bias;
    EXPECT_EQ(rows.size(1), 100) << name;
    EXPECT_TRUE(at::allclose(at::matmul(pooled, rows) + bias, model->head(pooled, "pooled"), 1e-4, 1e-5)) << name;
  }
}

}  // namespace
