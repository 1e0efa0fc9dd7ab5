// The parameters of augmentations that move pixels.
#pragma once

#include <string>

#include "image_operations.h"
#include "kd/schema.h"

namespace image_operations {

template <class Params>
void declare_interpolation(kd::Schema<Params>& s, const std::string& standard) {
  s.choice("interpolation", &Params::interpolation,
           {{"nearest", Interpolation::kNearest}, {"bilinear", Interpolation::kBilinear}},
           "how a value between pixels is found where an image is moved")
      .def(standard);
}

template <class Params>
void declare_fill(kd::Schema<Params>& s) {
  s.field("fill", &Params::fill, "value of pixels from outside the image, 0 to 255").def(0).range(0, 255);
}

}  // namespace image_operations
