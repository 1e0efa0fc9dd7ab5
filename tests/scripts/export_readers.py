"""Reads a tracker's store with the tracker's own package and prints what is in it as JSON:  export_readers.py TRACKER STORE

Of each run of the project "tests" by its name: group (null where the tracker has none), config, curves ([step, value], …), results, images
(width and height, and a digest of the PNG file where the tracker keeps it as it is) and tables (their rows)."""

import csv
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys

TRACKER, STORE = sys.argv[1], pathlib.Path(sys.argv[2])


def split_results(curves):
    """Results are curves of one point for trackers that know no others."""
    results = {name: points[-1][1] for name, points in curves.items() if name.startswith("result/")}
    return {name: points for name, points in curves.items() if name not in results}, results


def read_wandb():
    from wandb.proto import wandb_internal_pb2 as messages

    runs = {}
    for folder in (STORE / "wandb").glob("offline-run-*"):
        [file] = folder.glob("*.wandb")
        run = {"curves": {}, "results": {}, "images": {}, "tables": {}}
        for data in leveldb_records(file.read_bytes()):
            record = messages.Record.FromString(data)
            if record.HasField("run"):
                assert record.run.project == "tests"
                runs[record.run.display_name] = run
                run["group"] = record.run.run_group
                run["config"] = {item.key: json.loads(item.value_json) for item in record.run.config.update if item.key != "_wandb"}
            for item in record.summary.update:
                if item.key.startswith("result/"):
                    run["results"][item.key] = json.loads(item.value_json)
            media = {}
            for item in record.history.item:
                name, *field = item.nested_key
                if field:
                    media.setdefault(name, {})[field[0]] = json.loads(item.value_json)
                elif not name.startswith("_"):
                    run["curves"].setdefault(name, []).append([record.history.step.num, json.loads(item.value_json)])
            for name, value in media.items():
                file = folder / "files" / value["path"]
                if value["_type"] == "image-file":
                    run["images"][name] = describe_png(file)
                else:
                    run["tables"][name.removeprefix("table/")] = json.loads(file.read_text())["data"]
    return runs


def describe_png(file):
    png = pathlib.Path(file).read_bytes()
    return {"size": struct.unpack(">II", png[16:24]), "digest": hashlib.sha256(png).hexdigest()}


def leveldb_records(data):
    """The package can write this log of LevelDB's and upload it, but has no reader of it in Python."""
    block, whole, place = 32768, b"", 7  # behind the magic number and the version
    while place + 7 <= len(data):
        if block - place % block < 7:  # too little for the head of a record: padding
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7:place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield whole
            whole = b""


def read_mlflow():
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{STORE}/mlflow.db")
    runs = {}
    for run in client.search_runs([client.get_experiment_by_name("tests").experiment_id]):
        assert run.info.status == "FINISHED"
        curves = {name: [[point.step, point.value] for point in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics}
        curves, results = split_results(curves)
        left = [file.path for file in client.list_artifacts(run.info.run_id)]
        images = {name[:-4]: describe_png(client.download_artifacts(run.info.run_id, name)) for name in left if name.endswith(".png")}
        tables = {name[:-5]: mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/{name}")["data"] for name in left if name.endswith(".json")}
        runs[run.info.run_name] = {"group": run.data.tags["group"], "config": run.data.params, "curves": curves, "results": results,
                                   "images": images, "tables": tables}
    return runs


def read_trackio():
    os.environ["TRACKIO_DIR"] = str(STORE)
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    runs = {}
    for run in trackio.Api().runs("tests"):
        curves, images, tables = {}, {}, {}
        for log in SQLiteStorage.get_logs("tests", run.name, run_id=run.id):
            for name, value in log.items():
                if isinstance(value, dict) and value["_type"] == "trackio.image":
                    images[name] = describe_png(STORE / "media" / value["file_path"])
                elif isinstance(value, dict):
                    tables[name] = [list(row.values()) for row in value["_value"]]
                elif name not in ("step", "timestamp"):
                    curves.setdefault(name, []).append([log["step"], value])
        curves, results = split_results(curves)
        config = {key: value for key, value in run.config.items() if not key.startswith("_")}
        runs[run.name] = {"group": run.config["_Group"], "config": config, "curves": curves, "results": results, "images": images, "tables": tables}
    return runs


def read_aim():
    # Aim's page does this by itself; its package reads indexed runs alone.
    subprocess.run([pathlib.Path(sys.executable).with_name("aim"), "storage", "--repo", STORE, "reindex", "--yes"], check=True, capture_output=True)
    import aim

    runs = {}
    repository = aim.Repo(str(STORE))
    images = {}
    for sequence in repository.query_images("images.name != ''", report_mode=0):
        [picture] = sequence.values.values_list()
        images.setdefault(sequence.run.name, {})[sequence.name] = {"size": [picture.width, picture.height], "digest": None}
    for run in repository.iter_runs():
        assert run.experiment == "tests"
        curves = {}
        for metric in run.metrics():
            steps, (values, _, _) = metric.data.items_list()
            curves[metric.name] = [list(point) for point in zip(steps, values)]
        runs[run.name] = {"group": run.tags[0], "config": run["settings"], "curves": curves, "results": run["results"],
                          "images": images.get(run.name, {}), "tables": {name: table["rows"] for name, table in (run.get("tables") or {}).items()}}
    return runs


def read_csv():
    runs = {}
    for row in csv.DictReader((STORE / "tests/runs.csv").open(newline="")):
        name = row.pop("name")
        folder = STORE / "tests" / name
        curves = {}
        if (folder / "curves.csv").exists():
            for numbers in csv.DictReader((folder / "curves.csv").open(newline="")):
                step = int(numbers.pop("step"))
                for curve, value in numbers.items():
                    if value != "":
                        curves.setdefault(curve, []).append([step, float(value)])
        results = {key: float(value) for key, value in row.items() if key.startswith("result/") and value != ""}
        config = {key: value for key, value in row.items() if key not in results and value != ""}
        tables = {file.stem: [[float(cell) if is_number(cell) else cell for cell in cells] for cells in list(csv.reader(file.open(newline="")))[1:]]
                  for file in folder.glob("*.csv") if file.stem != "curves"}
        runs[name] = {"group": None, "config": config, "curves": curves, "results": results,
                      "images": {file.stem: describe_png(file) for file in folder.glob("*.png")}, "tables": tables}
    return runs


def is_number(text):
    try:
        float(text)
        return True
    except ValueError:
        return False


print(json.dumps({"wandb": read_wandb, "mlflow": read_mlflow, "trackio": read_trackio, "aim": read_aim, "csv": read_csv}[TRACKER]()))
