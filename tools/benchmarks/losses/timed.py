"""Prints what a forward and backward pass of a loss takes in plain PyTorch: timed.py LOSS_VALUES NAME PASSES fp32|bf16

The shapes of features and layers are those that the program LOSS_VALUES uses for its own timing.
"""

import contextlib
import pathlib
import statistics
import subprocess
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import plain  # noqa: E402
from given import Given  # noqa: E402

SAMPLES, CLASSES, ROWS = 50000, 100, 64


def shapes_of(program, name):
    loss, parameters, _ = plain.LOSSES[name]
    done = subprocess.run([program, "shapes"], input=f"{name}\t{loss}\t{parameters}\n", text=True, capture_output=True, check=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return {tensor: [int(size) for size in sizes.split()] for _, tensor, sizes in lines}


def make_given(shapes, bfloat16):
    def features(group):
        tensors = {}
        for name, shape in shapes.items():
            if not name.startswith(group + "/"):
                continue
            tensor = torch.randn(shape)
            tensor = tensor if "_pre" in name or name.endswith("logits") else tensor.abs()
            if tensor.dim() == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)  # as networks give them
            tensors[name.split("/")[1]] = tensor.bfloat16() if bfloat16 and not name.endswith("logits") else tensor
        return tensors

    given = Given(student=features("student"), teacher=features("teacher"), labels=torch.arange(ROWS), index=torch.arange(ROWS))
    given.parameters = {name.split("/")[1]: torch.randn(shape) * 0.1 for name, shape in shapes.items() if name.startswith("parameter/")}
    given.buffers = {name.split("/")[1]: torch.randn(shape) for name, shape in shapes.items() if name.startswith("buffer/")}
    if "order" in given.buffers:
        labels = torch.arange(SAMPLES) % CLASSES
        given.buffers["order"] = torch.argsort(labels, stable=True)
        given.buffers["begin"], given.buffers["count"] = labels * (SAMPLES // CLASSES), torch.full_like(labels, SAMPLES // CLASSES)
    given.draws = {"negatives": torch.rand(ROWS, 16384), "noise": torch.randn(ROWS, 3 * CLASSES)}
    channels = shapes.get("student/stage3", [0, 256])[1]
    given.student_head = given.teacher_head = torch.randn(channels, CLASSES)
    given.batch_norm = {name: (torch.rand(feature.shape[1]) + 0.1, torch.randn(feature.shape[1]))
                        for name, feature in given.teacher.items() if name.endswith("_pre")}
    return given


def main():
    program, name, passes, precision = sys.argv[1:5]
    torch.set_num_threads(1)
    torch.manual_seed(1)
    given = make_given(shapes_of(program, name), precision == "bf16")
    times = []
    for _ in range(int(passes) + 1):
        for tensors in (given.student, given.parameters):
            for key in tensors:
                tensors[key] = tensors[key].detach().requires_grad_(True)
        begin = time.perf_counter()
        autocast = torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
        with autocast:
            value = plain.LOSSES[name][2](given)
        torch.autograd.grad(value, list(given.student.values()) + list(given.parameters.values()), allow_unused=True)
        times.append((time.perf_counter() - begin) * 1000)
    print(f"{name}\t{statistics.median(times[1:])}")


main()
