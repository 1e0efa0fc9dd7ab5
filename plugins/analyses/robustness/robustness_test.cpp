// Tests of the analysis "robustness", of its attacks and of its corruptions.
#include <ATen/ops/conv2d.h>

#include <cmath>

#include "attacks.h"
#include "corruptions.h"
#include "kd/testing/analyses.h"

namespace {

using kd::analyses::corrupt;
using kd::analyses::Corruption;
using kd::analyses::fgsm;
using kd::analyses::kCorruptions;
using kd::analyses::pgd;
using kd::analyses::Samples;
using kd::testing::FakeAnalysisContext;
using kd::testing::FakeModel;
using kd::testing::number;

const kd::RandomKey kKey = kd::RandomKey{}.with("test");

/// sin(0.3 + i · step) · scale, in the shape.
at::Tensor wave(at::IntArrayRef shape, double step, double scale) {
  const std::int64_t count = at::ones(shape).numel();
  return (((at::arange(count, at::kDouble) * step) + 0.3).sin() * scale).view(shape);
}

/// Two classes: logits 0 and w·x.
std::function<at::Tensor(const at::Tensor&)> linear(const at::Tensor& w) {
  return [w](const at::Tensor& images) {
    const at::Tensor score = at::matmul(images.flatten(1), w);
    return at::stack({at::zeros_like(score), score}, 1);
  };
}

FakeModel model_of(const std::function<at::Tensor(const at::Tensor&)>& run) {
  FakeModel model({"stage", "net"}, at::zeros({1, 2}), at::zeros({1}, at::kLong));
  model.run = run;
  return model;
}

const Corruption& corruption(const std::string& name) {
  for (const Corruption& one : kCorruptions) {
    if (one.name == name) return one;
  }
  throw kd::Error("there is no corruption " + name);
}

double largest(const at::Tensor& numbers) { return numbers.abs().max().item<double>(); }

TEST(Attacks, FgsmMovesAMarginByEpsilonTimesTheL1Norm) {
  const at::Tensor w = wave({12}, 0.9, 1);
  FakeModel model = model_of(linear(w));
  model.mean = 0.4;
  model.deviation = 0.25;
  const Samples samples{wave({2, 3, 2, 2}, 1.7, 0.3) + 0.5, at::tensor({1, 0}, at::kLong)};
  const double epsilon = 0.1;  // no pixel leaves [0, 1]
  const at::Tensor before = at::matmul(model.seen(samples.pixels).flatten(1), w);
  const at::Tensor after = at::matmul(model.seen(fgsm(model, samples, epsilon)).flatten(1), w);
  const double moved = epsilon * w.abs().sum().item<double>() / model.deviation;
  EXPECT_NEAR(after[0].item<double>(), before[0].item<double>() - moved, 1e-12) << "away from class 1";
  EXPECT_NEAR(after[1].item<double>(), before[1].item<double>() + moved, 1e-12) << "away from class 0";
}

TEST(Attacks, OneStepOfPgdIsFgsm) {
  FakeModel model = model_of(linear(wave({12}, 0.9, 1)));
  const Samples samples{wave({4, 3, 2, 2}, 1.7, 0.5) + 0.5, at::tensor({1, 0, 0, 1}, at::kLong)};
  const at::Tensor once = pgd(model, samples, 0.1, {.steps = 1, .step_size = 0.1, .random_start = false}, kKey, 0);
  EXPECT_LT(largest(once - fgsm(model, samples, 0.1)), 1e-15);
  EXPECT_GT(largest(once - samples.pixels), 0.09);
}

TEST(Attacks, PgdStaysInTheBallAndAmongPixels) {
  FakeModel model = model_of([](const at::Tensor& images) {
    return at::matmul(at::matmul(images.flatten(1), wave({12, 5}, 0.9, 3)).tanh(), wave({5, 3}, 1.1, 3));
  });
  const Samples samples{(wave({6, 3, 2, 2}, 1.7, 0.7) + 0.5).clamp(0, 1), at::arange(6, at::kLong).remainder(3)};
  const double epsilon = 0.1;
  for (const bool random_start : {false, true}) {
    const at::Tensor found =
        pgd(model, samples, epsilon, {.steps = 7, .step_size = 0.07, .random_start = random_start}, kKey, 0);
    EXPECT_LE(largest(found - samples.pixels), epsilon + 1e-12);
    EXPECT_GE(found.min().item<double>(), 0);
    EXPECT_LE(found.max().item<double>(), 1);
  }
}

TEST(Attacks, ARandomStartIsOfItsSample) {
  FakeModel model = model_of(linear(at::zeros({3000}, at::kDouble)));  // whose gradient is 0
  const Samples samples{at::full({4, 3, 10, 100}, 0.5, at::kDouble), at::zeros({4}, at::kLong)};
  const auto start = [&](const Samples& of, kd::RandomKey key, std::int64_t first) {
    return pgd(model, of, 0.1, {.steps = 1, .step_size = 1, .random_start = true}, key, first) - of.pixels;
  };
  const at::Tensor all = start(samples, kKey, 0);
  EXPECT_LE(largest(all), 0.1);
  EXPECT_NEAR(all.mean().item<double>(), 0, 0.002);
  EXPECT_NEAR(all.square().mean().item<double>(), 0.1 * 0.1 / 3, 1e-4);
  const Samples last{samples.pixels.narrow(0, 3, 1), samples.labels.narrow(0, 3, 1)};
  EXPECT_TRUE(start(last, kKey, 3).equal(all.narrow(0, 3, 1))) << "whatever the batch";
  EXPECT_FALSE(start(last, kKey, 2).equal(all.narrow(0, 3, 1)));
  EXPECT_FALSE(start(samples, kKey.with("other"), 0).equal(all));
}

// What this prints, by PyTorch 2.13:
//   import torch
//   torch.set_default_dtype(torch.float64)
//   def wave(count, step, scale): return torch.sin(torch.arange(count) * step + 0.3) * scale
//   filters, weights = wave(108, 0.7, 0.5).view(4, 3, 3, 3), wave(720, 1.3, 0.4).view(5, 144)
//   pixels, labels = (wave(432, 2.1, 0.6) + 0.5).clamp(0, 1).view(4, 3, 6, 6), torch.arange(4)
//   def loss(x):
//       hidden = torch.tanh(torch.nn.functional.conv2d((x - 0.45) / 0.25, filters, padding=1))
//       return torch.nn.functional.cross_entropy(hidden.flatten(1) @ weights.t(), labels)
//   def step(x, size):
//       x = x.clone().requires_grad_()
//       return (x + size * torch.autograd.grad(loss(x), x)[0].sign()).detach()
//   fgsm, pgd = step(pixels, 8 / 255).clamp(0, 1), pixels
//   for _ in range(10): pgd = torch.clamp(step(pgd, 2 / 255), pixels - 8 / 255, pixels + 8 / 255).clamp(0, 1)
//   marks = torch.cos(torch.arange(432.0)).view_as(pixels)
//   for x in (pixels, fgsm, pgd): print(f"{loss(x):.10f} {(x * marks).sum():.10f}")
TEST(Attacks, AreThoseOfAPlainScript) {
  const at::Tensor filters = wave({4, 3, 3, 3}, 0.7, 0.5), weights = wave({5, 144}, 1.3, 0.4);
  FakeModel model = model_of([&](const at::Tensor& images) {
    const at::Tensor hidden = at::conv2d(images, filters, {}, 1, at::IntArrayRef{1, 1}).tanh();
    return at::matmul(hidden.flatten(1), weights.t());
  });
  model.mean = 0.45;
  model.deviation = 0.25;
  const Samples samples{(wave({4, 3, 6, 6}, 2.1, 0.6) + 0.5).clamp(0, 1), at::arange(4, at::kLong)};
  const at::Tensor marks = at::arange(432, at::kDouble).cos().view_as(samples.pixels);
  const auto expect = [&](const at::Tensor& pixels, double loss, double sum) {
    const at::Tensor logits = model.run(model.seen(pixels));
    EXPECT_NEAR(at::nll_loss(at::log_softmax(logits, 1), samples.labels).item<double>(), loss, 1e-9);
    EXPECT_NEAR((pixels * marks).sum().item<double>(), sum, 1e-9);
  };
  expect(samples.pixels, 1.7994276126, 0.1472589626);
  expect(fgsm(model, samples, 8 / 255.0), 4.1658053040, 0.0983813843);
  expect(pgd(model, samples, 8 / 255.0, {.steps = 10, .step_size = 2 / 255.0, .random_start = false}, kKey, 0),
         4.1891505098, 0.3082266446);
}

TEST(Corruptions, KeepShapeAndRangeAndAreOfTheirSample) {
  for (const std::int64_t channels : {1, 3}) {
    const at::Tensor pixels = ((wave({5, channels, 8, 6}, 1.9, 0.6) + 0.5).clamp(0, 1)).to(at::kFloat);
    for (const Corruption& one : kCorruptions) {
      for (std::int64_t severity = 1; severity <= 5; ++severity) {
        const at::Tensor all = corrupt(one, pixels, severity, kKey, 0);
        EXPECT_EQ(all.sizes(), pixels.sizes()) << one.name;
        EXPECT_EQ(all.scalar_type(), at::kFloat) << one.name;
        EXPECT_GE(all.min().item<double>(), 0) << one.name;
        EXPECT_LE(all.max().item<double>(), 1) << one.name;
        EXPECT_GT(largest(all - pixels), 1e-3) << one.name;
        const at::Tensor last = corrupt(one, pixels.narrow(0, 3, 2), severity, kKey, 3);
        EXPECT_LT(largest(last - all.narrow(0, 3, 2)), 1e-6) << one.name << ", whatever the batch";
      }
    }
  }
}

TEST(Corruptions, GrowWithTheirSeverity) {
  const at::Tensor pixels = wave({4, 3, 16, 16}, 1.9, 0.3) + 0.5;
  for (const Corruption& one : kCorruptions) {
    double before = 0;
    for (std::int64_t severity = 1; severity <= 5; ++severity) {
      const double change = (corrupt(one, pixels, severity, kKey, 0) - pixels).square().mean().item<double>();
      // pixelate 0.95 and 0.9 of 16 pixels are 15 and 14
      EXPECT_GT(change, before) << one.name << " " << severity;
      before = change;
    }
  }
}

TEST(Corruptions, NoiseHasItsDeviation) {
  const at::Tensor grey = at::full({10, 3, 100, 100}, 0.4, at::kDouble);
  const auto noise = [&](const std::string& name, std::int64_t severity) {
    return corrupt(corruption(name), grey, severity, kKey, 0) - grey;
  };
  const auto deviation = [](const at::Tensor& numbers) { return numbers.std().item<double>(); };
  EXPECT_NEAR(deviation(noise("gaussian_noise", 1)), 0.04, 4e-4);
  EXPECT_NEAR(deviation(noise("gaussian_noise", 5)), 0.10, 1e-3);
  EXPECT_NEAR(deviation(noise("speckle_noise", 5)), 0.4 * 0.20, 1e-3);
  EXPECT_NEAR(deviation(noise("shot_noise", 1)), std::sqrt(0.4 / 500), 4e-4);
  EXPECT_NEAR(deviation(noise("shot_noise", 5)), std::sqrt(0.4 / 50), 1e-3);
  for (const char* name : {"gaussian_noise", "speckle_noise", "shot_noise"})
    EXPECT_NEAR(noise(name, 3).mean().item<double>(), 0, 1e-3) << name;
  const at::Tensor impulses = noise("impulse_noise", 5);
  const auto share = [](const at::Tensor& these) { return these.to(at::kDouble).mean().item<double>(); };
  EXPECT_NEAR(share(impulses.gt(0)), 0.035, 2e-3) << "white";
  EXPECT_NEAR(share(impulses.lt(0)), 0.035, 2e-3) << "black";
  EXPECT_EQ(impulses.max().item<double>(), 1 - 0.4);
  EXPECT_EQ(impulses.min().item<double>(), -0.4);
  const at::Tensor black = at::zeros({1, 1, 8, 8});
  EXPECT_EQ(largest(corrupt(corruption("shot_noise"), black, 5, kKey, 0)), 0);
  EXPECT_EQ(largest(corrupt(corruption("speckle_noise"), black, 5, kKey, 0)), 0);
}

TEST(Corruptions, ShotNoiseCountsPhotons) {
  // Distribution functions of Poisson(1): 0.36788, 0.73576, 0.91970, 0.98101. The median of Poisson(500) is 500.
  using kd::analyses::poisson_draws;
  const at::Tensor uniform = at::tensor({0.1, 0.36, 0.37, 0.73, 0.74, 0.92, 0.99}, at::kDouble);
  const at::Tensor white = at::full({7}, 255, at::kLong), half = at::full({2}, 0.5, at::kDouble);
  EXPECT_TRUE(poisson_draws(white, 1, uniform).equal(at::tensor({0, 0, 1, 1, 2, 3, 4}, at::kLong)));
  EXPECT_TRUE(poisson_draws(at::tensor({0, 255}, at::kLong), 500, half).equal(at::tensor({0, 500}, at::kLong)));
  EXPECT_TRUE(poisson_draws(at::tensor({51, 0}, at::kLong), 5, at::tensor({0.92, 1 - 0x1p-25}, at::kDouble))
                  .equal(at::tensor({3, 0}, at::kLong)))
      << "51/255 · 5 is 1";
  const at::Tensor photons = corrupt(corruption("shot_noise"), wave({1, 1, 20, 20}, 1, 0.3) + 0.5, 5, kKey, 0) * 50;
  EXPECT_LT(largest(photons - photons.round()), 1e-9);
}

TEST(Corruptions, BrightnessIsMoreOfTheValue) {
  // Of four pixels: a colour, a light one, white, black.
  const at::Tensor pixels =
      at::tensor({0.4, 0.8, 1.0, 0.0, 0.2, 0.4, 1.0, 0.0, 0.1, 0.0, 1.0, 0.0}, at::kDouble).view({1, 3, 2, 2});
  const at::Tensor brighter =
      at::tensor({0.6, 1.0, 1.0, 0.2, 0.3, 0.5, 1.0, 0.2, 0.15, 0.0, 1.0, 0.2}, at::kDouble).view({1, 3, 2, 2});
  EXPECT_LT(largest(corrupt(corruption("brightness"), pixels, 4, kKey, 0) - brighter), 1e-12);
  const at::Tensor grey = at::tensor({0.0, 0.5, 0.8, 1.0}, at::kDouble).view({1, 1, 2, 2});
  EXPECT_LT(largest(corrupt(corruption("brightness"), grey, 5, kKey, 0) - (grey + 0.3).clamp_max(1)), 1e-12);
}

TEST(Corruptions, ContrastShrinksToTheMeanOfAChannel) {
  const at::Tensor pixels =
      at::tensor({0.0, 1.0, 0.2, 0.4, 0.6, 0.6, 0.6, 0.2}, at::kDouble).view({1, 2, 2, 2});  // means 0.4 and 0.5
  const at::Tensor expected = at::tensor({0.2, 0.7, 0.3, 0.4, 0.55, 0.55, 0.55, 0.35}, at::kDouble).view({1, 2, 2, 2});
  EXPECT_LT(largest(corrupt(corruption("contrast"), pixels, 2, kKey, 0) - expected), 1e-12);
}

TEST(Corruptions, PixelateIsThatOfPillow) {
  // x = np.arange(25, dtype=np.float32).reshape(5, 5) ** 2
  // Image.fromarray(x).resize((3, 3), Image.BOX).resize((5, 5), Image.BOX), with Pillow 11.3
  const at::Tensor pixels = at::arange(25, at::kDouble).square().view({1, 1, 5, 5}) / 625;
  const at::Tensor expected =
      at::tensor({15.5,  15.5,  26.5,  42.5,  42.5,  15.5,  15.5,  26.5,  42.5,  42.5,  110.5, 110.5, 144.0,
                  182.5, 182.5, 330.5, 330.5, 386.5, 447.5, 447.5, 330.5, 330.5, 386.5, 447.5, 447.5},
                 at::kDouble)
          .view({1, 1, 5, 5}) /
      625;
  EXPECT_LT(largest(corrupt(corruption("pixelate"), pixels, 5, kKey, 0) - expected), 1e-12);
}

TEST(Corruptions, BlurSpreadsAPointAsANormalDistribution) {
  at::Tensor point = at::zeros({1, 1, 11, 13}, at::kDouble);
  point[0][0][5][6] = 1;
  const at::Tensor blurred = corrupt(corruption("gaussian_blur"), point, 5, kKey, 0)[0][0];  // σ = 1, up to 4σ
  double sum = 0;
  for (int i = -4; i <= 4; ++i) sum += std::exp(-0.5 * i * i);
  for (const auto& [row, column] : std::vector<std::pair<int, int>>{{5, 6}, {6, 6}, {3, 9}, {1, 10}, {0, 6}}) {
    const int y = row - 5, x = column - 6;
    const double expected = std::abs(y) > 4 ? 0 : std::exp(-0.5 * (y * y + x * x)) / (sum * sum);
    EXPECT_NEAR(blurred[row][column].item<double>(), expected, 1e-12);
  }
  at::Tensor edge = at::zeros({1, 1, 9, 9}, at::kDouble);
  edge.select(3, 0).fill_(1);  // repeated beyond the border: half of the weights and half of the middle one
  EXPECT_NEAR(corrupt(corruption("gaussian_blur"), edge, 5, kKey, 0)[0][0][4][0].item<double>(), 0.5 + 0.5 / sum,
              1e-12);
}

/// Four samples of one pixel of which a network with logits 0 and x − 0.5 is right, by margins of 1, 3, 5 and 9/255.
void add_pixels(FakeModel& model) {
  model.pictures = (at::tensor({1.5, -3.5, 5.5, -9.5}, at::kDouble) / 255 + 0.5).view({4, 1, 1, 1});
  model.mean = 0.5;
  model.deviation = 0.25;
  model.run = linear(at::ones({1}, at::kDouble));
}

FakeModel& add(FakeAnalysisContext& context, const std::string& stage) {
  FakeModel& model = context.add(stage, "net", at::zeros({4, 2}), {1, 0, 1, 0});
  add_pixels(model);
  return model;
}

std::vector<double> column(const kd::Table& table, const std::string& stage, const std::string& kind,
                           const std::string& name) {
  std::vector<double> found;
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    if (table.rows[i][0] == kd::Cell(stage) && table.rows[i][2] == kd::Cell(kind))
      found.push_back(number(table, i, name));
  }
  return found;
}

std::string toml(const std::string& parameters = "") { return "{ type = 'robustness'" + parameters + " }"; }

TEST(Robustness, CountsTheSamplesThatAreStillRight) {
  FakeAnalysisContext context;
  add(context, "only");
  context.analyse(toml(", batch = 3"));
  const kd::Table& table = context.tables.at("robustness_attacks");
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"stage", "network", "attack", "epsilon", "accuracy"}));
  for (const char* attack : {"fgsm", "pgd"}) {  // the same ones in a linear network
    EXPECT_EQ(column(table, "only", attack, "epsilon"), (std::vector<double>{0, 1, 2, 4, 8})) << attack;
    EXPECT_EQ(column(table, "only", attack, "accuracy"), (std::vector<double>{1, 1, 0.75, 0.5, 0.25})) << attack;
  }
  const kd::Table& summary = context.tables.at("robustness_summary");
  EXPECT_EQ(kd::testing::column_names(summary),
            (std::vector<std::string>{"stage", "network", "clean", "fgsm", "pgd", "corruptions"}));
  EXPECT_EQ(number(summary, 0, "clean"), 1);
  EXPECT_EQ(number(summary, 0, "fgsm"), 0.25);
  EXPECT_EQ(number(summary, 0, "pgd"), 0.25);
  EXPECT_NE(summary.caption.find("ε = 8/255"), std::string::npos) << summary.caption;
  ASSERT_EQ(context.shown.size(), 1U);
  EXPECT_EQ(context.shown[0].name, "robustness_summary");
}

TEST(Robustness, TakesStepsAsItIsTold) {
  FakeAnalysisContext context;
  add(context, "only");
  const auto accuracy = [&](const std::string& parameters) {
    context.analyse(toml(", attacks = ['pgd'], corruptions = [], epsilons = [8], random_start = false" + parameters));
    return column(context.tables.at("robustness_attacks"), "only", "pgd", "accuracy");
  };
  EXPECT_EQ(accuracy(", steps = 2, step_size = 1"), (std::vector<double>{0.75})) << "moved by 2/255";
  EXPECT_EQ(accuracy(", steps = 1"), (std::vector<double>{0.25})) << "2.5·8 is brought back to 8/255";
  EXPECT_EQ(accuracy(", steps = 1, step_size = 1, samples = 1"), (std::vector<double>{1})) << "of the first sample";
}

TEST(Robustness, ShowsAllTheImagesThatFoolOne) {
  FakeAnalysisContext context;
  add(context, "teacher");
  FakeModel& student = add(context, "student");  // the other way round, and so wrong
  student.run = linear(-at::ones({1}, at::kDouble));
  add(context, "other_labels").truths[kd::Split::kTest] = at::tensor({0, 0, 1, 0}, at::kLong);
  FakeModel& other_size = add(context, "other_size");
  other_size.pictures = at::zeros({4, 1, 2, 2}, at::kDouble);
  other_size.run = linear(at::ones({4}, at::kDouble));
  const std::string attacks = ", corruptions = [], epsilons = [0, 4]";
  context.analyse(toml(attacks + ", transfer = 'teacher'"));
  const kd::Table transferred = context.tables.at("robustness_attacks");
  EXPECT_NE(transferred.caption.find("fool teacher/net"), std::string::npos) << transferred.caption;
  EXPECT_EQ(transferred.rows.size(), 8U) << "two networks, two attacks, two ε";
  EXPECT_EQ(context.tables.at("robustness_summary").rows.size(), 2U);
  context.analyse(toml(attacks));
  const kd::Table white_box = context.tables.at("robustness_attacks");
  EXPECT_EQ(context.tables.at("robustness_summary").rows.size(), 4U);
  for (const char* attack : {"fgsm", "pgd"}) {
    EXPECT_EQ(column(transferred, "teacher", attack, "accuracy"), (std::vector<double>{1, 0.5}));
    EXPECT_EQ(column(transferred, "student", attack, "accuracy"), (std::vector<double>{0, 0.5})) << "helped by it";
    EXPECT_EQ(column(white_box, "student", attack, "accuracy"), (std::vector<double>{0, 0}));
  }
}

TEST(Robustness, MeasuresCorruptions) {
  FakeAnalysisContext context;
  add(context, "only");
  context.analyse(toml(", attacks = [], corruptions = ['brightness', 'contrast'], severities = [5, 1]"));
  const kd::Table& table = context.tables.at("robustness_corruptions");
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"stage", "network", "corruption", "severity", "accuracy"}));
  EXPECT_EQ(column(table, "only", "brightness", "severity"), (std::vector<double>{5, 1}));
  EXPECT_EQ(column(table, "only", "brightness", "accuracy"), (std::vector<double>{0.5, 0.5})) << "all look bright";
  EXPECT_EQ(column(table, "only", "contrast", "accuracy"), (std::vector<double>{1, 1})) << "one pixel is its mean";
  EXPECT_FALSE(context.tables.contains("robustness_attacks"));
  const kd::Table& summary = context.tables.at("robustness_summary");
  EXPECT_EQ(number(summary, 0, "corruptions"), 0.75);
  EXPECT_EQ(summary.rows[0][3], kd::Cell());
  EXPECT_EQ(summary.rows[0][4], kd::Cell());
}

TEST(Robustness, GivesTheSameNumbersTwice) {
  FakeAnalysisContext first, second;
  for (FakeAnalysisContext* context : {&first, &second}) {
    add(*context, "only");
    context->analyse(toml(context == &first ? ", batch = 4" : ", batch = 1"));
  }
  EXPECT_EQ(first.tables.at("robustness_corruptions").rows, second.tables.at("robustness_corruptions").rows);
  EXPECT_EQ(first.tables.at("robustness_attacks").rows, second.tables.at("robustness_attacks").rows);
}

TEST(Robustness, DrawsCurvesAndBars) {
  FakeAnalysisContext context;
  add(context, "a");
  add(context, "b");
  context.analyse(toml(", epsilons = [4, 0]"));
  const kd::Figure& attacks = context.figures.at("robustness_attacks");
  ASSERT_EQ(attacks.panels.size(), 2U);
  EXPECT_EQ(attacks.panels[1].title, "pgd");
  ASSERT_EQ(attacks.panels[0].marks.size(), 2U);
  const auto& curve = std::get<kd::Curve>(attacks.panels[0].marks[1]);
  EXPECT_EQ(curve.name, "b/net");
  EXPECT_EQ(curve.x, (std::vector<double>{0, 4})) << "in order";
  EXPECT_EQ(curve.y, (std::vector<double>{1, 0.5}));
  const kd::Figure& corruptions = context.figures.at("robustness_corruptions");
  ASSERT_EQ(corruptions.panels.size(), 2U);
  EXPECT_EQ(corruptions.panels[1].x.categories,
            (std::vector<std::string>{"gaussian_blur", "brightness", "contrast", "pixelate"}));
  const auto& bars = std::get<kd::Bars>(corruptions.panels[1].marks.at(1));
  EXPECT_EQ(bars.name, "b/net");
  EXPECT_EQ(bars.left.at(1), 1.0);
  EXPECT_EQ(bars.top.at(1), 0.5) << "brightness";
}

TEST(Robustness, SaysWhatIsWrong) {
  FakeAnalysisContext context;
  add(context, "only");
  EXPECT_EQ(context.refusal(toml(", attacks = ['fsgm']")),
            "value:1:1: error: analysis 'robustness': there is no attack 'fsgm'\n    hint: did you mean 'fgsm'?");
  EXPECT_EQ(context.refusal(toml(", corruptions = ['shot_nose']")),
            "value:1:1: error: analysis 'robustness': there is no corruption 'shot_nose'\n    hint: did you mean "
            "'shot_noise'?");
  EXPECT_EQ(context.refusal(toml(", attacks = [], corruptions = []")),
            "value:1:1: error: analysis 'robustness': 'attacks' and 'corruptions' name nothing");
  EXPECT_EQ(context.refusal(toml(", epsilons = []")), "value:1:1: error: analysis 'robustness': 'epsilons' is empty");
  EXPECT_EQ(context.refusal(toml(", severities = []")),
            "value:1:1: error: analysis 'robustness': 'severities' is empty");
  EXPECT_EQ(context.refusal(toml(", transfer = 'onyl'")),
            "error: there is no stage 'onyl'\n    hint: did you mean 'only'?");
  EXPECT_EQ(context.refusal(toml(", transfer_network = 'net'")),
            "value:1:1: error: analysis 'robustness': 'transfer_network' names a network, and 'transfer' no stage");
  EXPECT_NE(context.refusal(toml(", severities = [6]")), "");
  EXPECT_NE(context.refusal(toml(", epsilons = [-1]")), "");
  EXPECT_TRUE(context.tables.empty());
}

}  // namespace
