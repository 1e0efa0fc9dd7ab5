"""What both PyTorch scripts of the benchmark share: the networks, the teacher's weights, and reading the files."""

import argparse
import json
import pathlib

import numpy
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

LEARNING_RATE = 0.05


class Mlp(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.count = len(sizes) - 1
        for i in range(self.count):
            setattr(self, f"fc{i + 1}", nn.Linear(sizes[i], sizes[i + 1]))

    def forward(self, x):
        x = x.flatten(1)
        for i in range(1, self.count):
            x = functional.relu(getattr(self, f"fc{i}")(x))
        return getattr(self, f"fc{self.count}")(x)


def make_networks(teacher_file):
    teacher = Mlp(784, 512, 128, 10)
    teacher.load_state_dict(load_file(teacher_file))
    return teacher.eval(), Mlp(784, 196, 10)


def read_split(root, prefix):
    folder = pathlib.Path(root) / "mnist"
    images = numpy.frombuffer((folder / f"{prefix}-images-idx3-ubyte").read_bytes()[16:], numpy.uint8).reshape(-1, 28, 28)
    labels = numpy.frombuffer((folder / f"{prefix}-labels-idx1-ubyte").read_bytes()[8:], numpy.uint8)
    return images, labels


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    return arguments


def report(accuracy, images_per_second):
    print(json.dumps({"accuracy": accuracy, "images_per_second": images_per_second}))
