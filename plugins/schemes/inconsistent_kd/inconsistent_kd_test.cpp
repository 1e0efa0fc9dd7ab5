// Tests of the scheme "inconsistent_kd".
#include <ATen/ops/allclose.h>

#include <algorithm>
#include <complex>
#include <numbers>

#include "../shared/adversarial.h"
#include "../shared/two_layers.h"
#include "kd/random_tensors.h"
#include "kd/testing/stages.h"

namespace {

namespace fakes = kd::testing::fakes;

using kd::testing::start_images;
using kd::testing::two_layers;
using kd::testing::wave;

constexpr double kTemperature = 4;
/// The fake networks see bytes: a pixel's whole range is 255.
const std::string kBytes = ", mean = [0.0], deviation = [0.0039215686274509803]";

// ---------------------------------------------------------------------------------------------------------------------
// The attack against a plain PyTorch script
// ---------------------------------------------------------------------------------------------------------------------

/// What five steps of 2/255 within 8/255 make of start_images with the labels 3 and 1, where pixels
/// were normalised with the means 0.5 and 0.4 and the deviations 0.5 and 0.25: printed by a PyTorch script that has
/// torch's own interpolation and the draws below.
constexpr float kUphill[] = {
    0.2327751F,  0.4489014F,  0.6464811F,  0.8066121F,  1.0000000F,  0.9513339F,  0.8714488F,  0.8358315F,
    0.5359781F,  0.2109170F,  -0.2303575F, -0.5833057F, -0.7609752F, -0.9529412F, -1.0000000F, -0.8677509F,
    -0.5922163F, -0.1154013F, 0.5669408F,  0.8447384F,  0.8680210F,  0.7927755F,  0.4937157F,  0.2042864F,
    -0.5915411F, -0.9678006F, -0.9650995F, -0.6455485F, -0.1315619F, 0.4601384F,  0.9481195F,  1.1187775F,
    0.7642901F,  0.1487022F,  -0.5179943F, -0.9263197F, -0.8291584F, -0.2671811F, 0.4912560F,  1.0000000F,
    0.8421565F,  0.3830474F,  -0.5205511F, -1.0000000F, -0.7605212F, -0.0423020F, 0.6340064F,  0.9331750F,
    0.4505006F,  -0.4615838F, -0.9253917F, -0.9203804F, 0.1365783F,  0.9765359F,  0.8119597F,  0.0041630F,
    -0.8699800F, -1.0650053F, -0.2993146F, 0.6490502F,  1.0189918F,  -0.0340138F, -0.8791050F, -0.9735945F};

/// Of each step: the smaller image's size and place, and which of the two images shrink.
struct Draw {
  std::int64_t size, top, left;
  bool first, second;
};
constexpr Draw kDraws[] = {{3, 0, 1, true, false},
                           {2, 1, 2, true, true},
                           {3, 1, 0, false, false},
                           {3, 1, 1, false, true},
                           {2, 0, 0, true, true}};

const kd::DataInfo kTwoChannels{
    .channels = 2, .height = 4, .width = 4, .class_names = {}, .mean = {0.5, 0.4}, .deviation = {0.5, 0.25}};

TEST(InconsistentKd, AttacksAsAPlainScriptDoes) {
  const at::Tensor labels = at::tensor(std::vector<std::int64_t>{3, 1});
  const auto diversify = [](const at::Tensor& images, std::int64_t i) {
    const Draw& draw = kDraws[i];
    const at::Tensor smaller =
        adversarial::shrink(images, {.height = draw.size, .width = draw.size, .top = draw.top, .left = draw.left});
    const at::Tensor chosen = at::tensor(std::vector<std::int64_t>{draw.first, draw.second}) == 1;
    return at::where(adversarial::per_image(chosen), smaller, images);
  };
  const at::Tensor moved = adversarial::move_uphill(two_layers, start_images(2), labels,
                                                    adversarial::pixel_range({}, {}, kTwoChannels), {}, diversify);
  EXPECT_LT(fakes::largest_difference(moved, at::tensor(at::ArrayRef<float>(kUphill)).view({2, 2, 4, 4})), 1e-5);
}

TEST(InconsistentKd, ShrinksByBilinearInterpolation) {
  const at::Tensor images = wave(2 * 3 * 7 * 5, 0.4, 0.011, 0).view({2, 3, 7, 5});
  for (const auto& [height, width] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{6, 4}, {7, 5}, {2, 3}, {1, 1}}) {
    const at::Tensor smaller = at::upsample_bilinear2d(images, {height, width}, /*align_corners=*/false);
    const at::Tensor shrunk =
        adversarial::shrink(images, {.height = height, .width = width, .top = 7 - height, .left = 0});
    EXPECT_EQ(shrunk.sizes(), images.sizes());
    EXPECT_LT(fakes::largest_difference(shrunk.narrow(2, 7 - height, height).narrow(3, 0, width), smaller), 1e-5);
    EXPECT_NEAR(shrunk.abs().sum().item<double>(), smaller.abs().sum().item<double>(), 1e-3);
  }
}

TEST(InconsistentKd, KnowsWherePixelsLie) {
  const adversarial::PixelRange range = adversarial::pixel_range({}, {}, kTwoChannels);
  EXPECT_TRUE(at::allclose(range.low.flatten(), at::tensor({-1.0F, -1.6F})));
  EXPECT_TRUE(at::allclose(range.high.flatten(), at::tensor({1.0F, 2.4F})));
  EXPECT_TRUE(at::allclose(range.span.flatten(), at::tensor({2.0F, 4.0F})));
  const adversarial::PixelRange plain = adversarial::pixel_range({0}, {1}, kTwoChannels);
  EXPECT_TRUE(plain.high.flatten().equal(at::tensor({1.0F, 1.0F})));
  EXPECT_THROW(adversarial::pixel_range({0, 0, 0}, {}, kTwoChannels), kd::RecipeError);
  EXPECT_THROW(adversarial::pixel_range({}, {0.5, 0}, kTwoChannels), kd::RecipeError);
}

// ---------------------------------------------------------------------------------------------------------------------
// The scheme
// ---------------------------------------------------------------------------------------------------------------------

/// Float images as a scheme sees them.
struct Setting {
  explicit Setting(const std::string& parameters = "", const at::Device& device = at::kCPU)
      : stage("{ type = 'inconsistent_kd'" + kBytes + parameters + " }", device) {
    stage.batch.images = stage.batch.images.to(at::kFloat);
  }
  std::vector<kd::Term> step(std::int64_t number = 0) { return stage.step(number); }
  /// What the student saw, in order.
  const at::Tensor& seen(std::size_t pass) const { return stage.network.seen_images.at(pass); }

  fakes::Stage stage;
};

/// T² · mean over the batch of Σ q ln(q/p) on these images.
double soft_loss(const fakes::Stage& stage, const at::Tensor& images) {
  return kTemperature * kTemperature *
         fakes::divergence(fakes::probabilities(stage.teacher.classifier.logits(images), kTemperature),
                           fakes::probabilities(stage.network.classifier.logits(images), kTemperature));
}

TEST(InconsistentKd, LearnsTheTeachersAnswersToImagesAndViews) {
  for (const at::Device& device : kd::testing::devices()) {
    Setting setting(", frequency_weight = 0.5, adversarial_weight = 2", device);
    const std::vector<kd::Term> terms = setting.step();
    ASSERT_EQ(fakes::names(terms), fakes::Names({"cross_entropy", "kd", "frequency_kd", "adversarial_kd"}));
    EXPECT_EQ(fakes::weights(terms), std::vector<double>({0.1, 0.9, 0.45, 1.8}));
    EXPECT_NEAR(terms[0].value.item<double>(),
                fakes::cross_entropy(setting.stage.network.classifier.logits(setting.stage.batch.images)), 1e-5);
    ASSERT_EQ(setting.stage.network.seen_images.size(), 3U);
    EXPECT_TRUE(setting.seen(2).is_same(setting.stage.batch.images));
    EXPECT_NEAR(terms[1].value.item<double>(), soft_loss(setting.stage, setting.seen(2)), 1e-4);
    EXPECT_NEAR(terms[2].value.item<double>(), soft_loss(setting.stage, setting.seen(0)), 1e-4);
    EXPECT_NEAR(terms[3].value.item<double>(), soft_loss(setting.stage, setting.seen(1)), 1e-4);
    EXPECT_GT(std::abs(terms[2].value.item<double>() - terms[1].value.item<double>()), 1e-4);
    EXPECT_GT(std::abs(terms[3].value.item<double>() - terms[1].value.item<double>()), 1e-4);
  }
}

TEST(InconsistentKd, AsksForTheViewsFirstAndOnePassEach) {
  Setting setting(", steps = 3");
  fakes::Stage& stage = setting.stage;
  setting.step();
  EXPECT_EQ(stage.events, fakes::Events({"forward a", "forward a", "forward a", "update a"}));
  EXPECT_EQ(stage.teacher.seen_batches, std::vector<const kd::Batch*>({&stage.batch}));  // so that its cache serves
  EXPECT_EQ(stage.teacher.forward_passes, 1 + 3 + 1);
  EXPECT_TRUE(stage.teacher.forward_images.is_same(setting.seen(1)));
  EXPECT_FALSE(setting.seen(1).requires_grad());
  EXPECT_TRUE(stage.updater.counted_logits[0].equal(stage.network.classifier.logits(stage.batch.images)));
}

TEST(InconsistentKd, SendsNoGradientToTheTeacher) {
  Setting setting;
  fakes::objective(setting.step()).backward();
  EXPECT_TRUE(setting.stage.network.classifier.weight.grad().defined());
  EXPECT_FALSE(setting.stage.teacher.classifier.weight.grad().defined());
}

TEST(InconsistentKd, GivesLossesTheirFeaturesOnTheViews) {
  Setting setting(", losses = [{ type = 'recorder' }], adversarial_weight = 0");
  setting.step();
  EXPECT_EQ(fakes::Recorder::seen.step, 0);
  EXPECT_TRUE(fakes::Recorder::seen.teacher_tap.defined());
  ASSERT_EQ(setting.stage.adapters.size(), 1U);  // one for images and views
}

// ------------------------------------------------------------------------------------------------ frequencies

/// The image by a Fourier transform from its definition, with the modes on one side of the cut weakened.
std::vector<double> filtered(const std::vector<double>& image, int height, int width, bool low_pass, double cut,
                             double strength) {
  constexpr double kTurn = 2 * std::numbers::pi;
  const auto plane = static_cast<std::size_t>(height * width);
  std::vector<double> result(image.size());
  for (std::size_t begin = 0; begin < image.size(); begin += plane) {
    for (int u = 0; u < height; ++u) {
      for (int v = 0; v < width; ++v) {
        std::complex<double> mode = 0;
        for (int y = 0; y < height; ++y)
          for (int x = 0; x < width; ++x)
            mode += image[begin + static_cast<std::size_t>(y * width + x)] *
                    std::polar(1.0, -kTurn * (1.0 * u * y / height + 1.0 * v * x / width));
        const double frequency =
            2 * std::hypot(1.0 * std::min(u, height - u) / height, 1.0 * std::min(v, width - v) / width);
        const bool goes = frequency > 0 && (low_pass ? frequency > cut : frequency <= cut);
        if (goes) mode *= 1 - strength;
        for (int y = 0; y < height; ++y)
          for (int x = 0; x < width; ++x)
            result[begin + static_cast<std::size_t>(y * width + x)] +=
                (mode * std::polar(1.0, kTurn * (1.0 * u * y / height + 1.0 * v * x / width))).real() /
                (height * width);
      }
    }
  }
  return result;
}

TEST(InconsistentKd, TakesFrequenciesFromEachSampleInItsOwnWay) {
  constexpr double kLowest = 0.3, kHighest = 1.3, kStrength = 0.8;
  for (const at::Device& device : kd::testing::devices()) {
    for (const auto& [height, width] : std::vector<std::pair<int, int>>{{2, 2}, {1, 4}, {4, 1}}) {
      Setting setting(", adversarial_weight = 0, lowest_cut = 0.3, highest_cut = 1.3, strength = 0.8", device);
      fakes::Stage& stage = setting.stage;
      stage.batch.images = stage.batch.images.reshape({fakes::kSamples, 3, height, width});
      setting.step(13);
      const kd::RandomKey key = kd::RandomKey{}.with(std::uint64_t{1}).with("frequency");  // of epoch 1
      const fakes::Rows draws = fakes::rows(kd::random_uniform(key, stage.batch.index.cpu(), 3));
      const fakes::Rows images = fakes::rows(stage.batch.images.flatten(1)),
                        seen = fakes::rows(setting.seen(0).flatten(1));
      double change = 0;
      int low = 0;
      for (std::size_t i = 0; i < images.size(); ++i) {
        const bool low_pass = draws[i][0] < 0.5;
        low += low_pass;
        const std::vector<double> expected = filtered(
            images[i], height, width, low_pass, kLowest + draws[i][1] * (kHighest - kLowest), draws[i][2] * kStrength);
        for (std::size_t f = 0; f < expected.size(); ++f) {
          EXPECT_NEAR(seen[i][f], std::clamp(expected[f], 0.0, 255.0), 1e-3);
          change = std::max(change, std::abs(seen[i][f] - images[i][f]));
        }
      }
      EXPECT_GT(change, 1);
      EXPECT_GT(low, 0);
      EXPECT_LT(low, fakes::kSamples);
    }
  }
}

TEST(InconsistentKd, KeepsTheMeanWhereAllFrequenciesGo) {
  // Of either side: cuts that leave no mode but the constant, for a strength that each sample draws.
  for (const std::string side : {"low_pass_share = 1, lowest_cut = 0, highest_cut = 0",
                                 "low_pass_share = 0, lowest_cut = 1.5, highest_cut = 1.5"}) {
    Setting setting(", adversarial_weight = 0, " + side);
    setting.step();
    const at::Tensor images = setting.stage.batch.images, seen = setting.seen(0);
    const at::Tensor mean = images.mean({2, 3}, true);
    EXPECT_TRUE(at::allclose(seen.mean({2, 3}, true), mean, 1e-4, 1e-3));
    const at::Tensor share = ((seen - mean).flatten(1) / (images - mean).flatten(1)).mean(1, true);
    EXPECT_TRUE(at::allclose((seen - mean).flatten(1), (images - mean).flatten(1) * share, 1e-3, 1e-2));
    EXPECT_LT(share.max().item<double>(), 1);
    EXPECT_GT((share.max() - share.min()).item<double>(), 0.1);  // a strength of its own
  }
}

// ------------------------------------------------------------------------------------------------ the attack

TEST(InconsistentKd, FoolsTheTeacherWithinEpsilon) {
  for (const at::Device& device : kd::testing::devices()) {
    Setting setting(", frequency_weight = 0", device);
    setting.step();
    const at::Tensor images = setting.stage.batch.images, moved = setting.seen(0);
    EXPECT_LT((moved - images).abs().max().item<double>(), 8 + 1e-3);
    EXPECT_GT((moved - images).abs().max().item<double>(), 8 - 1e-3);
    EXPECT_GE(moved.min().item<double>(), 0);
    EXPECT_LE(moved.max().item<double>(), 255);
    const auto& teacher = setting.stage.teacher.classifier;
    EXPECT_GT(fakes::cross_entropy(teacher.logits(moved)), fakes::cross_entropy(teacher.logits(images)) + 0.01);
  }
}

TEST(InconsistentKd, MovesAwayFromWhatTheTeacherAnswersWhereThereIsNoLabel) {
  const std::string parameters = ", frequency_weight = 0";
  Setting known(parameters), unknown(parameters);
  const at::Tensor answer = known.stage.teacher.classifier.logits(known.stage.batch.images).argmax(1);
  known.stage.batch.targets.labels = known.stage.batch.targets.labels.clone();
  known.stage.batch.targets.labels[1] = answer[1];
  unknown.stage.batch.targets.labels = unknown.stage.batch.targets.labels.clone();
  unknown.stage.batch.targets.labels[1] = -1;
  known.step();
  unknown.step();
  EXPECT_TRUE(known.seen(0).equal(unknown.seen(0)));
  EXPECT_GT((unknown.seen(0) - unknown.stage.batch.images)[1].abs().max().item<double>(), 1);
}

TEST(InconsistentKd, ShrinksAShareOfTheImages) {
  // One step, so that an image either was moved by the gradient of the smaller image or by its own.
  const auto moved = [](const std::string& diversity) {
    Setting setting(", frequency_weight = 0, steps = 1, step = 0.01, resize_rate = 0.5, diversity = " + diversity);
    setting.step(4);
    return setting.seen(0);
  };
  const at::Tensor none = moved("0"), all = moved("1"), some = moved("0.5");
  int plain = 0, smaller = 0;
  for (std::int64_t i = 0; i < fakes::kSamples; ++i) {
    EXPECT_FALSE(none[i].equal(all[i]));
    plain += some[i].equal(none[i]);
    smaller += some[i].equal(all[i]);
  }
  EXPECT_EQ(plain + smaller, fakes::kSamples);
  EXPECT_GT(plain, 0);
  EXPECT_GT(smaller, 0);
}

TEST(InconsistentKd, RepeatsAStepToTheBit) {
  std::vector<at::Tensor> frequency, adversarial;
  for (const std::int64_t number : {3, 3, 13}) {
    Setting setting(", resize_rate = 0.5");
    setting.step(number);
    frequency.push_back(setting.seen(0));
    adversarial.push_back(setting.seen(1));
  }
  EXPECT_TRUE(frequency[0].equal(frequency[1]));
  EXPECT_TRUE(adversarial[0].equal(adversarial[1]));
  EXPECT_FALSE(frequency[0].equal(frequency[2]));
}

// ------------------------------------------------------------------------------------------------ when, and errors

TEST(InconsistentKd, HasNoViewsFromTheStopEpochOn) {
  Setting setting(", stop_epoch = 1");
  EXPECT_EQ(setting.step(9).size(), 4U);
  EXPECT_EQ(fakes::names(setting.step(10)), fakes::Names({"cross_entropy", "kd"}));
  EXPECT_EQ(setting.stage.network.seen_images.size(), 3U + 1U);
  Setting always(", stop_epoch = 0");
  EXPECT_EQ(always.step(19).size(), 4U);
}

TEST(InconsistentKd, LeavesOutAViewOfWeightZero) {
  Setting neither(", frequency_weight = 0, adversarial_weight = 0");
  EXPECT_EQ(neither.step().size(), 2U);
  EXPECT_EQ(neither.stage.teacher.forward_passes, 0);
  Setting scheduled(", frequency_weight = { type = 'linear', from = 0, to = 1 }, adversarial_weight = 0");
  EXPECT_EQ(scheduled.step(0).size(), 2U);
  EXPECT_NEAR(scheduled.step(10).back().weight, 0.9 * 0.5, 1e-12);
}

TEST(InconsistentKd, RefusesWhatItCannotWorkWith) {
  for (const std::string parameters :
       {", losses = [{ type = 'cross_entropy' }]", ", losses = [{ type = 'kd' }, { type = 'jsd', views = ['more'] }]",
        ", lowest_cut = 0.7, highest_cut = 0.6"}) {
    EXPECT_THROW(Setting setting(parameters), kd::RecipeError) << parameters;
  }
  EXPECT_THROW(fakes::Stage("{ type = 'inconsistent_kd' }"), kd::RecipeError);  // the fake data set has no statistics
}

TEST(InconsistentKd, WantsOneStudentOneTeacherAndOneLabel) {
  const Setting setting;
  const kd::Roles roles = kd::registered_components().roles("scheme", "inconsistent_kd");
  EXPECT_EQ(roles.most_networks, 1);
  EXPECT_EQ(roles.fewest_teachers, 1);
  EXPECT_EQ(roles.most_teachers, 1);
  const auto& required = setting.stage.required;
  EXPECT_TRUE(std::any_of(required.begin(), required.end(), [](const auto& r) { return r.second.one_label; }));
}

}  // namespace
