"""Stages of a recipe side by side, and some of them alone, with the real program."""

import hashlib
import pathlib
import signal
import subprocess

from program import KDRUN, kdrun, main

# Two teachers that do not need each other, and a student of both.
STAGES = """
[data]
type = "glyphs"
train = 512
test = 100
[train]
epochs = 3
batch_size = 64
threads = 1
precision = "fp32"
optimizer = { type = "sgd", lr = 0.05, momentum = 0.9 }
[[stage]]
name = "one"
model = { type = "mlp", hidden = [64] }
[[stage]]
name = "two"
model = { type = "lenet5" }
[[stage]]
name = "student"
scheme = { type = "vanilla_kd", losses = [{ type = "ensemble" }] }
teachers = [{ stage = "one" }, { stage = "two" }]
model = { type = "mlp", hidden = [8] }
"""


def write_recipe(more=""):
    pathlib.Path("recipe.toml").write_text(STAGES + more)


def run(runs, *more, code=0):
    return kdrun("run", "recipe.toml", "--device", "cpu", "--run-dir", runs, *more, code=code)


def weights(runs):
    return {file.parts[-4]: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in pathlib.Path(runs, ".stages").glob("*/ckpt/last/model.safetensors")}


def side_by_side_gives_the_bits_of_one_after_the_other():
    write_recipe()
    run("alone")
    done = run("together", "--jobs", "2")
    assert weights("alone") == weights("together") and len(weights("alone")) == 3
    assert len(list(pathlib.Path("together/recipe").glob("*/run.json"))) == 1
    said = done.stdout + done.stderr
    # The student waits for both teachers, which do not wait for each other.
    places = [said.index(words) for words in ("stage one: begins", "stage two: begins", "stage one: done", "stage student: begins")]
    assert places == sorted(places), said
    assert said.count("student epoch 3/3") == 1 and said.count("reused from") == 3, said


def a_stage_that_fails_leaves_the_others_theirs():
    write_recipe("""
[[stage]]
name = "bad"
model = { type = "mlp", hidden = [64] }
optimizer = { lr = 1e30 }
[[stage]]
name = "student_of_bad"
scheme = { type = "vanilla_kd" }
teachers = [{ stage = "bad" }]
model = { type = "mlp", hidden = [8] }
""")
    done = run("runs", "--jobs", "2", code=3)
    assert "2 of 5 stages failed, the others are kept" in done.stderr, done.stderr
    assert "stage 'bad': " in done.stderr and "not finite" in done.stderr, done.stderr
    assert "stage 'student_of_bad': needs one that failed" in done.stderr, done.stderr
    assert sorted(name.rsplit("-", 1)[0] for name in weights("runs") if "bad" not in name) == ["one", "student", "two"]
    assert not pathlib.Path("runs/recipe").exists()


def stages_by_name_are_kept_for_runs_to_come():
    write_recipe()
    done = run("runs", "--stages", "one")
    assert "one" in done.stdout and "run folder" not in done.stdout and not pathlib.Path("runs/recipe").exists(), done.stdout
    assert [name.split("-")[0] for name in weights("runs")] == ["one"]
    done = run("runs", "--stages", "student")
    assert "stage one: already trained" in done.stderr and len(weights("runs")) == 3, done.stderr
    assert run("runs").stderr.count("already trained") == 3
    said = run("runs", "--stages", "studnet", code=2).stderr
    assert "the recipe has no stage 'studnet'" in said and "did you mean 'student'?" in said, said


def a_run_that_is_asked_to_stop_goes_on():
    write_recipe()
    command = [KDRUN, "run", "recipe.toml", "--device", "cpu", "--run-dir", "runs", "--jobs", "2", "train.epochs=80", "train.evaluate_every=80"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "epoch" in line:
            break
    process.send_signal(signal.SIGTERM)
    error = process.stderr.read()
    assert process.wait() == 75 and "the same command goes on" in error, error
    done = kdrun(*command[1:])
    assert "going on after" in "".join(file.read_text() for file in pathlib.Path("runs/.jobs/recipe").glob("*.log")), done.stderr


def a_stop_lets_every_stage_reach_a_checkpoint():
    """Also one whose step takes longer than the others need to end: a second signal would cut it off."""
    write_recipe("""
[[stage]]
name = "slow"
batch_size = 512
model = { type = "resnet", depth = 20, width = 2 }
""")
    command = [KDRUN, "run", "recipe.toml", "--device", "cpu", "--run-dir", "runs", "--jobs", "3", "train.epochs=2000", "train.evaluate_every=2000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    logs = pathlib.Path("runs/.jobs/recipe")
    for line in process.stderr:
        if "epoch" in line and (logs / "slow.log").exists() and "stage slow: " in (logs / "slow.log").read_text():
            break
    process.send_signal(signal.SIGTERM)
    process.stderr.read()
    assert process.wait() == 75
    for stage in "one", "two", "slow":
        said = (logs / f"{stage}.log").read_text()
        assert "at a checkpoint; the same command goes on from there" in said, said


def what_does_not_go_together_is_refused():
    write_recipe()
    for more in ("--fresh",), ("--stages", "one"):
        assert f"{more[0]} excludes --jobs" in run("runs", "--jobs", "2", *more, code=2).stderr


if __name__ == "__main__":
    main([side_by_side_gives_the_bits_of_one_after_the_other, a_stage_that_fails_leaves_the_others_theirs,
          stages_by_name_are_kept_for_runs_to_come, a_run_that_is_asked_to_stop_goes_on,
          a_stop_lets_every_stage_reach_a_checkpoint, what_does_not_go_together_is_refused])
