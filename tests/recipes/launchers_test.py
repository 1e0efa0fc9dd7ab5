"""Training that torchrun, mpirun and srun start for real on this machine: the numbers of one process, and restarts.

A launcher that is not installed is skipped with its reason (torchrun comes with the wheel; tools/setup --cluster brings the others)."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import slurm
from program import KDRUN, Skipped, kdrun, main
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


def a_job_array_runs_the_points_of_a_sweep():
    """As docs/cluster.md has it."""
    if reason := slurm.missing():
        raise Skipped(reason)
    write_recipe({"vanilla_kd": STUDENTS["vanilla_kd"]})
    pathlib.Path("kdrun").symlink_to(KDRUN)
    grid = "--grid 'stage.vanilla_kd.scheme.losses.kd.temperature=[1, 4]'"
    script = f"""set -e
kdrun sweep recipe.toml {grid} --device cpu --run-dir runs --emit-commands > points.txt
kdrun recipe.toml --device cpu --run-dir runs --stages teacher
sbatch --wait --array=1-$(wc -l < points.txt) -o point%a.log --wrap 'eval "$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" points.txt)"'
"""
    with slurm.running():
        environment = dict(os.environ, PATH=f"{os.getcwd()}:{os.environ['PATH']}", OMP_NUM_THREADS="1")
        subprocess.run(["sh", "-c", script], check=True, timeout=120, env=environment)
    logs = [pathlib.Path(f"point{point}.log").read_text() for point in (1, 2)]
    assert all("run folder: " in log and "stage teacher: already trained" in log for log in logs), logs


def in_the_queue():
    return subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout.strip()


def until(what, holds, seconds=120):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def a_sweep_is_submitted_and_taken_up_again():
    if reason := slurm.missing():
        raise Skipped(reason)
    write_recipe({"vanilla_kd": STUDENTS["vanilla_kd"]})
    command = ["sweep", "recipe.toml", "--device", "cpu", "--run-dir", "runs", "--grid",
               "stage.vanilla_kd.optimizer.lr=[0.05, 1e30]", "--seeds", "0,1", "--slurm", "--time", "10", "--jobs", "2"]
    # Nothing is submitted, nor Slurm asked for.
    said = kdrun(*command, "--dry-run", env={"SLURM_CONF": "/missing"}).stdout
    (folder,) = pathlib.Path("runs/recipe.sweep").iterdir()
    script = (folder / "slurm/points.sh").read_text()
    assert "#SBATCH --array=0-3%2\n" in script and "#SBATCH --time=10\n" in script, script
    assert said.splitlines()[:2] == [f"sbatch --parsable {(folder / 'slurm/shared.sh').absolute()}",
                                     f"sbatch --parsable --dependency=afterany:JOB {(folder / 'slurm/points.sh').absolute()}"], said
    assert len((folder / "slurm/shared.txt").read_text().splitlines()) == 2  # a teacher for each seed
    said = kdrun(*command, code=1, env={"PATH": "/usr/sbin"}).stderr
    assert "Slurm is not here" in said, said
    with slurm.running():
        said = kdrun(*command).stdout
        assert "4 points, after it" in said, said
        assert "nothing is submitted" in kdrun(*command).stdout
        until("the points did not end", lambda: not in_the_queue())
        # The four are half done; the other half cannot be, and is tried again.
        said = kdrun(*command).stdout
        assert "2 of 4 points done" in said and said.count("not finite") == 2 and "2 points" in said, said
        until("the points did not end again", lambda: not in_the_queue())
    points = json.loads((folder / "points.json").read_text())
    logs = [(folder / f"logs/{point}.txt").read_text() for point in range(4)]
    assert all("stage teacher: already trained" in log for log in logs), logs
    assert len(points["rows"]) == 4, points


def a_point_that_is_preempted_is_queued_again():
    if reason := slurm.missing():
        raise Skipped(reason)
    write_recipe({}, HEAD.replace("epochs = 10", "epochs = 300").replace("train = 50", "train = 500"))
    command = ["sweep", "recipe.toml", "--device", "cpu", "--run-dir", "runs", "--seeds", "0", "--slurm"]
    with slurm.running():
        kdrun(*command, "train.evaluate_every=300")
        (folder,) = pathlib.Path("runs/recipe.sweep").iterdir()
        events, log = folder / "logs/0.jsonl", folder / "logs/0.txt"
        until("it did not train", lambda: log.exists() and "epoch" in log.read_text())
        job = (folder / "slurm/job").read_text()
        said = kdrun(*command[:-1], "train.evaluate_every=300", code=2).stderr
        assert f"job {job} is in Slurm's queue and trains this sweep" in said and f"`scancel {job}`" in said, said
        subprocess.run(["scancel", "--signal=TERM", job], check=True)
        until("it was not queued again", lambda: '"code": 75' in events.read_text())
        # Slurm lets two minutes pass before a job that comes back.
        until("it is not in the queue", in_the_queue)
        until("it cannot begin", lambda: subprocess.run(["scontrol", "update", f"JobId={job}_0", "StartTime=now"], capture_output=True)
              .returncode == 0)
        until("it did not end", lambda: not in_the_queue())
    assert "going on after" in log.read_text(), log.read_text()
    assert '"code": 0' in events.read_text().splitlines()[-1], events.read_text()


@contextlib.contextmanager
def two_hosts():
    """Two network namespaces with a cable between them: their names, the first one's address, and the command that cuts it."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise Skipped("hosts are network namespaces, which want root and iproute2 (tools/setup --cluster)")
    names = [f"kdrun{os.getpid()}{letter}" for letter in "ab"]
    made = []
    try:
        for name in names:
            if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode != 0:
                raise Skipped("network namespaces cannot be made here")
            made.append(name)
        cable = [f"kd{os.getpid()}{letter}"[:15] for letter in "ab"]
        subprocess.run(["ip", "link", "add", cable[0], "type", "veth", "peer", "name", cable[1]], check=True)
        for number, (name, end) in enumerate(zip(names, cable), 1):
            subprocess.run(["ip", "link", "set", end, "netns", name], check=True)
            for command in f"addr add 10.77.0.{number}/24 dev {end}", f"link set {end} up", "link set lo up":
                subprocess.run(["ip", "-n", name, *command.split()], check=True)
        yield names, "10.77.0.1", ["ip", "-n", names[0], "link", "set", cable[0], "down"]
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False)


def start_on_hosts(hosts, address, runs, *more):
    return [subprocess.Popen(["ip", "netns", "exec", host, KDRUN, *ARGUMENTS, runs, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env=dict(os.environ, RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", MASTER_ADDR=address,
                                      MASTER_PORT="29400", OMP_NUM_THREADS="1"))
            for rank, host in enumerate(hosts)]


def two_hosts_train_together_and_a_cut_cable_ends_both():
    with two_hosts() as (hosts, address, cut):
        write_recipe({})
        finish(start(1, "alone"))
        finish(start_on_hosts(hosts, address, "hosts"))
        assert not list(differences(losses("alone"), losses("hosts")))
        settings = long_run()
        started = start_on_hosts(hosts, address, "runs", *settings, "--timeout", "5")
        for line in started[0].stderr:
            if "epoch" in line:
                break
        subprocess.run(cut, check=True)
        for words in finish(started, code=75, seconds=60):
            assert "goes on from the last checkpoint" in words, words


if __name__ == "__main__":
    main([torchrun_starts_two, torchrun_restarts_a_run_whose_process_was_killed, mpirun_starts_two, srun_starts_two,
          a_job_array_runs_the_points_of_a_sweep, a_sweep_is_submitted_and_taken_up_again, a_point_that_is_preempted_is_queued_again,
          two_hosts_train_together_and_a_cut_cable_ends_both])
