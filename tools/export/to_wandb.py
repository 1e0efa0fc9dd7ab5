"""Weights & Biases: offline runs in DIR/wandb, which `wandb sync` uploads when it is asked to."""

import hashlib
import os

os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_ERROR_REPORTING"] = "false"

import wandb


class Store:
    def __init__(self, folder, project):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.project = folder, project

    def holds(self, run):
        return any((self.folder / "wandb").glob(f"offline-run-*-{id_of(run)}"))

    def write(self, run):
        quiet = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True,
                               x_save_requirements=False)
        tracked = wandb.init(dir=self.folder, project=self.project, id=id_of(run), name=run.name, group=run.group, job_type=run.kind,
                             config=run.config, settings=quiet)
        for step, numbers in run.points:
            tracked.log(numbers, step=step)
        if run.images or run.tables:
            tracked.log({name: wandb.Image(str(file)) for name, file in run.images.items()} |
                        {f"table/{name}": wandb.Table(columns, rows) for name, (columns, rows) in run.tables.items()})
        tracked.summary.update(run.results)
        tracked.finish(exit_code=0 if run.ok else 1)

    def how_to_look(self):
        return f"upload them with: wandb sync {self.folder}/wandb/offline-run-*"


def id_of(run):
    """The same at every export of a run, on any machine: what is synchronised twice is one run too."""
    return hashlib.sha256(run.name.encode()).hexdigest()[:24]
