"""Writes pil_golden.h: checksums of what PIL makes of the images that image_operations_test.cpp also makes.

Usage: python make_pil_golden.py > pil_golden.h    (needs Pillow and NumPy; the file was made with Pillow 13.0.0)
"""
import numpy as np
from PIL import Image, ImageEnhance, ImageOps


def image(number):
    """Noise, noise in a narrow band, a gradient, two values, noise of another shape, dark grey noise of one channel."""
    channels, height, width = [(3, 20, 20), (3, 24, 24), (3, 32, 32), (3, 8, 8), (3, 18, 25), (1, 20, 22)][number]
    c, y, x = np.meshgrid(np.arange(channels), np.arange(height), np.arange(width), indexing="ij")
    noise = ((x * 7919 + y * 104729 + c * 1299709 + 1) * 2654435761 % 2**32) >> 24
    return [noise, 90 + noise // 5, x * 3 + y * 5 + c * 20, np.where(noise < 128, 40, 200 - c * 80), noise,
            noise * noise // 512][number].astype(np.uint8)


def to_pil(array):
    return Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0).copy())


def affine(picture, matrix, bilinear):
    return picture.transform(picture.size, Image.AFFINE, matrix, resample=Image.BILINEAR if bilinear else Image.NEAREST)


OPERATIONS = {
    "kIdentity": lambda p, m, b: p,
    "kShearX": lambda p, m, b: affine(p, (1, m, 0, 0, 1, 0), b),
    "kShearY": lambda p, m, b: affine(p, (1, 0, 0, m, 1, 0), b),
    "kTranslateX": lambda p, m, b: affine(p, (1, 0, m, 0, 1, 0), b),
    "kTranslateY": lambda p, m, b: affine(p, (1, 0, 0, 0, 1, m), b),
    "kRotate": lambda p, m, b: p.rotate(m, resample=Image.BILINEAR if b else Image.NEAREST),
    "kBrightness": lambda p, m, b: ImageEnhance.Brightness(p).enhance(m),
    "kColor": lambda p, m, b: ImageEnhance.Color(p).enhance(m),
    "kContrast": lambda p, m, b: ImageEnhance.Contrast(p).enhance(m),
    "kSharpness": lambda p, m, b: ImageEnhance.Sharpness(p).enhance(m),
    "kPosterize": lambda p, m, b: ImageOps.posterize(p, m),
    "kSolarize": lambda p, m, b: ImageOps.solarize(p, m),
    "kAutocontrast": lambda p, m, b: ImageOps.autocontrast(p),
    "kEqualize": lambda p, m, b: ImageOps.equalize(p),
    "kInvert": lambda p, m, b: ImageOps.invert(p),
}
SHEARS = [-0.99, -0.3, -0.07, 0.013, 0.1, 0.25]
FACTORS = [0.0, 0.1, 0.37, 0.64, 1.0, 1.3, 1.9]
CASES = (
    [(name, m, b) for name in ("kShearX", "kShearY") for m in SHEARS for b in (0, 1)]
    + [(name, m, b) for name in ("kTranslateX", "kTranslateY") for m in (-10, -3, 0, 1, 5) for b in (0, 1)]
    + [("kRotate", m, 1) for m in list(range(-29, 30, 2)) + [-8, 0, 8, 40.5, 90, 180, 12.345]]
    + [("kRotate", m, 0) for m in (-135, -90, -45, -30, -15, -7.25, -1, 0, 2, 9, 15, 22.5, 30, 90, 135, 180)]
    + [(name, m, 0) for name in ("kBrightness", "kColor", "kContrast", "kSharpness") for m in FACTORS]
    + [("kPosterize", m, 0) for m in range(1, 9)]
    + [("kSolarize", m, 0) for m in (0, 1, 77, 128, 140.25, 255, 256)]
    + [(name, 0, 0) for name in ("kIdentity", "kAutocontrast", "kEqualize", "kInvert")]
)


def checksum(array):
    """FNV-1a, 32 bits."""
    value = 0x811C9DC5
    for byte in array.tobytes():
        value = (value ^ byte) * 0x01000193 % 2**32
    return value


def main():
    print("// What PIL 13.0.0 makes of the test images: operation, magnitude, bilinear, and the checksums of images 0 to 5.")
    print("// Written by make_pil_golden.py.\n#pragma once\n\n#include <array>\n#include <cstdint>\n")
    print('#include "image_operations.h"\n\nnamespace image_operations {\n')
    print("struct PilGolden {\n  Operation operation;\n  double magnitude;\n  bool bilinear;")
    print("  std::array<std::uint32_t, 6> checksums;\n};\n")
    print("// clang-format off\ninline constexpr PilGolden kPilGoldens[] = {")
    for name, magnitude, bilinear in CASES:
        sums = []
        for number in range(6):
            result = np.asarray(OPERATIONS[name](to_pil(image(number)), magnitude, bilinear))
            sums.append(checksum(result if result.ndim == 2 else result.transpose(2, 0, 1)))
        numbers = ", ".join(f"0x{value:08x}" for value in sums)
        print(f"    {{Operation::{name}, {magnitude}, {'true' if bilinear else 'false'}, {{{numbers}}}}},")
    print("};\n// clang-format on\n\n}  // namespace image_operations")


if __name__ == "__main__":
    main()
