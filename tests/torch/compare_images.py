# Holds kdrun's reading and resizing of images against Pillow, byte for byte, on images drawn by chance.
"""usage: compare_images.py DUMP_IMAGES [COUNT [SEED]]

COUNT (200) images of each kind of file are made, read by the program DUMP_IMAGES and by Pillow, and resized by both. As
many files of each kind are damaged: both must read and refuse the same JPEG files; PNG files that kdrun does not refuse
must be read alike, since it heeds checksums and Pillow does not. One line per group; exit status 1 where an image differs.
"""

import io
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "testdata" / "images"))
import make  # noqa: E402


def draw_samples(generator, channels, largest):
    if generator.random() < 0.05:
        largest *= 8
    height, width = (int(size) for size in generator.integers(1, largest, 2))
    if generator.random() < 0.3:
        return generator.random((height, width, channels))
    return make.smooth_samples(height, width, channels, generator)


def draw_jpeg(generator):
    kind = generator.choice(["grey", "rgb", "rgb", "rgb", "cmyk"])
    channels = {"grey": 1, "rgb": 3, "cmyk": 4}[kind]
    pixels = numpy.round(255 * draw_samples(generator, channels, 90)).astype(numpy.uint8)
    options = {"quality": int(generator.integers(1, 101)), "progressive": bool(generator.random() < 0.3),
               "optimize": bool(generator.random() < 0.5), "restart_marker_blocks": int(generator.choice([0, 0, 1, 3]))}
    if kind == "grey":
        return make.encode_jpeg(pixels[:, :, 0], **options)
    if kind == "rgb":
        if generator.random() < 0.15:
            return make.encode_jpeg(pixels, keep_rgb=True, **options)
        return make.encode_jpeg(pixels, subsampling=int(generator.integers(3)), **options)
    data = make.encode_jpeg(pixels, **options)
    return generator.choice([lambda x: x, make.as_ycck, make.without_adobe_marker])(data)


def draw_png(generator):
    kind = int(generator.choice(list(make.CHANNELS)))
    bits = int(generator.choice({make.GREY: [1, 2, 4, 8, 16], make.PALETTE: [1, 2, 4, 8]}.get(kind, [8, 16])))
    samples = numpy.round(draw_samples(generator, make.CHANNELS[kind], 50) * (2**bits - 1)).astype(numpy.uint16)
    if bits == 16 and generator.random() < 0.5:
        samples >>= 7
    options = {}
    if kind == make.PALETTE:
        options["palette"] = generator.integers(0, 256, (int(generator.integers(1, 2**bits + 1)), 3))
    if kind not in (make.GREY_ALPHA, make.RGBA) and generator.random() < 0.4:
        options["transparency"] = bytes(len(options["palette"])) if kind == make.PALETTE else bytes(2 * make.CHANNELS[kind])
    return make.encode_png(samples, bits, kind, generator, interlaced=bool(generator.random() < 0.4), **options)


def damage(data, start, generator):
    """Changes bytes from `start` on, or ends the file there."""
    data = bytearray(data)
    if generator.random() < 0.3:
        return bytes(data[:int(generator.integers(start, len(data)))])
    for _ in range(int(generator.integers(1, 4))):
        data[int(generator.integers(start, len(data)))] = int(generator.integers(256))
    return bytes(data)


def draw_damaged_jpeg(generator):
    data = draw_jpeg(generator)
    return damage(data, data.index(b"\xff\xda"), generator)


def draw_damaged_png(generator):
    data = draw_png(generator)
    return damage(data, data.index(b"IDAT"), generator)


def draw_resizing(generator, width, height):
    """Size, filter and box as the program takes them."""
    if generator.random() < 0.4:
        box = (0, 0, width, height)
    elif generator.random() < 0.5:
        left, top = int(generator.integers(width)), int(generator.integers(height))
        box = (left, top, int(generator.integers(left, width)) + 1, int(generator.integers(top, height)) + 1)
    else:
        xs, ys = sorted(generator.random(2) * width), sorted(generator.random(2) * height)
        box = (float(xs[0]), float(ys[0]), float(xs[1]), float(ys[1]))
    return int(generator.integers(1, 130)), int(generator.integers(1, 130)), str(generator.choice(list(make.FILTERS))), box


def read_with_pillow(data):
    """The image, or None where Pillow cannot read it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return make.read_pixels(data)
        except (OSError, SyntaxError, ValueError):
            return None


def run_program(program, folder, lines):
    (folder / "list.txt").write_text("".join(line + "\n" for line in lines))
    subprocess.run([program, str(folder / "list.txt")], check=True, stdout=subprocess.DEVNULL)


def is_same(image, file, may_refuse):
    if image is None or not file.exists():
        return not file.exists() and (image is None or may_refuse)
    return numpy.asarray(image).transpose(2, 0, 1).tobytes() == file.read_bytes()


def compare(program, name, draw, count, generator, with_resizing=False, may_refuse=False):
    with tempfile.TemporaryDirectory() as path:
        folder = pathlib.Path(path)
        lines, expected = [], {}
        for i in range(count):
            source, out = folder / f"{i}.in", folder / f"{i}.out"
            data = draw(generator)
            source.write_bytes(data)
            image = read_with_pillow(data)
            lines.append(f"{source} {out}")
            expected[out] = image
            if with_resizing:
                height, width, filter_name, box = draw_resizing(generator, *image.size)
                out = folder / f"{i}.resized"
                lines.append(f"{source} {out} {height} {width} {filter_name} {' '.join(map(repr, box))}")
                expected[out] = image.resize((width, height), make.FILTERS[filter_name], box)
        run_program(program, folder, lines)
        different = [line for line, (out, image) in zip(lines, expected.items()) if not is_same(image, out, may_refuse)]
        counts = [f"{len(expected)} images", f"{sum(image is not None for image in expected.values())} from Pillow",
                  f"{sum(out.exists() for out in expected)} from kdrun", f"{len(different)} differ"]
    print(f"{'FAIL' if different else 'ok  '} {name}: {', '.join(counts)}")
    for line in different[:5]:
        print(f"     {line}")
    return not different


def main(program, count=200, seed=1):
    generator = numpy.random.default_rng(int(seed))
    passed = [
        compare(program, "JPEG, read and resized", draw_jpeg, int(count), generator, with_resizing=True),
        compare(program, "PNG, read and resized", draw_png, int(count), generator, with_resizing=True),
        compare(program, "damaged JPEG, read", draw_damaged_jpeg, int(count), generator),
        compare(program, "damaged PNG, read", draw_damaged_png, int(count), generator, may_refuse=True),
    ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
