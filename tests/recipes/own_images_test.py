"""A folder of images and recipes/own_images.toml: what a newcomer does, gets wrong, stops and goes on with."""

import hashlib
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import time
import zlib

from program import KDRUN, SOURCE, kdrun, main, train

OWN = SOURCE / "recipes/own_images.toml"
SMALL = ['data.path="flowers"', "train.batch_size=8", "train.threads=1", 'train.precision="fp32"', "train.checkpoint_seconds=0", "train.augment.0.size=24",
         'stage.teacher.model={ type = "resnet", depth = 8 }']
CACHE = {"XDG_CACHE_HOME": "cache"}


def png(height, width, colour, seed):
    """A PNG file: noise around a colour."""
    noise = random.Random(seed)
    rows = b"".join(b"\0" + bytes(max(0, min(255, value + noise.randrange(-60, 61))) for _ in range(width) for value in colour) for _ in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def make_folder(images=30, folder="flowers"):
    """A folder per class and no split, with a photograph among the drawings."""
    for label, colour in (("daisy", (200, 200, 60)), ("rose", (190, 60, 80))):
        (pathlib.Path(folder) / label).mkdir(parents=True)
        for i in range(images):
            size = random.Random(i)
            (pathlib.Path(folder) / label / f"{i}.png").write_bytes(png(size.randrange(20, 60), size.randrange(20, 60), colour, i))
    shutil.copy(SOURCE / "tests/torch/testdata/images/420.jpg", f"{folder}/rose/photograph.jpg")


def weights(run):
    return {stage: hashlib.sha256((run / "stages" / stage / "ckpt/last/model.safetensors").read_bytes()).hexdigest()
            for stage in ("teacher", "student_alone", "student_distilled")}


def train_own(runs, *more):
    return train(OWN, runs, *SMALL, "train.epochs=2", "--data-root", ".", *more, env=CACHE)


def nothing_changes_a_bit_that_is_only_quicker():
    make_folder()
    plain = weights(train_own("plain", "train.loader_threads=1", 'train.keep_images="off"'))
    assert weights(train_own("quick", "train.loader_threads=5")) == plain
    # Neither is a part of what a stage is kept under.
    answer = kdrun("run", OWN, "--device", "cpu", "--run-dir", "quick", *SMALL, "train.epochs=2", "train.loader_threads=2", "--data-root", ".", env=CACHE)
    assert answer.stderr.count("already trained, reused") == 3, answer.stderr
    # A copy of the folder is the same data set.
    shutil.copytree("flowers", "copy")
    assert weights(train_own("copied", 'data.path="copy"')) == plain


def a_run_that_is_stopped_within_an_epoch_goes_on_to_the_same_bits():
    make_folder(images=60)
    whole = train(OWN, "whole", *SMALL, "train.epochs=4", "--data-root", ".", env=CACHE)
    command = [KDRUN, "run", str(OWN), "--device", "cpu", *SMALL, "train.epochs=4", "--data-root", "."]
    stops = 0
    for attempt in range(40):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ, **CACHE))
        for line in process.stderr:
            if "thread(s)" in line:  # the first line of a stage that trains
                break
        time.sleep(0.1 + 0.05 * (attempt % 7))
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait() in (0, 75), rest
        stops += "at a checkpoint" in rest
        if process.returncode == 0:
            break
    else:
        raise AssertionError("it never ended")
    assert stops > 0, "it was never stopped within a stage"
    resumed = max(pathlib.Path("runs").glob("own_images/*"), key=lambda folder: folder.stat().st_mtime)
    assert weights(resumed) == weights(whole)


def what_is_no_image_is_named_or_left_out():
    make_folder()
    pathlib.Path("flowers/rose/cut.png").write_bytes(png(30, 30, (190, 60, 80), 1)[:-40])
    pathlib.Path("flowers/rose/notes.jpg").write_text("no image")
    pathlib.Path("flowers/rose/empty.jpeg").write_bytes(b"")
    answer = kdrun("run", OWN, *SMALL, "--data-root", ".", 'data.on_bad="error"', code=4, env=CACHE).stderr
    for name in ("rose/cut.png", "rose/notes.jpg", "rose/empty.jpeg"):
        assert name in answer, answer
    assert 'on_bad = "skip"' in answer and answer.count("error:") == 1, answer
    answer = kdrun("run", OWN, "--device", "cpu", *SMALL, "train.epochs=1", "--data-root", ".", env=CACHE).stderr
    assert answer.count("left out: 3 of ") == 1, answer


def what_is_forgotten_is_asked_for():
    answer = kdrun("validate", OWN, "--data-root", ".", code=4, env=CACHE).stderr
    assert "there is no folder ./flowers" in answer, answer
    make_folder()
    answer = kdrun("validate", OWN, "--data-root", ".", 'train.augment=[{ type = "normalize" }]', code=2, env=CACHE).stderr
    assert "have sizes of their own" in answer and "resize" in answer, answer
    answer = kdrun("validate", OWN, "--data-root", ".", "train.augment.1.type=\"resize\"", "train.augment.1.probability=0.5", code=2, env=CACHE).stderr
    assert "resize" in answer, answer
    kdrun("validate", OWN, *SMALL, "--data-root", ".", env=CACHE)


def a_file_that_goes_away_ends_the_run_by_its_name():
    make_folder(images=100)
    command = [KDRUN, "run", str(OWN), "--device", "cpu", *SMALL, "train.epochs=200", 'train.keep_images="off"', "--data-root", "."]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ, **CACHE))
    for line in process.stderr:
        if " epoch " in line:
            break
    pathlib.Path("flowers/rose/3.png").unlink()
    rest = process.stderr.read()
    assert process.wait() == 4, rest
    assert "flowers/rose/3.png was changed since the run began" in rest, rest


main([
    nothing_changes_a_bit_that_is_only_quicker,
    a_run_that_is_stopped_within_an_epoch_goes_on_to_the_same_bits,
    what_is_no_image_is_named_or_left_out,
    what_is_forgotten_is_asked_for,
    a_file_that_goes_away_ends_the_run_by_its_name,
])
