"""MLflow: an experiment in a store of its own, DIR/mlflow.db, with the pictures and tables beside it."""

import logging
import os

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import mlflow
from mlflow.entities import Metric, Param

logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of each table

MOST_METRICS, MOST_PARAMETERS = 1000, 100  # that MLflow takes in one call
LONGEST_PARAMETER = 6000


class Store:
    def __init__(self, folder, project):
        folder.mkdir(parents=True, exist_ok=True)
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.client = mlflow.MlflowClient(self.uri)
        experiment = self.client.get_experiment_by_name(project)
        self.experiment = experiment.experiment_id if experiment else self.client.create_experiment(project, (folder / "artifacts").as_uri())

    def holds(self, run):
        return bool(self.client.search_runs([self.experiment], f"attributes.run_name = '{run.name}'"))

    def write(self, run):
        milliseconds = int(run.ended.timestamp() * 1000)
        tags = {"group": run.group, "mlflow.source.name": "kdrun", "mlflow.source.type": "LOCAL"}
        made = self.client.create_run(self.experiment, int(run.started.timestamp() * 1000), tags, run.name).info.run_id
        parameters = [Param(key, str(value)[:LONGEST_PARAMETER]) for key, value in run.config.items()]
        for part in parts(parameters, MOST_PARAMETERS):
            self.client.log_batch(made, params=part)
        metrics = [Metric(key, value, milliseconds, step) for step, numbers in run.points for key, value in numbers.items()]
        last = run.points[-1][0] if run.points else 0
        metrics += [Metric(key, value, milliseconds, last) for key, value in run.results.items()]
        for part in parts(metrics, MOST_METRICS):
            self.client.log_batch(made, metrics=part)
        for file in run.images.values():
            self.client.log_artifact(made, str(file))
        for name, (columns, rows) in run.tables.items():
            self.client.log_dict(made, {"columns": columns, "data": rows}, f"{name}.json")
        self.client.set_terminated(made, "FINISHED" if run.ok else "FAILED", milliseconds)

    def how_to_look(self):
        return f"look at them with: mlflow ui --backend-store-uri {self.uri}"


def parts(items, most):
    return [items[begin:begin + most] for begin in range(0, len(items), most)]
