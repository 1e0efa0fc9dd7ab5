"""Reads a run folder into what a tracker keeps: a tracked run for each network of each stage, and one for the analyses."""

import dataclasses
import datetime
import json
import math
import pathlib
import tomllib


class ExportError(Exception):
    """What is wrong, where, and what to do; `code` is the exit code."""

    def __init__(self, text, code):
        super().__init__(text)
        self.code = code


@dataclasses.dataclass
class TrackedRun:
    """What one run of a tracker holds. Networks share the names of their curves, so that teacher and student share charts."""

    name: str  # "quickstart/20261126-093833-df51c88f/student", "….net_2" where a stage has several, or the group's; no other run has it
    group: str  # "quickstart/20261126-093833-df51c88f": all tracked runs of a run folder
    kind: str  # the stage's name, or "analyses"
    started: datetime.datetime
    ended: datetime.datetime
    config: dict  # "status" among it, and settings under the names that overrides have
    points: list = dataclasses.field(default_factory=list)  # (step, {"epoch": 3, "train/loss": 0.5, …}), in order
    results: dict = dataclasses.field(default_factory=dict)  # "result/top1", …: the row of the table of results
    images: dict = dataclasses.field(default_factory=dict)  # name: PNG file
    tables: dict = dataclasses.field(default_factory=dict)  # name: (columns, rows)

    @property
    def ok(self):
        return self.config["status"] == "ok"


def read(folder):
    """The tracked runs of a run folder."""
    folder = pathlib.Path(folder).resolve()
    facts = read_json(folder / "run.json")
    if facts["status"] == "running":
        raise ExportError(f"{folder}: the run has not ended. Export it when it has; one that was killed goes on in a run folder of its own "
                          "when the same command is given again", 1)
    resolved = parse(folder / "resolved.toml", tomllib.loads)
    recipe = pathlib.Path(facts["recipe"]).stem
    group = f"{recipe}/{folder.name}"  # the same wherever a copy of the folder lies
    common = {"group": group, "started": time_of(facts["started"]), "ended": time_of(facts["updated"])}
    of_run = {"recipe": recipe, "title": resolved.get("title", ""), "seed": resolved["seed"], "device": facts["device"],
              "status": facts["status"], "whole": facts["whole"], "git_commit": facts["git_commit"], "kdrun": facts["versions"]["kdrun"],
              "libtorch": facts["versions"]["libtorch"], "arguments": " ".join(facts["arguments"])}
    finished = {stage["stage"] for stage in facts["stages"]}
    results = read_results(folder / "summary.json")
    runs = []
    for (stage, network), points in read_curves(folder / "metrics.jsonl").items():
        suffix = stage if network == "model" else f"{stage}.{network}"
        status = "ok" if stage in finished else facts["status"]
        config = {**of_run, "status": status, "stage": stage, "network": network, **settings_of(resolved, stage, network)}
        runs.append(TrackedRun(name=f"{group}/{suffix}", kind=stage, config=config, points=points, results=results.get((stage, network), {}), **common))
    analyses = TrackedRun(name=group, kind="analyses", config=of_run, images=find_images(folder), tables=read_tables(folder), **common)
    return runs + ([analyses] if analyses.images or analyses.tables else [])


def parse(file, parser):
    try:
        return parser(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{file.parent} is no run folder: there is no {file.name} in it", 4) from None
    except (OSError, ValueError) as error:
        raise ExportError(f"{file}: cannot be read: {error}", 4) from None


def read_json(file):
    return parse(file, json.loads)


def time_of(text):
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")


def read_curves(file):
    """By stage and network, in the order of the stages: the numbers of each step."""
    curves = {}
    for line in parse(file, str.splitlines):
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the last line, where a power cut left half of it
        steps = curves.setdefault((record["stage"], record["network"]), {})
        numbers = steps.setdefault(record["step"], {"epoch": record["epoch"]})
        if record["value"] is not None:  # null: it was not measured
            numbers[f"{record['split']}/{record['name']}"] = record["value"]
    return {network: sorted(steps.items()) for network, steps in curves.items()}


def read_results(file):
    """By stage and network; empty where the run has ended before its table of results."""
    if not file.exists():
        return {}
    table = read_json(file)
    names = [column["name"] for column in table["columns"]]
    rows = [dict(zip(names, row)) for row in table["rows"]]
    return {(row.pop("stage"), row.pop("network")): {f"result/{name}": value for name, value in row.items() if is_number(value)} for row in rows}


def is_number(value):
    return isinstance(value, (int, float)) and math.isfinite(value)


def settings_of(resolved, stage_name, network):
    """What a network was trained with, under the names that overrides have behind "stage.NAME."."""
    stage = dict(next(stage for stage in resolved["stage"] if stage["name"] == stage_name))
    del stage["name"]
    models = stage.pop("models", [])
    if models:
        stage["model"] = model_of(models, network)
        for own in ("optimizer", "schedule"):
            if own in stage["model"]:
                stage[own] = stage["model"].pop(own)
    return dict(flatten("", stage))


def model_of(models, network):
    """The entry of `models` that `network` was made from: the second network of a name is NAME_2, and so on."""
    seen = {}
    for model in models:
        model = dict(model)
        base = model.pop("name", "") or model["type"]
        for _ in range(model.pop("count", 1)):
            seen[base] = seen.get(base, 0) + 1
            if network == (base if seen[base] == 1 else f"{base}_{seen[base]}"):
                return model
    raise ValueError(network)


def flatten(key, value):
    """Settings that are given, each under a name of its own; lists of anything but tables stay whole."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if is_list_of_tables(value) else None
    if inner is not None:
        for name, item in inner:
            yield from flatten(f"{key}.{name}" if key else name, item)
    elif value != []:
        yield key, value


def is_list_of_tables(value):
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def find_images(folder):
    return {file.stem: file for file in sorted((folder / "analysis").glob("*.png"))}


def read_tables(folder):
    tables = {}
    for file in sorted((folder / "analysis").glob("*.json")):
        if not file.name.endswith(".figure.json"):
            table = read_json(file)
            tables[file.stem] = ([column["name"] for column in table["columns"]], table["rows"])
    return tables
