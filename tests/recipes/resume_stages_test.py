"""Every scheme, and optimizers and data that keep something between steps, stopped in the middle of an epoch: the run that goes on
ends with the bits and the recorded losses of one that was never stopped. tests/torch/components_test.cpp does so with every loss."""

import hashlib
import json
import pathlib
import re
import shutil
import signal
import subprocess

from program import KDRUN, kdrun, main

HEAD = """
[data]
type = "glyphs"
train = 328
test = 40
[train]
epochs = 10
batch_size = 24
threads = 1
precision = "fp32"
checkpoint_seconds = 1000
optimizer = { type = "sgd", lr = 0.01, momentum = 0.9 }
augment = [{ type = "random_crop", padding = 2 }, { type = "normalize" }]
[[stage]]
name = "teacher"
epochs = 2
model = { type = "lenet5" }
[[stage]]
name = "other_teacher"
epochs = 2
model = { type = "mlp", hidden = [24] }
"""
TAUGHT = 'teachers = [{ stage = "teacher" }]\n'
STUDENT = 'model = { type = "lenet5" }\n'
PAIR = 'models = [{ name = "a", type = "lenet5" }, { name = "b", type = "lenet5" }]\n'
TRIO = 'models = [{ name = "a", type = "mlp", hidden = [16] }, { name = "b", type = "lenet5" }, { name = "c", type = "mlp", hidden = [12] }]\n'
WEB = 'data = { unlabelled_from = { type = "glyphs", train = 90, seed = 1, share = 1.0 } }\n'


def by_losses(*losses, teachers=TAUGHT):
    return f'scheme = {{ type = "vanilla_kd", losses = [{{ type = "cross_entropy" }}, {", ".join(losses)}] }}\n{teachers}{STUDENT}'


STAGES = {
    "supervised": 'scheme = { type = "supervised" }\n' + STUDENT + 'augment = [{ type = "mixup", alpha = 1.0 }, { type = "normalize" }]\n',
    "vanilla_kd": 'scheme = { type = "vanilla_kd" }\n' + TAUGHT + 'model = { type = "mlp", hidden = [16], dropout = 0.3 }\n',
    "mixup_kd": 'scheme = { type = "mixup_kd" }\n' + TAUGHT + STUDENT,
    "mutual": 'scheme = { type = "mutual" }\n' + PAIR,
    "cohort": 'scheme = { type = "cohort" }\n' + TRIO,
    "joint_average": 'scheme = { type = "joint_average" }\n' + TRIO,
    "ctsl_mkt": 'scheme = { type = "ctsl_mkt" }\nteachers = [{ stage = "teacher" }, { stage = "teacher" }]\n'
                'models = [{ name = "a", type = "lenet5", init = { stage = "teacher" } }, { name = "b", type = "lenet5" }]\n',
    "diversified": 'scheme = { type = "diversified" }\n' + TAUGHT +
                   'models = [{ name = "a", type = "lenet5" }, { name = "b", type = "mlp", hidden = [16] }]\n',
    "bss": 'scheme = { type = "bss", samples = 6, steps = 3, boundary_weight = 1.0 }\n' + TAUGHT + STUDENT,
    "inconsistent_kd": 'scheme = { type = "inconsistent_kd", steps = 2 }\n' + TAUGHT + STUDENT,
    "kd3": 'scheme = { type = "kd3" }\n' + TAUGHT + STUDENT + WEB,
    # What else is kept: averages, momenta of two kinds, shares of batches, places in the order of another source.
    "two_teachers": by_losses('{ type = "kd" }', '{ type = "feature_mse", taps = ["pooled"] }',
                              teachers='teachers = [{ stage = "teacher", weight = 2.0 }, { stage = "other_teacher", temperature = 2.0 }]\n'),
    "two_momenta": 'scheme = { type = "vanilla_kd" }\n' + TAUGHT + STUDENT + 'optimizer = { type = "dot", lr = 0.01, momentum = 0.9, delta = 0.05 }\n',
    "langevin": STUDENT + 'optimizer = { type = "entropy_sgd", lr = 0.05 }\n',
    "branches": 'scheme = { type = "supervised", losses = [{ type = "one" }] }\n'
                'model = { type = "branches", model = { type = "resnet", depth = 8 }, branches = 2, from = "stage3" }\nepochs = 3\n',
    "widths": 'scheme = { type = "supervised", losses = [{ type = "slimmable" }] }\n'
              'model = { type = "slimmable", depth = 8, width = 1, widths = [0.5, 1.0] }\nepochs = 3\n',
    "unlabelled": by_losses('{ type = "kd" }') + 'data = { unlabelled_from = { type = "glyphs", train = 90, seed = 1, share = 0.4 } }\n',
    "average": 'scheme = { type = "vanilla_kd" }\n' + TAUGHT + STUDENT + 'ema = 0.9\naccumulate = 4\n',
}


SAID = []  # all lines of the runs that were stopped and went on


def write_recipe():
    stages = [f'[[stage]]\nname = "{name}"\n{stage}' for name, stage in STAGES.items()]
    pathlib.Path("recipe.toml").write_text(HEAD + "\n".join(stages))


def losses(runs):
    """What was recorded of each stage, in order."""
    newest = max(pathlib.Path(runs, "recipe").glob("*/metrics.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    records = {}
    for line in newest.read_text().splitlines():
        record = json.loads(line)
        records.setdefault(record["stage"], []).append((record["split"], record["name"], record.get("step"), record["value"]))
    return records


def kept(runs):
    """The bits of what each stage kept: networks, and all that training goes on from."""
    newest = max(pathlib.Path(runs, "recipe").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    return {stage.name: {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(stage.glob("ckpt/last/*.safetensors"))}
            for stage in sorted((newest / "stages").iterdir())}


def every_scheme_is_here():
    known = {part["name"] for part in json.loads(kdrun("list", "scheme", "--json").stdout)["components"]}
    missing = known - STAGES.keys()
    assert not missing, f"no stage is stopped that trains by {sorted(missing)}"


def stop_within(stage, ends):
    """Runs until the stage is in its second epoch, and stops it there; whether that was at another step than the `ends` of epochs."""
    process = subprocess.Popen([KDRUN, "run", "recipe.toml", "--device", "cpu", "--run-dir", "parts"], stderr=subprocess.PIPE, text=True)
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith(f"{stage} epoch 1/"):
            break
    process.send_signal(signal.SIGTERM)
    said.append(process.stderr.read())
    SAID.extend("".join(said).splitlines())
    assert process.wait() in (0, 75), f"stage {stage}: exit code {process.returncode}\n{''.join(said)}"
    (folder,) = (folder for folder in pathlib.Path("parts/.stages").glob(f"{stage}-*") if folder.is_dir())
    stopped = re.search(rf"stopped in stage '{stage}' after (\d+) steps, at a checkpoint", said[-1])
    if stopped and int(stopped[1]) not in ends:
        return True
    shutil.rmtree(folder)  # it was done, or at the end of an epoch
    return False


def a_stage_that_is_stopped_within_an_epoch_ends_with_the_same_bits():
    write_recipe()
    kdrun("run", "recipe.toml", "--device", "cpu", "--run-dir", "whole")
    whole = losses("whole")
    for stage in STAGES:
        ends = {step for _, _, step, _ in whole[stage]}
        assert any(stop_within(stage, ends) for _ in range(8)), f"stage {stage} is never stopped within an epoch"
    SAID.extend(kdrun("run", "recipe.toml", "--device", "cpu", "--run-dir", "parts").stderr.splitlines())
    parts = losses("parts")
    kept_whole, kept_parts = kept("whole"), kept("parts")
    assert STAGES.keys() <= kept_whole.keys()
    for stage, bits in kept_whole.items():
        if stage in STAGES:
            assert any(line.startswith(f"stage {stage}: going on after ") for line in SAID), f"stage {stage} began anew"
        assert whole[stage] == parts[stage], stage
        assert bits and bits == kept_parts[stage], stage


if __name__ == "__main__":
    main([every_scheme_is_here, a_stage_that_is_stopped_within_an_epoch_ends_with_the_same_bits])
