"""Times every loss, forward and backward, in kdrun and in plain PyTorch, in turn, and prints the ratios.

Called by tools/benchmark losses; arguments: KDRUN DATA_ROOT [--rounds N] [--precisions P ...] [--losses NAME ...]. The features are
those of resnet32x4 and resnet8x4 for 64 images of CIFAR-100, on one thread. MB is what a pass of kdrun's adds to the memory of its process. DATA_ROOT is not read.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import plain  # noqa: E402

PASSES = 5  # in a process, of which the median counts


def run(command, lines):
    done = subprocess.run(command, input=lines, text=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return [line.split("\t") for line in done.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kdrun")
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--losses", nargs="+", default=list(plain.LOSSES), choices=list(plain.LOSSES))
    arguments = parser.parse_args()
    program = pathlib.Path(arguments.kdrun).parent / "loss_values"
    cases = {name: f"{name}\t{plain.LOSSES[name][0]}\t{plain.LOSSES[name][1]}\n" for name in arguments.losses}
    for precision in arguments.precisions:
        ours, theirs, memory = {name: [] for name in cases}, {name: [] for name in cases}, {}
        for _ in range(arguments.rounds):
            for name, line in cases.items():  # each beside its like: a machine that drifts slows both
                _, milliseconds, memory[name] = run([program, "time", str(PASSES), precision], line)[0]
                ours[name].append(float(milliseconds))
                timed = run([sys.executable, "-B", HERE / "timed.py", str(program), name, str(PASSES), precision], "")
                theirs[name].append(float(timed[0][1]))
        print(f"\n{precision}, milliseconds forward and backward, median of {arguments.rounds} rounds")
        print(f"{'':<20} {'kdrun':>9} {'PyTorch':>9} {'ratio':>6} {'MB':>6}")
        ratios = []
        for name in cases:
            a, b = statistics.median(ours[name]), statistics.median(theirs[name])
            ratios.append(a / b)
            print(f"{name:<20} {a:>9.2f} {b:>9.2f} {a / b:>6.2f} {float(memory[name]):>6.0f}", flush=True)
        print(f"{'median':<20} {'':>9} {'':>9} {statistics.median(ratios):>6.2f}")


main()
