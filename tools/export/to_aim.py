"""Aim: an experiment in the repository DIR."""

import aim


class Store:
    def __init__(self, folder, project):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.project = folder, project
        self.repository = aim.Repo.from_path(str(folder), init=True)
        every = (aim.Run(run, repo=self.repository, read_only=True) for run in self.repository.list_all_runs())
        self.there = {run.name for run in every if run.experiment == project}

    def holds(self, run):
        return run.name in self.there

    def write(self, run):
        tracked = aim.Run(repo=self.repository, experiment=self.project, system_tracking_interval=None, capture_terminal_logs=False)
        tracked.name = run.name
        tracked.add_tag(run.group)
        tracked["settings"] = run.config
        tracked["results"] = run.results
        for step, numbers in run.points:
            for name, value in numbers.items():
                tracked.track(value, name, step=step, epoch=numbers["epoch"])
        for name, file in run.images.items():
            tracked.track(aim.Image(str(file)), name)
        for name, (columns, rows) in run.tables.items():
            tracked["tables", name] = {"columns": columns, "rows": rows}
        tracked.close()

    def how_to_look(self):
        return f"look at them with: aim up --repo {self.folder}"
