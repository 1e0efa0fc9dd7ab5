"""kdrun report: one file that needs nothing else, readable without scripts, and without fault in a browser.

What needs a browser is skipped where there is no chromium (tools/setup --browser installs it). KDRUN_SCREENSHOTS=DIR keeps its pictures."""

import html.parser
import json
import os
import pathlib
import re
import shutil
import subprocess

from program import kdrun, main, train

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MORE = """
[[analysis]]
type = "calibration"
[[analysis]]
type = "class_accuracy"
[sweep]
seeds = [0, 1]
grid = { "stage.student.scheme.losses.kd.temperature" = [1, 4], "stage.student.optimizer.lr" = [0.05, 0.1] }
[[stage]]
name = "student_alone"
model = { type = "mlp", hidden = [8] }
"""


def write_recipe():
    recipe = pathlib.Path("recipe.toml")
    recipe.write_text(recipe.read_text() + MORE)


def report_of_runs():
    """Three seeds of one setting."""
    write_recipe()
    for seed in range(3):
        train("recipe.toml", "runs", "--seed", seed)
    kdrun("report", *sorted(pathlib.Path("runs/recipe").iterdir()), "-o", "report.html")
    return pathlib.Path("report.html")


def report_of_sweep():
    write_recipe()
    kdrun("sweep", "recipe.toml", "--run-dir", "runs", "--device", "cpu")
    (folder,) = pathlib.Path("runs/recipe.sweep").iterdir()
    kdrun("report", folder, "-o", "report.html")
    return pathlib.Path("report.html")


class Page(html.parser.HTMLParser):
    """Checks that elements are closed in order, and collects what is in them."""

    VOID = {"meta", "img", "input", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.counts, self.text = [], [], {}, ""
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def a_report_holds_everything_that_it_shows():
    text = report_of_runs().read_text()
    page = Page(text)
    assert all(address.startswith(("#", "data:")) for address in page.addresses), page.addresses
    assert "url(" not in text.split("</style>")[0], "the style names a file"
    assert len(text) < 1_000_000, len(text)
    assert page.counts["figure"] >= 6 and page.counts["img"] == page.counts["figure"], page.counts
    for words in ("a teacher and its student", "3 runs of recipe recipe, data glyphs, seed 0, 1, 2", "student against student_alone", "95 % interval",
                  "over 3 seeds", "ECE and OE are over 15 bins", "settings that are not defaults", "stage.teacher.model.dropout", "the recipe as it was written",
                  "calibration", "class_accuracy"):
        assert words in page.text, words
    assert "One seed" not in page.text and "MIT License" in text


def a_run_leaves_a_report_of_its_own():
    folder = train("recipe.toml", "runs")
    page = Page((folder / "report.html").read_text())
    assert "One seed" in page.text
    assert (folder / "augmentations.png").read_bytes().startswith(b"\x89PNG")
    cut = train("recipe.toml", "runs", "--max-steps", 2)
    assert not (cut / "report.html").exists()


def a_sweep_is_a_heat_map_for_every_network_that_depends_on_it():
    page = Page(report_of_sweep().read_text())
    assert "top-1, % of student, mean over seeds" in page.text, page.text[:2000]
    assert "top-1, % of teacher" not in page.text
    assert "whoever takes the best of these settings has chosen it by the test images" in page.text


def nothing_is_overwritten():
    train("recipe.toml", "runs")
    (run,) = pathlib.Path("runs/recipe").iterdir()
    pathlib.Path("report.html").write_text("mine")
    error = kdrun("report", run, code=1).stderr
    assert "report.html exists already; nothing was written\n    hint: another name with -o, or --replace" in error, error
    assert pathlib.Path("report.html").read_text() == "mine"
    kdrun("report", run, "--replace")
    assert kdrun("report", "nowhere", "-o", "x.html", code=4).stderr.startswith("error: there is no run to look at")


def text_of_a_recipe_is_no_markup():
    recipe = pathlib.Path("recipe.toml")
    recipe.write_text(recipe.read_text().replace("a teacher and its student", "<script>alert(1)</script> & 'more'"))
    run = train("recipe.toml", "runs")
    page = Page((run / "report.html").read_text())
    assert "<script>alert(1)</script> & 'more'" in page.text


def browse(*arguments):
    done = subprocess.run([BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", *arguments],
                          capture_output=True, text=True, timeout=120)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, said


def keep_picture(picture, name):
    if os.environ.get("KDRUN_SCREENSHOTS"):
        shutil.copy(picture, pathlib.Path(os.environ["KDRUN_SCREENSHOTS"]) / name)


# Tells what it finds to the page around it, whose text the browser prints.
PROBE = """<script>addEventListener("load", () => setTimeout(() => parent.postMessage(JSON.stringify({
  wide: document.documentElement.scrollWidth, window: innerWidth, charts: document.querySelectorAll("figure[data-chart]").length,
  drawn: document.querySelectorAll("figure[data-drawn]").length, canvases: document.querySelectorAll("canvas").length,
  milliseconds: performance.timing.loadEventEnd - performance.timing.navigationStart,
  blank: [...document.querySelectorAll("canvas")].filter((c) => !c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((b) => b > 0)).length,
  images: [...document.images].filter((i) => i.naturalWidth === 0).length }), "*"), 300));</script>"""


def measure(report, width):
    page = pathlib.Path("probed.html")
    page.write_text(report.read_text().replace("</body>", PROBE + "</body>"))
    frame = pathlib.Path("frame.html")
    frame.write_text(f'<iframe src="probed.html" width="{width}" height="20000"></iframe><pre id="found"></pre>'
                     '<script>addEventListener("message", (e) => { document.getElementById("found").textContent = e.data; });</script>')
    text, said = browse("--allow-file-access-from-files", "--virtual-time-budget=10000", "--window-size=1600,1000", "--dump-dom", f"file://{frame.resolve()}")
    assert said == [], said
    found = re.search(r'<pre id="found">(\{.*\})</pre>', text)
    assert found, text[-2000:]
    return json.loads(found[1].replace("&quot;", '"'))


def a_browser_draws_every_figure_without_a_word():
    if not BROWSER:
        print("        (skipped: there is no chromium)")
        return
    for report in (report_of_runs(), report_of_sweep_beside()):
        for width in (360, 1440):
            found = measure(report, width)
            print(f"        {report.name} at {width}: {found}")
            assert found["window"] <= width and found["wide"] <= found["window"], found
            assert found["charts"] > 0 and found["drawn"] == found["charts"] and found["canvases"] >= found["charts"], found
            assert found["blank"] == 0 and found["images"] == 0, found
            assert found["milliseconds"] < 6000, found


def report_of_sweep_beside():
    kdrun("sweep", "recipe.toml", "--run-dir", "swept", "--device", "cpu")
    (folder,) = pathlib.Path("swept/recipe.sweep").iterdir()
    kdrun("report", folder, "-o", "swept.html")
    return pathlib.Path("swept.html")


def it_can_be_looked_at_without_scripts_and_printed():
    if not BROWSER:
        print("        (skipped: there is no chromium)")
        return
    report = report_of_runs()
    address = f"file://{report.resolve()}"
    pathlib.Path("without_scripts.html").write_text(f'<iframe sandbox src="{report.name}" width="1400" height="2900"></iframe>')
    for name, page in {"with_scripts": address, "without_scripts": f"file://{pathlib.Path('without_scripts.html').resolve()}", "dark": address}.items():
        theme = ["--blink-settings=preferredColorScheme=0"] if name == "dark" else []
        browse(*theme, "--virtual-time-budget=3000", "--window-size=1440,3000", f"--screenshot={name}.png", page)
        picture = pathlib.Path(name + ".png")
        assert picture.stat().st_size > 100_000, (name, picture.stat().st_size)
        keep_picture(picture, name + ".png")
    browse("--virtual-time-budget=3000", "--print-to-pdf=report.pdf", address)
    printed = pathlib.Path("report.pdf")
    assert printed.read_bytes().startswith(b"%PDF") and printed.stat().st_size > 50_000
    keep_picture(printed, "report.pdf")


main([a_report_holds_everything_that_it_shows, a_run_leaves_a_report_of_its_own, a_sweep_is_a_heat_map_for_every_network_that_depends_on_it,
      nothing_is_overwritten, text_of_a_recipe_is_no_markup, a_browser_draws_every_figure_without_a_word,
      it_can_be_looked_at_without_scripts_and_printed])
