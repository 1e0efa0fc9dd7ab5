"""Files for any other program: PROJECT/runs.csv with a row for each tracked run (settings and results), and a folder for each with
curves.csv (a row for each step) and what the analyses left."""

import csv
import shutil


class Store:
    def __init__(self, folder, project):
        self.folder = folder / project
        self.file = self.folder / "runs.csv"
        self.rows = []
        if self.file.exists():
            with self.file.open(newline="", encoding="utf-8") as file:
                self.rows = list(csv.DictReader(file))

    def holds(self, run):
        return any(row["name"] == run.name for row in self.rows)

    def write(self, run):
        folder = self.folder / run.name
        folder.mkdir(parents=True, exist_ok=True)
        if run.points:
            write_rows(folder / "curves.csv", [{"step": step, **numbers} for step, numbers in run.points])
        for name, (columns, rows) in run.tables.items():
            write_rows(folder / f"{name}.csv", [dict(zip(columns, row)) for row in rows])
        for name, file in run.images.items():
            shutil.copyfile(file, folder / f"{name}.png")
        self.rows.append({"name": run.name, **run.config, **run.results})
        write_rows(self.file, self.rows)

    def how_to_look(self):
        return f"look at them with: pandas.read_csv({str(self.file)!r})"


def write_rows(file, rows):
    """Every column that some row has, in the order in which they come up."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    unfinished = file.with_suffix(".unfinished")
    with unfinished.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(file)
