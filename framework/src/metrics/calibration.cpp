// kd/calibration.h
#include "kd/calibration.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bucketize.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/special_entr.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kd/diagnostics.h"

namespace kd {
namespace {

constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

/// What a network says to N samples; all on one device.
struct Answers {
  at::Tensor probabilities, log_probabilities;  // double, N×classes
  at::Tensor predictions;                       // int64, N×1
  at::Tensor labels;                            // int64, N×1
};

/// A labelled sample on the host.
struct Row {
  std::int64_t bin = 0;
  double confidence = 0;
  double hit = 0;
};

/// The samples of one bin.
struct Tally {
  std::int64_t samples = 0;
  double hits = 0, confidences = 0;

  void add(const Row& row) {
    ++samples;
    hits += row.hit;
    confidences += row.confidence;
  }
  double accuracy() const { return hits / static_cast<double>(samples); }
  double confidence() const { return confidences / static_cast<double>(samples); }
  /// |accuracy − confidence| times the number of samples.
  double gap() const { return std::abs(hits - confidences); }
};

void check_rows(const at::Tensor& rows, const at::Tensor& labels) {
  if (rows.dim() != 2 || labels.dim() != 1 || rows.size(0) != labels.size(0))
    throw Error("calibration wants a row of classes for each label");
}

/// The bin of each value; `settings.bins` for one that falls in none.
at::Tensor find_bins(const at::Tensor& values, const BinSettings& settings) {
  // On the host: a GPU divides by multiplying with the reciprocal, and its edges are off by a rounding.
  const auto host = values.options().device(at::kCPU);
  const at::Tensor edges =
      (at::arange(1, settings.bins, host) / static_cast<double>(settings.bins)).to(values.device());
  const bool floor = settings.rule == BinRule::kFloor;
  const at::Tensor bins = at::bucketize(values, edges, /*out_int32=*/false, /*right=*/floor);
  return floor ? at::where(values.to(at::kFloat).ge(1), settings.bins, bins) : bins;
}

/// |Σ (p − 1[label])| of each class and bin, over the labelled rows: classes·bins.
at::Tensor classwise_gaps(const Answers& answers, const BinSettings& settings) {
  const std::int64_t classes = answers.probabilities.size(1);
  const std::int64_t stride = settings.bins + 1;  // the last is for what falls in no bin
  const at::Tensor hits =
      at::arange(classes, answers.labels.options()).eq(answers.labels).to(answers.probabilities.scalar_type());
  const at::Tensor differences = at::where(answers.labels.ge(0), answers.probabilities - hits, 0.0);
  const at::Tensor cells =
      find_bins(answers.probabilities, settings) + at::arange(classes, answers.labels.options()) * stride;
  const at::Tensor sums =
      at::zeros({classes * stride}, differences.options()).scatter_add(0, cells.flatten(), differences.flatten());
  return sums.view({classes, stride}).narrow(1, 0, settings.bins).abs().flatten();
}

/// The rows in `bins` groups of equal counts. Equal confidences share a group: the order of samples must not matter.
std::vector<Tally> group_evenly(std::vector<Row> rows, std::int64_t bins) {
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return a.confidence < b.confidence || (std::isnan(b.confidence) && !std::isnan(a.confidence));
  });
  std::vector<Tally> groups(static_cast<std::size_t>(bins));
  std::size_t group = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i == 0 || rows[i].confidence != rows[i - 1].confidence) group = i * groups.size() / rows.size();
    groups[group].add(rows[i]);
  }
  return groups;
}

double sum_gaps(const std::vector<Tally>& tallies) {
  double sum = 0;
  for (const Tally& tally : tallies) sum += tally.gap();
  return sum;
}

void fill_bins(Calibration& result, const std::vector<Row>& rows, const BinSettings& settings) {
  std::vector<Tally> tallies(static_cast<std::size_t>(settings.bins + 1));
  for (const Row& row : rows) tallies[static_cast<std::size_t>(row.bin)].add(row);
  tallies.pop_back();
  const auto all = static_cast<double>(rows.size());
  result.ece = sum_gaps(tallies) / all;
  for (std::size_t b = 0; b < tallies.size(); ++b) {
    const Tally& tally = tallies[b];
    const auto edge = [&settings](std::size_t i) {
      return static_cast<double>(i) / static_cast<double>(settings.bins);
    };
    result.bins.push_back({edge(b), edge(b + 1), tally.samples, tally.accuracy(), tally.confidence()});
    if (tally.samples == 0) continue;
    result.mce = std::max(result.mce, tally.gap() / static_cast<double>(tally.samples));
    result.oe += static_cast<double>(tally.samples) / all * tally.confidence() *
                 std::max(tally.confidence() - tally.accuracy(), 0.0);
  }
}

/// What is read of the device, in one piece: `kColumns` numbers of each row, then the gaps of classes and bins.
enum Column { kLabel, kBin, kConfidence, kHit, kNll, kBrier, kEntropy, kColumns };

at::Tensor gather_columns(const Answers& answers, const BinSettings& settings) {
  const at::Tensor& p = answers.probabilities;
  const at::Tensor labels = answers.labels.clamp_min(0);
  const at::Tensor confidence = p.gather(1, answers.predictions).squeeze(1);
  std::vector<at::Tensor> columns(kColumns);
  columns[kLabel] = answers.labels.squeeze(1).to(p.scalar_type());
  columns[kBin] = find_bins(confidence, settings).to(p.scalar_type());
  columns[kConfidence] = confidence;
  columns[kHit] = answers.predictions.eq(answers.labels).squeeze(1).to(p.scalar_type());
  columns[kNll] = -answers.log_probabilities.gather(1, labels).squeeze(1);
  columns[kBrier] = p.square().sum(1) - 2 * p.gather(1, labels).squeeze(1) + 1;
  columns[kEntropy] = at::special_entr(p).sum(1);
  return at::stack(columns).flatten();
}

Calibration measure(const Answers& answers, const BinSettings& settings) {
  if (settings.bins < 1) throw Error("calibration wants at least one bin");
  const at::Tensor numbers =
      at::cat({gather_columns(answers, settings), classwise_gaps(answers, settings)}).to(at::kCPU);
  const double* number = numbers.const_data_ptr<double>();
  const std::int64_t n = answers.labels.size(0), classes = answers.probabilities.size(1);
  const auto entry = [number, n](Column column, std::int64_t i) { return number[column * n + i]; };

  Calibration result;
  std::vector<Row> rows;
  for (std::int64_t i = 0; i < n; ++i) {
    if (entry(kLabel, i) < 0) continue;
    rows.push_back({static_cast<std::int64_t>(entry(kBin, i)), entry(kConfidence, i), entry(kHit, i)});
    result.accuracy += entry(kHit, i);
    result.confidence += entry(kConfidence, i);
    result.nll += entry(kNll, i);
    result.brier += entry(kBrier, i);
    result.entropy += entry(kEntropy, i);
  }
  for (std::int64_t i = kColumns * n; i < numbers.numel(); ++i) result.classwise_ece += number[i];
  result.classwise_ece /= static_cast<double>(classes);
  result.adaptive_ece = sum_gaps(group_evenly(rows, settings.bins));
  result.samples = static_cast<std::int64_t>(rows.size());
  for (double* mean : {&result.accuracy, &result.confidence, &result.nll, &result.brier, &result.entropy,
                       &result.classwise_ece, &result.adaptive_ece})
    *mean /= static_cast<double>(result.samples);
  if (rows.empty()) result.mce = result.oe = kNoNumber;
  fill_bins(result, rows, settings);
  return result;
}

/// Held-out logits, and the mean −ln p of their labels as a function of β = 1/T.
class Likelihood {
 public:
  struct Derivatives {
    double slope, curvature;
  };

  Likelihood(const at::Tensor& logits, const at::Tensor& labels)
      : labelled_(labels.ge(0).unsqueeze(1)),
        logits_(at::where(labelled_, logits.to(at::kDouble), 0.0)),
        labels_(labels.clamp_min(0).unsqueeze(1)),
        samples_(labelled_.sum().item().toDouble()) {
    if (samples_ == 0) throw Error("a temperature cannot be fitted: no row is labelled");
  }

  double nll(double temperature) const {
    const at::Tensor log_p = at::log_softmax(logits_ / temperature, 1).gather(1, labels_);
    return -at::where(labelled_, log_p, 0.0).sum().item().toDouble() / samples_;
  }

  /// With respect to β. Rows without a label are zero, and so add nothing.
  Derivatives derivatives(double beta) const {
    const at::Tensor p = (logits_ * beta).softmax(1);
    const at::Tensor mean = (p * logits_).sum(1, /*keepdim=*/true);
    const at::Tensor slope = (mean - logits_.gather(1, labels_)).sum();
    const at::Tensor curvature = (p * (logits_ - mean).square()).sum();
    const at::Tensor both = (at::stack({slope, curvature}) / samples_).to(at::kCPU);
    return {both.const_data_ptr<double>()[0], both.const_data_ptr<double>()[1]};
  }

 private:
  at::Tensor labelled_;  // bool, N×1
  at::Tensor logits_;    // double, N×classes
  at::Tensor labels_;    // int64, N×1
  double samples_;
};

constexpr double kLowestTemperature = 0.01, kHighestTemperature = 1000;

/// Newton's method for ln β, held in a bracket that is halved wherever a step would leave it or not shrink fast enough.
double find_best_temperature(const Likelihood& likelihood) {
  constexpr int kMostSteps = 100;
  constexpr double kTolerance = 1e-13;
  double low = -std::log(kHighestTemperature), high = -std::log(kLowestTemperature);
  if (likelihood.derivatives(std::exp(low)).slope >= 0) return kHighestTemperature;
  if (likelihood.derivatives(std::exp(high)).slope <= 0) return kLowestTemperature;
  double at = 0, step = high - low;
  for (int i = 0; i < kMostSteps && std::abs(step) > kTolerance; ++i) {
    const double beta = std::exp(at);
    const Likelihood::Derivatives found = likelihood.derivatives(beta);
    (found.slope < 0 ? low : high) = at;
    double next = at - found.slope / (found.curvature * beta);
    const bool inside = next >= low && next <= high;
    if (!inside || std::abs(next - at) > std::abs(step) / 2) next = (low + high) / 2;
    step = next - at;
    at = next;
  }
  return std::exp(-at);
}

}  // namespace

Calibration measure_calibration_of_probabilities(const at::Tensor& probabilities, const at::Tensor& labels,
                                                 const BinSettings& settings) {
  check_rows(probabilities, labels);
  const at::Tensor p = probabilities.to(at::kDouble);
  return measure({p, p.log(), p.argmax(1, /*keepdim=*/true), labels.unsqueeze(1)}, settings);
}

Calibration measure_calibration_of_logits(const at::Tensor& logits, const at::Tensor& labels,
                                          const BinSettings& settings) {
  check_rows(logits, labels);
  const at::Tensor log_p = at::log_softmax(logits.to(at::kDouble), 1);
  return measure({log_p.exp(), log_p, logits.argmax(1, /*keepdim=*/true), labels.unsqueeze(1)}, settings);
}

TemperatureFit fit_temperature(const at::Tensor& logits, const at::Tensor& labels) {
  check_rows(logits, labels);
  const Likelihood likelihood(logits, labels);
  const double before = likelihood.nll(1);
  const double temperature = find_best_temperature(likelihood);
  const double after = likelihood.nll(temperature);
  return after < before ? TemperatureFit{temperature, before, after} : TemperatureFit{1, before, before};
}

Agreement measure_agreement(const at::Tensor& teacher_logits, const at::Tensor& student_logits) {
  if (teacher_logits.dim() != 2 || teacher_logits.sizes() != student_logits.sizes())
    throw Error("two networks agree on samples and classes only where they have the same");
  const at::Tensor teacher = at::log_softmax(teacher_logits.to(at::kDouble), 1);
  const at::Tensor student = at::log_softmax(student_logits.to(at::kDouble), 1);
  const at::Tensor p = teacher.exp();
  const at::Tensor kl = at::where(p.gt(0), p * (teacher - student), 0.0).sum(1).mean();
  const at::Tensor top1 = teacher_logits.argmax(1).eq(student_logits.argmax(1)).to(at::kDouble).mean();
  const at::Tensor both = at::stack({top1, kl}).to(at::kCPU);
  return {both.const_data_ptr<double>()[0], both.const_data_ptr<double>()[1]};
}

}  // namespace kd
