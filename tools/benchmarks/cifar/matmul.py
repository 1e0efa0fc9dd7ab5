"""Prints the GFLOP/s of large matrix products, the most that a network's convolutions can reach on this machine."""

import argparse
import json
import time

import torch

SIZE, SECONDS, REPEATS = 2048, 2, 3


def measure(precision):
    left, right = torch.randn(SIZE, SIZE).to(precision), torch.randn(SIZE, SIZE).to(precision)
    torch.mm(left, right)
    times, begin = [], time.perf_counter()
    while len(times) < REPEATS or time.perf_counter() - begin < SECONDS:
        start = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - start)
    return 2 * SIZE ** 3 / min(times) / 1e9


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, required=True)
    torch.set_num_threads(parser.parse_args().threads)
    print(json.dumps({"fp32": measure(torch.float32), "bf16": measure(torch.bfloat16)}))


main()
