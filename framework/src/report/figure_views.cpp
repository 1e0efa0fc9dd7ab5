// figure_views.h: how a figure is laid out on its page.
#include "report/figure_views.h"

#include <cairo-svg.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "kd/diagnostics.h"
#include "report/cairo_page.h"
#include "report/figure_plot.h"

namespace kd {
namespace {

constexpr double kPanelWidth = 420, kMargin = 16, kRight = 18, kTitleSize = 15;
constexpr double kPngScale = 2;  // pixels to a point, so that text is sharp on today's screens

const std::string& name_of(const Mark& mark) {
  static const std::string none;
  if (const auto* curve = std::get_if<Curve>(&mark)) return curve->name;
  if (const auto* bars = std::get_if<Bars>(&mark)) return bars->name;
  return none;
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
  const Margins margins = margins_of(page, panel, kPanelWidth, kRight);
  const double begin = left + margins.left, width = kPanelWidth - margins.left - kRight;
  double y = top;
  if (!panel.title.empty()) {
    if (draws) page.write(begin, y + 13, panel.title, kTextSize);
    y += kLine + 2;
  }
  const std::vector<LegendEntry> entries = colours_of(panel);
  y += lay_legend(page, entries, begin, y, width, draws) + 4;
  const double height = plot_height(panel, width);
  if (draws) {
    const auto* only = panel.marks.size() == 1 ? &panel.marks.front() : nullptr;
    if (only != nullptr && std::holds_alternative<HeatMap>(*only)) {
      draw(page, std::get<HeatMap>(*only), panel, margins, begin, y, width, height);
    } else if (only != nullptr && std::holds_alternative<Images>(*only)) {
      draw(page, std::get<Images>(*only), begin, y, width);
    } else {
      const Plot plot(panel, margins, begin, y, width, height);
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
      page.fill(begin + 6, base - 13, page.width_of(panel.notes[i], kTextSize) + 8, kLine, {1, 1, 1}, 0.85);
      page.write(begin + 10, base, panel.notes[i], kTextSize);
    }
  }
  return y + height + margins.bottom - top;
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

std::string shorten_numbers(const std::string& svg) {
  std::string text;
  text.reserve(svg.size());
  std::size_t decimals = 0;
  bool counts = false;
  for (const char c : svg) {
    const bool digit = c >= '0' && c <= '9';
    if (c == '.') {
      counts = !text.empty() && text.back() >= '0' && text.back() <= '9';
      decimals = 0;
    } else if (!digit) {
      counts = false;
    } else if (counts && ++decimals > 2) {
      continue;
    }
    text += c;
  }
  return text;
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
  return shorten_numbers(text);
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

}  // namespace kd
