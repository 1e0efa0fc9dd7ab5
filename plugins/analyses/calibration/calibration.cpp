// How well each network knows what it knows: calibration errors and proper scores on the test split, before and after
// temperature scaling, and reliability diagrams (Guo et al., 2017).
#include "kd/calibration.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "../shared/bins.h"
#include "../shared/drawing.h"
#include "../shared/tables.h"
#include "kd/analysis.h"
#include "kd/picture.h"
#include "kd/plugin.h"

namespace {

using drawings::Anchor;
using drawings::Colour;
using drawings::Drawing;
using tables::format_number;

constexpr Colour kAccuracyColour{70, 110, 180}, kGapColour{225, 130, 120}, kAccuracyLine{20, 50, 120},
    kConfidenceLine{170, 30, 30}, kCountColour{150, 160, 175}, kGuideColour{120, 120, 120};
constexpr std::int64_t kWidth = 400, kHeight = 560;

/// A square or oblong of a drawing whose axes run from 0 to 1.
class Panel {
 public:
  Panel(Drawing& drawing, double left, double top, double width, double height)
      : drawing_(drawing), left_(left), top_(top), width_(width), height_(height) {}

  void draw_axes(const std::string& y_name) {
    drawing_.fill({left_ - 1, top_, 1, height_ + 1, drawings::kBlack});
    drawing_.fill({left_ - 1, top_ + height_, width_ + 1, 1, drawings::kBlack});
    for (const auto& [number, text] : {std::pair(0.0, "0"), std::pair(0.5, "0.5"), std::pair(1.0, "1")}) {
      drawing_.write_tick({x(number), top_ + height_ + 16, text, Anchor::kMiddle});
      drawing_.write_tick({left_ - 8, y(number) + 5, text, Anchor::kEnd});
    }
    drawing_.write({x(0.5), top_ + height_ + 32, "confidence", Anchor::kMiddle});
    drawing_.write({left_ - 40, top_ - 8, y_name});
  }

  void draw_bar(const kd::CalibrationBin& bin, double from, double to, const Colour& colour) {
    drawing_.fill({x(bin.low), y(std::max(from, to)), x(bin.high) - x(bin.low),
                   y(std::min(from, to)) - y(std::max(from, to)), colour, describe(bin)});
  }

  void draw_diagonal() {
    constexpr int kDots = 50;
    for (int i = 0; i <= kDots; ++i) {
      const double at = static_cast<double>(i) / kDots;
      drawing_.fill({x(at) - 1, y(at) - 1, 2, 2, kGuideColour});
    }
  }

  void draw_upright(double at, const Colour& colour, double dash) {
    for (double from = top_; from < top_ + height_; from += 2 * dash)
      drawing_.fill({x(at) - 1, from, 2, std::min(dash, top_ + height_ - from), colour});
  }

  void write_legend(int line, const std::string& text, const Colour& colour) {
    drawing_.write({left_ + 10, top_ + 18 + 16 * line, text, Anchor::kStart, colour});
  }

 private:
  static std::string describe(const kd::CalibrationBin& bin) {
    return format_number(bin.low, 4, "") + " to " + format_number(bin.high, 4, "") + ": " +
           std::to_string(bin.samples) + " samples, accuracy " + format_number(bin.accuracy, 4, "") + ", confidence " +
           format_number(bin.confidence, 4, "");
  }
  double x(double share) const { return left_ + share * width_; }
  double y(double share) const { return top_ + (1 - share) * height_; }

  Drawing& drawing_;
  double left_, top_, width_, height_;
};

void draw_reliability(Panel panel, const kd::Calibration& calibration) {
  for (const kd::CalibrationBin& bin : calibration.bins) {
    if (bin.samples == 0) continue;
    panel.draw_bar(bin, 0, bin.accuracy, kAccuracyColour);
    panel.draw_bar(bin, bin.accuracy, bin.confidence, kGapColour);
  }
  panel.draw_diagonal();
  panel.draw_axes("accuracy");
  panel.write_legend(0, "accuracy", kAccuracyColour);
  panel.write_legend(1, "gap to confidence", kGapColour);
}

void draw_histogram(Panel panel, const kd::Calibration& calibration) {
  for (const kd::CalibrationBin& bin : calibration.bins)
    panel.draw_bar(bin, 0, static_cast<double>(bin.samples) / static_cast<double>(calibration.samples), kCountColour);
  panel.draw_upright(calibration.accuracy, kAccuracyLine, kHeight);
  panel.draw_upright(calibration.confidence, kConfidenceLine, 6);
  panel.draw_axes("share of samples");
  panel.write_legend(0, "mean accuracy " + format_number(calibration.accuracy, 4, "-"), kAccuracyLine);
  panel.write_legend(1, "mean confidence " + format_number(calibration.confidence, 4, "-") + " (dashed)",
                     kConfidenceLine);
}

Drawing draw_diagram(const std::string& title, const kd::Calibration& calibration) {
  Drawing drawing(kWidth, kHeight);
  drawing.write({kWidth / 2.0, 18, title + ": ECE " + format_number(calibration.ece, 4, "-"), Anchor::kMiddle});
  draw_reliability(Panel(drawing, 56, 48, 320, 320), calibration);
  draw_histogram(Panel(drawing, 56, 412, 320, 110), calibration);
  return drawing;
}

/// A network at one temperature.
struct Measured {
  const kd::AnalysedNetwork& network;
  bool scaled;
  double temperature;
  kd::Calibration calibration;
};

tables::Line file_line(const Measured& row) {
  const kd::Calibration& c = row.calibration;
  tables::Line line = {row.network.stage, row.network.network, row.scaled ? "temperature" : "none"};
  for (const double number :
       {row.temperature, c.accuracy, c.ece, c.adaptive_ece, c.classwise_ece, c.mce, c.oe, c.nll, c.brier, c.entropy})
    line.push_back(format_number(number, 6, ""));
  return line;
}

tables::Line shown_line(const Measured& row) {
  const kd::Calibration& c = row.calibration;
  tables::Line line = {row.network.stage + "/" + row.network.network};
  for (const double number : {row.temperature, c.accuracy, c.ece, c.adaptive_ece, c.oe, c.nll, c.brier})
    line.push_back(format_number(number, 4, "-"));
  return line;
}

class CalibrationAnalysis final : public kd::Analysis {
 public:
  struct Params : kd::BinSettings {
    bool diagrams = true;

    static void schema(kd::Schema<Params>& s) {
      bins::declare(s);
      s.field("diagrams", &Params::diagrams,
              "draws a reliability diagram with a histogram of confidence for each network, as SVG and as PNG")
          .def(true);
    }
  };

  explicit CalibrationAnalysis(const Params& params) : params_(params) {}

  void run(kd::AnalysisContext& context) override {
    std::vector<tables::Line> file = {{"stage", "network", "scaling", "temperature", "accuracy", "ece", "adaptive_ece",
                                       "classwise_ece", "mce", "oe", "nll", "brier", "entropy"}};
    std::vector<tables::Line> shown = {
        {"network", "temperature", "accuracy", "ece", "adaptive_ece", "oe", "nll", "brier"}};
    for (const kd::AnalysedNetwork& network : context.networks()) {
      const std::vector<Measured> rows = measure(network);
      for (const Measured& row : rows) {
        file.push_back(file_line(row));
        shown.push_back(shown_line(row));
      }
      if (params_.diagrams) write_diagram(context, rows.front());
    }
    context.write("calibration.csv", tables::csv(file, 3));
    context.print("calibration on the test split, " + std::to_string(params_.bins) +
                  " bins; temperatures other than 1 are fitted on the validation split" + tables::align(shown));
  }

 private:
  std::vector<Measured> measure(const kd::AnalysedNetwork& network) const {
    const auto at = [&](double temperature, bool scaled) {
      const at::Tensor logits = network.test_logits.to(at::kDouble) / temperature;
      return Measured{network, scaled, temperature,
                      kd::measure_calibration_of_logits(logits, network.test_labels, params_)};
    };
    std::vector<Measured> rows = {at(1, false)};
    if (network.validation_logits.defined())
      rows.push_back(at(kd::fit_temperature(network.validation_logits, network.validation_labels).temperature, true));
    return rows;
  }

  static void write_diagram(kd::AnalysisContext& context, const Measured& row) {
    const kd::AnalysedNetwork& network = row.network;
    const Drawing drawing = draw_diagram(network.stage + "/" + network.network, row.calibration);
    const std::string name = "reliability_" + network.stage + "_" + network.network;
    context.write(name + ".svg", drawing.to_svg());
    context.write(name + ".png", kd::encode_png(drawing.to_picture()));
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(
    kd::Analysis, "calibration", CalibrationAnalysis,
    "calibration errors and proper scores of every trained network, before and after temperature scaling (Guo et "
    "al., 2017)")
