# Holds kdrun's losses against the same in plain PyTorch: the value, and the gradients by features, logits and learned layers.
"""usage: compare_losses.py LOSS_VALUES [NAME...]

Runs the program LOSS_VALUES for every case of tools/benchmarks/losses/plain.py with four pairs of shapes, and computes
each from the same features and weights in double precision. One line per case; exit status 1 where any of them differs.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "benchmarks" / "losses"))
import plain  # noqa: E402
from given import Given  # noqa: E402

TOLERANCE = 1e-9  # largest difference of a tensor, relative to 1 + its largest magnitude
SHAPES = ("equal", "wider", "larger", "smaller")
EQUAL_CHANNELS = {"fsp", "kdsvd"}  # refused with others
# Constants that keep the denominators of a method's code above 0 lie elsewhere here.
WIDER_TOLERANCE = {"pkd": 2e-6, "dist": 1e-6}


def read_dump(folder):
    tensors = {}
    for line in (folder / "index.txt").read_text().splitlines():
        name, shape, file = line.split("\t")
        numbers = numpy.fromfile(folder / file, dtype="<f8").reshape([int(size) for size in shape.split()])
        tensors[name] = torch.from_numpy(numbers.copy())
    return tensors


def group(tensors, prefix):
    return {name[len(prefix):]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def given_by(dump):
    def leaves(tensors):
        return {name: tensor.clone().requires_grad_(True) for name, tensor in tensors.items()}

    scales = {name: dump[f"batch_norm/{name}/scale"] for name in group(dump, "teacher/") if name.endswith("_pre")}
    norms = {name: (scale, dump[f"batch_norm/{name}/shift"]) for name, scale in scales.items()}
    return Given(student=leaves(group(dump, "student/")), teacher=group(dump, "teacher/"),
                       labels=dump["labels"].long(), index=dump["index"].long(),
                       parameters=leaves(group(dump, "parameter/")), buffers=group(dump, "buffer/"),
                       draws=group(dump, "draw/"), student_head=dump["student_head"],
                       teacher_head=dump["teacher_head"], batch_norm=norms)


def difference(ours, theirs):
    return float((ours - theirs).abs().max() / (1 + theirs.abs().max()))


def compare(name, dump):
    """The largest difference, and where it is."""
    given = given_by(dump)
    value = plain.LOSSES[name][2](given)
    inputs = [("student/" + key, tensor) for key, tensor in given.student.items()]
    inputs += [("parameter/" + key, tensor) for key, tensor in given.parameters.items()]
    gradients = torch.autograd.grad(value, [tensor for _, tensor in inputs], allow_unused=True)
    worst = (difference(dump["value"], value.detach()), "value")
    for (key, tensor), gradient in zip(inputs, gradients):
        gradient = torch.zeros_like(tensor) if gradient is None else gradient
        worst = max(worst, (difference(dump["gradient/" + key], gradient), "gradient/" + key))
    return worst


def main():
    program, wanted = sys.argv[1], sys.argv[2:]
    failures = 0
    for shapes in SHAPES:
        names = [name for name, (loss, _, _) in plain.LOSSES.items()
                 if (not wanted or name in wanted) and not (loss in EQUAL_CHANNELS and shapes != "equal")]
        lines = "".join(f"{name}\t{plain.LOSSES[name][0]}\t{plain.LOSSES[name][1]}\n" for name in names)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([program, "dump", folder, shapes], input=lines, text=True, check=True,
                           env={**os.environ, "OMP_NUM_THREADS": "1"})
            for number, name in enumerate(names):
                worst, where = compare(name, read_dump(pathlib.Path(folder) / str(number)))
                tolerance = WIDER_TOLERANCE.get(name, TOLERANCE)
                verdict = "ok" if worst <= tolerance else "DIFFERS"
                failures += verdict != "ok"
                print(f"{name:20} {shapes:8} {worst:.1e} {where:32} {verdict}")
    print(f"{failures} differ" if failures else "all agree")
    return 1 if failures else 0


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    sys.exit(main())
