"""What tools/export writes is read back with each tracker's own package: every number, setting, result and picture is there, once.

export_test.py KDRUN SOURCE. A tracker whose package neither tools/setup --trackers nor the Python that runs this has is skipped."""

import csv
import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import traceback

SOURCE = pathlib.Path(sys.argv[2])
sys.path.insert(0, str(SOURCE / "tests/recipes"))

from program import KDRUN, RECIPE, kdrun, train

OWN = SOURCE / "build/venv-trackers/bin/python"
PYTHON = str(OWN) if OWN.exists() else sys.executable
READERS = pathlib.Path(__file__).resolve().parent / "export_readers.py"
MORE = """
[[stage]]
name = "together"
scheme = { type = "mutual" }
models = [{ type = "mlp", hidden = [8], name = "net", count = 2, optimizer = { type = "sgd", lr = 0.125 } }]
[[analysis]]
type = "calibration"
"""
NETWORKS = {"teacher": ("teacher", "model"), "student": ("student", "model"), "together.net": ("together", "net"), "together.net_2": ("together", "net_2")}


class Skipped(Exception):
    pass


def export(*arguments, code=0, python=PYTHON):
    done = subprocess.run([python, "-B", SOURCE / "tools/export/export.py", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, f"export {arguments}: exit code {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
    return done


def read_back(tracker, store):
    """By name of its network: what a tracker's own package finds in its store."""
    done = subprocess.run([PYTHON, "-B", READERS, tracker, store], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def train_all(*more):
    pathlib.Path("recipe.toml").write_text(RECIPE + MORE)
    return train("recipe.toml", "runs", *more)


def curves_of(folder, stage, network):
    """Straight from the file, without what was not measured."""
    curves = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if (record["stage"], record["network"]) == (stage, network) and record["value"] is not None:
            curves.setdefault(f"{record['split']}/{record['name']}", []).append([record["step"], record["value"]])
    return curves


def results_of(folder, stage, network):
    table = json.loads((folder / "summary.json").read_text())
    rows = [dict(zip([column["name"] for column in table["columns"]], row)) for row in table["rows"]]
    [row] = [row for row in rows if (row["stage"], row["network"]) == (stage, network)]
    return {f"result/{name}": value for name, value in row.items() if name not in ("stage", "network")}


def exported_with(tracker):
    """Exports a run, twice, and looks at everything that is there then."""
    if tracker != "csv" and subprocess.run([PYTHON, "-c", f"import {tracker}"], capture_output=True).returncode != 0:
        raise Skipped(f"no package '{tracker}' here: tools/setup --trackers installs it")
    folder = train_all()
    name = f"recipe/{folder.name}"
    shutil.copytree(folder, f"copies/{folder.name}")
    store = pathlib.Path("store of mine").resolve()
    first = export(folder, "--to", tracker, "--project", "tests", "--offline-dir", store)
    assert f"{folder}: 5 exported\n" in first.stdout, first.stdout
    again = export(f"copies/{folder.name}", "--to", tracker, "--project", "tests", "--offline-dir", store)
    assert "0 exported, 5 there already\n" in again.stdout, again.stdout
    runs = read_back(tracker, store)
    assert sorted(runs) == sorted([name, *(f"{name}/{network}" for network in NETWORKS)]), runs.keys()
    for network, (stage, own) in NETWORKS.items():
        run = runs[f"{name}/{network}"]
        assert run["group"] in (name, None)  # None: the tracker knows no groups
        curves = {curve: points for curve, points in run["curves"].items() if curve != "epoch"}
        wanted = curves_of(folder, stage, own)
        assert curves == wanted, {curve: (curves.get(curve), points) for curve, points in wanted.items() if curves.get(curve) != points}
        steps = [step for step, _ in wanted["train/loss"]]
        assert run["curves"]["epoch"] == [[step, epoch + 1] for epoch, step in enumerate(steps)]
        assert run["results"] == results_of(folder, stage, own), run["results"]
        settings = {"stage": stage, "network": own, "recipe": "recipe", "status": "ok", "seed": 0, "epochs": 3, "augment.0.type": "random_crop"}
        assert {key: str(run["config"].get(key)) for key in settings} == {key: str(value) for key, value in settings.items()}
        assert str(run["config"]["optimizer.lr"]) == ("0.125" if stage == "together" else "0.05")
        assert str(run["config"]["model.hidden"]) == {"teacher": "[64]"}.get(network, "[8]")
        assert ("teachers.0.stage" in run["config"]) == (network == "student")
        assert not run["images"]
    analyses = runs[name]
    pictures = {file.stem: file.read_bytes() for file in (folder / "analysis").glob("*.png")}
    assert len(pictures) == 4 and analyses["images"].keys() == pictures.keys(), analyses["images"]
    for picture, image in analyses["images"].items():
        png = pictures[picture]
        assert image["size"] == list(struct.unpack(">II", png[16:24])), image
        assert image["digest"] in (hashlib.sha256(png).hexdigest(), None), image  # None: the tracker keeps a file of its own making
    table = json.loads((folder / "analysis/calibration.json").read_text())
    assert analyses["tables"] == {"calibration": table["rows"]}, analyses["tables"]


def wandb_holds_what_a_run_left():
    exported_with("wandb")


def mlflow_holds_what_a_run_left():
    exported_with("mlflow")


def trackio_holds_what_a_run_left():
    exported_with("trackio")


def aim_holds_what_a_run_left():
    exported_with("aim")


def csv_files_hold_what_a_run_left():
    exported_with("csv")


def several_runs_come_to_one_table():
    first = train("recipe.toml", "runs")
    second = train("recipe.toml", "runs", "stage.student.scheme.losses.1.temperature=8", "train.epochs=1")
    export(first, second, "--to", "csv")
    with open("exports/csv/kdrun/runs.csv", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert len(rows) == 4
    students = [rows[f"recipe/{folder.name}/student"] for folder in (first, second)]
    assert [row["scheme.losses.1.temperature"] for row in students] == ["4.0", "8.0"] and [row["epochs"] for row in students] == ["3", "1"]


def a_run_that_failed_is_exported_with_what_there_is():
    diverges = 'stage.student.schedule={type="multistep", milestones=[1], gamma=1e30}'  # in the second epoch
    kdrun("run", "recipe.toml", "--device", "cpu", "--run-dir", "runs", diverges, code=3)
    [folder] = pathlib.Path("runs/recipe").iterdir()
    export(folder, "--to", "csv", "--project", "tests", "--offline-dir", "store")
    runs = read_back("csv", "store")
    teacher, student = (runs[f"recipe/{folder.name}/{stage}"] for stage in ("teacher", "student"))
    assert teacher["config"]["status"] == "ok" and len(teacher["curves"]["train/loss"]) == 3
    assert student["config"]["status"] == "failed" and len(student["curves"]["train/loss"]) == 1 and not student["results"]


def what_cannot_be_exported_is_said():
    assert "is no run folder: there is no run.json in it" in export(".", "--to", "csv", code=4).stderr
    folder = train("recipe.toml", "runs", "train.epochs=1")
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"status": "running"}))
    assert "the run has not ended. Export it when it has; one that was killed goes on in a run folder of its own" in export(folder, "--to", "csv", code=1).stderr
    (folder / "run.json").write_text("{")
    assert "run.json: cannot be read: " in export(folder, "--to", "csv", code=4).stderr
    assert "argument --to: invalid choice: 'excel'" in export(folder, "--to", "excel", code=2).stderr
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "bare"], check=True)
    for tracker in ("wandb", "mlflow", "trackio", "aim"):
        text = export(folder, "--to", tracker, code=1, python="bare/bin/python").stderr
        assert f"error: the package '{tracker}' is not installed for " in text and f": pip install {tracker}; or tools/setup --trackers" in text, text
        assert len(text.splitlines()) == 1, text
    assert not pathlib.Path("exports").exists()  # nothing was made


TESTS = [wandb_holds_what_a_run_left, mlflow_holds_what_a_run_left, trackio_holds_what_a_run_left, aim_holds_what_a_run_left,
         csv_files_hold_what_a_run_left, several_runs_come_to_one_table, a_run_that_failed_is_exported_with_what_there_is,
         what_cannot_be_exported_is_said]
failed = skipped = 0
for test in TESTS:
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
print(f"{len(TESTS) - failed - skipped} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed else 0)
