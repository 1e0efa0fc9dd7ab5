"""Times training over two processes of one core each, in kdrun and in PyTorch's DistributedDataParallel (Gloo), in turn.

Called by tools/benchmark ranks; arguments: KDRUN DATA_ROOT [--rounds N] [--steps N] [--networks NAME ...] [--json]
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CIFAR = HERE.parent / "cifar"
sys.path.insert(0, str(HERE.parent / "shared"))
from programs import PYTHON, read_epochs, run_program  # noqa: E402

EPOCHS = 3  # the first of them is not timed
ONE, TWO_RANKS, TWO_THREADS = "kdrun, 1 process, 1 thread", "kdrun, 2 processes, 1 thread each", "kdrun, 1 process, 2 threads"
DDP, TORCH_ONE = "PyTorch DDP, 2 processes, 1 thread each", "PyTorch, 1 process, 1 thread"


@dataclasses.dataclass
class Networks:
    data: str
    batch: int
    teacher: str  # in the language of recipes
    student: str
    augment: str
    learning_rate: float = 0.05


NETWORKS = {
    "resnet32x4-resnet8x4": Networks("cifar100", 64, '{ type = "resnet", depth = 32, width = 4 }', '{ type = "resnet", depth = 8, width = 4 }',
                                     '[{ type = "random_crop", padding = 4 }, { type = "horizontal_flip" }, { type = "normalize" }]'),
    "mnist-mlp": Networks("mnist", 128, '{ type = "mlp", hidden = [512, 128] }', '{ type = "mlp", hidden = [196] }', '[{ type = "normalize" }]'),
}
IMAGES = {"cifar100": 50_000, "mnist": 60_000}


def recipe_of(networks, arguments):
    return f"""
[data]
type = "{networks.data}"
fraction = {arguments.steps * networks.batch / IMAGES[networks.data]!r}
[train]
epochs = {EPOCHS}
evaluate_every = {EPOCHS + 1}
batch_size = {networks.batch}
precision = "fp32"
teacher_cache = "off"
optimizer = {{ type = "sgd", lr = {networks.learning_rate}, momentum = 0.9, weight_decay = 5e-4 }}
augment = {networks.augment}
[[stage]]
name = "teacher"
epochs = 1
model = {networks.teacher}
[[stage]]
name = "student"
scheme = {{ type = "vanilla_kd", losses = [{{ type = "cross_entropy", weight = 0.1 }}, {{ type = "kd", temperature = 4, weight = 0.9 }}] }}
teachers = [{{ stage = "teacher" }}]
model = {networks.student}
"""


def run_kdrun(arguments, networks, processes, threads):
    with tempfile.TemporaryDirectory() as folder:
        recipe = pathlib.Path(folder) / "recipe.toml"
        recipe.write_text(recipe_of(networks, arguments))
        command = [arguments.kdrun, "run", str(recipe), "--device", "cpu", "--data-root", arguments.data, "--run-dir", f"{folder}/runs", "--json",
                   f"train.threads={threads}"]
        if processes > 1:
            torchrun = pathlib.Path(sys.executable).parent / "torchrun"
            command = [str(torchrun), "--no-python", "--nproc-per-node", str(processes), *command]
        return read_epochs(run_program(command, OMP_NUM_THREADS=str(threads))[2], "student", EPOCHS)[1]


def run_pytorch(arguments, name, teacher, processes):
    options = ["--data", arguments.data, "--pair", name, "--teacher", teacher, "--steps", str(arguments.steps), "--epochs", str(EPOCHS), "--threads", "1",
               "--learning-rate", str(NETWORKS[name].learning_rate), "--device", "cpu", "--precision", "fp32"]
    command = [*PYTHON, str(CIFAR / "careful.py"), *options]
    if processes > 1:
        torchrun = pathlib.Path(sys.executable).parent / "torchrun"
        command = [str(torchrun), "--nproc-per-node", str(processes), str(CIFAR / "careful.py"), *options]
    return run_program(command, OMP_NUM_THREADS="1")[1]["images_per_second"]


def measure(arguments, name, folder):
    networks, rates = NETWORKS[name], {}
    has_script = networks.data == "cifar100"
    teacher = str(pathlib.Path(folder) / f"{name}.pth")
    if has_script:
        run_program([*PYTHON, str(CIFAR / "teacher.py"), "--data", arguments.data, "--pair", name, "--teacher", teacher])
    for number in range(arguments.rounds):  # in turn, so that a machine that drifts slows all of them
        rows = {ONE: lambda: run_kdrun(arguments, networks, 1, 1), TWO_RANKS: lambda: run_kdrun(arguments, networks, 2, 1),
                TWO_THREADS: lambda: run_kdrun(arguments, networks, 1, 2)}
        if has_script:
            rows[TORCH_ONE] = lambda: run_pytorch(arguments, name, teacher, 1)
            rows[DDP] = lambda: run_pytorch(arguments, name, teacher, 2)
        for row, run in rows.items():
            rates.setdefault(row, []).append(run())
            print(f"{name}, round {number + 1}: {row}: {rates[row][-1]:.0f} images/s", file=sys.stderr)
    return {row: statistics.median(found) for row, found in rates.items()}


def main():
    parser = argparse.ArgumentParser(prog="tools/benchmark ranks")
    parser.add_argument("kdrun")
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40, help=f"of an epoch; {EPOCHS} epochs, the first not timed")
    parser.add_argument("--networks", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--json", action="store_true", help="the results as JSON on stdout")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = {name: measure(arguments, name, folder) for name in arguments.networks}
    if arguments.json:
        print(json.dumps({"cores": os.cpu_count(), "steps": arguments.steps, "rounds": arguments.rounds, "images_per_second": results}, indent=2))
        return
    print(f"{os.cpu_count()} cores, fp32, the teacher computed, {arguments.steps} steps an epoch, median of {arguments.rounds} round(s)")
    for name, rows in results.items():
        print(f"\n{name.replace('-', ' → ')}, batch {NETWORKS[name].batch}\n{'':<42} {'images/s':>9} {'x 1 process':>12}")
        for row, rate in rows.items():
            print(f"{row:<42} {rate:>9.0f} {rate / rows[TORCH_ONE if row == DDP else ONE]:>12.2f}")


main()
