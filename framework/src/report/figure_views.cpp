// figure_views.h
#include "report/figure_views.h"

#include <cairo-svg.h>
#include <cairo.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "kd/diagnostics.h"

namespace kd {
namespace {

struct Colour {
  double red, green, blue;
};

// Eight colours that people with any kind of colour vision can tell apart (Okabe and Ito, 2008).
constexpr std::array<Colour, 8> kPalette{{{0.00, 0.45, 0.70},
                                          {0.84, 0.37, 0.00},
                                          {0.00, 0.62, 0.45},
                                          {0.80, 0.47, 0.65},
                                          {0.90, 0.62, 0.00},
                                          {0.34, 0.71, 0.91},
                                          {0.35, 0.35, 0.35},
                                          {0.94, 0.89, 0.26}}};
constexpr Colour kInk{0.13, 0.13, 0.13}, kGrid{0.88, 0.88, 0.88}, kFrame{0.45, 0.45, 0.45};

constexpr double kPanelWidth = 420, kMargin = 16, kLeft = 64, kRight = 18, kTitleSize = 15, kTextSize = 12,
                 kTickSize = 11, kLine = 17;
constexpr double kPngScale = 2;  // pixels to a point, so that text is sharp on today's screens

Colour palette(int i) { return kPalette[static_cast<std::size_t>(i) % kPalette.size()]; }

/// White to blue, evenly in lightness.
Colour heat(double share) {
  const double s = std::clamp(share, 0.0, 1.0);
  return {1 - 0.95 * s, 1 - 0.68 * s, 1 - 0.45 * s};
}

std::string tick_text(double number) {
  const double size = std::abs(number);
  if (size != 0 && (size >= 1e5 || size < 1e-3)) return fmt::format("{:.0e}", number);
  return fmt::format("{:.6g}", number);
}

const std::string& name_of(const Mark& mark) {
  static const std::string none;
  if (const auto* curve = std::get_if<Curve>(&mark)) return curve->name;
  if (const auto* bars = std::get_if<Bars>(&mark)) return bars->name;
  return none;
}

/// The range of an axis: as given, else around the data.
struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();

  void include(double number) {
    if (!std::isfinite(number)) return;
    low = std::min(low, number);
    high = std::max(high, number);
  }
};

Range range_of(const Panel& panel, bool of_x) {
  const Axis& axis = of_x ? panel.x : panel.y;
  Range range;
  for (const Mark& mark : panel.marks) {
    if (const auto* curve = std::get_if<Curve>(&mark)) {
      for (std::size_t i = 0; i < curve->x.size(); ++i) {
        const double spread = of_x || curve->spread.empty() ? 0 : curve->spread[i];
        const double number = of_x ? curve->x[i] : curve->y[i];
        range.include(number - spread);
        range.include(number + spread);
      }
    } else if (const auto* bars = std::get_if<Bars>(&mark)) {
      for (std::size_t i = 0; i < bars->top.size(); ++i) {
        range.include(of_x ? bars->left[i] : bars->bottom.empty() ? 0 : bars->bottom[i]);
        range.include(of_x ? bars->right[i] : bars->top[i]);
      }
    }
  }
  if (!axis.categories.empty()) {
    range.include(-0.5);
    range.include(static_cast<double>(axis.categories.size()) - 0.5);
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

void check(const Figure& figure) {
  const auto want = [&](bool ok, const std::string& what) {
    if (!ok) throw Error(fmt::format("figure '{}': {}", figure.name, what));
  };
  want(!figure.panels.empty() && figure.columns > 0, "there is no panel");
  for (const Panel& panel : figure.panels) {
    for (const Mark& mark : panel.marks) {
      if (const auto* curve = std::get_if<Curve>(&mark)) {
        want(curve->x.size() == curve->y.size(), "a curve has as many x as y");
        want(curve->spread.empty() || curve->spread.size() == curve->y.size(), "a curve has a spread for each y");
      } else if (const auto* bars = std::get_if<Bars>(&mark)) {
        const std::size_t count = bars->top.size();
        want(bars->left.size() == count && bars->right.size() == count, "bars have as many left and right as top");
        want(bars->bottom.empty() || bars->bottom.size() == count, "bars have a bottom for each top");
      } else if (const auto* map = std::get_if<HeatMap>(&mark)) {
        for (const auto& row : map->values)
          want(row.size() == map->values.front().size(), "rows of a heat map are as wide as the first");
      } else {
        for (const Image& image : std::get<Images>(mark).images)
          want((image.channels == 1 || image.channels == 3) &&
                   static_cast<std::int64_t>(image.pixels.size()) == image.width * image.height * image.channels,
               "an image has width · height · channels bytes");
      }
    }
  }
}

enum class Anchor { kStart, kMiddle, kEnd };

/// A page of cairo's with the few operations that figures need, in points from the top left.
class Page {
 public:
  explicit Page(cairo_surface_t* surface) : context_(cairo_create(surface)) {
    cairo_select_font_face(context_.get(), "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
  }
  cairo_t* get() const { return context_.get(); }

  void colour(const Colour& c, double alpha = 1) { cairo_set_source_rgba(get(), c.red, c.green, c.blue, alpha); }
  void fill(double x, double y, double width, double height, const Colour& c, double alpha = 1) {
    colour(c, alpha);
    cairo_rectangle(get(), x, y, width, height);
    cairo_fill(get());
  }
  void line(double x0, double y0, double x1, double y1, const Colour& c, double width) {
    colour(c);
    cairo_set_line_width(get(), width);
    cairo_move_to(get(), x0, y0);
    cairo_line_to(get(), x1, y1);
    cairo_stroke(get());
  }
  double width_of(const std::string& text, double size) {
    cairo_set_font_size(get(), size);
    cairo_text_extents_t extents;
    cairo_text_extents(get(), text.c_str(), &extents);
    return extents.x_advance;
  }
  void write(double x, double y, const std::string& text, double size, Anchor anchor = Anchor::kStart,
             const Colour& c = kInk) {
    const double width = width_of(text, size);
    const double shift = anchor == Anchor::kStart ? 0 : anchor == Anchor::kMiddle ? width / 2 : width;
    colour(c);
    cairo_move_to(get(), x - shift, y);
    cairo_show_text(get(), text.c_str());
  }
  void write_upwards(double x, double y, const std::string& text, double size) {
    cairo_save(get());
    cairo_translate(get(), x, y);
    cairo_rotate(get(), -M_PI / 2);
    write(0, 0, text, size, Anchor::kMiddle);
    cairo_restore(get());
  }

 private:
  struct Destroy {
    void operator()(cairo_t* context) const { cairo_destroy(context); }
  };
  std::unique_ptr<cairo_t, Destroy> context_;
};

/// Where a panel's plot lies on the page, and how numbers become places in it.
class Plot {
 public:
  Plot(const Panel& panel, double left, double top, double width, double height)
      : x_range_(range_of(panel, true)),
        y_range_(range_of(panel, false)),
        panel_(panel),
        left_(left),
        top_(top),
        width_(width),
        height_(height) {}

  double x(double number) const { return left_ + share(number, x_range_, panel_.x.logarithmic) * width_; }
  double y(double number) const { return top_ + (1 - share(number, y_range_, panel_.y.logarithmic)) * height_; }

  void draw_axes(Page& page) const {
    for (const auto& [place, text] : ticks(panel_.x, x_range_)) {
      if (panel_.x.categories.empty()) page.line(x(place), top_, x(place), top_ + height_, kGrid, 0.8);
      page.write(x(place), top_ + height_ + 15, text, kTickSize, Anchor::kMiddle);
    }
    for (const auto& [place, text] : ticks(panel_.y, y_range_)) {
      if (panel_.y.categories.empty()) page.line(left_, y(place), left_ + width_, y(place), kGrid, 0.8);
      page.write(left_ - 6, y(place) + 4, text, kTickSize, Anchor::kEnd);
    }
    page.write(left_ + width_ / 2, top_ + height_ + 33, panel_.x.title, kTextSize, Anchor::kMiddle);
    page.write_upwards(left_ - 46, top_ + height_ / 2, panel_.y.title, kTextSize);
  }
  void draw_frame(Page& page) const {
    page.colour(kFrame);
    cairo_set_line_width(page.get(), 1);
    cairo_rectangle(page.get(), left_, top_, width_, height_);
    cairo_stroke(page.get());
  }
  void clip(Page& page) const {
    cairo_save(page.get());
    cairo_rectangle(page.get(), left_, top_, width_, height_);
    cairo_clip(page.get());
  }

  void draw(Page& page, const Curve& curve, const Colour& colour) const {
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

  void draw(Page& page, const Bars& bars, const Colour& colour) const {
    for (std::size_t i = 0; i < bars.top.size(); ++i) {
      const double bottom = bars.bottom.empty() ? 0 : bars.bottom[i];
      if (!std::isfinite(bottom) || !std::isfinite(bars.top[i])) continue;
      const double x0 = x(bars.left[i]), x1 = x(bars.right[i]);
      const double y0 = y(std::max(bottom, bars.top[i])), y1 = y(std::min(bottom, bars.top[i]));
      page.fill(x0 + 0.5, y0, std::max(0.5, x1 - x0 - 1), y1 - y0, colour);
    }
  }

  static void set_dashes(Page& page, Curve::Style style) {
    constexpr std::array<double, 2> kDashes{6, 4}, kDots{1.5, 3};
    const bool dashed = style == Curve::Style::kDashed, dotted = style == Curve::Style::kDotted;
    cairo_set_dash(page.get(), dotted ? kDots.data() : kDashes.data(), dashed || dotted ? 2 : 0, 0);
  }

 private:
  static double share(double number, const Range& range, bool logarithmic) {
    if (!logarithmic) return (number - range.low) / (range.high - range.low);
    return std::log(std::max(number, range.low) / range.low) / std::log(range.high / range.low);
  }

  static std::vector<std::pair<double, std::string>> ticks(const Axis& axis, const Range& range) {
    std::vector<std::pair<double, std::string>> all;
    for (std::size_t i = 0; i < axis.categories.size(); ++i)
      all.emplace_back(static_cast<double>(i), axis.categories[i]);
    if (!all.empty()) return all;
    for (const double place : axis_ticks(range.low, range.high, axis.logarithmic))
      all.emplace_back(place, tick_text(place));
    return all;
  }

  void draw_band(Page& page, const Curve& curve, const Colour& colour) const {
    page.colour(colour, 0.18);
    for (std::size_t i = 0; i < curve.x.size(); ++i)
      cairo_line_to(page.get(), x(curve.x[i]), y(curve.y[i] + curve.spread[i]));
    for (std::size_t i = curve.x.size(); i-- > 0;)
      cairo_line_to(page.get(), x(curve.x[i]), y(curve.y[i] - curve.spread[i]));
    cairo_close_path(page.get());
    cairo_fill(page.get());
  }

  Range x_range_, y_range_;
  const Panel& panel_;
  double left_, top_, width_, height_;
};

/// A cell for each number, and what the colours mean beside it.
void draw(Page& page, const HeatMap& map, const Panel& panel, double left, double top, double width, double height) {
  if (map.values.empty()) return;
  Range range;
  for (const auto& row : map.values) {
    for (const double value : row) range.include(value);
  }
  if (range.low > range.high) range = {0, 1};
  const double low = map.low.value_or(range.low), high = std::max(map.high.value_or(range.high), low + 1e-12);
  constexpr double kScaleWidth = 60;
  const double cell_width = (width - kScaleWidth) / static_cast<double>(map.values.front().size());
  const double cell_height = height / static_cast<double>(map.values.size());
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
      if (r == 0 && c < panel.x.categories.size())
        page.write(x + cell_width / 2, top + height + 15, panel.x.categories[c], kTickSize, Anchor::kMiddle);
    }
  }
  constexpr int kSteps = 50;
  const double scale = left + width - kScaleWidth + 12;
  for (int i = 0; i < kSteps; ++i) {
    const double step = height / kSteps;
    page.fill(scale, top + height - (i + 1) * step, 12, step + 0.3, heat((i + 0.5) / kSteps));
  }
  page.write(scale + 16, top + height, tick_text(low), kTickSize);
  page.write(scale + 16, top + 9, tick_text(high), kTickSize);
  page.write(left + (width - kScaleWidth) / 2, top + height + 33, panel.x.title, kTextSize, Anchor::kMiddle);
  page.write_upwards(left - 46, top + height / 2, panel.y.title, kTextSize);
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

/// A mark as the legend shows it.
struct LegendEntry {
  std::string name;
  Colour colour;
  const Mark* mark;
};

std::vector<LegendEntry> colours_of(const Panel& panel) {
  std::vector<LegendEntry> entries;
  int next = 0;
  for (const Mark& mark : panel.marks) {
    int given = -1;
    if (const auto* curve = std::get_if<Curve>(&mark)) given = curve->colour;
    if (const auto* bars = std::get_if<Bars>(&mark)) given = bars->colour;
    entries.push_back({name_of(mark), palette(given >= 0 ? given : next++), &mark});
  }
  return entries;
}

/// Names beside what they are drawn with, in lines as wide as the plot. Returns the height; draws where `page` is
/// given.
double lay_legend(Page& page, const std::vector<LegendEntry>& entries, double left, double top, double width,
                  bool draws) {
  double x = left, y = top;
  bool any = false;
  for (const LegendEntry& entry : entries) {
    if (entry.name.empty()) continue;
    const double wide = 26 + page.width_of(entry.name, kTickSize) + 14;
    if (any && x + wide > left + width) {
      x = left;
      y += kLine;
    }
    any = true;
    if (draws) {
      const auto* curve = std::get_if<Curve>(entry.mark);
      if (curve == nullptr) {
        page.fill(x + 4, y + 2, 16, 10, entry.colour);
      } else if (curve->style == Curve::Style::kPoints) {
        page.colour(entry.colour);
        cairo_arc(page.get(), x + 12, y + 7, 3, 0, 2 * M_PI);
        cairo_fill(page.get());
      } else {
        Plot::set_dashes(page, curve->style);
        page.line(x + 2, y + 7, x + 22, y + 7, entry.colour, 1.8);
        Plot::set_dashes(page, Curve::Style::kLine);
      }
      page.write(x + 26, y + 11, entry.name, kTickSize);
    }
    x += wide;
  }
  return any ? y + kLine - top : 0;
}

double plot_height(const Panel& panel, double width) {
  for (const Mark& mark : panel.marks) {
    if (const auto* images = std::get_if<Images>(&mark)) {
      const auto columns = static_cast<double>(std::max<std::int64_t>(1, images->columns));
      return std::ceil(static_cast<double>(images->images.size()) / columns) * (width / columns + kLine);
    }
  }
  return panel.height * width;
}

/// Lays a panel out from `top` and returns its height; draws where `draws`.
double lay_panel(Page& page, const Panel& panel, double left, double top, bool draws) {
  const double width = kPanelWidth - kLeft - kRight;
  double y = top;
  if (!panel.title.empty()) {
    if (draws) page.write(left + kLeft, y + 13, panel.title, kTextSize);
    y += kLine + 2;
  }
  const std::vector<LegendEntry> entries = colours_of(panel);
  y += lay_legend(page, entries, left + kLeft, y, width, draws) + 4;
  const double height = plot_height(panel, width);
  if (draws) {
    const auto* only = panel.marks.size() == 1 ? &panel.marks.front() : nullptr;
    if (only != nullptr && std::holds_alternative<HeatMap>(*only)) {
      draw(page, std::get<HeatMap>(*only), panel, left + kLeft, y, width, height);
    } else if (only != nullptr && std::holds_alternative<Images>(*only)) {
      draw(page, std::get<Images>(*only), left + kLeft, y, width);
    } else {
      const Plot plot(panel, left + kLeft, y, width, height);
      plot.draw_axes(page);
      plot.clip(page);
      for (const LegendEntry& entry : entries) {
        if (const auto* curve = std::get_if<Curve>(entry.mark)) plot.draw(page, *curve, entry.colour);
        if (const auto* bars = std::get_if<Bars>(entry.mark)) plot.draw(page, *bars, entry.colour);
      }
      cairo_restore(page.get());
      plot.draw_frame(page);
    }
    for (std::size_t i = 0; i < panel.notes.size(); ++i) {
      const double base = y + 20 + kLine * static_cast<double>(i);
      page.fill(left + kLeft + 6, base - 13, page.width_of(panel.notes[i], kTextSize) + 8, kLine, {1, 1, 1}, 0.85);
      page.write(left + kLeft + 10, base, panel.notes[i], kTextSize);
    }
  }
  return y + height + 44 - top;
}

struct Size {
  double width, height;
};

/// Lays the whole figure out; draws where `draws`.
Size lay_figure(Page& page, const Figure& figure, bool draws) {
  const auto columns = static_cast<std::size_t>(std::min<int>(figure.columns, static_cast<int>(figure.panels.size())));
  const double width = kPanelWidth * static_cast<double>(columns) + 2 * kMargin;
  double y = kMargin + 18;
  if (draws) {
    page.fill(0, 0, 1e5, 1e5, {1, 1, 1});
    double size = kTitleSize;
    while (size > 9 && page.width_of(figure.title, size) > width - 2 * kMargin) size -= 0.5;
    page.write(width / 2, kMargin + 14, figure.title, size, Anchor::kMiddle);
  }
  y += 8;
  for (std::size_t first = 0; first < figure.panels.size(); first += columns) {
    double row = 0;
    for (std::size_t i = first; i < std::min(first + columns, figure.panels.size()); ++i) {
      const double left = kMargin + kPanelWidth * static_cast<double>(i - first);
      row = std::max(row, lay_panel(page, figure.panels[i], left, y, draws));
    }
    y += row;
  }
  return {width, y + kMargin / 2};
}

struct DestroySurface {
  void operator()(cairo_surface_t* surface) const { cairo_surface_destroy(surface); }
};
using Surface = std::unique_ptr<cairo_surface_t, DestroySurface>;

Size measure(const Figure& figure) {
  check(figure);
  const Surface surface(cairo_image_surface_create(CAIRO_FORMAT_RGB24, 1, 1));
  Page page(surface.get());
  return lay_figure(page, figure, /*draws=*/false);
}

cairo_status_t append(void* text, const unsigned char* bytes, unsigned int count) {
  static_cast<std::string*>(text)->append(reinterpret_cast<const char*>(bytes), count);
  return CAIRO_STATUS_SUCCESS;
}

void require_drawn(cairo_status_t status, const Figure& figure) {
  if (status != CAIRO_STATUS_SUCCESS)
    throw Error(fmt::format("figure '{}' cannot be drawn: {}", figure.name, cairo_status_to_string(status)));
}

nlohmann::ordered_json to_json(const std::vector<double>& numbers) {
  nlohmann::ordered_json all = nlohmann::json::array();
  for (const double number : numbers)
    all.push_back(std::isfinite(number) ? nlohmann::ordered_json(number) : nlohmann::ordered_json(nullptr));
  return all;
}

nlohmann::ordered_json to_json(const Axis& axis) {
  nlohmann::ordered_json json{{"title", axis.title}};
  if (axis.logarithmic) json["logarithmic"] = true;
  if (!axis.categories.empty()) json["categories"] = axis.categories;
  return json;
}

nlohmann::ordered_json to_json(const Mark& mark) {
  if (const auto* curve = std::get_if<Curve>(&mark)) {
    nlohmann::ordered_json json{{"curve", curve->name}, {"x", to_json(curve->x)}, {"y", to_json(curve->y)}};
    if (!curve->spread.empty()) json["spread"] = to_json(curve->spread);
    return json;
  }
  if (const auto* bars = std::get_if<Bars>(&mark)) {
    nlohmann::ordered_json json{{"bars", bars->name}, {"left", to_json(bars->left)}, {"right", to_json(bars->right)}};
    if (!bars->bottom.empty()) json["bottom"] = to_json(bars->bottom);
    json["top"] = to_json(bars->top);
    return json;
  }
  if (const auto* map = std::get_if<HeatMap>(&mark)) {
    nlohmann::ordered_json rows = nlohmann::json::array();
    for (const auto& row : map->values) rows.push_back(to_json(row));
    return {{"heat_map", rows}};
  }
  nlohmann::ordered_json captions = nlohmann::json::array();
  for (const Image& image : std::get<Images>(mark).images) captions.push_back(image.caption);
  return {{"images", captions}};
}

}  // namespace

std::vector<double> axis_ticks(double low, double high, bool logarithmic) {
  std::vector<double> ticks;
  if (logarithmic) {
    const double first = std::floor(std::log10(low)), last = std::ceil(std::log10(high));
    const bool few = last - first <= 2;  // powers of ten alone would say too little
    for (double power = first; power <= last; ++power) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double place = factor * std::pow(10.0, power);
        const bool within = place >= low * (1 - 1e-9) && place <= high * (1 + 1e-9);
        if (within && (few || factor == 1.0)) ticks.push_back(place);
      }
    }
    return ticks;
  }
  constexpr double kWanted = 5;
  const double rough = (high - low) / kWanted, power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power * (1 + 1e-9)) {
      step = factor * power;
      break;
    }
  }
  const auto first = static_cast<std::int64_t>(std::ceil(low / step - 1e-9));
  const auto last = static_cast<std::int64_t>(std::floor(high / step + 1e-9));
  for (std::int64_t i = first; i <= last; ++i) ticks.push_back(static_cast<double>(i) * step);
  return ticks;
}

std::string to_svg(const Figure& figure) {
  const Size size = measure(figure);
  std::string text;
  const Surface surface(cairo_svg_surface_create_for_stream(append, &text, size.width, size.height));
  {
    Page page(surface.get());
    lay_figure(page, figure, /*draws=*/true);
  }
  cairo_surface_finish(surface.get());
  require_drawn(cairo_surface_status(surface.get()), figure);
  return text;
}

std::string to_png(const Figure& figure) {
  const Size size = measure(figure);
  const Surface surface(cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(size.width * kPngScale),
                                                   static_cast<int>(size.height * kPngScale)));
  std::string bytes;
  {
    Page page(surface.get());
    cairo_scale(page.get(), kPngScale, kPngScale);
    lay_figure(page, figure, /*draws=*/true);
  }
  require_drawn(cairo_surface_write_to_png_stream(surface.get(), append, &bytes), figure);
  return bytes;
}

std::string to_json(const Figure& figure) {
  nlohmann::ordered_json panels = nlohmann::json::array();
  for (const Panel& panel : figure.panels) {
    nlohmann::ordered_json marks = nlohmann::json::array();
    for (const Mark& mark : panel.marks) marks.push_back(to_json(mark));
    panels.push_back({{"title", panel.title}, {"x", to_json(panel.x)}, {"y", to_json(panel.y)}, {"marks", marks}});
    if (!panel.notes.empty()) panels.back()["notes"] = panel.notes;
  }
  const nlohmann::ordered_json json{{"name", figure.name}, {"title", figure.title}, {"panels", panels}};
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

}  // namespace kd
