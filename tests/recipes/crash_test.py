"""Results that were damaged, and kills at the worst moments: what is kept is right, mended, or trained anew and said so."""

import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

from program import KDRUN, kdrun, main, train

VALIDATED = ["data.validation=100", "train.epochs=4", "train.checkpoint_seconds=0"]


def stage_folder(run, stage):
    return (run / "stages" / stage).resolve()


def best_bytes(run, stage):
    return hashlib.sha256((stage_folder(run, stage) / "ckpt/best/model.safetensors").read_bytes()).hexdigest()


def table(run):
    return {stage["stage"]: stage["networks"][0]["test_top1"] for stage in json.loads((run / "run.json").read_text())["stages"]}


def links_that_a_kill_left_behind_are_repaired():
    """The moments between a checkpoint's rename and its links: everything is there, and the links are older."""
    whole = train("recipe.toml", "whole", *VALIDATED)
    run = train("recipe.toml", "runs", *VALIDATED)
    folder = stage_folder(run, "teacher")
    old = folder / "ckpt" / "step-00000001"
    best = folder / "ckpt/best"
    old.mkdir()
    for file in (folder / "ckpt/last").resolve().iterdir():  # an older, intact checkpoint that the links still point to
        (old / file.name).write_bytes(file.read_bytes())
    for link in ("last", "best"):
        (folder / "ckpt" / link).unlink()
        (folder / "ckpt" / link).symlink_to(old.name)
    (folder / "result.json").unlink()
    again = train("recipe.toml", "runs", *VALIDATED)
    assert best_bytes(again, "teacher") == best_bytes(whole, "teacher")
    assert best_bytes(again, "student") == best_bytes(whole, "student")
    assert table(again) == table(whole)
    evaluated = {item["stage"]: item["top1"] for item in json.loads(kdrun("eval", again, "--json", "--device", "cpu").stdout)}
    assert evaluated == table(whole), (evaluated, table(whole))
    assert best.exists()


def a_damaged_best_is_trained_anew_and_said():
    run = train("recipe.toml", "runs", *VALIDATED)
    before, shown = best_bytes(run, "teacher"), table(run)
    folder = stage_folder(run, "teacher")
    for checkpoint in {(folder / "ckpt" / link).resolve() for link in ("best", "last")}:
        with open(checkpoint / "model.safetensors", "r+b") as file:
            file.seek(300)
            file.write(b"\xff\xff\xff\xff")
        done = kdrun("run", "recipe.toml", "--device", "cpu", *VALIDATED)
        assert "warning: stage teacher: what was kept of it is damaged" in done.stderr, done.stderr
        assert best_bytes(run, "teacher") == before
        assert table(train("recipe.toml", "runs", *VALIDATED)) == shown


def a_changed_number_never_reaches_the_table():
    run = train("recipe.toml", "runs")
    result = stage_folder(run, "teacher") / "result.json"
    result.write_text(re.sub(r'"top1": 0\.\d+', '"top1": 0.999', result.read_text()))
    done = kdrun("run", "recipe.toml", "--device", "cpu", "--json")
    assert "was changed" in done.stderr, done.stderr
    assert table(pathlib.Path(json.loads(done.stdout)["run"])) == table(run)


def lost_settings_are_written_again():
    run = train("recipe.toml", "runs")
    settings = stage_folder(run, "teacher") / "settings.toml"
    text = settings.read_text()
    for damage in (settings.unlink, lambda: settings.write_text("epochs = 3"), lambda: settings.write_text(text[:100])):
        damage()
        train("recipe.toml", "runs")
        assert settings.read_text() == text
        kdrun("eval", run, "--device", "cpu")


def numbers_that_are_not_finite_end_the_run():
    error = kdrun("run", "recipe.toml", "train.optimizer.lr=1e38", "--max-steps", "1", "--device", "cpu", code=3).stderr
    assert "not finite" in error, error
    kdrun("run", "recipe.toml", "train.optimizer.lr=1e38", "--max-steps", "1", "--device", "cpu", code=3)  # nothing was kept of it


def two_that_train_anew_at_once_both_do():
    train("recipe.toml", "runs")
    processes = [subprocess.Popen([KDRUN, "run", "recipe.toml", "--fresh", "--device", "cpu", "train.epochs=15"],
                                  stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], texts
    assert not [path.name for path in pathlib.Path("runs/.stages").iterdir() if ".fresh" in path.name or ".replaced" in path.name]


def a_stage_that_a_kill_moved_aside_comes_back():
    run = train("recipe.toml", "runs")
    folder = stage_folder(run, "teacher")
    folder.rename(str(folder) + ".replaced")
    again = kdrun("run", "recipe.toml", "--device", "cpu")
    assert "stage teacher: already trained" in again.stderr, again.stderr


def a_hang_up_under_nohup_is_ignored():
    process = subprocess.Popen([KDRUN, "run", "recipe.toml", "--device", "cpu", "train.epochs=60"], stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    for line in process.stderr:
        if " epoch 3/" in line:
            break
    process.send_signal(signal.SIGHUP)
    process.stderr.read()
    assert process.wait() == 0


def a_full_or_closed_terminal_does_not_end_a_run():
    with open("/dev/full", "w") as full:
        done = subprocess.run([KDRUN, "run", "recipe.toml", "--device", "cpu"], stderr=full, stdout=subprocess.PIPE)
    assert done.returncode == 0, done
    done = subprocess.run([KDRUN, "run", "recipe.toml", "--device", "cpu", "--seed", "1"], stdout=subprocess.PIPE,
                          preexec_fn=lambda: os.close(2))
    assert done.returncode == 0, done
    for file in pathlib.Path("runs").rglob("metrics.jsonl"):
        for line in file.read_text().splitlines():
            json.loads(line)


def what_cannot_be_written_to_standard_output_is_no_success():
    run = train("recipe.toml", "runs")
    for arguments in (["config", "recipe.toml"], ["eval", run, "--device", "cpu"], ["compare", run], ["list"], ["describe", "loss", "kd"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run([KDRUN, *map(str, arguments)], stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and "cannot write to standard output: No space left" in done.stderr, (arguments, done)
        done = subprocess.run([KDRUN, *map(str, arguments)], stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.close(1))
        assert done.returncode == 1, (arguments, done)


def an_epoch_without_a_label_can_be_stopped():
    process = subprocess.Popen([KDRUN, "run", "recipe.toml", "--device", "cpu", "data.unlabelled=0.998", "train.epochs=400",
                                "train.batch_size=4", "train.evaluate_every=400"], stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    text = process.stderr.read()
    assert process.wait() == 75, (process.returncode, text)


main([links_that_a_kill_left_behind_are_repaired, a_damaged_best_is_trained_anew_and_said, a_changed_number_never_reaches_the_table,
      lost_settings_are_written_again, numbers_that_are_not_finite_end_the_run, two_that_train_anew_at_once_both_do,
      a_stage_that_a_kill_moved_aside_comes_back, a_hang_up_under_nohup_is_ignored, a_full_or_closed_terminal_does_not_end_a_run,
      what_cannot_be_written_to_standard_output_is_no_success, an_epoch_without_a_label_can_be_stopped])
