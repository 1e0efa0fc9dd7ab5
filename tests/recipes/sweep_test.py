"""kdrun sweep with the real program: side by side, killed in the middle, with points that fail; --metric for other programs."""

import csv
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import time

from program import KDRUN, kdrun, main

SWEEP = """
[sweep]
seeds = [0, 1]
grid = { "stage.student.scheme.losses.kd.temperature" = [1, 4] }
"""


def write_recipe(more=SWEEP):
    recipe = pathlib.Path("recipe.toml")
    recipe.write_text(recipe.read_text() + more)


def sweep(*arguments, code=0, jobs="2"):
    return kdrun("sweep", "recipe.toml", "--run-dir", "runs", "--device", "cpu", "--jobs", jobs, *arguments, code=code)


def points():
    (folder,) = pathlib.Path("runs/recipe.sweep").iterdir()
    return list(csv.DictReader(open(folder / "points.csv")))


def every_point_is_a_run_of_its_own_and_the_bits_of_the_command_it_prints():
    write_recipe()
    commands = sweep("--emit-commands").stdout.splitlines()
    assert len(commands) == 4 and not pathlib.Path("runs").exists(), commands
    sweep()
    rows = points()
    assert [row["status"] for row in rows] == ["done"] * 4
    assert len({row["student/test/nll"] for row in rows}) == 4, rows
    assert len({row["teacher/test/nll"] for row in rows}) == 2, rows  # one teacher for each seed
    assert len(list(pathlib.Path("runs/.stages").glob("teacher-*/result.json"))) == 2
    alone = commands[3].replace("--run-dir runs", "--run-dir alone --json").replace("kdrun", KDRUN, 1)
    done = subprocess.run(alone, shell=True, capture_output=True, text=True, check=True)
    assert str(json.loads(done.stdout)["stages"][1]["nll"]) == rows[3]["student/test/nll"]


def a_sweep_that_was_killed_goes_on():
    write_recipe()
    command = [KDRUN, "sweep", "recipe.toml", "--run-dir", "runs", "--device", "cpu", "--jobs", "1", "train.epochs=40"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if ": done" in line:
            break
    process.kill()
    process.wait()
    process.stderr.close()
    deadline = time.monotonic() + 30  # its point is asked to stop by the system
    while time.monotonic() < deadline and "runs/recipe" in subprocess.run(["pgrep", "-af", "kdrun run"], capture_output=True, text=True).stdout:
        time.sleep(0.1)
    first = [row["run"] for row in points() if row["status"] == "done"]
    assert len(first) == 1, points()
    done = kdrun(*command[1:])
    assert "1 of them done before" in done.stderr, done.stderr
    rows = points()
    assert [row["status"] for row in rows] == ["done"] * 4 and rows[0]["run"] == first[0], rows


def a_sweep_that_is_asked_to_stop_stops_its_points_and_goes_on():
    write_recipe()
    command = [KDRUN, "sweep", "recipe.toml", "--run-dir", "runs", "--device", "cpu", "--jobs", "2", "train.epochs=400"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "stage teacher is trained" in line:
            break
    process.send_signal(signal.SIGTERM)
    error = process.stderr.read()
    assert process.wait() == 75, error
    assert "the same command goes on from there" in error, error
    assert {row["status"] for row in points()} <= {"stopped", "waiting"}, points()


def a_point_that_fails_is_named_and_the_others_go_on():
    write_recipe('[sweep]\ngrid = { "stage.student.optimizer.lr" = [0.05, 1e30] }\n')
    done = sweep(code=1)
    assert "failed: lr=1e+30, seed 0" in done.stdout, done.stdout
    assert "1 of 2 points done" in done.stdout and "1 of 2 points failed" in done.stderr, done.stdout + done.stderr
    bad = points()[1]
    assert bad["status"] == "failed" and "error: " in bad["reason"], bad
    # A report tells of it.
    (folder,) = pathlib.Path("runs/recipe.sweep").iterdir()
    assert "points of the sweep without a result" in kdrun_report(folder)


def kdrun_report(folder):
    kdrun("report", folder, "-o", "report.html")
    return pathlib.Path("report.html").read_text()


def what_is_wrong_is_found_before_anything_runs():
    write_recipe('[sweep]\ngrid = { "stage.student.scheme.losses.kd.temprature" = [1] }\n')
    done = sweep(code=2)
    assert re.search(r"recipe.toml:\d+:10: error: .*\n    hint: did you mean 'temperature'", done.stderr), done.stderr
    assert not pathlib.Path("runs").exists()


def a_dry_run_lists_points_commands_and_time():
    write_recipe()
    text = sweep("--dry-run").stdout
    assert "3: temperature=4, seed 1\n    kdrun run recipe.toml" in text, text
    assert re.search(r"4 points, 2 side by side, about \d+s", text), text
    assert not pathlib.Path("runs").exists()


def on_a_terminal_all_points_are_on_one_screen():
    write_recipe()
    master, slave = pty.openpty()
    process = subprocess.Popen([KDRUN, "sweep", "recipe.toml", "--run-dir", "runs", "--device", "cpu", "--jobs", "2", "train.epochs=60"],
                               stdin=slave, stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    text = b""
    while True:
        try:
            more = os.read(master, 4096)
        except OSError:
            break
        if not more:
            break
        text += more
    assert process.wait() == 0
    screen = text.decode()
    assert "of 4 points done" in screen and "\x1b[2K" in screen, screen
    assert re.search(r"  \d: temperature=\d, seed \d: (teacher|student) \d+/60  \d+ img/s", screen), screen


def a_metric_is_the_last_line():
    number = kdrun("run", "recipe.toml", "--device", "cpu", "--metric", "student/test/top1").stdout.splitlines()[-1]
    run = json.loads(kdrun("run", "recipe.toml", "--device", "cpu", "--json").stdout)
    assert float(number) == run["stages"][1]["top1"], number
    with_validation = ["data.validation=100", "--device", "cpu", "--run-dir", "validated"]
    number = float(kdrun("run", "recipe.toml", *with_validation, "--metric", "student/model/validation/nll").stdout.splitlines()[-1])
    folder = pathlib.Path(json.loads(kdrun("run", "recipe.toml", *with_validation, "--json").stdout)["run"])
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    of_student = [record for record in records if record["stage"] == "student" and record["split"] == "validation"]
    accuracy = {record["epoch"]: record["value"] for record in of_student if record["name"] == "top1"}
    best = max(accuracy, key=lambda epoch: (accuracy[epoch], -epoch))
    assert [record["value"] for record in of_student if record["name"] == "nll" and record["epoch"] == best] == [number]


def a_metric_that_there_will_not_be_is_refused_before_training():
    for metric, words in {"student": "names no number", "studnet/test/top1": "did you mean 'student'?", "student/tst/top1": "did you mean 'test'?",
                          "student/test/top2": "did you mean 'top1'?", "student/validation/top1": "has no validation split"}.items():
        error = kdrun("run", "recipe.toml", "--device", "cpu", "--metric", metric, code=2).stderr
        assert words in error, (metric, error)
    assert not pathlib.Path("runs").exists()


def events_tell_what_happens():
    lines = kdrun("run", "recipe.toml", "--device", "cpu", "--events").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert events[0]["event"] == "run" and pathlib.Path(events[0]["folder"]).is_dir(), events[0]
    assert [event["stage"] for event in events if event["event"] == "stage"] == ["teacher", "student"]
    assert sum(event["event"] == "epoch" for event in events) == 6


main([every_point_is_a_run_of_its_own_and_the_bits_of_the_command_it_prints, a_sweep_that_was_killed_goes_on,
      a_sweep_that_is_asked_to_stop_stops_its_points_and_goes_on, a_point_that_fails_is_named_and_the_others_go_on,
      what_is_wrong_is_found_before_anything_runs, a_dry_run_lists_points_commands_and_time, on_a_terminal_all_points_are_on_one_screen,
      a_metric_is_the_last_line, a_metric_that_there_will_not_be_is_refused_before_training, events_tell_what_happens])
