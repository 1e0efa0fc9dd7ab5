"""A run that is stopped or killed at any moment goes on from its last checkpoint, and ends as if nothing had happened."""

import hashlib
import json
import pathlib
import signal
import subprocess
import time

from program import KDRUN, kdrun, main, train

SLOW = ["train.epochs=40", "train.checkpoint_seconds=0"]


def weights(folder):
    return {stage: hashlib.sha256((folder / "stages" / stage / "ckpt/last/model.safetensors").read_bytes()).hexdigest()
            for stage in ("teacher", "student")}


def losses(folder):
    return (folder / "metrics.jsonl").read_text().splitlines()


def latest(runs):
    return max(pathlib.Path(runs).glob("recipe/*"), key=lambda folder: folder.stat().st_mtime)


def start(*more):
    return subprocess.Popen([KDRUN, "run", "recipe.toml", "--device", "cpu", *SLOW, *more], stderr=subprocess.PIPE, text=True)


def wait_for_epochs(process, count):
    seen = 0
    for line in process.stderr:
        seen += " epoch " in line
        if seen >= count:
            return


def a_signal_stops_at_a_checkpoint_and_the_same_command_goes_on():
    whole = train("recipe.toml", "whole", *SLOW)
    for attempt, epochs in enumerate((5, 20, 45)):  # the last one stops in the second stage
        process = start()
        wait_for_epochs(process, epochs - (0, 5, 20)[attempt])
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait() == 75, f"exit code {process.returncode}\n{rest}"
        assert "the same command goes on from there" in rest, rest
    resumed = train("recipe.toml", "runs", *SLOW)
    assert weights(resumed) == weights(whole)
    assert losses(resumed) == losses(whole)


def a_killed_run_goes_on():
    whole = train("recipe.toml", "whole", *SLOW)
    for pause in (0.6, 0.9, 1.3):
        process = start()
        time.sleep(pause)
        process.kill()
        process.wait()
    resumed = train("recipe.toml", "runs", *SLOW)
    assert weights(resumed) == weights(whole)
    assert losses(resumed) == losses(whole)


def a_run_killed_within_a_long_epoch_goes_on_there(*more):
    long = ["data.train=24000", "train.batch_size=4", "train.epochs=1", "train.checkpoint_seconds=0.2", "train.optimizer.lr=0.001", *more]
    whole = train("recipe.toml", "whole", *long)
    process = subprocess.Popen([KDRUN, "run", "recipe.toml", "--device", "cpu", *long], stderr=subprocess.PIPE, text=True)
    while not list(pathlib.Path("runs/.stages").glob("teacher-*/ckpt/last")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = kdrun("run", "recipe.toml", "--device", "cpu", *long)
    assert "going on after 0 of 1 epochs and" in done.stderr, done.stderr
    assert weights(latest("runs")) == weights(whole)


def one_with_images_of_another_source_too():
    a_run_killed_within_a_long_epoch_goes_on_there('data.unlabelled_from={ type = "glyphs", train = 3000, seed = 3, share = 0.3 }')


def two_processes_train_a_stage_once():
    processes = [start() for _ in range(2)]
    texts = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], texts
    trained = [text.count("teacher epoch 40/40") for text in texts]
    assert sorted(trained) == [0, 1], texts
    assert any("waiting for another process" in text for text in texts), texts


def a_process_that_waits_for_another_can_be_stopped():
    first = start()
    wait_for_epochs(first, 2)
    second = start()
    for line in second.stderr:
        if "waiting for another process" in line:
            break
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=20) == 75
    first.kill()
    first.wait()


def stopped_runs_say_so():
    process = start()
    wait_for_epochs(process, 3)
    process.send_signal(signal.SIGINT)
    process.communicate()
    (folder,) = pathlib.Path("runs/recipe").iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "stopped"
    kdrun("eval", folder, code=4)


main([a_signal_stops_at_a_checkpoint_and_the_same_command_goes_on, a_killed_run_goes_on, a_run_killed_within_a_long_epoch_goes_on_there, one_with_images_of_another_source_too, two_processes_train_a_stage_once,
      a_process_that_waits_for_another_can_be_stopped,
      stopped_runs_say_so])
