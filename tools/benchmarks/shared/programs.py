"""Runs the programs that a benchmark compares. Python scripts among them find the other files of this folder."""

import json
import os
import pathlib
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
