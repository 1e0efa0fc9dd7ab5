// A figure as a picture, by cairo, and as the numbers that it shows.
#pragma once

#include <string>

#include "kd/figure.h"

namespace kd {

/// Throws Error where the figure contradicts itself, such as with a curve of more x than y.
KD_API std::string to_svg(const Figure& figure);
KD_API std::string to_png(const Figure& figure);
/// Everything that the figure shows, but the pixels of images.
KD_API std::string to_json(const Figure& figure);

/// An SVG whose numbers have two decimals at most: a hundredth of a point, which nobody sees.
KD_API std::string shorten_numbers(const std::string& svg);

/// Places for the labels of an axis between two numbers: about five, multiples of 1, 2 or 5 times a power of ten; on a
/// logarithmic axis powers of ten, and 2 and 5 times them where there are few.
KD_API std::vector<double> axis_ticks(double low, double high, bool logarithmic);

}  // namespace kd
