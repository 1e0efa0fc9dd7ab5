# Makes the images beside it, and expected.txt with what Pillow makes of them, for tests/torch/images_test.cpp.
"""usage: make.py

Lines of expected.txt, where SHA256 is of the bytes of an RGB image, a channel after the other:
  decode FILE HEIGHT WIDTH SHA256
  resize FILE HEIGHT WIDTH FILTER LEFT TOP RIGHT BOTTOM SHA256
"""

import hashlib
import io
import pathlib
import struct
import zlib

import numpy
from PIL import Image, ImageFile

ImageFile.MAXBLOCK = 1 << 24  # the most that libjpeg writes at once
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC,
           "nearest": Image.Resampling.NEAREST}
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # PNG's numbers
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
# Of the seven passes of an interlaced PNG: first row, first column, step of rows, step of columns.
PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pack_row(row, bits):
    """The bytes of a row of samples, width by channels."""
    if bits == 16:
        return row.astype(">u2").tobytes()
    planes = numpy.unpackbits(row.astype(numpy.uint8).reshape(-1, 1), axis=1)[:, 8 - bits:]
    return numpy.packbits(planes.reshape(-1)).tobytes()


def predict(kind, left, above, corner):
    if kind < 4:
        return (0, left, above, (left + above) // 2)[kind]
    distances = [abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)]
    return (left, above, corner)[distances.index(min(distances))]


def filter_rows(rows, step, generator):
    """Each row with a filter of PNG drawn by chance."""
    above = bytes(len(rows[0]))
    for row in rows:
        kind = int(generator.integers(5))
        padded, padded_above = bytes(step) + row, bytes(step) + above
        yield bytes([kind]) + bytes((value - predict(kind, padded[i], padded_above[i + step], padded_above[i])) & 255
                                    for i, value in enumerate(row))
        above = row


def encode_png(samples, bits, kind, generator, interlaced=False, palette=None, transparency=None):
    """A PNG of samples, height by width by channels, which Pillow cannot write in every kind."""
    height, width, channels = samples.shape
    parts = [samples[top::down, left::right] for top, left, down, right in PASSES] if interlaced else [samples]
    data = b""
    for part in parts:
        if part.size:
            rows = [pack_row(row, bits) for row in part]
            data += b"".join(filter_rows(rows, max(1, bits * channels // 8), generator))
    result = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced))
    if palette is not None:
        result += chunk(b"PLTE", palette.astype(numpy.uint8).tobytes())
    if transparency is not None:
        result += chunk(b"tRNS", transparency)
    packed = zlib.compress(data, 9)
    for start in range(0, len(packed), 400):  # more than one chunk, as in real files
        result += chunk(b"IDAT", packed[start:start + 400])
    return result + chunk(b"IEND", b"")


def encode_jpeg(array, **options):
    """A JPEG of a grey image, height by width, or of RGB or CMYK, height by width by channels."""
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[array.shape[2] if array.ndim == 3 else 1]
    stream = io.BytesIO()
    Image.frombytes(mode, (array.shape[1], array.shape[0]), array.tobytes()).save(stream, "JPEG", **options)
    return stream.getvalue()


def find_adobe_marker(data):
    start = data.index(b"\xff\xee\x00\x0eAdobe")
    return start, start + 16


def as_ycck(data):
    """The same CMYK file, but with a marker that says YCCK, which Pillow cannot write."""
    _, end = find_adobe_marker(data)
    return data[:end - 1] + b"\x02" + data[end:]


def without_adobe_marker(data):
    start, end = find_adobe_marker(data)
    return data[:start] + data[end:]


def smooth_samples(height, width, channels, generator):
    """Numbers in [0, 1] with a gradient and little noise."""
    y, x, c = numpy.meshgrid(numpy.arange(height), numpy.arange(width), numpy.arange(channels), indexing="ij")
    waves = 0.5 + 0.4 * numpy.sin(0.35 * (c + 1) * x / 2 + 0.5 * y + c)
    return numpy.clip(waves + generator.normal(0, 0.03, waves.shape), 0, 1)


def read_pixels(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


def digest(image):
    return hashlib.sha256(numpy.ascontiguousarray(numpy.asarray(image).transpose(2, 0, 1)).tobytes()).hexdigest()


def jpeg_files(generator):
    def pixels(channels):
        return numpy.round(255 * smooth_samples(13, 17, channels, generator)).astype(numpy.uint8)

    grey, rgb, cmyk = pixels(1)[:, :, 0], pixels(3), pixels(4)
    inks = encode_jpeg(cmyk, optimize=True)
    return {
        "grey.jpg": encode_jpeg(grey, optimize=True),
        "444.jpg": encode_jpeg(rgb, subsampling=0, optimize=True),
        "422.jpg": encode_jpeg(rgb, subsampling=1, optimize=True),
        "420.jpg": encode_jpeg(rgb, subsampling=2, quality=90, optimize=True),
        "progressive.jpg": encode_jpeg(rgb, subsampling=2, progressive=True),
        "restarts.jpg": encode_jpeg(rgb, subsampling=2, optimize=True, restart_marker_blocks=1),
        "rgb.jpg": encode_jpeg(rgb, keep_rgb=True, optimize=True),
        "cmyk.jpg": inks,
        "ycck.jpg": as_ycck(inks),
        "cmyk_unmarked.jpg": without_adobe_marker(inks),
    }


def png_files(generator):
    files = {}

    def add(name, kind, bits, **options):
        samples = numpy.round(smooth_samples(7, 11, CHANNELS[kind], generator) * (2**bits - 1)).astype(numpy.uint16)
        if bits == 16 and kind == GREY:
            samples[::2] >>= 8  # small numbers, which stay
        if kind == PALETTE:
            colours = generator.integers(0, 256, (2**bits - (bits > 2), 3))  # one less, and black for the last
            options |= {"palette": colours, "transparency": bytes([0, 128])}
        files[name] = encode_png(samples, bits, kind, generator, **options)

    for bits in (1, 2, 4, 8, 16):
        add(f"grey{bits}.png", GREY, bits)
    for bits in (1, 2, 4, 8):
        add(f"palette{bits}.png", PALETTE, bits)
    for bits in (8, 16):
        add(f"grey_alpha{bits}.png", GREY_ALPHA, bits)
        add(f"rgb{bits}.png", RGB, bits)
        add(f"rgba{bits}.png", RGBA, bits)
    add("grey1_interlaced.png", GREY, 1, interlaced=True)
    add("grey16_interlaced.png", GREY, 16, interlaced=True)
    add("palette4_interlaced.png", PALETTE, 4, interlaced=True)
    add("rgb8_interlaced.png", RGB, 8, interlaced=True)
    add("rgb8_transparent.png", RGB, 8, transparency=struct.pack(">HHH", 1, 2, 3))
    return files


def broken_files(files):
    """Files that are refused, whose names say why."""

    def png(width, height, data=b"no pixels"):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, RGB, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")

    def jpeg(width, height):
        start = files["grey.jpg"].index(b"\xff\xc0") + 5
        return files["grey.jpg"][:start] + struct.pack(">HH", height, width) + files["grey.jpg"][start + 4:]

    gif = io.BytesIO()
    Image.new("L", (2, 2)).save(gif, "GIF")
    rgb = files["rgb8.png"]
    return {
        "huge.png": png(60000, 60000),
        "huge.jpg": jpeg(60000, 60000),
        "empty.png": png(0, 3),
        "empty.jpg": jpeg(0, 3),
        "promise.png": png(10000, 10000),
        "short.png": png(2, 2),
        "checksum.png": rgb[:-14] + b"!!" + rgb[-12:],
        "picture.gif": gif.getvalue(),
    }


WHOLE = (0, 0, 17, 13)
RESIZINGS = [(4, 5, WHOLE), (31, 40, WHOLE), (13, 9, WHOLE), (30, 17, WHOLE), (1, 1, WHOLE), (5, 6, (3, 2, 9, 7)),
             (8, 8, (2, 1, 15, 12)), (7, 12, (0.5, 1.25, 16.75, 9.1))]


def main():
    folder = pathlib.Path(__file__).resolve().parent
    generator = numpy.random.default_rng(7)
    lines = []
    files = jpeg_files(generator) | png_files(generator)
    for name, data in broken_files(files).items():
        (folder / name).write_bytes(data)
    for name, data in files.items():
        (folder / name).write_bytes(data)
        image = read_pixels(data)
        lines.append(f"decode {name} {image.height} {image.width} {digest(image)}")
        if name == "444.jpg":
            for height, width, box in RESIZINGS:
                for filter_name, number in FILTERS.items():
                    resized = digest(image.resize((width, height), number, box))
                    lines.append(f"resize {name} {height} {width} {filter_name} {' '.join(map(str, box))} {resized}")
    (folder / "expected.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
