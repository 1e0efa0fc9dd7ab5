"""What the Python programs of the CIFAR-100 benchmark share: arguments, images, the pair, and how epochs are timed."""

import argparse
import json
import pathlib
import time

import numpy
import torch
from networks import PAIRS

BATCH = 64
MEAN, DEVIATION = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


def make_parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--pair", choices=PAIRS, required=True)
    parser.add_argument("--teacher", required=True, help="file of the teacher's weights")
    parser.add_argument("--steps", type=int, required=True, help="of an epoch")
    parser.add_argument("--epochs", type=int, required=True, help="the first of them is not timed")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def start(parser):
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    return arguments


def make_optimizer(student, arguments, **more):
    return torch.optim.SGD(student.parameters(), lr=arguments.learning_rate, momentum=0.9, weight_decay=5e-4, **more)


def make_networks(arguments):
    make_teacher, make_student = PAIRS[arguments.pair]
    teacher = make_teacher()
    teacher.load_state_dict(torch.load(arguments.teacher, weights_only=True))
    return teacher.eval().to(arguments.device), make_student().train().to(arguments.device)


def full_precision(arguments):
    """How PyTorch computes convolutions of fp32 numbers when nobody says otherwise."""
    return "tf32" if arguments.device == "cuda" else "fp32"


def read_images(root, count):
    """The first training images as bytes, rows of pixels with their colours, and their labels."""
    file = pathlib.Path(root) / "cifar-100-binary" / "train.bin"
    records = numpy.fromfile(file, numpy.uint8, count * (2 + 3 * 32 * 32)).reshape(count, -1)
    images = records[:, 2:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return numpy.ascontiguousarray(images), records[:, 1].astype("int64")


def report_epochs(train_epoch, arguments, precision, quiet=False):
    """Calls `train_epoch`, which gives the mean loss; prints the first epoch's loss and the speed of the others."""
    losses, seconds = [], []
    for _ in range(arguments.epochs):
        begin = time.perf_counter()
        losses.append(train_epoch())
        seconds.append(time.perf_counter() - begin)
    images = arguments.steps * BATCH * (arguments.epochs - 1)
    rate = images / sum(seconds[1:])
    if not quiet:
        print(json.dumps({"loss": losses[0], "images_per_second": rate, "precision": precision}))
