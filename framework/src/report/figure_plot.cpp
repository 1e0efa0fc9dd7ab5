// figure_plot.h
#include "report/figure_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "kd/diagnostics.h"
#include "report/figure_views.h"

namespace kd {
namespace {

constexpr Range kNothing{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};

std::string tick_text(double number) {
  const double size = std::abs(number);
  if (size != 0 && (size >= 1e5 || size < 1e-3)) return fmt::format("{:.0e}", number);
  return fmt::format("{:.6g}", number);
}

void include(Range& range, double number) {
  if (!std::isfinite(number)) return;
  range.low = std::min(range.low, number);
  range.high = std::max(range.high, number);
}

Range range_of(const Panel& panel, bool of_x) {
  const Axis& axis = of_x ? panel.x : panel.y;
  Range range = kNothing;
  for (const Mark& mark : panel.marks) {
    if (const auto* curve = std::get_if<Curve>(&mark)) {
      for (std::size_t i = 0; i < curve->x.size(); ++i) {
        const double spread = of_x || curve->spread.empty() ? 0 : curve->spread[i];
        const double number = of_x ? curve->x[i] : curve->y[i];
        include(range, number - spread);
        include(range, number + spread);
      }
    } else if (const auto* bars = std::get_if<Bars>(&mark)) {
      for (std::size_t i = 0; i < bars->top.size(); ++i) {
        include(range, of_x ? bars->left[i] : bars->bottom.empty() ? 0 : bars->bottom[i]);
        include(range, of_x ? bars->right[i] : bars->top[i]);
      }
    }
  }
  if (!axis.categories.empty()) {
    include(range, -0.5);
    include(range, static_cast<double>(axis.categories.size()) - 0.5);
  }
  if (range.low > range.high) range = {0, 1};
  const double margin = axis.categories.empty() ? 0.04 * (range.high - range.low) : 0;
  if (axis.logarithmic) {
    range.low = range.low <= 0 ? range.high * 1e-3 : range.low;
  } else if (range.low == range.high) {
    range = {range.low - 0.5, range.high + 0.5};
  } else {
    range = {range.low - margin, range.high + margin};
  }
  range.low = axis.low.value_or(range.low);
  range.high = axis.high.value_or(range.high);
  if (!(range.low < range.high)) throw Error(fmt::format("an axis from {} to {}", range.low, range.high));
  return range;
}

double share(double number, const Range& range, bool logarithmic) {
  if (!logarithmic) return (number - range.low) / (range.high - range.low);
  return std::log(std::max(number, range.low) / range.low) / std::log(range.high / range.low);
}

std::vector<std::pair<double, std::string>> ticks(const Axis& axis, const Range& range) {
  std::vector<std::pair<double, std::string>> all;
  for (std::size_t i = 0; i < axis.categories.size(); ++i) all.emplace_back(static_cast<double>(i), axis.categories[i]);
  if (!all.empty()) return all;
  for (const double place : axis_ticks(range.low, range.high, axis.logarithmic))
    all.emplace_back(place, tick_text(place));
  return all;
}

}  // namespace

namespace {

constexpr double kScaleWidth = 60;  // of what the colours of a heat map mean, beside it

const HeatMap* heat_map_of(const Panel& panel) {
  return panel.marks.size() == 1 ? std::get_if<HeatMap>(&panel.marks.front()) : nullptr;
}

double widest(Page& page, const std::vector<std::string>& texts) {
  double width = 0;
  for (const std::string& text : texts) width = std::max(width, page.width_of(text, kTickSize));
  return width;
}

/// The names below a plot and its title, both where `margins` has room for them.
void write_below(Page& page, const Axis& axis, const std::vector<std::pair<double, std::string>>& names,
                 const Margins& margins, double middle, double bottom) {
  for (const auto& [place, text] : names) {
    if (margins.slanted) {
      page.write_slanted(place + 4, bottom + 12, text, kTickSize);
    } else {
      page.write(place, bottom + 15, text, kTickSize, Anchor::kMiddle);
    }
  }
  page.write(middle, bottom + margins.bottom - 11, axis.title, kTextSize, Anchor::kMiddle);
}

}  // namespace

Margins margins_of(Page& page, const Panel& panel, double panel_width, double right) {
  constexpr double kLeast = 64, kMost = 190, kBottom = 44, kHighest = 130, kTitle = 24;
  std::vector<std::string> beside = panel.y.categories;
  const HeatMap* map = heat_map_of(panel);
  const bool pictures = panel.marks.size() == 1 && std::holds_alternative<Images>(panel.marks.front());
  if (map == nullptr && !pictures) {
    for (const auto& [place, text] : ticks(panel.y, range_of(panel, false))) beside.push_back(text);
  }
  Margins margins{std::clamp(widest(page, beside) + 6 + kTitle, kLeast, kMost), kBottom, false};
  if (panel.x.categories.empty()) return margins;
  const double plot = panel_width - margins.left - right - (map != nullptr ? kScaleWidth : 0);
  const double longest = widest(page, panel.x.categories);
  margins.slanted = longest > plot / static_cast<double>(panel.x.categories.size()) - 4;
  if (margins.slanted) margins.bottom = std::min(longest * std::sin(kSlant) + 44, kHighest);
  return margins;
}

Plot::Plot(const Panel& panel, const Margins& margins, double left, double top, double width, double height)
    : panel_(panel),
      margins_(margins),
      x_range_(range_of(panel, true)),
      y_range_(range_of(panel, false)),
      left_(left),
      top_(top),
      width_(width),
      height_(height) {}

double Plot::x(double number) const { return left_ + share(number, x_range_, panel_.x.logarithmic) * width_; }
double Plot::y(double number) const { return top_ + (1 - share(number, y_range_, panel_.y.logarithmic)) * height_; }

void Plot::draw_axes(Page& page) const {
  std::vector<std::pair<double, std::string>> below = ticks(panel_.x, x_range_);
  for (auto& [place, text] : below) {
    place = x(place);
    if (panel_.x.categories.empty()) page.line(place, top_, place, top_ + height_, kGrid, 0.8);
  }
  for (const auto& [place, text] : ticks(panel_.y, y_range_)) {
    if (panel_.y.categories.empty()) page.line(left_, y(place), left_ + width_, y(place), kGrid, 0.8);
    page.write(left_ - 6, y(place) + 4, text, kTickSize, Anchor::kEnd);
  }
  write_below(page, panel_.x, below, margins_, left_ + width_ / 2, top_ + height_);
  page.write_upwards(left_ - margins_.left + 16, top_ + height_ / 2, panel_.y.title, kTextSize);
}

void Plot::draw_frame(Page& page) const {
  page.colour(kFrame);
  cairo_set_line_width(page.get(), 1);
  cairo_rectangle(page.get(), left_, top_, width_, height_);
  cairo_stroke(page.get());
}

void Plot::clip(Page& page) const {
  cairo_save(page.get());
  cairo_rectangle(page.get(), left_, top_, width_, height_);
  cairo_clip(page.get());
}

void Plot::draw(Page& page, const Curve& curve, const Colour& colour) const {
  if (!curve.spread.empty()) draw_band(page, curve, colour);
  page.colour(colour);
  if (curve.style == Curve::Style::kPoints) {
    for (std::size_t i = 0; i < curve.x.size(); ++i) {
      if (!std::isfinite(curve.x[i]) || !std::isfinite(curve.y[i])) continue;
      cairo_arc(page.get(), x(curve.x[i]), y(curve.y[i]), 3, 0, 2 * M_PI);
      cairo_fill(page.get());
    }
    return;
  }
  set_dashes(page, curve.style);
  cairo_set_line_width(page.get(), 1.8);
  bool open = false;
  for (std::size_t i = 0; i < curve.x.size(); ++i) {
    const bool here = std::isfinite(curve.x[i]) && std::isfinite(curve.y[i]);
    if (here && open) cairo_line_to(page.get(), x(curve.x[i]), y(curve.y[i]));
    if (here && !open) cairo_move_to(page.get(), x(curve.x[i]), y(curve.y[i]));
    open = here;
  }
  cairo_stroke(page.get());
  set_dashes(page, Curve::Style::kLine);
}

void Plot::draw(Page& page, const Bars& bars, const Colour& colour) const {
  for (std::size_t i = 0; i < bars.top.size(); ++i) {
    const double bottom = bars.bottom.empty() ? 0 : bars.bottom[i];
    if (!std::isfinite(bottom) || !std::isfinite(bars.top[i])) continue;
    const double x0 = x(bars.left[i]), x1 = x(bars.right[i]);
    const double y0 = y(std::max(bottom, bars.top[i])), y1 = y(std::min(bottom, bars.top[i]));
    page.fill(x0 + 0.5, y0, std::max(0.5, x1 - x0 - 1), y1 - y0, colour);
  }
}

void Plot::set_dashes(Page& page, Curve::Style style) {
  constexpr std::array<double, 2> kDashes{6, 4}, kDots{1.5, 3};
  const bool dashed = style == Curve::Style::kDashed, dotted = style == Curve::Style::kDotted;
  cairo_set_dash(page.get(), dotted ? kDots.data() : kDashes.data(), dashed || dotted ? 2 : 0, 0);
}

void Plot::draw_band(Page& page, const Curve& curve, const Colour& colour) const {
  page.colour(colour, 0.18);
  for (std::size_t i = 0; i < curve.x.size(); ++i)
    cairo_line_to(page.get(), x(curve.x[i]), y(curve.y[i] + curve.spread[i]));
  for (std::size_t i = curve.x.size(); i-- > 0;)
    cairo_line_to(page.get(), x(curve.x[i]), y(curve.y[i] - curve.spread[i]));
  cairo_close_path(page.get());
  cairo_fill(page.get());
}

void draw(Page& page, const HeatMap& map, const Panel& panel, const Margins& margins, double left, double top,
          double width, double height) {
  if (map.values.empty()) return;
  Range range = kNothing;
  for (const auto& row : map.values) {
    for (const double value : row) include(range, value);
  }
  if (range.low > range.high) range = {0, 1};
  const double low = map.low.value_or(range.low), high = std::max(map.high.value_or(range.high), low + 1e-12);
  const double cell_width = (width - kScaleWidth) / static_cast<double>(map.values.front().size());
  const double cell_height = height / static_cast<double>(map.values.size());
  std::vector<std::pair<double, std::string>> below;
  for (std::size_t c = 0; c < std::min(map.values.front().size(), panel.x.categories.size()); ++c)
    below.emplace_back(left + (static_cast<double>(c) + 0.5) * cell_width, panel.x.categories[c]);
  for (std::size_t r = 0; r < map.values.size(); ++r) {
    const double y = top + static_cast<double>(r) * cell_height;
    if (r < panel.y.categories.size())
      page.write(left - 6, y + cell_height / 2 + 4, panel.y.categories[r], kTickSize, Anchor::kEnd);
    for (std::size_t c = 0; c < map.values[r].size(); ++c) {
      const double x = left + static_cast<double>(c) * cell_width, value = map.values[r][c];
      const double share = (value - low) / (high - low);
      if (std::isfinite(value)) page.fill(x, y, cell_width, cell_height, heat(share));
      const std::string text = fmt::format("{:.2f}", value);
      if (map.numbers && std::isfinite(value) && page.width_of(text, kTickSize) < cell_width - 4)
        page.write(x + cell_width / 2, y + cell_height / 2 + 4, text, kTickSize, Anchor::kMiddle,
                   share > 0.6 ? Colour{1, 1, 1} : kInk);
    }
  }
  constexpr int kSteps = 50;
  const double scale = left + width - kScaleWidth + 12;
  for (int i = 0; i < kSteps; ++i) {
    const double step = height / kSteps;
    page.fill(scale, top + height - (i + 1) * step, 12, step + 0.3, heat((i + 0.5) / kSteps));
  }
  page.write(scale + 16, top + height, fmt::format("{:.3g}", low), kTickSize);
  page.write(scale + 16, top + 9, fmt::format("{:.3g}", high), kTickSize);
  write_below(page, panel.x, below, margins, left + (width - kScaleWidth) / 2, top + height);
  page.write_upwards(left - margins.left + 16, top + height / 2, panel.y.title, kTextSize);
}

void draw(Page& page, const Images& images, double left, double top, double width) {
  const auto columns = static_cast<std::size_t>(std::max<std::int64_t>(1, images.columns));
  const double cell = width / static_cast<double>(columns);
  for (std::size_t i = 0; i < images.images.size(); ++i) {
    const Image& image = images.images[i];
    const int stride = cairo_format_stride_for_width(CAIRO_FORMAT_RGB24, static_cast<int>(image.width));
    std::vector<unsigned char> bytes(static_cast<std::size_t>(stride) * static_cast<std::size_t>(image.height));
    for (std::int64_t y = 0; y < image.height; ++y) {
      for (std::int64_t x = 0; x < image.width; ++x) {
        const auto* pixel = image.pixels.data() + (y * image.width + x) * image.channels;
        unsigned char* out = bytes.data() + y * stride + x * 4;  // blue, green, red
        for (std::int64_t c = 0; c < 3; ++c) out[2 - c] = pixel[image.channels == 3 ? c : 0];
      }
    }
    cairo_surface_t* surface = cairo_image_surface_create_for_data(
        bytes.data(), CAIRO_FORMAT_RGB24, static_cast<int>(image.width), static_cast<int>(image.height), stride);
    const double x = left + static_cast<double>(i % columns) * cell;
    const double y = top + static_cast<double>(i / columns) * (cell + kLine);
    const double scale = (cell - 6) / static_cast<double>(std::max(image.width, image.height));
    cairo_save(page.get());
    cairo_translate(page.get(), x + 3, y);
    cairo_scale(page.get(), scale, scale);
    cairo_set_source_surface(page.get(), surface, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(page.get()), CAIRO_FILTER_NEAREST);
    cairo_paint(page.get());
    cairo_restore(page.get());
    cairo_surface_destroy(surface);
    page.write(x + cell / 2, y + cell + 7, image.caption, kTickSize, Anchor::kMiddle);
  }
}

}  // namespace kd
