// Tests of the scheme "kd3".
#include <algorithm>

#include "kd/testing/stages.h"

namespace {

namespace fakes = kd::testing::fakes;

/// A stage whose images are numbers, as augmentations leave them.
void make_float(fakes::Stage& stage) { stage.batch.images = stage.batch.images.to(at::kFloat); }

/// Row by row, the largest of the classes' mean probabilities.
std::vector<double> certainties(const fakes::Rows& teacher, const fakes::Rows& student) {
  std::vector<double> result;
  for (std::size_t i = 0; i < teacher.size(); ++i) {
    double most = 0;
    for (std::size_t c = 0; c < teacher[i].size(); ++c) most = std::max(most, (teacher[i][c] + student[i][c]) / 2);
    result.push_back(most);
  }
  return result;
}

/// The rows of the three most certain.
std::vector<std::size_t> most_certain(const std::vector<double>& certainties) {
  std::vector<std::size_t> rows(certainties.size());
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = i;
  std::sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) { return certainties[a] > certainties[b]; });
  rows.resize(3);
  return rows;
}

TEST(Kd3, LearnsFromTheRowsOfWhichBothAreMostCertain) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage("{ type = 'kd3', contrast = 0, losses = [{ type = 'kd', temperature = 1 }] }", device);
    make_float(stage);
    const at::Tensor s = stage.network.classifier.logits(stage.batch.images);
    const at::Tensor t = stage.teacher.classifier.logits(stage.batch.images);
    const fakes::Rows p = fakes::probabilities(s, 1), q = fakes::probabilities(t, 1);
    const std::vector<double> certain = certainties(q, p);
    double divergence = 0, distance = 0, weights = 0;
    const fakes::Rows student = fakes::rows(s), teacher = fakes::rows(t);  // the fakes' features are their logits
    for (const std::size_t i : most_certain(certain)) {
      double square = 0;
      for (std::size_t c = 0; c < 3; ++c) {
        divergence += q[i][c] * std::log(q[i][c] / p[i][c]) / 3;
        square += (student[i][c] - teacher[i][c]) * (student[i][c] - teacher[i][c]) / 3;
      }
      distance += certain[i] * square;
      weights += certain[i];
    }
    const std::vector<kd::Term> terms = stage.step();
    ASSERT_EQ(fakes::names(terms), fakes::Names({"kd", "alignment"}));
    EXPECT_NEAR(terms[0].value.item<double>(), divergence, 1e-5);
    EXPECT_NEAR(terms[1].value.item<double>(), distance / weights, 1e-4);
    EXPECT_EQ(stage.events, fakes::Events({"forward a", "update a"}));
    EXPECT_EQ(stage.teacher.seen_batches.size(), 1U);
    EXPECT_TRUE(stage.updater.counted_logits[0].equal(s.detach()));
  }
}

TEST(Kd3, SendsNoGradientToTheTeacher) {
  fakes::Stage stage("{ type = 'kd3' }");
  make_float(stage);
  const auto gradients = torch::autograd::grad({fakes::objective(stage.step())}, {stage.teacher.classifier.weight}, {},
                                               /*retain_graph=*/true, /*create_graph=*/false, /*allow_unused=*/true);
  EXPECT_FALSE(gradients[0].defined());
}

TEST(Kd3, KnowsNoLabels) {
  const auto values_with = [](std::int64_t label) {
    fakes::Stage stage("{ type = 'kd3' }");
    make_float(stage);
    stage.batch.targets.labels.fill_(label);
    std::vector<double> values;
    for (const kd::Term& term : stage.step()) values.push_back(term.value.item<double>());
    return values;
  };
  EXPECT_EQ(values_with(-1), values_with(2));
  EXPECT_EQ(values_with(-1).size(), 3U);
}

TEST(Kd3, KeepsAShareOfTheBatch) {
  for (const auto& [keep, rows] : std::map<std::string, std::int64_t>{{"0.01", 1}, {"0.4", 2}, {"1.0", 6}}) {
    fakes::Stage stage("{ type = 'kd3', keep = " + keep + ", losses = [{ type = 'recorder' }] }");
    make_float(stage);
    stage.step();
    EXPECT_EQ(fakes::Recorder::seen.student_logits.size(0), rows);
    EXPECT_EQ(fakes::Recorder::seen.teacher_tap.size(0), rows);
    EXPECT_EQ(fakes::Recorder::seen.index.size(0), rows);
  }
}

/// Of each image and channel.
at::Tensor deviations(const at::Tensor& images) { return images.std({2, 3}, /*unbiased=*/false, /*keepdim=*/true); }
at::Tensor means(const at::Tensor& images) { return images.mean({2, 3}, /*keepdim=*/true); }

TEST(Kd3, ContrastsImagesWithCopiesOfAnotherDistribution) {
  fakes::Stage stage("{ type = 'kd3', keep = 1.0, alignment = 0, shift = 2.0, contrast_temperature = 0.5 }");
  make_float(stage);
  const std::vector<kd::Term> terms = stage.step();
  ASSERT_EQ(fakes::names(terms), fakes::Names({"kd", "contrast"}));
  EXPECT_EQ(stage.events, fakes::Events({"forward a", "forward a", "update a"}));
  const at::Tensor copies = stage.network.seen_images[1];
  // The rows come in the order of certainty: that image is an image's copy which has its pattern.
  const auto pattern = [](const at::Tensor& images) { return (images - means(images)) / deviations(images); };
  std::vector<std::int64_t> origin;
  double moved = 0;
  for (std::int64_t i = 0; i < 6; ++i) {
    const at::Tensor far = (pattern(stage.batch.images) - pattern(copies).narrow(0, i, 1)).abs().amax({1, 2, 3});
    origin.push_back(far.argmin().item<std::int64_t>());
    EXPECT_LT(far.min().item<double>(), 1e-3);
    const at::Tensor own = stage.batch.images[origin.back()];
    // Mean and deviation lie between the image's own and those of one other.
    const at::Tensor mean = means(copies)[i], all = means(stage.batch.images);
    EXPECT_TRUE(mean.ge(all.amin(0) - 1e-3).all().item<bool>());
    EXPECT_TRUE(mean.le(all.amax(0) + 1e-3).all().item<bool>());
    moved += (copies[i] - own).abs().max().item<double>();
  }
  EXPECT_GT(moved, 1);
  std::vector<std::int64_t> sorted = origin;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, std::vector<std::int64_t>({0, 1, 2, 3, 4, 5}));
  // −log softmax of the cosine with an image's own copy among all copies.
  const fakes::Rows f = fakes::rows(stage.network.classifier.logits(stage.batch.images));
  const fakes::Rows g = fakes::rows(stage.network.classifier.logits(copies));
  const auto cosine = [](const std::vector<double>& a, const std::vector<double>& b) {
    double product = 0, square_a = 0, square_b = 0;
    for (std::size_t c = 0; c < a.size(); ++c) {
      product += a[c] * b[c];
      square_a += a[c] * a[c];
      square_b += b[c] * b[c];
    }
    return product / std::sqrt(square_a * square_b);
  };
  double expected = 0;
  for (std::size_t i = 0; i < 6; ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < 6; ++j) sum += std::exp(cosine(f[static_cast<std::size_t>(origin[i])], g[j]) / 0.5);
    expected += (std::log(sum) - cosine(f[static_cast<std::size_t>(origin[i])], g[i]) / 0.5) / 6;
  }
  EXPECT_NEAR(terms[1].value.item<double>(), expected, 1e-4);
}

TEST(Kd3, AsksForTheFeaturesThatItCompares) {
  const fakes::Stage stage("{ type = 'kd3' }");
  EXPECT_EQ(stage.required.back().second.student_taps, kd::TapRequest({"pooled"}));
  EXPECT_EQ(stage.required.back().second.teacher_taps, kd::TapRequest({"pooled"}));
  const fakes::Stage plain("{ type = 'kd3', alignment = 0, contrast = 0 }");
  EXPECT_TRUE(plain.required.back().second.student_taps.empty());
  EXPECT_TRUE(plain.required.back().second.teacher_taps.empty());
}

}  // namespace
