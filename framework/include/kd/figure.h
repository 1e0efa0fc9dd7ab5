// A figure of results as numbers: what is drawn, along which axes. kdrun draws it as SVG and as PNG and keeps the
// numbers beside the picture.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "kd/api.h"

namespace kd {

struct KD_API Axis {
  std::string title = {};                     ///< with the unit: "confidence", "time, s"
  std::optional<double> low = {}, high = {};  ///< left out: from the data
  bool logarithmic = false;
  std::vector<std::string> categories = {};  ///< names of the places 0, 1, 2, …, in place of numbers
};

/// Points joined by a line, or by none. Numbers that are not finite leave a gap.
struct KD_API Curve {
  std::string name;  ///< in the legend; empty: not there
  std::vector<double> x, y;
  std::vector<double> spread = {};  ///< a band of y ± this
  enum class Style { kLine, kDashed, kDotted, kPoints } style = Style::kLine;
  int colour = -1;  ///< of the palette; −1: the next one
};

/// Upright rectangles from `left` to `right` and from `bottom` to `top`.
struct KD_API Bars {
  std::string name;
  std::vector<double> left, right;
  std::vector<double> bottom = {};  ///< empty: 0
  std::vector<double> top;
  int colour = -1;
};

/// Numbers as colours, row by row from the top; the axes' categories name rows and columns.
struct KD_API HeatMap {
  std::vector<std::vector<double>> values;
  std::optional<double> low = {}, high = {};  ///< of the scale; left out: from the data
  bool numbers = true;                        ///< written into the cells where they fit
};

/// A picture on a grid, bytes row by row, one (grey) or three (RGB) to a pixel.
struct KD_API Image {
  std::int64_t width = 0, height = 0, channels = 1;
  std::vector<std::uint8_t> pixels;
  std::string caption = {};
};
struct KD_API Images {
  std::vector<Image> images;
  std::int64_t columns = 8;
};

using Mark = std::variant<Curve, Bars, HeatMap, Images>;

struct KD_API Panel {
  std::string title = {};
  Axis x = {}, y = {};
  std::vector<Mark> marks;
  double height = 1;                    ///< as a factor of its width
  std::vector<std::string> notes = {};  ///< lines inside the panel, such as "ECE 0.0312"
};

struct KD_API Figure {
  std::string name;   ///< of its files: letters, digits, '_' and '-'
  std::string title;  ///< what is shown, of what, on which split
  std::vector<Panel> panels;
  int columns = 1;  ///< panels in a row
};

}  // namespace kd
