// How well each network knows what it knows: calibration errors and proper scores on the test split, before and after
// temperature scaling, and reliability diagrams (Guo et al., 2017).
//   analysis = [{ type = "calibration", bins = 15, rule = "equal_width", diagrams = true }]
#include "kd/calibration.h"

#include <string>
#include <vector>

#include "kd/analysis.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

constexpr int kBlue = 0, kRed = 1, kGrey = 6;

/// Accuracy over confidence, with the gap to the diagonal.
kd::Panel reliability(const kd::Calibration& calibration) {
  kd::Bars accuracy{.name = "accuracy", .left = {}, .right = {}, .bottom = {}, .top = {}, .colour = kBlue};
  kd::Bars gap{.name = "gap to confidence", .left = {}, .right = {}, .bottom = {}, .top = {}, .colour = kRed};
  for (const kd::CalibrationBin& bin : calibration.bins) {
    if (bin.samples == 0) continue;
    for (kd::Bars* bars : {&accuracy, &gap}) {
      bars->left.push_back(bin.low);
      bars->right.push_back(bin.high);
    }
    accuracy.top.push_back(bin.accuracy);
    gap.bottom.push_back(bin.accuracy);
    gap.top.push_back(bin.confidence);
  }
  kd::Curve diagonal{.name = "perfect calibration", .x = {0, 1}, .y = {0, 1}};
  diagonal.style = kd::Curve::Style::kDashed;
  diagonal.colour = kGrey;
  return {.x = {.title = "confidence", .low = 0, .high = 1},
          .y = {.title = "accuracy", .low = 0, .high = 1},
          .marks = {accuracy, gap, diagonal},
          .notes = {"ECE " + kd::shown(calibration.ece, kd::ColumnType::kNumber),
                    "accuracy " + kd::shown(calibration.accuracy, kd::ColumnType::kShare) + " %"}};
}

/// How many samples there are of each confidence, and where the means lie.
kd::Panel histogram(const kd::Calibration& calibration) {
  kd::Bars shares{.name = "", .left = {}, .right = {}, .bottom = {}, .top = {}, .colour = kGrey};
  for (const kd::CalibrationBin& bin : calibration.bins) {
    shares.left.push_back(bin.low);
    shares.right.push_back(bin.high);
    shares.top.push_back(static_cast<double>(bin.samples) / static_cast<double>(calibration.samples));
  }
  const double accuracy = calibration.accuracy, confidence = calibration.confidence;
  kd::Curve at_accuracy{.name = "mean accuracy", .x = {accuracy, accuracy}, .y = {0, 1}};
  kd::Curve at_confidence{.name = "mean confidence", .x = {confidence, confidence}, .y = {0, 1}};
  at_accuracy.colour = kBlue;
  at_confidence.colour = kRed;
  at_confidence.style = kd::Curve::Style::kDashed;
  return {.x = {.title = "confidence", .low = 0, .high = 1},
          .y = {.title = "share of samples", .low = 0, .high = 1},
          .marks = {shares, at_accuracy, at_confidence},
          .height = 0.4};
}

/// A network at one temperature.
struct Measured {
  const kd::NetworkName& network;
  bool scaled;
  double temperature;
  kd::Calibration calibration;
};

kd::Row row_of(const Measured& measured) {
  const kd::Calibration& c = measured.calibration;
  return {measured.network.stage,
          measured.network.network,
          measured.scaled ? "temperature" : "none",
          measured.temperature,
          c.accuracy,
          c.ece,
          c.adaptive_ece,
          c.classwise_ece,
          c.mce,
          c.oe,
          c.nll,
          c.brier,
          c.entropy};
}

class CalibrationAnalysis final : public kd::Analysis {
 public:
  struct Params : kd::BinSettings {
    bool diagrams = true;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_bins(s);
      s.field("diagrams", &Params::diagrams,
              "draws a reliability diagram with a histogram of confidence for each network, as SVG and as PNG")
          .def(true);
    }
  };

  explicit CalibrationAnalysis(const Params& params) : params_(params) {}

  void run(kd::AnalysisContext& context) override {
    using enum kd::ColumnType;
    kd::Table table{.name = "calibration",
                    .caption = "calibration on the test split, " + std::to_string(params_.bins) +
                               " bins; temperatures other than 1 are fitted on the validation split",
                    .columns = {{"stage", kText},
                                {"network", kText},
                                {"scaling", kText},
                                {"temperature", kNumber, "T"},
                                {"accuracy", kShare},
                                {"ece", kNumber, "ECE"},
                                {"adaptive_ece", kNumber, "adaptive ECE"},
                                {"classwise_ece", kNumber, "", false},
                                {"mce", kNumber, "", false},
                                {"oe", kNumber, "OE"},
                                {"nll", kNumber, "NLL"},
                                {"brier", kNumber, "Brier"},
                                {"entropy", kNumber, "", false}},
                    .rows = {}};
    for (kd::TrainedModel* network : context.networks()) {
      const std::vector<Measured> measured = measure(*network);
      for (const Measured& one : measured) table.rows.push_back(row_of(one));
      if (!params_.diagrams) continue;
      const kd::NetworkName& name = network->name();
      const kd::Calibration& calibration = measured.front().calibration;
      context.figure({.name = "reliability_" + name.stage + "_" + name.network,
                      .title = "Reliability of " + name.text() + " on the test split",
                      .panels = {reliability(calibration), histogram(calibration)}});
    }
    context.table(table);
  }

 private:
  std::vector<Measured> measure(kd::TrainedModel& network) const {
    const auto at = [&](double temperature, bool scaled) {
      const at::Tensor logits = network.logits(kd::Split::kTest).to(at::kDouble) / temperature;
      return Measured{network.name(), scaled, temperature,
                      kd::measure_calibration_of_logits(logits, network.labels(kd::Split::kTest), params_)};
    };
    std::vector<Measured> rows = {at(1, false)};
    if (network.has(kd::Split::kValidation)) {
      rows.push_back(
          at(kd::fit_temperature(network.logits(kd::Split::kValidation), network.labels(kd::Split::kValidation))
                 .temperature,
             true));
    }
    return rows;
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(
    kd::Analysis, "calibration", CalibrationAnalysis,
    "calibration errors and proper scores of every trained network, before and after temperature scaling (Guo et "
    "al., 2017)")
