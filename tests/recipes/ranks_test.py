"""Training over several processes with the real program: what one process trains, errors that all of them give, and processes
that are lost. The variables are torchrun's; tests of the launchers themselves are in launchers_test.py."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

from program import KDRUN, kdrun, main

# A step an epoch, so that every loss of ten steps is recorded; 50 images in 2 or 4 processes: 25, and 12 or 13.
HEAD = """
[data]
type = "glyphs"
train = 50
test = 60
[train]
epochs = 10
batch_size = 50
threads = 1
precision = "fp32"
optimizer = { type = "sgd", lr = 0.05, momentum = 0.9 }
augment = [{ type = "random_crop", padding = 2 }, { type = "normalize" }]
[[stage]]
name = "teacher"
model = { type = "lenet5" }
"""
STUDENTS = {
    "supervised": 'model = { type = "mlp", hidden = [16] }',
    "vanilla_kd": 'scheme = { type = "vanilla_kd" }\nteachers = [{ stage = "teacher" }]\nmodel = { type = "mlp", hidden = [16] }',
    "mixup_kd": 'scheme = { type = "mixup_kd" }\nteachers = [{ stage = "teacher" }]\nmodel = { type = "mlp", hidden = [16] }',
    "ensemble": 'scheme = { type = "vanilla_kd", losses = [{ type = "ensemble" }] }\n'
                'teachers = [{ stage = "teacher" }, { stage = "teacher", temperature = 2 }]\nmodel = { type = "mlp", hidden = [16] }',
    "mutual": 'scheme = { type = "mutual" }\n'
              'models = [{ name = "a", type = "mlp", hidden = [16] }, { name = "b", type = "lenet5" }]',
    "cohort": 'scheme = { type = "cohort" }\n'
              'models = [{ name = "a", type = "mlp", hidden = [16] }, { name = "b", type = "mlp", hidden = [24] },'
              ' { name = "c", type = "lenet5" }]',
    "feature": 'scheme = { type = "vanilla_kd", losses = [{ type = "cross_entropy" }, { type = "feature_mse", taps = ["stage2"] }] }\n'
               'teachers = [{ stage = "teacher" }]\nmodel = { type = "lenet5" }',
    "mixed": 'model = { type = "lenet5" }\naugment = [{ type = "mixup", alpha = 1.0 }, { type = "normalize" }]',
    "pasted": 'model = { type = "lenet5" }\naugment = [{ type = "cutmix" }, { type = "normalize" }]',
    "some_labels": 'data = { unlabelled = 0.5 }\nscheme = { type = "vanilla_kd" }\nteachers = [{ stage = "teacher" }]\n'
                   'model = { type = "mlp", hidden = [16] }',
    "relation": 'scheme = { type = "vanilla_kd", losses = [{ type = "cross_entropy" }, { type = "rkd", taps = ["stage2"] }] }\n'
                'teachers = [{ stage = "teacher" }]\nmodel = { type = "lenet5" }',
    "bank": 'scheme = { type = "vanilla_kd", losses = [{ type = "cross_entropy" }, { type = "crd", negatives = 32, width = 16 }] }\n'
            'teachers = [{ stage = "teacher" }]\nmodel = { type = "lenet5" }',
}
TOLERANCE = 1e-5  # of a loss, in fp32; of a small one, which is a difference of larger numbers, of 0.1


def write_recipe(students=STUDENTS, head=HEAD):
    stages = [f'[[stage]]\nname = "{name}"\n{student}\n' for name, student in students.items()]
    pathlib.Path("recipe.toml").write_text(head + "\n".join(stages))


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(size, runs, *more, ranks=None, port=None, recipe="recipe.toml", **variables):
    """The processes of a launch. Rank 0 serves the others, as where nobody else does."""
    port = port or free_port()
    started = []
    for rank in ranks if ranks is not None else range(size):
        environment = dict(os.environ, RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(size),
                           MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS="1", **variables)
        command = [KDRUN, "run", recipe, "--device", "cpu", "--run-dir", runs, *more]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    return started


def finish(started, code=0, seconds=120):
    """What each of them said; ends the test where an exit code is another."""
    ended = [process.communicate(timeout=seconds) for process in started]
    codes = [process.returncode for process in started]
    assert codes == [code] * len(started), (codes, ended)
    return [out + error for out, error in ended]


def losses(runs):
    """The training loss of every step, by stage and network."""
    found = {}
    newest = max(pathlib.Path(runs, "recipe").glob("*/metrics.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    for line in newest.read_text().splitlines():
        record = json.loads(line)
        if record["split"] == "train" and record["name"].startswith("loss") or record["name"] in ("nll", "top1"):
            key = (record["stage"], record["network"], record["split"], record["name"])
            found.setdefault(key, []).append(record["value"])
    return found


def weights(runs):
    return {str(file.relative_to(runs)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(pathlib.Path(runs, ".stages").glob("*/ckpt/last/*.safetensors")) if file.name != "training.safetensors"}


def differences(expected, found, tolerance=TOLERANCE):
    assert expected.keys() == found.keys(), (sorted(expected), sorted(found))
    for key, values in expected.items():
        for step, (one, other) in enumerate(zip(values, found[key], strict=True)):
            if abs(one - other) > tolerance * max(abs(one), 0.1):
                yield f"{key}, step {step}: {other}, alone {one}"


def two_and_four_processes_have_the_losses_of_one():
    write_recipe()
    finish(start(1, "alone"))
    alone = losses("alone")
    assert all(len(values) == 10 for values in alone.values())
    for size in 2, 4:
        said = finish(start(size, f"of{size}"))
        assert all(not words for words in said[1:]), said[1:]
        problems = list(differences(alone, losses(f"of{size}")))
        assert not problems, "\n".join(problems)


def the_same_run_has_the_same_bits():
    write_recipe({"vanilla_kd": STUDENTS["vanilla_kd"], "mutual": STUDENTS["mutual"]})
    finish(start(2, "one"))
    finish(start(2, "two"))
    assert weights("one") == weights("two") and len(weights("one")) == 4, weights("one")


def synchronised_batch_norm_has_the_losses_of_one():
    # At a small rate, or rounding grows tenfold with each step.
    write_recipe({"convolutional": 'model = { type = "resnet", depth = 8 }'},
                 HEAD.replace('"lenet5"', '"resnet", depth = 8').replace("lr = 0.05", "lr = 0.001"))
    finish(start(1, "alone"))
    for size in 2, 3:
        finish(start(size, f"of{size}", "train.sync_batch_norm=true"))
        problems = list(differences(losses("alone"), losses(f"of{size}")))
        assert not problems, "\n".join(problems)
    finish(start(2, "apart"))
    assert list(differences(losses("alone"), losses("apart"))), "statistics of parts are no others"


def recorded_results_are_those_of_the_network_that_is_kept():
    """Each process has running statistics of its own rows."""
    write_recipe({}, HEAD.replace('"lenet5"', '"resnet", depth = 8').replace("lr = 0.05", "lr = 0.2"))
    finish(start(2, "runs"))
    recorded = losses("runs")["teacher", "model", "test", "nll"][-1]
    (run,) = pathlib.Path("runs/recipe").glob("*/metrics.jsonl")
    (measured,) = json.loads(kdrun("eval", run.parent, "--device", "cpu", "--json").stdout)
    assert abs(measured["nll"] - recorded) < 1e-5 * recorded, (measured, recorded)


SPREAD = ('scheme = { type = "cohort", order = "simultaneous", strategy = "ensemble", placement = "spread" }\n'
          'models = [{ name = "a", type = "mlp", hidden = [16] }, { name = "b", type = "resnet", depth = 8, schedule = { type = "plateau" } },'
          ' { name = "c", type = "lenet5" }]')


def contents(runs):
    """Of weights, whatever the stage that they are of."""
    return sorted(weights(runs).values())


def networks_of_a_cohort_on_processes_of_their_own_have_the_bits_of_one():
    head, stages = HEAD.split("[[stage]]")[0], {"cohort": SPREAD}
    write_recipe(stages, head)
    finish(start(1, "alone"))
    said = finish(start(3, "spread"))
    assert all(not words for words in said[1:]), said[1:]
    problems = list(differences(losses("alone"), losses("spread"), tolerance=0))
    assert not problems, "\n".join(problems)
    assert len(losses("alone")["cohort", "c", "train", "loss/kd"]) == 10
    assert len(contents("alone")) == 3 and contents("alone") == contents("spread")
    said = finish(start(2, "two"), code=2, seconds=60)
    assert "3 networks for 2 processes" in said[0], said


def a_spread_cohort_that_is_stopped_goes_on():
    head = HEAD.split("[[stage]]")[0].replace("train = 50", "train = 300")
    write_recipe({"cohort": SPREAD}, head)
    finish(start(3, "whole"))
    started = start(3, "parts")
    for line in started[0].stderr:
        if "epoch 2/" in line:
            break
    started[1].send_signal(signal.SIGTERM)
    finish(started, code=75)
    assert "going on after" in finish(start(3, "parts"))[0]
    assert contents("whole") == contents("parts")
    assert losses("whole") == losses("parts")


def a_run_goes_on_with_other_numbers_of_processes():
    write_recipe({}, HEAD.replace("epochs = 10", "epochs = 60").replace("train = 50", "train = 400"))
    settings = "train.checkpoint_seconds=0.1", "train.evaluate_every=60", "train.optimizer.lr=0.0003"
    finish(start(1, "whole", *settings))
    for size in 2, 3, 1:
        started = start(size, "parts", *settings)
        for line in started[0].stderr:
            if "epoch" in line:
                break
        started[0].send_signal(signal.SIGTERM)
        finish(started, code=75)
    assert "going on after" in finish(start(2, "parts", *settings))[0]
    expected, found = losses("whole"), losses("parts")
    assert expected.keys() == found.keys()
    for key, values in expected.items():
        # At so small a rate other orders of sums stay rounding for five hundred steps (at ten times the rate they grow to 30 %);
        # an image counts for 1/400 of the accuracy in training and 1/60 in the test, and may stand at a boundary.
        tolerance = {"train": 0.01, "test": 0.02}[key[2]] if key[-1] == "top1" else 1e-4
        for epoch, (one, other) in enumerate(zip(values, found[key], strict=True)):
            assert abs(one - other) < tolerance * max(1, abs(one)), (key, epoch, one, other)


def long_run():
    write_recipe({}, HEAD.replace("epochs = 10", "epochs = 100000").replace("train = 50", "train = 500"))
    return "train.checkpoint_seconds=0.2", "train.evaluate_every=50"


def wait_for_checkpoint(runs):
    deadline = time.monotonic() + 60
    while not list(pathlib.Path(runs).glob(".stages/*/ckpt/step*")):
        assert time.monotonic() < deadline, "there was no checkpoint"
        time.sleep(0.05)


def goes_on(size, *arguments):
    """Starts a run that was stopped, waits until it goes on, and stops it again."""
    started = start(size, *arguments)
    for line in started[0].stderr:
        if "going on after" in line:
            break
    started[0].send_signal(signal.SIGTERM)
    finish(started, code=75)


def a_process_that_is_killed_stops_the_others_and_the_run_goes_on():
    settings = long_run()
    for victim in 0, 1:
        shutil.rmtree("runs", ignore_errors=True)
        started = start(2, "runs", *settings)
        wait_for_checkpoint("runs")
        started[victim].kill()
        started[victim].communicate()
        begin = time.monotonic()
        other = started[1 - victim]
        out, error = other.communicate(timeout=60)
        assert other.returncode == 75, (other.returncode, error)
        assert time.monotonic() - begin < 20, time.monotonic() - begin
        assert "goes on from the last checkpoint" in error, error
    goes_on(3, "runs", *settings)


def a_signal_to_one_or_all_stops_all_at_one_step():
    settings = long_run()
    for receivers in (0, 1), (1,):
        shutil.rmtree("runs", ignore_errors=True)
        started = start(2, "runs", *settings)
        wait_for_checkpoint("runs")
        for rank in receivers:
            started[rank].send_signal(signal.SIGTERM)
        said = finish(started, code=75)
        steps = [words.split(" steps, at a checkpoint")[0].rsplit(" ", 1)[1] for words in said]
        assert steps[0] == steps[1], said
        goes_on(2, "runs", *settings)


def a_process_that_hangs_is_given_up():
    settings = long_run()
    started = start(2, "runs", *settings, "--timeout", "3")
    wait_for_checkpoint("runs")
    started[1].send_signal(signal.SIGSTOP)
    try:
        out, error = started[0].communicate(timeout=60)
        assert started[0].returncode == 75 and "did not answer for 3 s" in error, (started[0].returncode, error)
    finally:
        started[1].kill()
        started[1].communicate()


def an_error_of_one_is_the_error_of_all():
    write_recipe({"supervised": STUDENTS["supervised"]})
    # The first finds its run folder not to be a folder, after they have met.
    pathlib.Path("blocked").mkdir()
    pathlib.Path("blocked/recipe").write_text("in the way")
    said = start(2, "blocked")
    texts = [process.communicate(timeout=60)[1] for process in said]
    assert all(process.returncode not in (0, 75) for process in said), texts
    assert said[0].returncode == said[1].returncode, [process.returncode for process in said]
    assert "rank 0 ended:" in texts[1], texts


def different_recipes_and_settings_are_refused_by_all():
    write_recipe({"supervised": STUDENTS["supervised"]})
    shutil.copy("recipe.toml", "other.toml")
    pathlib.Path("other.toml").write_text(pathlib.Path("recipe.toml").read_text().replace("lr = 0.05", "lr = 0.06"))
    port = free_port()
    said = finish(start(2, "runs", ranks=[0], port=port) + start(2, "runs", ranks=[1], port=port, recipe="other.toml"), code=2, seconds=30)
    for words in said:
        assert "the processes do not agree: the recipe of rank 0 is" in words, said
    assert not pathlib.Path("runs/recipe").exists()


def missing_and_contradicting_variables_are_refused():
    write_recipe({})
    variables = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29512"}
    for name in "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT":
        given = {key: value for key, value in variables.items() if key != name}
        said = kdrun("run", "recipe.toml", code=2, env=given).stderr
        assert f"torchrun started, but {name} is not set" in said, said
    said = kdrun("run", "recipe.toml", code=2, env={**variables, "RANK": "2"}).stderr
    assert "RANK = '2' is no whole number from 0 to 1" in said, said
    said = kdrun("run", "recipe.toml", code=2, env={**variables, "OMPI_COMM_WORLD_SIZE": "2"}).stderr
    assert "both torchrun and mpirun" in said, said
    said = kdrun("compare", "runs", code=2, env=variables).stderr
    assert "'kdrun compare' runs in one process" in said, said


def others_that_do_not_come_are_named():
    write_recipe({})
    said = finish(start(2, "runs", "--patience", "3", ranks=[0]), code=1, seconds=40)
    assert "rank 1 of 2 did not come within 3 s" in said[0], said


def a_log_of_each_rank_on_request():
    write_recipe({})
    finish(start(2, "runs", "--rank-logs", "logs"))
    assert [file.name for file in pathlib.Path("logs").iterdir()] == ["rank_1.log"]
    assert "stage teacher" in pathlib.Path("logs/rank_1.log").read_text()


if __name__ == "__main__":
    main([two_and_four_processes_have_the_losses_of_one, the_same_run_has_the_same_bits,
          synchronised_batch_norm_has_the_losses_of_one, recorded_results_are_those_of_the_network_that_is_kept,
          networks_of_a_cohort_on_processes_of_their_own_have_the_bits_of_one, a_spread_cohort_that_is_stopped_goes_on,
          a_run_goes_on_with_other_numbers_of_processes,
          a_process_that_is_killed_stops_the_others_and_the_run_goes_on, a_signal_to_one_or_all_stops_all_at_one_step,
          a_process_that_hangs_is_given_up, an_error_of_one_is_the_error_of_all, different_recipes_and_settings_are_refused_by_all,
          missing_and_contradicting_variables_are_refused, others_that_do_not_come_are_named, a_log_of_each_rank_on_request])
