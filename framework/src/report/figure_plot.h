// What a panel of a figure draws inside its axes.
#pragma once

#include <string>

#include "kd/figure.h"
#include "report/cairo_page.h"

namespace kd {

constexpr double kTextSize = 12, kTickSize = 11, kLine = 17;  // of labels, of ticks, from line to line

/// The range of an axis: as given, else around the data.
struct Range {
  double low, high;
};

/// What the labels of a panel need beside its plot.
struct Margins {
  double left, bottom;
  bool slanted;  ///< names below the plot are too long to stand side by side
};
Margins margins_of(Page& page, const Panel& panel, double panel_width, double right);

/// Where a panel's plot lies on the page, and how numbers become places in it. Throws Error where an axis has no
/// extent.
class Plot {
 public:
  Plot(const Panel& panel, const Margins& margins, double left, double top, double width, double height);

  void draw_axes(Page& page) const;
  void draw_frame(Page& page) const;
  /// From here on nothing is drawn outside, until cairo_restore().
  void clip(Page& page) const;
  void draw(Page& page, const Curve& curve, const Colour& colour) const;
  void draw(Page& page, const Bars& bars, const Colour& colour) const;
  static void set_dashes(Page& page, Curve::Style style);

 private:
  double x(double number) const;
  double y(double number) const;
  void draw_band(Page& page, const Curve& curve, const Colour& colour) const;

  const Panel& panel_;
  const Margins margins_;
  Range x_range_, y_range_;
  double left_, top_, width_, height_;
};

/// A cell for each number, and what the colours mean beside it.
void draw(Page& page, const HeatMap& map, const Panel& panel, const Margins& margins, double left, double top,
          double width, double height);
/// Pictures in rows, each with its caption.
void draw(Page& page, const Images& images, double left, double top, double width);

}  // namespace kd
