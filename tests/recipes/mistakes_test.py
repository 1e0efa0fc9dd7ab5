"""What kdrun answers to mistakes: where, what, and what to do."""

import os
import pathlib
import shutil

from program import KDRUN, SOURCE, kdrun, main, train


def plugins_are_written_where_those_of_their_kind_lie():
    for kind in ("dataset", "model", "augmentation", "loss", "scheme", "optimizer", "schedule", "analysis"):
        pathlib.Path("plugins").mkdir(exist_ok=True)
        kdrun("new", "plugin", kind, f"demo_{kind}")
    written = {folder.name for folder in pathlib.Path("plugins").iterdir()}
    assert written == {folder.name for folder in (SOURCE / "plugins").iterdir() if folder.is_dir()}, written


def a_recipe_that_is_not_there_is_said_with_the_nearest():
    assert "did you mean 'recipe.toml'?" in kdrun("recipie.toml", code=2).stderr
    assert "there is no folder" in kdrun("nowhere/recipe.toml", code=2).stderr
    assert "its name does not end in .toml" in kdrun("recipes/recipe.tml", code=2).stderr
    assert "this is a folder" in kdrun("run", ".", code=2).stderr


def unknown_options_are_answered_with_the_nearest():
    assert "did you mean '--profile'?" in kdrun("recipe.toml", "--profil", "smoke", code=2).stderr
    assert "did you mean '--libraries'?" in kdrun("list", "--librarys", code=2).stderr
    assert "kdrun eval --help" in kdrun("eval", code=2).stderr


def what_is_no_finished_stage_is_told_apart():
    run = train("recipe.toml", "runs")
    assert "does not exist" in kdrun("eval", "nowhere", code=4).stderr
    error = kdrun("eval", run / "stages/studnet", code=4).stderr
    assert "has no finished stage 'studnet'" in error and "did you mean 'student'?" in error, error
    error = kdrun("eval", run.parent, code=4).stderr
    assert f"its last run is {run}" in error, error
    error = kdrun("compare", run.parent, code=4).stderr
    assert f"the runs in it are {run.parent}/*" in error, error
    shutil.copytree(run, "copy", symlinks=True)
    error = kdrun("eval", "copy", code=4).stderr
    assert "cp -rL" in error, error
    stages = [line.split()[0] for line in kdrun("eval", run).stdout.splitlines()]
    assert stages == ["teacher", "student"], "in the order of the recipe"
    (run / "stages/teacher").unlink()
    (run / "stages/student").unlink()
    assert "the command that began it goes on" in kdrun("export", run, "--out", "weights", code=4).stderr


def one_cause_is_one_error():
    error = kdrun("validate", "recipe.toml", 'data={type="mnist"}', "--data-root", "/nonexistent", code=4).stderr
    assert error.count("error:") == 1 and "stage 'teacher', stage 'student'" in error, error


def what_is_allowed_and_seldom_meant_is_warned_of():
    text = kdrun("validate", "recipe.toml", "train.early_stopping=2").stderr
    assert "stage 'student': early_stopping watches the test split" in text, text
    text = kdrun("validate", "recipe.toml", 'train.schedule={type="plateau"}').stderr
    assert "the schedule 'plateau' watches the test split" in text, text
    assert "watches" not in kdrun("validate", "recipe.toml", "train.early_stopping=2", "data.validation=64").stderr
    text = kdrun("validate", "recipe.toml", f"train.threads={os.cpu_count() + 1}").stderr
    assert f"and there are {os.cpu_count()} processors" in text, text
    text = kdrun("validate", "recipe.toml", 'train.schedule={type="multistep", milestones=[2, 30]}').stderr
    assert "the milestone 30 is not before the end of its 3 epochs" in text, text


def a_seed_that_is_no_number_gets_no_advice_on_quotes():
    assert "quotes" not in kdrun("validate", "recipe.toml", "--seed", "one", code=2).stderr
    assert "a string needs quotes" in kdrun("validate", "recipe.toml", "data.type=mnist", code=2).stderr


def options_that_hold_tables_are_named():
    run = train("recipe.toml", "runs")
    weights = run / "stages/teacher/ckpt/last/model.safetensors"
    error = kdrun("import", weights, "--model", "mlp", "--out", "out.safetensors", code=2).stderr
    assert "--model" in error and "write --model '{ type = \"mlp\" }'" in error, error
    error = kdrun("import", weights, "--model", '{ type = "mlpp" }', "--out", "out.safetensors", code=2).stderr
    assert error.startswith("--model") and "did you mean 'mlp'?" in error, error
    error = kdrun("eval", run, "--data", "{ type = 'glyph' }", code=2).stderr
    assert error.startswith("--data") and "did you mean 'glyphs'?" in error, error


def files_that_cannot_be_made_are_named_plainly():
    pathlib.Path("file").write_text("")
    error = kdrun("recipe.toml", "--run-dir", "file/runs", code=1).stderr
    assert "file/runs" in error and "filesystem error" not in error, error
    pathlib.Path("empty").mkdir()
    assert "there is no plugin library in it" in kdrun("list", "loss", "--plugin-dir", "empty").stdout
    assert "let its name end in .png" in kdrun("augment", "recipe.toml", "--stage", "teacher", "--out", "sheet.jpg", code=2).stderr
    scheme = 'stage.student.scheme={ type = "mixup_kd" }'
    text = kdrun("augment", "recipe.toml", "--stage", "student", "--out", "sheet.png", scheme).stdout
    assert "the scheme 'mixup_kd' also mixes images itself" in text, text


def the_reference_of_settings_answers():
    text = kdrun("describe", "train").stdout
    assert "early_stopping" in text and "default 1" in text, text
    assert "checkpoint" in kdrun("describe", "teachers").stdout
    assert "which loss?" in kdrun("describe", "loss", code=2).stderr
    assert "did you mean 'kd'?" in kdrun("describe", "loss", "kdd", code=2).stderr


def published_numbers_of_other_data_are_not_shown():
    analysis = 'analysis=[{ type = "published", source = "a paper", data = "cifar100", stages = ["student"], accuracy = [0.5] }]'
    assert "of cifar100, and this run's data is glyphs: not compared" in kdrun("recipe.toml", "--device", "cpu", analysis).stderr
    assert "published" not in kdrun("compare", next(pathlib.Path("runs/recipe").iterdir())).stdout


main([plugins_are_written_where_those_of_their_kind_lie, a_recipe_that_is_not_there_is_said_with_the_nearest, unknown_options_are_answered_with_the_nearest,
      what_is_no_finished_stage_is_told_apart, one_cause_is_one_error, what_is_allowed_and_seldom_meant_is_warned_of,
      a_seed_that_is_no_number_gets_no_advice_on_quotes, options_that_hold_tables_are_named,
      files_that_cannot_be_made_are_named_plainly, the_reference_of_settings_answers, published_numbers_of_other_data_are_not_shown])
