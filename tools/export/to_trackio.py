"""Trackio: a project in the folder DIR."""

import contextlib
import io
import os


class Store:
    def __init__(self, folder, project):
        os.environ["TRACKIO_DIR"] = str(folder)  # trackio reads it once, when it is imported
        import trackio

        self.trackio, self.folder, self.project = trackio, folder, project

    def holds(self, run):
        try:
            return any(other.name == run.name for other in self.trackio.Api().runs(self.project))
        except ValueError:  # there is no such project yet
            return False

    def write(self, run):
        with contextlib.redirect_stdout(io.StringIO()):  # it says several lines of each run
            self.log(self.trackio, run)

    def log(self, trackio, run):
        tracked = trackio.init(self.project, name=run.name, group=run.group, config=run.config, embed=False, auto_log_cpu=False,
                               auto_log_gpu=False)
        for step, numbers in run.points:
            tracked.log(numbers, step=step)
        last = run.points[-1][0] if run.points else 0
        shown = {name: trackio.Image(str(file)) for name, file in run.images.items()}
        shown |= {name: trackio.Table(columns=columns, data=rows) for name, (columns, rows) in run.tables.items()}
        tracked.log(run.results | shown, step=last)
        trackio.finish()

    def how_to_look(self):
        return f"look at them with: TRACKIO_DIR={self.folder} trackio show --project {self.project}"
