"""Trains every method of the CRD benchmark, as its profile has it, on a pair's smoke profile.

crd_methods_test.py KDRUN SOURCE PAIR METHODS

METHODS is the file of recipes/base whose profiles are tried, PAIR a recipe that extends it.

The teacher is trained once for all. Each student must have learned by finite terms, one of which is the method's.
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile
import tomllib

# What the profile of a method trains with, where it is not called as the method.
TERMS = {"crd_kd": "crd", "kd_std": "kd", "dkd_std": "dkd", "mlkd_std": "mlkd", "dtkd": "kd", "dot": "kd"}


def train(kdrun, recipe, method, runs):
    """The training terms of the student."""
    command = [kdrun, "run", recipe, "--profile", f"smoke,{method}", "--device", "cpu", "--run-dir", runs, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr}")
    terms = {}
    for line in (pathlib.Path(json.loads(done.stdout)["run"]) / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["stage"] == "student" and record["name"].startswith("loss/"):
            terms[record["name"].removeprefix("loss/")] = record["value"]
    return terms


def main():
    kdrun, source, pair, file = sys.argv[1:5]
    recipes = pathlib.Path(source) / "recipes"
    methods = tomllib.loads((recipes / "base" / f"{file}.toml").read_text())["profile"]
    problems = []
    with tempfile.TemporaryDirectory() as runs:
        for method in methods:
            terms = train(kdrun, str(recipes / "crd_benchmark" / f"{pair}.toml"), method, runs)
            name = TERMS.get(method, method)
            if name not in terms:
                problems.append(f"{method}: no term '{name}' among {sorted(terms)}")
            problems += [f"{method}: {term} = {value}" for term, value in terms.items() if not math.isfinite(value)]
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(methods)} methods trained")


if __name__ == "__main__":
    main()
