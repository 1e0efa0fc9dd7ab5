#!/usr/bin/env python3
"""Prints the golden lines of resize_test.cpp: hashes of what Pillow makes of a pattern by torchvision's Resize and CenterCrop."""

import numpy
from PIL import Image

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "nearest": Image.Resampling.NEAREST}


def pattern(height, width):
    y, x, c = numpy.mgrid[0:height, 0:width, 0:3]
    return ((x * 7 + y * 13 + c * 29 + x * y) % 256).astype(numpy.uint8)


def hash_of(image):
    """FNV-1a over the bytes, channel by channel."""
    value = 0xCBF29CE484222325
    for byte in numpy.asarray(image).transpose(2, 0, 1).tobytes():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def evaluation_view(image, size, crop, interpolation):
    width, height = image.size
    short, long = min(width, height), max(width, height)
    longer = int(size * long / short)
    resized = image.resize((size, longer) if width <= height else (longer, size), interpolation)
    left, top = round((resized.width - crop) / 2), round((resized.height - crop) / 2)
    return resized.crop((left, top, left + crop, top + crop))


for height, width, size, crop, name in [(41, 29, 16, 16, "bilinear"), (29, 41, 20, 13, "bicubic"), (30, 30, 45, 32, "bilinear"),
                                        (7, 50, 9, 8, "nearest"), (224, 150, 96, 84, "bicubic")]:
    image = Image.fromarray(pattern(height, width))
    print(f'    {{{height}, {width}, {size}, {crop}, "{name}", {hash_of(evaluation_view(image, size, crop, FILTERS[name])):#x}}},')
stretched = Image.fromarray(pattern(41, 29)).resize((24, 24), Image.Resampling.BILINEAR)
print(f"stretched {hash_of(stretched):#x}")
