"""Training that torchrun, mpirun and srun start for real on this machine: the numbers of one process, and restarts.

A launcher that is not installed is skipped with its reason (torchrun comes with the wheel; tools/setup --cluster brings the others)."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import slurm
from program import KDRUN, Skipped, main
from ranks_test import HEAD, STUDENTS, differences, finish, losses, long_run, start, wait_for_checkpoint, write_recipe

ARGUMENTS = ["run", "recipe.toml", "--device", "cpu", "--run-dir"]
TORCHRUN = shutil.which("torchrun", path=os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ.get("PATH", "")]))


def run_and_compare(launcher, name, **more):
    write_recipe({"vanilla_kd": STUDENTS["vanilla_kd"]})
    finish(start(1, "alone"))
    done = subprocess.run([*launcher, KDRUN, *ARGUMENTS, name], capture_output=True, text=True, timeout=120, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("run folder: ") == 1, done.stdout
    problems = list(differences(losses("alone"), losses(name)))
    assert not problems, "\n".join(problems)


def torchrun_starts_two():
    if TORCHRUN is None:
        raise Skipped("torchrun is not here")
    run_and_compare([TORCHRUN, "--no-python", "--nproc-per-node", "2"], "torchrun")


def torchrun_restarts_a_run_whose_process_was_killed():
    if TORCHRUN is None:
        raise Skipped("torchrun is not here")
    settings = long_run()
    command = [TORCHRUN, "--no-python", "--nproc-per-node", "2", "--max-restarts", "1", KDRUN, *ARGUMENTS, "runs", *settings]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_checkpoint("runs")
        children = [int(pid) for pid in subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()]
        os.kill(children[-1], signal.SIGKILL)
        deadline = time.monotonic() + 90
        for line in process.stderr:
            if "going on after" in line:
                break
            assert time.monotonic() < deadline, line
        else:
            raise AssertionError(f"it did not go on: {process.wait()}")
    finally:
        process.terminate()  # it passes the signal on
        process.communicate(timeout=60)


def mpirun_starts_two():
    if shutil.which("mpirun") is None:
        raise Skipped("mpirun is not installed (tools/setup --cluster)")
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    run_and_compare(["mpirun", *root, "--oversubscribe", "-n", "2"], "mpirun")


def srun_starts_two():
    if reason := slurm.missing():
        raise Skipped(reason)
    with slurm.running():
        run_and_compare(["srun", "-n", "2"], "srun")
        # A batch script is one process, whatever was asked for.
        pathlib.Path("job.sh").write_text(f"#!/bin/sh\nexec '{KDRUN}' {' '.join(ARGUMENTS)} batch\n")
        subprocess.run(["sbatch", "--wait", "-n", "2", "-o", "job.log", "job.sh"], check=True, timeout=120)
        assert "run folder: " in pathlib.Path("job.log").read_text(), pathlib.Path("job.log").read_text()
        assert not list(differences(losses("alone"), losses("batch")))


if __name__ == "__main__":
    main([torchrun_starts_two, torchrun_restarts_a_run_whose_process_was_killed, mpirun_starts_two, srun_starts_two])
