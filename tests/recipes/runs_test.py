"""The list of runs, and their removal, beside runs that go on, were stopped, were killed and failed."""

import csv
import io
import json
import pathlib
import re
import signal
import subprocess

from program import KDRUN, kdrun, main, train


def begin(*more):
    """A training that has begun its second epoch."""
    process = subprocess.Popen([KDRUN, "run", "recipe.toml", "--device", "cpu", "train.epochs=4000", *more], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if " epoch 1/" in line:
            return process
    raise AssertionError("it did not begin")


def end(process, with_signal):
    process.send_signal(with_signal)
    process.stderr.read()
    return process.wait()


def table(*arguments):
    """The rows that kdrun runs shows, by their columns."""
    return list(csv.DictReader(io.StringIO(kdrun("runs", "--format", "csv", *arguments).stdout)))


def files_below(folder):
    return {str(path) for path in pathlib.Path(folder).rglob("*")}


def every_end_of_a_run_has_its_status():
    ended = train("recipe.toml", "runs", "--seed", "5")
    kdrun("run", "recipe.toml", "train.optimizer.lr=1e30", "--device", "cpu", code=3)
    stopped = begin("--seed", "6")
    assert end(stopped, signal.SIGTERM) == 75
    killed = begin("--seed", "7")
    assert table("--status", "running")[0]["seed"] == "7"
    end(killed, signal.SIGKILL)
    rows = table()
    assert {row["seed"]: row["status"] for row in rows} == {"5": "ok", "0": "failed", "6": "stopped", "7": "interrupted"}, rows
    assert {row["recipe"] for row in rows} == {"recipe"} and str(ended) in [row["folder"] for row in rows], rows
    assert {row["seed"] for row in table("--status", "failed,stopped")} == {"0", "6"}
    assert table("--status", "running") == []
    assert [row["status"] for row in table("--sort", "status")] == ["failed", "interrupted", "ok", "stopped"]
    as_json = json.loads(kdrun("runs", "--format", "json").stdout)
    assert [column["name"] for column in as_json["columns"]][:3] == ["recipe", "run", "status"] and len(as_json["rows"]) == 4


def sizes_are_those_of_du():
    train("recipe.toml", "runs")
    run = train("recipe.toml", "runs", "analysis=[{ type = 'class_accuracy' }]")  # uses the same stages
    def du(*folders):
        return sum(int(line.split()[0]) for line in subprocess.run(["du", "-sB1", *folders], capture_output=True, text=True, check=True).stdout.splitlines())
    first, second = sorted(table(), key=lambda row: row["folder"] == str(run))
    assert int(second["own_bytes"]) == du(run), (second, du(run))
    stages = list(pathlib.Path("runs/.stages").glob("*[0-9a-f]"))
    assert len(stages) == 2 and int(first["stage_bytes"]) == int(second["stage_bytes"]) == du(*stages)
    text = kdrun("runs").stdout
    def shown(size):
        return f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"
    shared = shown(du(*stages))
    assert text.splitlines()[-1] == f"2 run(s): {shown(int(first['own_bytes']) + int(second['own_bytes']))} of their own, {shared} of 2 stage(s)", text
    assert len(re.findall(shared, text)) == 3, text  # each run's, and together


def a_profile_is_shown():
    pathlib.Path("recipe.toml").write_text(pathlib.Path("recipe.toml").read_text() + "\n[profile.tiny]\ntrain = { epochs = 1 }\n")
    train("recipe.toml", "runs", "--profile", "tiny")
    assert table()[0]["profile"] == "tiny"


def what_is_no_run_is_named():
    train("recipe.toml", "runs")
    pathlib.Path("runs/recipe/notes").mkdir()
    pathlib.Path("runs/mine/x").mkdir(parents=True)
    pathlib.Path("runs/mine/x/run.json").write_text("{")
    done = kdrun("runs")
    assert len(done.stdout.splitlines()) == 3, done.stdout
    assert done.stderr == ("warning: runs/mine/x is left out: its run.json is damaged\n"
                           "warning: runs/recipe/notes is left out: it holds no run.json\n"), done.stderr
    assert kdrun("runs", "--recipe", "recip", code=2).stderr.endswith("error: no run below runs is of a recipe 'recip'\n"
                                                                        "    hint: did you mean 'recipe'?\n")
    assert "there is no folder nowhere" in kdrun("runs", "--run-dir", "nowhere", code=4).stderr
    for arguments in (["--status", "happy"], ["--sort", "colour"], ["--format", "xml"], ["remove"], ["remove", "x", "--unused-stages"]):
        kdrun("runs", *arguments, code=2)
    pathlib.Path("none").mkdir()
    assert kdrun("runs", "--run-dir", "none").stdout == "0 run(s): 0.0 kB of their own, 0.0 kB of 0 stage(s)\n"


def exactly_what_was_shown_goes():
    alone = train("recipe.toml", "runs", "--seed", "1")
    first = train("recipe.toml", "runs")
    second = train("recipe.toml", "runs", "stage.student.epochs=2")  # the same teacher
    before = files_below("runs")
    plan = kdrun("runs", "remove", first, f"recipe/{alone.name}")
    (teacher,) = {str(pathlib.Path(f"runs/.stages/{(second / 'stages/teacher').resolve().name}"))}
    assert f"would keep {teacher}: {second} links to it\n" in plan.stdout, plan.stdout
    assert plan.stdout.count("would remove ") == 5 and plan.stdout.endswith("; --yes removes it\n"), plan.stdout
    assert files_below("runs") == before
    done = kdrun("runs", "remove", first, f"recipe/{alone.name}", "--yes")
    gone = re.findall(r"^removed (\S+)$", done.stdout, re.M)
    assert gone == re.findall(r"^would remove (\S+) ", plan.stdout, re.M), (done.stdout, plan.stdout)
    expected = {path for path in before if not any(path == one or path.startswith(one + "/") for one in gone)}
    assert files_below("runs") == expected, files_below("runs") ^ expected
    assert kdrun("runs", "remove", "--unused-stages").stdout == "there is nothing to remove\n"
    again = kdrun("run", "recipe.toml", "--device", "cpu")  # finds the one and trains the other anew
    assert "stage teacher: already trained" in again.stderr and "stage student: already trained" not in again.stderr, again.stderr


def a_run_that_goes_on_is_not_removed():
    finished = train("recipe.toml", "runs")
    process = begin("--seed", "3")
    (running,) = table("--status", "running")
    before = files_below("runs/.stages")
    refusal = kdrun("runs", "remove", finished, running["folder"], "--yes", code=1).stderr
    assert f"error: {running['folder']} is running, as process {process.pid}\n    hint: stop it first" in refusal, refusal
    assert finished.exists(), "nothing goes where one of them must not"
    # Its stage is linked to by nobody yet.
    done = kdrun("runs", "remove", "--unused-stages", "--yes").stdout
    assert re.fullmatch(r"kept runs/.stages/teacher-[0-9a-f]{16}: " + running["folder"] + r" is running and has a stage of this name\n", done), done
    assert files_below("runs/.stages") >= before
    end(process, signal.SIGTERM)
    plan = kdrun("runs", "remove", "--unused-stages").stdout
    assert "unfinished: the run that was stopped would go on from it" in plan and plan.count("would remove") == 1, plan
    assert "of stages that no run links to: kdrun runs remove --unused-stages" in kdrun("runs").stdout
    kdrun("runs", "remove", running["folder"], "--yes")
    kdrun("runs", "remove", "--unused-stages", "--yes")
    assert "--unused-stages" not in kdrun("runs").stdout


def a_stage_is_trained_and_removed_at_once_and_both_end_well():
    """Runs that end while stages are removed: each links to stages that are whole."""
    trainings = [subprocess.Popen([KDRUN, "run", "recipe.toml", "--device", "cpu", "--seed", str(seed)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                 for seed in range(3)]
    while any(process.poll() is None for process in trainings):
        if pathlib.Path("runs/.stages").exists():
            kdrun("runs", "remove", "--unused-stages", "--yes")
    assert [process.returncode for process in trainings] == [0, 0, 0], [process.stderr.read() for process in trainings]
    assert len(table("--status", "ok")) == 3
    for row in table():
        for stage in (pathlib.Path(row["folder"]) / "stages").iterdir():
            assert (stage / "result.json").exists(), stage


main([every_end_of_a_run_has_its_status, sizes_are_those_of_du, a_profile_is_shown, what_is_no_run_is_named, exactly_what_was_shown_goes,
      a_run_that_goes_on_is_not_removed, a_stage_is_trained_and_removed_at_once_and_both_end_well])
