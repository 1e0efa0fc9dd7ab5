// A page of cairo's with the few operations and the colours that figures need.
#pragma once

#include <cairo.h>

#include <memory>
#include <string>

namespace kd {

struct Colour {
  double red, green, blue;
};

constexpr Colour kInk{0.13, 0.13, 0.13}, kGrid{0.88, 0.88, 0.88}, kFrame{0.45, 0.45, 0.45};

/// One of ten colours, the first eight of which people with any kind of colour vision can tell apart (Okabe and Ito,
/// 2008).
Colour palette(int i);
/// Of a share in [0, 1]: white to blue, evenly in lightness.
Colour heat(double share);

/// Of slanted text, in radians.
constexpr double kSlant = 0.6;

enum class Anchor { kStart, kMiddle, kEnd };

/// In points from the top left.
class Page {
 public:
  explicit Page(cairo_surface_t* surface);
  cairo_t* get() const { return context_.get(); }

  void colour(const Colour& c, double alpha = 1);
  void fill(double x, double y, double width, double height, const Colour& c, double alpha = 1);
  void line(double x0, double y0, double x1, double y1, const Colour& c, double width);
  double width_of(const std::string& text, double size);
  void write(double x, double y, const std::string& text, double size, Anchor anchor = Anchor::kStart,
             const Colour& c = kInk);
  void write_upwards(double x, double y, const std::string& text, double size);
  /// Rising to the right, and ending at this place.
  void write_slanted(double x, double y, const std::string& text, double size);

 private:
  struct Destroy {
    void operator()(cairo_t* context) const { cairo_destroy(context); }
  };
  std::unique_ptr<cairo_t, Destroy> context_;
};

}  // namespace kd
