"""Times the same CIFAR-100 distillations in kdrun, in plain and in careful PyTorch, in turn, and prints ratios.

Called by tools/benchmark cifar; arguments: KDRUN DATA_ROOT [--device cpu|cuda] [--pairs NAME ...] [--rounds N] [--steps N]
[--threads N] [--workers N] [--json]
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
sys.path.insert(0, str(HERE.parent / "shared"))
from programs import PYTHON, read_epochs, run_program  # noqa: E402

BATCH, IMAGES = 64, 50_000
EPOCHS = 3  # the first of them is not timed
# Mean losses of the first epoch have a standard deviation of 2 % over random starts (resnet56-resnet20, 20 steps).
LOSS_TOLERANCE = 0.1

PLAIN, CAREFUL, EQUAL = "plain PyTorch", "careful PyTorch", "kdrun, teacher computed"
CAREFUL_BEST, COLD, WARM = "careful PyTorch, its best", "kdrun, its best, cache cold", "kdrun, its best, cache warm"
GRAPH = "careful PyTorch, CUDA graph"


@dataclasses.dataclass
class Pair:
    teacher: str  # in the language of recipes
    student: str
    equal_goal: float  # kdrun to the plain loop at equal arithmetic
    warm_goal: float  # kdrun with a warm cache to the careful loop, each at its best
    learning_rate: float = 0.05  # the published benchmarks take a smaller one for ShuffleNet


def resnet(depth, width):
    return f'{{ type = "resnet", depth = {depth}, width = {width} }}'


PAIRS = {
    "resnet32x4-resnet8x4": Pair(resnet(32, 4), resnet(8, 4), equal_goal=1.15, warm_goal=2.3),
    "wrn_40_2-shufflenet_v1": Pair('{ type = "wrn", depth = 40, widen = 2 }', '{ type = "shufflenet_v1" }',
                                   equal_goal=1.3, warm_goal=1.8, learning_rate=0.01),
    "resnet56-resnet20": Pair(resnet(56, 1), resnet(20, 1), equal_goal=1.15, warm_goal=1.8),
}


@dataclasses.dataclass
class Sample:
    """One program's answer in one round."""
    loss: float  # mean of the first epoch
    rate: float  # images/s of the other epochs
    precision: str


@dataclasses.dataclass
class Row:
    rate: float
    loss: float
    precision: str
    times_plain: float
    times_careful: float
    share: float  # of the rate of matrix products


class Contest:
    """The programs of one pair. Those that train give a sample for each row that they measure."""

    def __init__(self, arguments, name, folder):
        self.arguments, self.name, self.pair = arguments, name, PAIRS[name]
        self.folder, self.teacher = folder, folder / f"{name}.pth"
        self.common = ["--data", arguments.data, "--pair", name, "--teacher", str(self.teacher)]
        self.multiply_adds = self.run_script("teacher", *self.common)

    def run(self, command):
        return run_program(command, OMP_NUM_THREADS=str(self.arguments.threads))

    def run_script(self, script, *options):
        return self.run([*PYTHON, str(HERE / f"{script}.py"), *options])[1]

    def probe(self):
        return self.run_script("matmul", "--threads", str(self.arguments.threads), "--device", self.arguments.device)

    def run_pytorch(self, name, script, seed, *options):
        arguments = self.arguments
        result = self.run_script(script, *self.common, "--steps", str(arguments.steps), "--epochs", str(EPOCHS),
                                 "--threads", str(arguments.threads), "--seed", str(seed),
                                 "--learning-rate", str(self.pair.learning_rate), "--device", arguments.device, *options)
        return {name: Sample(result["loss"], result["images_per_second"], result["precision"])}

    def run_kdrun(self, recipe, seed, stages, *more):
        """`stages`: the row of each stage; `more`: overrides."""
        arguments = self.arguments
        overrides = [f"data.fraction={arguments.steps * BATCH / IMAGES!r}", f"train.epochs={EPOCHS}",
                     f"train.evaluate_every={EPOCHS + 1}", f"train.threads={arguments.threads}",
                     f"train.optimizer.lr={self.pair.learning_rate}", *more]
        teacher = f"{{ file = {json.dumps(str(self.teacher))}, model = {self.pair.teacher} }}"
        for stage in stages:
            overrides += [f"stage.{stage}.model={self.pair.student}", f"stage.{stage}.teachers=[{teacher}]"]
        with tempfile.TemporaryDirectory(dir=self.folder) as runs:
            options = ["--device", arguments.device, "--data-root", arguments.data, "--run-dir", runs, "--json",
                       "--seed", str(seed)]
            _, result, log = self.run([arguments.kdrun, "run", str(HERE / f"{recipe}.toml"), *options, *overrides])
            record = json.loads((pathlib.Path(result["run"]) / "run.json").read_text())
        precisions = {stage["stage"]: stage["precision"] for stage in record["stages"]}
        return {row: Sample(*read_epochs(log, stage, EPOCHS), precisions[stage]) for stage, row in stages.items()}

    def run_round(self, seed):
        yield self.run_pytorch(PLAIN, "plain", seed, "--workers", str(self.arguments.workers))
        yield self.run_pytorch(CAREFUL, "careful", seed, "--precision", "fp32")
        # What PyTorch does with fp32 on a GPU unasked is what kdrun calls tf32.
        equal = ['train.precision="tf32"'] if self.arguments.device == "cuda" else []
        yield self.run_kdrun("equal", seed, {"student": EQUAL}, *equal)
        yield self.run_pytorch(CAREFUL_BEST, "careful", seed, "--precision", "auto")
        if self.arguments.device == "cuda":
            yield self.run_pytorch(GRAPH, "careful", seed, "--precision", "auto", "--graph")
        yield self.run_kdrun("best", seed, {"cold": COLD, "warm": WARM})


def measure(arguments, name, folder):
    """The rows of a pair, medians over the rounds, and the rate of matrix products in GFLOP/s."""
    contest = Contest(arguments, name, folder)
    samples, probes = {}, []
    for number in range(arguments.rounds):  # in turn, so that a machine that drifts slows all of them
        probes.append(contest.probe())
        for found in contest.run_round(number):
            for row, sample in found.items():
                samples.setdefault(row, []).append(sample)
                print(f"{name}, round {number + 1}: {row}: {sample.rate:.0f} images/s", file=sys.stderr)
    products = {precision: statistics.median(probe[precision] for probe in probes) for precision in probes[0]}
    return make_rows(samples, contest.multiply_adds, products), products


def make_rows(samples, multiply_adds, products):
    rates = {row: statistics.median(sample.rate for sample in taken) for row, taken in samples.items()}
    losses = {row: statistics.mean(sample.loss for sample in taken) for row, taken in samples.items()}
    rows = {}
    for row, taken in samples.items():
        # Forward and backward of the student are three forwards of it; a warm cache spares the teacher.
        work = 3 * multiply_adds["student"] + (0 if row == WARM else multiply_adds["teacher"])
        precision = taken[0].precision
        rival = CAREFUL if row in (PLAIN, CAREFUL, EQUAL) else CAREFUL_BEST
        rows[row] = Row(rates[row], losses[row], precision, rates[row] / rates[PLAIN], rates[row] / rates[rival],
                        2e-9 * work * rates[row] / products[precision])
    return rows


def print_pair(name, rows, products):
    rates = ", ".join(f"{rate:.0f} GFLOP/s in {precision}" for precision, rate in products.items())
    print(f"\n{name.replace('-', ' → ')}; matrix products: {rates}")
    print(f"{'':<29} {'precision':>9} {'images/s':>9} {'x plain':>8} {'x careful':>9} {'% of products':>13} "
          f"{'first loss':>10}")
    for row, found in rows.items():
        print(f"{row:<29} {found.precision:>9} {found.rate:>9.0f} {found.times_plain:>8.2f} "
              f"{found.times_careful:>9.2f} {100 * found.share:>13.0f} {found.loss:>10.3f}")


def check_losses(name, rows):
    losses = {row: rows[row].loss for row in (PLAIN, CAREFUL, EQUAL)}
    if max(losses.values()) > (1 + LOSS_TOLERANCE) * min(losses.values()):
        sys.exit(f"{name}: the losses of the first epoch differ: these are not the same trainings: {losses}")


def summarize(name, rows):
    return {"equal": rows[EQUAL].times_plain, "equal_goal": PAIRS[name].equal_goal,
            "cold": rows[COLD].times_careful, "warm": rows[WARM].times_careful, "warm_goal": PAIRS[name].warm_goal}


def print_summary(summaries):
    print(f"\n{'':<25} {'equal arithmetic, x plain':>26} {'goal':>5} {'cold, x careful':>16} {'warm, x careful':>16} "
          f"{'goal':>5}")
    for name, found in summaries.items():
        print(f"{name.replace('-', ' → '):<25} {found['equal']:>26.2f} {found['equal_goal']:>5} {found['cold']:>16.2f} "
              f"{found['warm']:>16.2f} {found['warm_goal']:>5}")


def print_tables(arguments, machine, results, summaries):
    print(f"{arguments.device}, {machine['cores']} cores, load {machine['load']:.1f} at the start; "
          f"{arguments.threads} thread(s), batch {BATCH}, {arguments.steps} steps an epoch, "
          f"median of {arguments.rounds} round(s)")
    for name, (rows, products) in results.items():
        print_pair(name, rows, products)
    print_summary(summaries)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tools/benchmark cifar")
    parser.add_argument("kdrun")
    parser.add_argument("data")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--pairs", choices=PAIRS, nargs="+", default=list(PAIRS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=60,
                        help=f"of {BATCH} images in an epoch; {EPOCHS} epochs, the first not timed")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workers", type=int, default=2, help="processes that load images for the plain loop")
    parser.add_argument("--json", action="store_true", help="the results as JSON on stdout")
    arguments = parser.parse_args()
    if not 1 <= arguments.steps <= IMAGES // BATCH:
        parser.error(f"--steps: from 1 to {IMAGES // BATCH}")
    if arguments.rounds < 1 or arguments.threads < 1:
        parser.error("--rounds and --threads: 1 at least")
    return arguments


def main():
    arguments = parse_arguments()
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        results = {name: measure(arguments, name, pathlib.Path(folder)) for name in arguments.pairs}
    summaries = {name: summarize(name, rows) for name, (rows, _) in results.items()}
    if arguments.json:
        pairs = {name: {"gflops": products, "ratios": summaries[name],
                        "rows": {row: dataclasses.asdict(found) for row, found in rows.items()}}
                 for name, (rows, products) in results.items()}
        setting = {key: getattr(arguments, key) for key in ("rounds", "steps", "threads", "workers")}
        print(json.dumps({**machine, **setting, "batch": BATCH, "pairs": pairs}, indent=2))
    else:
        print_tables(arguments, machine, results, summaries)
    for name, (rows, _) in results.items():
        check_losses(name, rows)


main()
