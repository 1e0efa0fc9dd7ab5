"""What the tests of the program share: running kdrun in a folder of its own."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import traceback

KDRUN = sys.argv[1]
SOURCE = pathlib.Path(sys.argv[2])

# Small enough for a test, long enough to be stopped in the middle.
RECIPE = """
title = "a teacher and its student"
[data]
type = "glyphs"
train = 512
test = 200
[train]
epochs = 3
batch_size = 64
threads = 1
precision = "fp32"
optimizer = { type = "sgd", lr = 0.05, momentum = 0.9 }
augment = [{ type = "random_crop" }, { type = "normalize" }]
[[stage]]
name = "teacher"
model = { type = "mlp", hidden = [64], dropout = 0.2 }
[[stage]]
name = "student"
scheme = { type = "vanilla_kd" }
teachers = [{ stage = "teacher" }]
model = { type = "mlp", hidden = [8] }
"""


def kdrun(*arguments, code=0, env=None, **more):
    """Runs kdrun and returns the finished process; ends the test where the exit code is another."""
    environment = dict(os.environ, **(env or {}))
    done = subprocess.run([KDRUN, *map(str, arguments)], capture_output=True, text=True, env=environment, **more)
    assert done.returncode == code, f"kdrun {arguments}: exit code {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
    return done


def train(recipe, runs, *more, **named):
    """Trains a recipe; returns its run folder."""
    return pathlib.Path(json.loads(kdrun("run", recipe, "--device", "cpu", "--run-dir", runs, "--json", *more, **named).stdout)["run"])


class Skipped(Exception):
    """Why a test cannot run here."""


def main(tests):
    """Runs the functions in folders of their own and closes with the line that tools/test counts."""
    failed = skipped = 0
    for test in tests:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            pathlib.Path("recipe.toml").write_text(RECIPE)
            try:
                test()
                print(f"ok      {test.__name__}")
            except Skipped as reason:
                skipped += 1
                print(f"skipped {test.__name__}: {reason}")
            except Exception:
                failed += 1
                print(f"FAILED  {test.__name__}\n{traceback.format_exc()}")
            os.chdir("/")
    print(f"{len(tests) - failed - skipped} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(1 if failed else 0)
