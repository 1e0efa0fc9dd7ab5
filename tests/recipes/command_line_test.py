"""Tests of kdrun's commands as a user types them."""

import json
import pathlib
import re
import subprocess
import time

from program import KDRUN, RECIPE, SOURCE, kdrun, main, train


def list_names_every_kind_within_a_second():
    seconds = []
    for _ in range(5):  # other tests run beside this one: the quickest counts
        begin = time.time()
        text = kdrun("list").stdout
        seconds.append(time.time() - begin)
    assert min(seconds) < 1, f"kdrun list took {seconds}"
    for line in ("loss          kd ", "model         mlp ", "scheme        vanilla_kd ", "schedule      cosine ", "optimizer     adamw "):
        assert line in text, text
    losses = json.loads(kdrun("list", "loss", "--json").stdout)
    assert {item["kind"] for item in losses["components"]} == {"loss"}
    assert losses["refused"] == []
    assert "did you mean 'loss'?" in kdrun("list", "los", code=2).stderr


def describe_shows_what_a_plugin_declares():
    text = kdrun("describe", "loss", "kd").stdout
    assert "temperature" in text and "default 4.0, > 0" in text, text
    parameters = {p["name"]: p for p in json.loads(kdrun("describe", "loss", "kd", "--json").stdout)["parameters"]}
    assert parameters["form"]["range"] == "one of: kl | cross_entropy"
    scheme = json.loads(kdrun("describe", "scheme", "vanilla_kd", "--json").stdout)
    assert scheme["parameters"][0]["beside"][0]["name"] == "weight"
    assert kdrun("describe", "loss", "kd", "--toml").stdout.startswith('{ type = "kd", temperature = 4.0')
    assert "did you mean 'cross_entropy'?" in kdrun("describe", "loss", "cross_entropi", code=2).stderr
    assert "there is no kind 'los'" in kdrun("describe", "los", "kd", code=2).stderr


def what_describe_prints_can_be_pasted():
    table = kdrun("describe", "loss", "cross_entropy", "--toml").stdout.strip()
    kdrun("validate", "recipe.toml", f"stage.teacher.scheme={{ type = \"supervised\", losses = [{table}] }}")


def the_reference_of_components_is_current():
    written = (SOURCE / "docs" / "components.md").read_text()
    assert written == kdrun("describe", "--markdown", cwd=SOURCE).stdout, "write it anew: tools/kdrun describe --markdown > docs/components.md"


def every_component_shows_a_use_that_works():
    """The usage line that the header comment of each plugin holds, as the reference has it."""
    sections = re.split(r"^## ", (SOURCE / "docs/components.md").read_text(), flags=re.M)
    uses = {}
    for section in sections:
        title = re.match(r"(\w+) `(\w+)`\n", section)
        if title:
            shown = re.search(r"^```toml\n(.+)\n```", section, re.M)
            assert shown, f"{title[1]} '{title[2]}': its source's header comment has no line '//   … type = \"{title[2]}\" …'"
            uses[title.groups()] = shown[1]
    assert len(uses) > 60
    network, recipe = 'model = { type = "mlp" }', RECIPE
    for (kind, name), use in uses.items():
        recipe += f'[[stage]]\nname = "{kind}_{name}"\n' if kind not in ("analysis", "scheme") else ""
        if kind == "loss" or use.startswith("weight"):
            losses = use if kind == "loss" else 'losses = [{ type = "cross_entropy", %s }]' % use
            recipe += f'{network}\nscheme = {{ type = "vanilla_kd", {losses} }}\nteachers = [{{ stage = "teacher" }}]\n'
        elif kind == "model":
            recipe += use + "\n"
        elif kind not in ("analysis", "scheme"):
            recipe += f"{network}\n{use}\n"
    pathlib.Path("uses.toml").write_text(recipe)
    kdrun("config", "uses.toml")
    for (kind, name), use in uses.items():
        if kind == "analysis":
            kdrun("config", "recipe.toml", use.replace(" = ", "=", 1))
        if kind == "scheme":  # each wants networks of its own kind
            answers = []
            pair, teacher = 'models = [{ type = "mlp", count = 2 }]', '{ stage = "teacher" }'
            for networks in (network, f"{network}\nteachers = [{teacher}]", pair, f"{pair}\nteachers = [{teacher}]",
                             f"{pair}\nteachers = [{teacher}, {teacher}]"):
                pathlib.Path("use.toml").write_text(f'{RECIPE}[[stage]]\nname = "use"\n{use}\n{networks}\n')
                answers.append(subprocess.run([KDRUN, "config", "use.toml"], capture_output=True, text=True))
            assert any(answer.returncode == 0 for answer in answers), (use, [answer.stderr for answer in answers])


def config_resolves_explains_and_shows_differences():
    text = kdrun("config", "recipe.toml").stdout
    pathlib.Path("resolved.toml").write_text(text)
    assert kdrun("config", "resolved.toml").stdout == text, "the resolved recipe resolves to something else"
    line = kdrun("config", "recipe.toml", "stage.student.epochs=7", "--explain", "stage.student.epochs").stdout
    assert line == "stage.student.epochs = 7   # override 'stage.student.epochs=7':22\n", line
    assert "stage.student.batch_size = 64   # recipe.toml:9:14" in kdrun("config", "recipe.toml", "--diff").stdout
    line = kdrun("config", "recipe.toml", "--explain", "stage.student.ema").stdout
    assert line == "stage.student.ema = 0.0   # default\n", line
    lines = kdrun("config", "recipe.toml", "--explain", "train.epochs").stdout.splitlines()
    assert [line.split(" = ")[0] for line in lines] == ["stage.teacher.epochs", "stage.student.epochs"], lines
    text = kdrun("config", "recipe.toml", "stage.student.scheme.losses.1.temperature=8", "--explain", "stage.student.scheme.losses").stdout
    assert "losses.1.temperature = 8.0   # override" in text and "losses.0.weight = 0.1   # default" in text, text
    error = kdrun("config", "recipe.toml", "stage.student.scheme.losses.2.temperature=8", code=2).stderr
    assert "'2' is no position in the default list of 2" in error, error
    assert "did you mean 'stage.student.ema'?" in kdrun("config", "recipe.toml", "--explain", "stage.student.ea", code=2).stderr


def validate_and_dry_run_make_everything_and_train_nothing():
    assert kdrun("validate", "recipe.toml").stdout == "recipe.toml: ok, 2 stage(s)\n"
    assert "ready to train 2 stage(s)" in kdrun("recipe.toml", "--dry-run").stdout
    assert json.loads(kdrun("recipe.toml", "--dry-run", "--json").stdout) == {"recipe": "recipe.toml", "stages": 2}
    assert not pathlib.Path("runs").exists()
    error = kdrun("validate", "recipe.toml", 'data={type="mnist"}', "--data-root", "/nonexistent", code=4).stderr
    assert "kdrun data fetch mnist" in error and "recipe.toml:" in error, error


def a_run_ends_with_its_table_and_folder():
    done = kdrun("recipe.toml", "--device", "cpu")
    lines = done.stdout.strip().splitlines()
    assert lines[-1].startswith("run folder: runs/recipe/"), done.stdout
    folder = pathlib.Path(lines[-1].removeprefix("run folder: "))
    for name in ("recipe.toml", "resolved.toml", "run.json", "metrics.jsonl", "summary.csv", "log.txt"):
        assert (folder / name).stat().st_size > 0, name
    run = json.loads((folder / "run.json").read_text())
    assert run["status"] == "ok" and len(run["stages"]) == 2 and run["plugins"][0]["sha256"]
    assert "\r" not in done.stderr and "\033" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("student epoch ")]) == 3, done.stderr


def eval_gives_the_numbers_of_the_run():
    folder = train("recipe.toml", "runs")
    again = json.loads(kdrun("eval", folder, "--json", "--device", "cpu").stdout)
    wanted = {stage["stage"]: stage["networks"][0]["test_top1"] for stage in json.loads((folder / "run.json").read_text())["stages"]}
    assert {item["stage"]: item["top1"] for item in again} == wanted
    assert all(0 < item["ece"] < 1 and item["oe"] <= item["ece"] and 0 < item["brier"] < 2 for item in again), again
    other = json.loads(kdrun("eval", folder / "stages" / "student", "--data", '{ type = "glyphs", test = 50, seed = 9 }', "--json").stdout)
    assert len(other) == 1 and other[0]["top1"] != again[0]["top1"]
    assert "does not exist" in kdrun("eval", "nowhere", code=4).stderr


def an_ensemble_of_unknown_stages_is_refused_before_training():
    analysis = 'analysis=[{ type = "ensemble", stages = ["teacher", "studnt"] }]'
    for more in (["--dry-run"], []):
        error = kdrun("recipe.toml", analysis, *more, code=2).stderr
        assert "there is no stage 'studnt'" in error and "did you mean 'student'?" in error, error
    assert not pathlib.Path("runs").exists()


def a_failed_run_says_why_in_its_folder():
    kdrun("run", "recipe.toml", "train.optimizer.lr=1e30", "--device", "cpu", code=3)
    (folder,) = pathlib.Path("runs/recipe").iterdir()
    run = json.loads((folder / "run.json").read_text())
    assert run["status"] == "failed" and "not finite" in run["error"]


def what_cannot_be_written_is_said_before_training():
    pathlib.Path("file").write_text("")
    for more in ([], ["--dry-run"]):
        error = kdrun("recipe.toml", "--run-dir", "file/runs", *more, code=1).stderr
        assert error.splitlines()[-1].startswith("error: cannot make file/runs: ") and "is no folder" in error, error


def an_absurd_size_gets_one_plain_line():
    error = kdrun("recipe.toml", "stage.teacher.model.hidden=[900000000000]", "--device", "cpu", code=2).stderr
    assert "0x" not in error and "frame #" not in error and "memory" in error, error
    assert len(error.strip().splitlines()) < 8, error


def any_file_name_will_do():
    name = b"r\xe9cipe.toml".decode("utf8", "surrogateescape")
    pathlib.Path(name).write_bytes(pathlib.Path("recipe.toml").read_bytes())
    subprocess.run([KDRUN, name, "--max-steps", "1", "--device", "cpu"], check=True, capture_output=True)


def two_analyses_of_a_kind_keep_their_files():
    analyses = 'analysis=[{ type = "class_accuracy" }, { type = "class_accuracy", classes = [1] }]'
    folder = train("recipe.toml", "runs", analyses)
    first, second = ((folder / "analysis" / name).read_text().splitlines() for name in ("class_accuracy.csv", "class_accuracy_2.csv"))
    assert len(second) == 2 and second[1] in first, (first, second)


def stages_may_have_classes_of_their_own():
    text = pathlib.Path("recipe.toml").read_text() + '\n[[stage]]\nname = "few"\nmodel = { type = "mlp" }\ndata = { classes = [2, 0] }\n'
    pathlib.Path("few.toml").write_text(text)
    folder = train("few.toml", "runs", 'analysis=[{ type = "class_accuracy" }]')
    last = [line.split(",")[-1] for line in (folder / "analysis" / "class_accuracy.csv").read_text().splitlines()[1:]]
    assert [bool(field) for field in last] == [True, False, True] + [False] * 7, last


def a_name_that_is_taken_is_refused():
    assert "there is a loss 'kd' already" in kdrun("new", "plugin", "loss", "kd", "--outside", "here", code=2).stderr
    assert not pathlib.Path("here").exists()


def options_may_stand_before_the_recipe():
    assert "ready to train" in kdrun("--device", "cpu", "recipe.toml", "--dry-run").stdout


def words_of_other_programs_are_answered():
    for arguments, hint in ((["lst"], "did you mean 'kdrun list'?"), (["train", "recipe.toml"], "did you mean 'kdrun run'?"),
                            (["xyzzy"], "commands: run, sweep, validate,")):
        error = kdrun(*arguments, code=2).stderr
        assert f"there is no command '{arguments[0]}'" in error and hint in error, error
    assert "kdrun compare runs/" in kdrun("--help").stdout
    text = kdrun("describe", "--help").stdout
    assert "KIND (required)" in text and "kdrun describe loss kd" in text, text
    for command in (["run"], ["import"], ["describe"]):
        assert "Examples:" in kdrun(*command, "--help").stdout, command


def describe_shows_the_features_of_a_network():
    text = kdrun("describe", "model", "resnet").stdout
    assert "    stage3           N×64×8×8" in text and "    pooled           N×64\n" in text, text


def a_folder_of_plugins_that_is_missing_is_said():
    for arguments in (["list"], ["validate", "recipe.toml"]):
        done = kdrun(*arguments, env={"KDRUN_PLUGIN_PATH": "/nonexistent/plugins"})
        assert "/nonexistent/plugins" in done.stdout + done.stderr and "there is no such folder" in done.stdout + done.stderr, arguments


def an_empty_data_root_is_none():
    text = kdrun("doctor", env={"KD_DATA": "", "HOME": "/home/someone"}).stdout
    assert "data root   /home/someone/.cache/kdrun/data" in text, text


def two_networks_in_a_stage_of_another_run_must_be_told_apart():
    pathlib.Path("pair.toml").write_text(pathlib.Path("recipe.toml").read_text().split("[[stage]]")[0] +
        '[[stage]]\nname = "pair"\nscheme = { type = "mutual" }\nmodels = [{ type = "mlp", name = "a" }, { type = "mlp", name = "b" }]\n')
    folder = train("pair.toml", "runs")
    teachers = f'stage.student.teachers=[{{ run = "{folder}", stage = "pair" }}]'
    error = kdrun("recipe.toml", teachers, "--device", "cpu", code=2).stderr
    assert "has several networks; say which with 'network'" in error and "its networks: a, b" in error, error
    kdrun("recipe.toml", teachers.replace("]", "]").replace('"pair" }', '"pair", network = "b" }'), "--device", "cpu")


def cut_short_runs_say_so_and_are_left_out():
    whole, cut = train("recipe.toml", "runs"), train("recipe.toml", "runs", "--max-steps", "2", "--seed", "1")
    assert json.loads((whole / "run.json").read_text())["whole"] is True
    assert json.loads((cut / "run.json").read_text())["whole"] is False
    done = kdrun("compare", whole, cut, whole)
    assert "one seed: nothing can be said of the spread" in done.stderr and "teacher     1 " in done.stdout, done.stdout
    assert "ended after 2 steps" in done.stderr and "it was named before" in done.stderr, done.stderr


def the_log_holds_the_table():
    folder = train("recipe.toml", "runs")
    log = (folder / "log.txt").read_text()
    assert "top-1 %" in log and "student epoch 3/3 loss" in log, log


def a_list_ends_where_its_commas_do():
    kdrun("sweep", "recipe.toml", "--seeds", "0", "train.epochs=1", "--dry-run", "--device", "cpu")
    kdrun("sweep", "recipe.toml", "--devices", "cpu", "train.epochs=1", "--dry-run")
    kdrun("run", "recipe.toml", "--stages", "teacher", "train.epochs=1", "--device", "cpu")
    run = train("recipe.toml", "runs", "train.epochs=1")
    for option, value in ("--metric", "top1"), ("--columns", "network"):
        kdrun("compare", option, value, run)


def wrong_command_lines_end_with_two():
    for arguments in (["frobnicate"], ["run"], ["run", "missing.toml"], ["recipe.toml", "--nonsense"], ["recipe.toml", "--device", "cuda:99"],
                      ["recipe.toml", "--max-steps", "-3"], ["eval", ".", "--device", "cuda:x"]):
        kdrun(*arguments, code=2)


def verify_wants_a_folder():
    assert "there is no folder /nonexistent" in kdrun("data", "verify", "--data-root", "/nonexistent", code=4).stderr


def doctor_and_version_answer():
    text = kdrun("doctor").stdout
    assert "libtorch" in text and "0 libraries refused" in text, text
    assert kdrun("--version").stdout.startswith("kdrun ")


def a_link_from_elsewhere_finds_the_plugins():
    link = pathlib.Path("kdrun-link")
    link.symlink_to(KDRUN)
    assert "vanilla_kd" in subprocess.run([str(link.absolute()), "list"], capture_output=True, text=True, check=True).stdout


main([words_of_other_programs_are_answered, describe_shows_the_features_of_a_network, a_folder_of_plugins_that_is_missing_is_said,
      an_empty_data_root_is_none, two_networks_in_a_stage_of_another_run_must_be_told_apart, cut_short_runs_say_so_and_are_left_out,
      the_log_holds_the_table, list_names_every_kind_within_a_second, describe_shows_what_a_plugin_declares, what_describe_prints_can_be_pasted,
      the_reference_of_components_is_current, every_component_shows_a_use_that_works, config_resolves_explains_and_shows_differences,
      validate_and_dry_run_make_everything_and_train_nothing, a_run_ends_with_its_table_and_folder, eval_gives_the_numbers_of_the_run,
      a_failed_run_says_why_in_its_folder, an_ensemble_of_unknown_stages_is_refused_before_training, what_cannot_be_written_is_said_before_training, an_absurd_size_gets_one_plain_line,
      any_file_name_will_do, two_analyses_of_a_kind_keep_their_files, stages_may_have_classes_of_their_own, a_name_that_is_taken_is_refused,
      options_may_stand_before_the_recipe, a_list_ends_where_its_commas_do, wrong_command_lines_end_with_two, doctor_and_version_answer, verify_wants_a_folder,
      a_link_from_elsewhere_finds_the_plugins])
