"""Exports finished runs of kdrun into the offline store of an experiment tracker:

    python tools/export/export.py RUN… --to wandb|mlflow|trackio|aim|csv [--project NAME] [--offline-dir DIR]

Each network of each stage becomes a run of the tracker, and the pictures and tables of the analyses one more; all are of one group.
A run that is there already is left as it is. Nothing is sent anywhere."""

import argparse
import importlib
import pathlib
import sys

from run_folder import ExportError, read

TRACKERS = ("wandb", "mlflow", "trackio", "aim", "csv")


def open_store(tracker, folder, project):
    try:
        return importlib.import_module(f"to_{tracker}").Store(folder.resolve(), project)
    except ModuleNotFoundError as error:
        if error.name != tracker:
            raise
        raise ExportError(f"the package '{tracker}' is not installed for {sys.executable}: pip install {tracker}; or tools/setup --trackers, "
                          "and run this with build/venv-trackers/bin/python", 1) from None


def export(store, folder):
    runs = read(folder)
    new = [run for run in runs if not store.holds(run)]
    for run in new:
        store.write(run)
    there = len(runs) - len(new)
    print(f"{folder}: {len(new)} exported" + (f", {there} there already" if there else ""))


def main():
    parser = argparse.ArgumentParser(prog="export.py", description=__doc__.split("\n\n")[0], formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder, such as runs/quickstart/20261126-093833-df51c88f")
    parser.add_argument("--to", required=True, choices=TRACKERS, help="the tracker")
    parser.add_argument("--project", default="kdrun", help="the project or experiment of the tracker; kdrun where left out")
    parser.add_argument("--offline-dir", type=pathlib.Path, help="where the tracker's store is or is made; exports/TRACKER where left out")
    arguments = parser.parse_args()
    try:
        store = open_store(arguments.to, arguments.offline_dir or pathlib.Path("exports") / arguments.to, arguments.project)
        for folder in arguments.runs:
            export(store, folder)
        print(store.how_to_look())
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
