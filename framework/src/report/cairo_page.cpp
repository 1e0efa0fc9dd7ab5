// cairo_page.h
#include "report/cairo_page.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace kd {
namespace {

constexpr std::array<Colour, 10> kPalette{{{0.00, 0.45, 0.70},
                                           {0.84, 0.37, 0.00},
                                           {0.00, 0.62, 0.45},
                                           {0.80, 0.47, 0.65},
                                           {0.90, 0.62, 0.00},
                                           {0.34, 0.71, 0.91},
                                           {0.35, 0.35, 0.35},
                                           {0.94, 0.89, 0.26},
                                           {0.42, 0.20, 0.58},
                                           {0.55, 0.34, 0.16}}};

}  // namespace

Colour palette(int i) { return kPalette[static_cast<std::size_t>(i) % kPalette.size()]; }

Colour heat(double share) {
  const double s = std::clamp(share, 0.0, 1.0);
  return {1 - 0.95 * s, 1 - 0.68 * s, 1 - 0.45 * s};
}

Page::Page(cairo_surface_t* surface) : context_(cairo_create(surface)) {
  cairo_select_font_face(context_.get(), "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
}

void Page::colour(const Colour& c, double alpha) { cairo_set_source_rgba(get(), c.red, c.green, c.blue, alpha); }

void Page::fill(double x, double y, double width, double height, const Colour& c, double alpha) {
  colour(c, alpha);
  cairo_rectangle(get(), x, y, width, height);
  cairo_fill(get());
}

void Page::line(double x0, double y0, double x1, double y1, const Colour& c, double width) {
  colour(c);
  cairo_set_line_width(get(), width);
  cairo_move_to(get(), x0, y0);
  cairo_line_to(get(), x1, y1);
  cairo_stroke(get());
}

double Page::width_of(const std::string& text, double size) {
  cairo_set_font_size(get(), size);
  cairo_text_extents_t extents;
  cairo_text_extents(get(), text.c_str(), &extents);
  return extents.x_advance;
}

void Page::write(double x, double y, const std::string& text, double size, Anchor anchor, const Colour& c) {
  const double width = width_of(text, size);
  const double shift = anchor == Anchor::kStart ? 0 : anchor == Anchor::kMiddle ? width / 2 : width;
  colour(c);
  cairo_move_to(get(), x - shift, y);
  cairo_show_text(get(), text.c_str());
}

void Page::write_upwards(double x, double y, const std::string& text, double size) {
  cairo_save(get());
  cairo_translate(get(), x, y);
  cairo_rotate(get(), -M_PI / 2);
  write(0, 0, text, size, Anchor::kMiddle);
  cairo_restore(get());
}

void Page::write_slanted(double x, double y, const std::string& text, double size) {
  cairo_save(get());
  cairo_translate(get(), x, y);
  cairo_rotate(get(), -kSlant);
  write(0, 0, text, size, Anchor::kEnd);
  cairo_restore(get());
}

}  // namespace kd
