"""kdrun copy: every recipe that comes with kdrun is listed, and a copy of it elsewhere is the same recipe."""

import os
import pathlib
import tomllib

from program import SOURCE, kdrun, main

RECIPES = SOURCE / "recipes"


def names():
    return sorted(str(file.relative_to(RECIPES)) for file in RECIPES.rglob("*.toml") if file.parent.name != "base")


def bases(file):
    return [os.path.normpath(file.parent / base) for base in tomllib.loads(file.read_text()).get("extends", [])]


def every_recipe_is_listed_with_its_title():
    lines = kdrun("copy").stdout.splitlines()
    assert [line.split()[0] for line in lines] == names()
    for line in lines:
        name, title = line.split(maxsplit=1)
        assert title == tomllib.loads((RECIPES / name).read_text())["title"], line


def a_copy_has_every_word_and_finds_what_it_extends():
    for i, name in enumerate(names()):
        copy = pathlib.Path(f"{i}.toml").absolute()
        assert kdrun("copy", name, copy.name).stdout == f"wrote {i}.toml; kdrun {i}.toml trains it\n"
        original = RECIPES / name
        def words(file):
            return [line for line in file.read_text().splitlines() if not line.startswith("extends")]
        assert words(copy) == words(original), name
        assert bases(copy) == bases(original), name
    for name in ("dml.toml", "mnist/hinton.toml", "crd_benchmark/vgg13_vgg8.toml"):
        copy = f"{names().index(name)}.toml"
        assert kdrun("config", copy, "--profile", "smoke").stdout == kdrun("config", RECIPES / name, "--profile", "smoke").stdout


def nothing_is_overwritten():
    before = pathlib.Path("recipe.toml").read_text()
    assert "recipe.toml exists already; nothing was written" in kdrun("copy", "dml.toml", "recipe.toml", code=1).stderr
    assert pathlib.Path("recipe.toml").read_text() == before
    assert kdrun("copy", "dnl.toml", "my.toml", code=2).stderr == "error: there is no recipe 'dnl.toml'\n    hint: did you mean 'dml.toml'?\n"
    assert kdrun("copy", "dml.toml", code=2).stderr == "error: say where the copy goes\n    hint: kdrun copy dml.toml my.toml\n"
    assert not pathlib.Path("my.toml").exists()


main([every_recipe_is_listed_with_its_title, a_copy_has_every_word_and_finds_what_it_extends, nothing_is_overwritten])
