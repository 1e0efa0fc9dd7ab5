// Tests of kd/calibration.h against tables made by hand and plain loops in double precision, and of kd/picture.h.
#include "kd/calibration.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kd/diagnostics.h"
#include "kd/picture.h"
#include "kd/testing/basics.h"

namespace {

using Matrix = std::vector<std::vector<double>>;
using Labels = std::vector<std::int64_t>;

constexpr double kClose = 1e-12;

at::Tensor to_tensor(const Matrix& rows, at::Device device) {
  at::Tensor result =
      at::empty({static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(rows[0].size())}, at::kDouble);
  double* out = result.mutable_data_ptr<double>();
  for (const auto& row : rows) out = std::copy(row.begin(), row.end(), out);
  return result.to(device);
}

at::Tensor to_tensor(const Labels& labels, at::Device device) { return at::tensor(labels, at::kLong).to(device); }

/// Two classes; each confidence is that of class 0.
Matrix with_confidences(const std::vector<double>& confidences) {
  Matrix rows;
  for (const double c : confidences) rows.push_back({c, 1 - c});
  return rows;
}

Matrix softmax(const at::Tensor& logits, double temperature = 1) {
  const at::Tensor host = logits.cpu().to(at::kDouble).contiguous();
  Matrix rows;
  for (std::int64_t i = 0; i < host.size(0); ++i) {
    const double* z = host.const_data_ptr<double>() + i * host.size(1);
    double sum = 0;
    for (std::int64_t c = 0; c < host.size(1); ++c) sum += std::exp(z[c] / temperature);
    rows.emplace_back();
    for (std::int64_t c = 0; c < host.size(1); ++c) rows.back().push_back(std::exp(z[c] / temperature) / sum);
  }
  return rows;
}

double mean_nll(const Matrix& p, const Labels& labels) {
  double sum = 0, count = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0) continue;
    sum -= std::log(p[i][static_cast<std::size_t>(labels[i])]);
    ++count;
  }
  return sum / count;
}

TEST(Calibration, HasTheNumbersOfATableMadeByHand) {
  const Labels labels = {0, 1, 0, 0, 1};
  for (const at::Device device : kd::testing::devices()) {
    const kd::Calibration found = kd::measure_calibration_of_probabilities(
        to_tensor(with_confidences({0.6, 0.7, 0.8, 0.9, 1.0}), device), to_tensor(labels, device), {.bins = 4});
    EXPECT_EQ(found.samples, 5);
    EXPECT_NEAR(found.accuracy, 0.6, kClose);
    EXPECT_NEAR(found.confidence, 0.8, kClose);
    ASSERT_EQ(found.bins.size(), 4U);
    EXPECT_EQ(found.bins[0].samples + found.bins[1].samples, 0);
    EXPECT_TRUE(std::isnan(found.bins[0].accuracy) && std::isnan(found.bins[0].confidence));
    EXPECT_EQ(found.bins[2].samples, 2);
    EXPECT_NEAR(found.bins[2].accuracy, 0.5, kClose);
    EXPECT_NEAR(found.bins[2].confidence, 0.65, kClose);
    EXPECT_EQ(found.bins[3].samples, 3);
    EXPECT_EQ(found.bins[3].low, 0.75);
    EXPECT_EQ(found.bins[3].high, 1.0);
    EXPECT_NEAR(found.bins[3].confidence, 0.9, kClose);
    EXPECT_NEAR(found.ece, 0.2, kClose);
    EXPECT_NEAR(found.mce, 0.7 / 3, kClose);
    EXPECT_NEAR(found.oe, 0.165, kClose);
    EXPECT_NEAR(found.brier, 0.68, kClose);
    EXPECT_TRUE(std::isinf(found.nll));
    const auto entropy = [](double p) { return -p * std::log(p) - (1 - p) * std::log(1 - p); };
    EXPECT_NEAR(found.entropy, (entropy(0.6) + entropy(0.7) + entropy(0.8) + entropy(0.9)) / 5, kClose);
    // Groups of equal counts: {0.6, 0.7}, {0.8, 0.9} and {1.0}.
    const kd::Calibration three = kd::measure_calibration_of_probabilities(
        to_tensor(with_confidences({0.6, 0.7, 0.8, 0.9, 1.0}), device), to_tensor(labels, device), {.bins = 3});
    EXPECT_NEAR(three.adaptive_ece, (0.3 + 0.3 + 1.0) / 5, kClose);
  }
}

TEST(Calibration, RulesDifferOnAConfidenceOfOne) {
  const Labels labels = {0, 1, 0, 0, 1};
  for (const at::Device device : kd::testing::devices()) {
    const at::Tensor rows = to_tensor(with_confidences({0.6, 0.7, 0.8, 0.9, 1.0}), device);
    const kd::Calibration found = kd::measure_calibration_of_probabilities(rows, to_tensor(labels, device),
                                                                           {.bins = 4, .rule = kd::BinRule::kFloor});
    EXPECT_EQ(found.bins[3].samples, 2);
    EXPECT_EQ(found.samples, 5);
    EXPECT_NEAR(found.accuracy, 0.6, kClose);
    EXPECT_NEAR(found.ece, 0.12, kClose);
    EXPECT_NEAR(found.mce, 0.15, kClose);
    EXPECT_NEAR(found.oe, 0.4 * 0.65 * 0.15, kClose);
    // Softmax in single precision saturates: these logits have a confidence of 1 − e^−20.
    const at::Tensor sharp = to_tensor(Matrix{{20, 0}}, device);
    const at::Tensor wrong = to_tensor(Labels{1}, device);
    EXPECT_EQ(kd::measure_calibration_of_logits(sharp, wrong, {.bins = 100, .rule = kd::BinRule::kFloor}).ece, 0);
    EXPECT_NEAR(kd::measure_calibration_of_logits(sharp, wrong, {.bins = 100}).ece, 1, 1e-8);
  }
}

TEST(Calibration, PutsConfidencesOnAnEdgeWhereTheRuleSays) {
  for (const std::int64_t bins : {1, 7, 10, 15, 100}) {
    for (const at::Device device : kd::testing::devices()) {
      Matrix confidences;  // of one class: all that counts here
      for (std::int64_t b = 1; b < bins; ++b)
        confidences.push_back({static_cast<double>(b) / static_cast<double>(bins)});
      confidences.push_back({0.5 / static_cast<double>(bins)});
      const at::Tensor rows = to_tensor(confidences, device);
      const at::Tensor labels = to_tensor(Labels(confidences.size(), 0), device);
      const auto closed = kd::measure_calibration_of_probabilities(rows, labels, {.bins = bins}).bins;
      const auto floor =
          kd::measure_calibration_of_probabilities(rows, labels, {.bins = bins, .rule = kd::BinRule::kFloor}).bins;
      for (std::size_t b = 0; b < closed.size(); ++b) {
        const auto last = static_cast<std::int64_t>(b + 1 == closed.size());
        EXPECT_EQ(closed[b].samples, 1 - last + (b == 0 ? 1 : 0)) << bins << " bins, bin " << b;
        EXPECT_EQ(floor[b].samples, 1) << bins << " bins, bin " << b;
      }
    }
  }
}

TEST(Calibration, CountsTheSmallestConfidenceInEqualCounts) {
  const at::Tensor labels = to_tensor(Labels{1, 0}, at::kCPU);
  EXPECT_NEAR(
      kd::measure_calibration_of_probabilities(to_tensor(with_confidences({0.6, 0.9}), at::kCPU), labels, {.bins = 2})
          .adaptive_ece,
      (0.6 + 0.1) / 2, kClose);
}

TEST(Calibration, DoesNotDependOnTheOrderOfSamples) {
  std::vector<double> confidences;
  Labels labels;
  for (int i = 0; i < 60; ++i) {
    confidences.push_back(i % 3 == 0 ? 0.9 : 0.7);
    labels.push_back(i % 4 == 0 ? 0 : 1);
  }
  const auto adaptive = [&] {
    return kd::measure_calibration_of_probabilities(to_tensor(with_confidences(confidences), at::kCPU),
                                                    to_tensor(labels, at::kCPU), {.bins = 10})
        .adaptive_ece;
  };
  const double forwards = adaptive();
  // 20 samples of confidence 0.9, 40 of 0.7; a quarter of each is right.
  EXPECT_NEAR(forwards, ((18 - 5) + (28 - 10)) / 60.0, kClose);
  std::reverse(confidences.begin(), confidences.end());
  std::reverse(labels.begin(), labels.end());
  EXPECT_NEAR(adaptive(), forwards, kClose);
}

/// Every measure by loops over samples, classes and bins.
kd::Calibration measure_plainly(const Matrix& p, const Labels& labels, std::int64_t bins) {
  kd::Calibration result;
  const std::size_t classes = p[0].size();
  std::vector<std::pair<double, double>> ranked;  // confidence, hit
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (labels[i] < 0) continue;
    const auto best = std::max_element(p[i].begin(), p[i].end());
    ranked.emplace_back(*best, best - p[i].begin() == labels[i] ? 1.0 : 0.0);
    for (std::size_t c = 0; c < classes; ++c) {
      const double target = static_cast<std::int64_t>(c) == labels[i] ? 1 : 0;
      result.brier += (p[i][c] - target) * (p[i][c] - target);
      result.entropy -= p[i][c] * std::log(p[i][c]);
    }
  }
  std::sort(ranked.begin(), ranked.end());
  const auto n = static_cast<double>(ranked.size());
  const auto inside = [bins](double v, std::int64_t b) {
    return v > static_cast<double>(b) / static_cast<double>(bins) &&
           v <= static_cast<double>(b + 1) / static_cast<double>(bins);
  };
  for (std::int64_t b = 0; b < bins; ++b) {
    double count = 0, hits = 0, sum = 0, rank = 0, group_gap = 0;
    for (const auto& [confidence, hit] : ranked) {
      const bool own_rank = rank >= static_cast<double>(b) * n / static_cast<double>(bins) &&
                            rank < static_cast<double>(b + 1) * n / static_cast<double>(bins);
      if (own_rank) group_gap += confidence - hit;
      ++rank;
      if (!inside(confidence, b)) continue;
      ++count;
      hits += hit;
      sum += confidence;
    }
    result.adaptive_ece += std::abs(group_gap) / n;
    for (std::size_t c = 0; c < classes; ++c) {
      double gap = 0;
      for (std::size_t i = 0; i < p.size(); ++i) {
        if (labels[i] >= 0 && inside(p[i][c], b)) gap += p[i][c] - (static_cast<std::int64_t>(c) == labels[i] ? 1 : 0);
      }
      result.classwise_ece += std::abs(gap) / n / static_cast<double>(classes);
    }
    if (count == 0) continue;
    const double accuracy = hits / count, confidence = sum / count;
    result.ece += count / n * std::abs(accuracy - confidence);
    result.mce = std::max(result.mce, std::abs(accuracy - confidence));
    result.oe += count / n * confidence * std::max(confidence - accuracy, 0.0);
  }
  result.brier /= n;
  result.entropy /= n;
  result.nll = mean_nll(p, labels);
  for (const auto& [confidence, hit] : ranked) {
    result.accuracy += hit / n;
    result.confidence += confidence / n;
  }
  return result;
}

void expect_equal(const kd::Calibration& found, const kd::Calibration& expected) {
  EXPECT_NEAR(found.accuracy, expected.accuracy, kClose);
  EXPECT_NEAR(found.confidence, expected.confidence, kClose);
  EXPECT_NEAR(found.ece, expected.ece, kClose);
  EXPECT_NEAR(found.adaptive_ece, expected.adaptive_ece, kClose);
  EXPECT_NEAR(found.classwise_ece, expected.classwise_ece, kClose);
  EXPECT_NEAR(found.mce, expected.mce, kClose);
  EXPECT_NEAR(found.oe, expected.oe, kClose);
  EXPECT_NEAR(found.nll, expected.nll, kClose);
  EXPECT_NEAR(found.brier, expected.brier, kClose);
  EXPECT_NEAR(found.entropy, expected.entropy, kClose);
}

TEST(Calibration, AgreesWithPlainLoopsAndLeavesUnlabelledRowsOut) {
  for (const std::int64_t bins : {1, 4, 15}) {
    const at::Tensor logits = kd::testing::normal({203, 7}, static_cast<std::uint64_t>(bins)) * 2;
    Labels labels;
    for (std::int64_t i = 0; i < logits.size(0); ++i) labels.push_back(i % 11 == 3 ? -1 : (i * i + i / 5) % 7);
    const Matrix p = softmax(logits);
    const kd::Calibration expected = measure_plainly(p, labels, bins);
    for (const at::Device device : kd::testing::devices()) {
      const at::Tensor device_labels = to_tensor(labels, device);
      expect_equal(kd::measure_calibration_of_logits(logits.to(device), device_labels, {.bins = bins}), expected);
      const auto of_p = kd::measure_calibration_of_probabilities(to_tensor(p, device), device_labels, {.bins = bins});
      expect_equal(of_p, expected);
      EXPECT_EQ(of_p.samples, std::count_if(labels.begin(), labels.end(), [](std::int64_t y) { return y >= 0; }));
    }
  }
}

TEST(Calibration, IsPerfectWhereEveryConfidenceIsTheShareOfRightAnswers) {
  std::vector<double> confidences;
  Labels labels;
  for (int percent = 51; percent <= 100; ++percent) {
    for (int i = 0; i < 100; ++i) {
      confidences.push_back(percent / 100.0);
      labels.push_back(i < percent ? 0 : 1);
    }
  }
  for (const at::Device device : kd::testing::devices()) {
    const kd::Calibration found = kd::measure_calibration_of_probabilities(
        to_tensor(with_confidences(confidences), device), to_tensor(labels, device));
    for (const double error : {found.ece, found.adaptive_ece, found.classwise_ece, found.mce, found.oe})
      EXPECT_NEAR(error, 0, kClose);
  }
}

TEST(Calibration, RefusesWhatDoesNotFit) {
  const at::Tensor rows = at::ones({3, 2});
  EXPECT_THROW(kd::measure_calibration_of_logits(rows, at::zeros({2}, at::kLong)), kd::Error);
  EXPECT_THROW(kd::measure_calibration_of_logits(rows, at::zeros({3}, at::kLong), {.bins = 0}), kd::Error);
  EXPECT_THROW(kd::measure_agreement(rows, at::ones({3, 3})), kd::Error);
  EXPECT_TRUE(std::isnan(kd::measure_calibration_of_logits(rows, at::full({3}, -1, at::kLong)).ece));
}

/// Rows ln p, and labels that occur exactly as often as p says.
struct Drawn {
  Matrix z;
  Labels labels;

  Drawn() {
    for (const std::vector<int>& counts : {std::vector{7, 2, 1}, {1, 3, 6}, {20, 79, 1}, {4, 3, 3}}) {
      const double sum = std::accumulate(counts.begin(), counts.end(), 0);
      std::vector<double> row;
      for (const int count : counts) row.push_back(std::log(count / sum));
      for (std::size_t c = 0; c < counts.size(); ++c) {
        for (int i = 0; i < counts[c]; ++i) {
          z.push_back(row);
          labels.push_back(static_cast<std::int64_t>(c));
        }
      }
    }
  }
};

TEST(Temperature, UndoesTheScaleOfLogits) {
  const Drawn drawn;
  for (const at::Device device : kd::testing::devices()) {
    const at::Tensor z = to_tensor(drawn.z, device), labels = to_tensor(drawn.labels, device);
    for (const double scale : {0.02, 0.3, 1.0, 2.5, 40.0, 150.0}) {
      const kd::TemperatureFit fit = kd::fit_temperature(z * scale, labels);
      EXPECT_NEAR(fit.temperature / scale, 1, 1e-7) << scale;
      EXPECT_NEAR(fit.nll_before, mean_nll(softmax(z * scale), drawn.labels), 1e-10 * scale + kClose) << scale;
      EXPECT_NEAR(fit.nll_after, mean_nll(softmax(z), drawn.labels), kClose) << scale;
    }
  }
}

TEST(Temperature, IsTheBestAndLeavesUnlabelledRowsOut) {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const at::Tensor logits = kd::testing::normal({300, 5}, seed) * 4;
    Labels labels;
    for (std::int64_t i = 0; i < logits.size(0); ++i) {
      const bool right = i % 3 != 0;
      labels.push_back(i % 7 == 0 ? -1 : right ? logits[i].argmax().item<std::int64_t>() : i % 5);
    }
    for (const at::Device device : kd::testing::devices()) {
      const kd::TemperatureFit fit = kd::fit_temperature(logits.to(device), to_tensor(labels, device));
      EXPECT_NEAR(fit.nll_after, mean_nll(softmax(logits, fit.temperature), labels), kClose);
      for (const double factor : {0.5, 0.99, 0.9999, 1.0001, 1.01, 2.0})
        EXPECT_LT(fit.nll_after, mean_nll(softmax(logits, fit.temperature * factor), labels)) << factor;
      EXPECT_LE(fit.nll_after, fit.nll_before);
    }
  }
}

TEST(Temperature, StaysWithinItsLimits) {
  const at::Tensor logits = to_tensor(Matrix{{1, 0}, {0, 2}}, at::kCPU);
  EXPECT_EQ(kd::fit_temperature(logits, to_tensor(Labels{0, 1}, at::kCPU)).temperature, 0.01);
  EXPECT_EQ(kd::fit_temperature(logits, to_tensor(Labels{1, 0}, at::kCPU)).temperature, 1000);
  const kd::TemperatureFit same = kd::fit_temperature(at::zeros({2, 2}), to_tensor(Labels{1, 0}, at::kCPU));
  EXPECT_EQ(same.temperature, 1);
  EXPECT_NEAR(same.nll_after, std::log(2.0), kClose);
  EXPECT_THROW(kd::fit_temperature(logits, to_tensor(Labels{-1, -1}, at::kCPU)), kd::Error);
}

TEST(Temperature, LeavesAccuracyAsItIs) {
  const at::Tensor logits = kd::testing::normal({500, 10});
  const at::Tensor labels = at::arange(500).remainder(10);
  const double accuracy = kd::measure_calibration_of_logits(logits, labels).accuracy;
  for (const double temperature : {0.01, 3.7, 100.0}) {
    const at::Tensor scaled = logits.to(at::kDouble) / temperature;
    EXPECT_EQ(kd::measure_calibration_of_logits(scaled, labels).accuracy, accuracy) << temperature;
  }
}

TEST(Agreement, IsThatOfPlainLoops) {
  const at::Tensor teacher = kd::testing::normal({50, 4}, 1) * 3, student = kd::testing::normal({50, 4}, 2);
  const Matrix p = softmax(teacher), q = softmax(student);
  double same = 0, kl = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    same += std::max_element(p[i].begin(), p[i].end()) - p[i].begin() ==
                    std::max_element(q[i].begin(), q[i].end()) - q[i].begin()
                ? 1
                : 0;
    for (std::size_t c = 0; c < p[i].size(); ++c) kl += p[i][c] * std::log(p[i][c] / q[i][c]);
  }
  for (const at::Device device : kd::testing::devices()) {
    const kd::Agreement found = kd::measure_agreement(teacher.to(device), student.to(device));
    EXPECT_NEAR(found.top1, same / 50, kClose);
    EXPECT_NEAR(found.kl, kl / 50, kClose);
    const kd::Agreement itself = kd::measure_agreement(teacher.to(device), teacher.to(device));
    EXPECT_EQ(itself.top1, 1);
    EXPECT_NEAR(itself.kl, 0, kClose);
  }
}

TEST(Picture, IsAPngOfItsSizeAndColours) {
  for (const std::int64_t channels : {1, 3}) {
    const std::string png = kd::encode_png(at::zeros({channels, 5, 300}, at::kByte));
    ASSERT_GT(png.size(), 33U);
    EXPECT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n");
    const auto byte = [&png](std::size_t i) { return static_cast<int>(static_cast<unsigned char>(png[i])); };
    EXPECT_EQ(byte(18) * 256 + byte(19), 300);
    EXPECT_EQ(byte(23), 5);
    EXPECT_EQ(byte(24), 8);                      // bits
    EXPECT_EQ(byte(25), channels == 3 ? 2 : 0);  // colour type
    EXPECT_EQ(png.substr(png.size() - 8, 4), "IEND");
    EXPECT_NE(kd::encode_png(at::full({channels, 5, 300}, 9, at::kByte)), png);
  }
  EXPECT_THROW(kd::encode_png(at::zeros({2, 5, 5}, at::kByte)), kd::Error);
  EXPECT_THROW(kd::encode_png(at::zeros({3, 5, 5})), kd::Error);
}

}  // namespace
