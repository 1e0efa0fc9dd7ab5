"""Times training over two processes of one core each, in kdrun and in PyTorch's DistributedDataParallel (Gloo), in turn.

Called by tools/benchmark ranks; arguments: KDRUN DATA_ROOT [--rounds N] [--networks NAME ...] [--json]
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CIFAR, MNIST = HERE.parent / "cifar", HERE.parent / "mnist"
sys.path.insert(0, str(HERE.parent / "shared"))
from programs import PYTHON, read_epochs, run_program  # noqa: E402

EPOCHS = 3  # the first of them is not timed, but by the script of MNIST
ONE, TWO_RANKS, TWO_THREADS = "kdrun, 1 process, 1 thread", "kdrun, 2 processes, 1 thread each", "kdrun, 1 process, 2 threads"
DDP, TORCH_ONE = "PyTorch DDP, 2 processes, 1 thread each", "PyTorch, 1 process, 1 thread"


@dataclasses.dataclass
class Networks:
    data: str
    batch: int
    teacher: str  # in the language of recipes
    student: str
    augment: str
    steps: int  # of an epoch
    script: pathlib.Path
    learning_rate: float = 0.05


NETWORKS = {
    "resnet32x4-resnet8x4": Networks("cifar100", 64, '{ type = "resnet", depth = 32, width = 4 }', '{ type = "resnet", depth = 8, width = 4 }',
                                     '[{ type = "random_crop", padding = 4 }, { type = "horizontal_flip" }, { type = "normalize" }]', 12, CIFAR / "careful.py"),
    "mnist-mlp": Networks("mnist", 128, '{ type = "mlp", hidden = [512, 128] }', '{ type = "mlp", hidden = [196] }', '[{ type = "normalize" }]', 468, MNIST / "careful.py"),
}
IMAGES = {"cifar100": 50_000, "mnist": 60_000}


def recipe_of(networks):
    return f"""
[data]
type = "{networks.data}"
fraction = {networks.steps * networks.batch / IMAGES[networks.data]!r}
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


def torchrun(processes):
    return [str(pathlib.Path(sys.executable).parent / "torchrun"), "--nproc-per-node", str(processes)]


def run_kdrun(arguments, networks, processes, threads):
    """Images/s, and the share of its time that the first process spent with the others."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = pathlib.Path(folder) / "recipe.toml"
        recipe.write_text(recipe_of(networks))
        command = [arguments.kdrun, "run", str(recipe), "--device", "cpu", "--data-root", arguments.data, "--run-dir", f"{folder}/runs", "--json",
                   f"train.threads={threads}"]
        if processes > 1:
            command = [*torchrun(processes), "--no-python", *command]
        log = run_program(command, OMP_NUM_THREADS=str(threads))[2]
        together = re.search(r"stage student: (\d+) % of the time was spent with the other processes", log)
        return read_epochs(log, "student", EPOCHS)[1], int(together[1]) / 100 if together else 0


def run_pytorch(arguments, name, teacher, processes):
    networks = NETWORKS[name]
    options = ["--data", arguments.data, "--teacher", teacher, "--epochs", str(EPOCHS)]
    if networks.script.parent == CIFAR:
        options += ["--pair", name, "--steps", str(networks.steps), "--threads", "1", "--learning-rate", str(networks.learning_rate), "--device", "cpu",
                    "--precision", "fp32"]
    else:
        options += ["--batch", str(networks.batch)]
    command = PYTHON if processes == 1 else torchrun(processes)
    return run_program([*command, str(networks.script), *options], OMP_NUM_THREADS="1")[1]["images_per_second"], 0


def make_teacher(arguments, name, folder):
    """A file of weights as the scripts read them."""
    networks = NETWORKS[name]
    if networks.script.parent == CIFAR:
        file = pathlib.Path(folder) / f"{name}.pth"
        run_program([*PYTHON, str(CIFAR / "teacher.py"), "--data", arguments.data, "--pair", name, "--teacher", str(file)])
        return str(file)
    recipe = pathlib.Path(folder) / "teacher.toml"
    recipe.write_text(recipe_of(networks))
    _, result, _ = run_program([arguments.kdrun, "run", str(recipe), "--device", "cpu", "--data-root", arguments.data, "--run-dir", f"{folder}/runs", "--json"])
    return str((pathlib.Path(result["run"]) / "stages/teacher/ckpt/last/model.safetensors").resolve())


def measure(arguments, name, folder):
    networks, rates, shares = NETWORKS[name], {}, {}
    teacher = make_teacher(arguments, name, folder)
    rows = {ONE: lambda: run_kdrun(arguments, networks, 1, 1), TWO_RANKS: lambda: run_kdrun(arguments, networks, 2, 1),
            TWO_THREADS: lambda: run_kdrun(arguments, networks, 1, 2), TORCH_ONE: lambda: run_pytorch(arguments, name, teacher, 1),
            DDP: lambda: run_pytorch(arguments, name, teacher, 2)}
    for number in range(arguments.rounds):  # in turn, so that a machine that drifts slows all of them
        for row, run in rows.items():
            rate, share = run()
            rates.setdefault(row, []).append(rate)
            shares.setdefault(row, []).append(share)
            print(f"{name}, round {number + 1}: {row}: {rate:.0f} images/s", file=sys.stderr)
    return {row: {"images_per_second": statistics.median(rates[row]), "share_together": statistics.median(shares[row])} for row in rows}


def main():
    parser = argparse.ArgumentParser(prog="tools/benchmark ranks")
    parser.add_argument("kdrun")
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--json", action="store_true", help="the results as JSON on stdout")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = {name: measure(arguments, name, folder) for name in arguments.networks}
    if arguments.json:
        print(json.dumps({"cores": os.cpu_count(), "rounds": arguments.rounds, "results": results}, indent=2))
        return
    print(f"{os.cpu_count()} cores, fp32, the teacher computed, median of {arguments.rounds} round(s)")
    for name, rows in results.items():
        print(f"\n{name.replace('-', ' → ')}, batch {NETWORKS[name].batch}\n{'':<42} {'images/s':>9} {'x 1 process':>12} {'% together':>11}")
        for row, found in rows.items():
            alone = rows[TORCH_ONE if row in (TORCH_ONE, DDP) else ONE]["images_per_second"]
            together = f"{100 * found['share_together']:>11.0f}" if row == TWO_RANKS else ""
            print(f"{row:<42} {found['images_per_second']:>9.0f} {found['images_per_second'] / alone:>12.2f} {together}".rstrip())


main()
