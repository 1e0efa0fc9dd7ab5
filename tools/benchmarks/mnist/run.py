"""Times the same MNIST distillation in kdrun, in plain and in careful PyTorch, as whole processes in turn, and prints ratios.

Called by tools/benchmark mnist; arguments: KDRUN DATA_ROOT [--rounds N] [--epochs N] [--batch N ...]
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "shared"))
from programs import PYTHON, run_program  # noqa: E402


def kdrun_command(arguments, runs, *overrides, profile=None):
    command = [arguments.kdrun, "run", str(HERE / "recipe.toml"), "--device", "cpu", "--data-root", arguments.data, "--run-dir", str(runs),
               "--fresh", "--json", *overrides]
    return command + (["--profile", profile] if profile else [])


def train_teacher(arguments, folder):
    _, result, _ = run_program(kdrun_command(arguments, folder / "teacher", profile="teacher"))
    return (pathlib.Path(result["run"]) / "stages/student/ckpt/last/model.safetensors").resolve()


def contestants(arguments, teacher, batch, runs):
    """Name -> (command, how to read accuracy and images/s from its JSON)."""
    options = ["--data", arguments.data, "--teacher", str(teacher), "--batch", str(batch), "--epochs", str(arguments.epochs)]
    stage = f'stage.student.teachers=[{{ file="{teacher}", model={{ type="mlp", hidden=[512, 128] }} }}]'
    common = [stage, f"train.batch_size={batch}", f"train.epochs={arguments.epochs}"]

    def from_script(result):
        return result["accuracy"], result["images_per_second"]

    def from_kdrun(result):
        # The stage's seconds include its evaluations.
        return result["stages"][0]["top1"], 60000 * arguments.epochs / result["stages"][0]["seconds"]

    return {
        "plain PyTorch": (PYTHON + [str(HERE / "plain.py")] + options, from_script),
        "careful PyTorch": (PYTHON + [str(HERE / "careful.py")] + options, from_script),
        "kdrun, teacher computed": (kdrun_command(arguments, runs, *common, 'train.teacher_cache="off"'), from_kdrun),
        "kdrun, teacher cached": (kdrun_command(arguments, runs, *common), from_kdrun),
    }


def measure(arguments, teacher, batch, runs):
    entries = contestants(arguments, teacher, batch, runs)
    results = {name: [] for name in entries}
    for _ in range(arguments.rounds):  # in turn, so that a machine that drifts slows all of them
        for name, (command, read) in entries.items():
            seconds, output, _ = run_program(command)
            results[name].append((seconds, *read(output)))
    print(f"\nbatch {batch}, {arguments.epochs} epochs, median of {arguments.rounds} rounds")
    print(f"{'':<25} {'process s':>10} {'images/s':>10} {'top-1 %':>8} {'x plain':>8} {'x careful':>9}")
    median = {name: statistics.median(seconds for seconds, _, _ in rows) for name, rows in results.items()}
    for name, rows in results.items():
        rate = statistics.median(rate for _, _, rate in rows)
        accuracy = statistics.mean(accuracy for _, accuracy, _ in rows)
        print(f"{name:<25} {median[name]:>10.2f} {rate:>10.0f} {100 * accuracy:>8.2f} {median['plain PyTorch'] / median[name]:>8.1f} "
              f"{median['careful PyTorch'] / median[name]:>9.2f}")
    accuracies = [accuracy for rows in results.values() for _, accuracy, _ in rows]
    # The standard error of an accuracy near 97 % over 10 000 images is 0.17 points.
    if max(accuracies) - min(accuracies) > 0.01:
        sys.exit("the accuracies differ by more than a point: these are not the same trainings")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kdrun")
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 100])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        teacher = train_teacher(arguments, folder)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
        for batch in arguments.batch:
            measure(arguments, teacher, batch, folder / "runs")


main()
