"""Runs the programs that a benchmark compares. Python scripts among them find the other files of this folder."""

import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

SHARED = str(pathlib.Path(__file__).resolve().parent)
PYTHON = [sys.executable, "-B"]


def run_program(command, **environment):
    """Seconds of the whole process, the JSON it printed, and what it logged."""
    begin = time.perf_counter()
    variables = {**os.environ, "PYTHONPATH": SHARED, **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    seconds = time.perf_counter() - begin
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return seconds, json.loads(done.stdout), done.stderr


def read_epochs(log, stage, epochs):
    """What kdrun logged of a stage: the first epoch's loss, and images/s of the others, without evaluation and checkpoints."""
    lines = re.findall(rf"^{stage} epoch \d+/\d+ loss ([\d.]+) .* ([\d.]+) img/s$", log, re.MULTILINE)
    if len(lines) != epochs:
        sys.exit(f"kdrun did not report {epochs} epochs of '{stage}':\n{log}")
    return float(lines[0][0]), statistics.harmonic_mean([float(rate) for _, rate in lines[1:]])
