// The operations of torchvision's RandAugment and TrivialAugmentWide, which differ in their greatest magnitudes alone.
#pragma once

#include <vector>

#include "operation_table.h"

namespace image_operations {

struct GreatestMagnitudes {
  double shear;                     ///< columns per row
  double translate_x, translate_y;  ///< pixels
  double degrees;
  double enhancement;  ///< distance of a factor from 1
  double lost_bits;
};

inline constexpr std::size_t kPublishedOperations = 14;

/// Of a level in [0, 1]: first the published operations, then others.
inline std::vector<Strength> binned_strengths(const GreatestMagnitudes& greatest) {
  constexpr Rounding kNone = Rounding::kNone, kTowardsZero = Rounding::kTowardsZero;
  return {
      {"identity", Operation::kIdentity, 0, 0},
      {"shear_x", Operation::kShearX, 0, greatest.shear, kNone, true},
      {"shear_y", Operation::kShearY, 0, greatest.shear, kNone, true},
      {"translate_x", Operation::kTranslateX, 0, greatest.translate_x, kTowardsZero, true},
      {"translate_y", Operation::kTranslateY, 0, greatest.translate_y, kTowardsZero, true},
      {"rotate", Operation::kRotate, 0, greatest.degrees, kNone, true},
      {"brightness", Operation::kBrightness, 1, greatest.enhancement, kNone, true},
      {"color", Operation::kColor, 1, greatest.enhancement, kNone, true},
      {"contrast", Operation::kContrast, 1, greatest.enhancement, kNone, true},
      {"sharpness", Operation::kSharpness, 1, greatest.enhancement, kNone, true},
      {"posterize", Operation::kPosterize, 8, -greatest.lost_bits, Rounding::kNearest},
      {"solarize", Operation::kSolarize, 255, -255},
      {"autocontrast", Operation::kAutocontrast, 0, 0},
      {"equalize", Operation::kEqualize, 0, 0},
      {"invert", Operation::kInvert, 0, 0},
  };
}

}  // namespace image_operations
