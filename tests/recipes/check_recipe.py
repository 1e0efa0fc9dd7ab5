"""Trains the smoke profile of a recipe and compares its numbers with a golden file.

check_recipe.py KDRUN RECIPE GOLDEN [--device cuda] [--update]

Machines round differently (AVX2, AVX-512, other thread counts), and training amplifies that: the loss of the first epoch must
agree to 0.5 %, later losses to 10 %, and the last accuracy to 8 points (a few hundred test images). --update writes the golden file. --device cuda is skipped where there is no GPU.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

FIRST_LOSS, LATER_LOSS, ACCURACY = 0.005, 0.10, 0.08
SKIPPED = 77


def train(kdrun, recipe, device):
    with tempfile.TemporaryDirectory() as runs:
        command = [kdrun, "run", recipe, "--profile", "smoke", "--device", device, "--run-dir", runs, "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        if device != "cpu" and f"device '{device}' is not there" in done.stderr:
            print(done.stderr)
            sys.exit(SKIPPED)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr}")
        folder = pathlib.Path(json.loads(done.stdout)["run"])
        numbers = {}
        for line in (folder / "metrics.jsonl").read_text().splitlines():
            record = json.loads(line)
            name = f"{record['split']}/{record['name']}"
            if name in ("train/loss", "test/top1"):
                key = f"{record['stage']}/{record['network']}/{name}"
                numbers.setdefault(key, []).append(round(record["value"], 6))
        return numbers


def compare(golden, measured):
    problems = []
    if list(golden) != list(measured):
        problems.append(f"other numbers: {sorted(set(golden) ^ set(measured))}")
    for key in golden.keys() & measured.keys():
        want, have = golden[key], measured[key]
        if len(want) != len(have):
            problems.append(f"{key}: {len(have)} epochs, {len(want)} in the golden file")
        elif key.endswith("top1"):
            if abs(want[-1] - have[-1]) > ACCURACY:
                problems.append(f"{key}: {have[-1]} at the end, {want[-1]} in the golden file")
        else:
            for epoch, (a, b) in enumerate(zip(want, have)):
                tolerance = FIRST_LOSS if epoch == 0 else LATER_LOSS
                if abs(a - b) > tolerance * abs(a):
                    problems.append(f"{key}: {b} in epoch {epoch + 1}, {a} in the golden file")
    return problems


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kdrun")
    parser.add_argument("recipe")
    parser.add_argument("golden", type=pathlib.Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--update", action="store_true")
    arguments = parser.parse_args()
    recipe, golden = arguments.recipe, arguments.golden
    measured = train(arguments.kdrun, recipe, arguments.device)
    if arguments.update:
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(json.dumps(measured, indent=1) + "\n")
        return
    if not golden.exists():
        sys.exit(f"{recipe} has no golden file {golden}; write it with --update and look at its numbers")
    problems = compare(json.loads(golden.read_text()), measured)
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(measured)} curves agree")


if __name__ == "__main__":
    main()
