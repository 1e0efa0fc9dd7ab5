"""Prints the GFLOP/s of large matrix products, the most that a network's convolutions can reach on this machine."""

import argparse
import json
import time

import torch

SIZES = {"cpu": 2048, "cuda": 8192}
SECONDS, REPEATS = 2, 3


def measure(device, precision):
    size = SIZES[device]
    left, right = (torch.randn(size, size, device=device).to(precision) for _ in range(2))

    def multiply():
        torch.mm(left, right)
        if device == "cuda":
            torch.cuda.synchronize()

    multiply()
    times, begin = [], time.perf_counter()
    while len(times) < REPEATS or time.perf_counter() - begin < SECONDS:
        start = time.perf_counter()
        multiply()
        times.append(time.perf_counter() - start)
    return 2 * size ** 3 / min(times) / 1e9


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", choices=SIZES, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.backends.cuda.matmul.allow_tf32 = True
    full = "tf32" if arguments.device == "cuda" else "fp32"
    print(json.dumps({full: measure(arguments.device, torch.float32), "bf16": measure(arguments.device, torch.bfloat16)}))


main()
