"""kdrun schema: what it accepts and refuses of recipes, by the jsonschema package and by Taplo, which editors have in them."""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

from program import SOURCE, kdrun, main

try:
    import jsonschema
except ImportError:
    print("skipped: there is no package jsonschema; tools/setup installs it\n0 passed, 0 failed, 1 skipped")
    sys.exit(0)

TAPLO = pathlib.Path(sys.executable).parent / "taplo"
RECIPES = sorted(file for file in (SOURCE / "recipes").rglob("*.toml") if file.parent.name != "base")


def schema():
    return json.loads(kdrun("schema").stdout)


def problems(recipe, validator):
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(recipe)]


def bad_recipes():
    """(name, recipe) of those that are TOML and wrong without an override or a profile."""
    for case in re.split(r"^=== ", (SOURCE / "tests/recipes/bad_recipes.txt").read_text(), flags=re.M)[1:]:
        name, rest = case.split("\n", 1)
        recipe = rest.split("--->\n", 1)[0]
        try:
            if not re.match(r"override: |profile: ", recipe):
                yield name, recipe, tomllib.loads(recipe)
        except tomllib.TOMLDecodeError:
            pass


def it_is_a_schema_and_names_every_component():
    text = schema()
    jsonschema.Draft7Validator.check_schema(text)
    for item in json.loads(kdrun("list", "--json").stdout)["components"]:
        definitions = [name for name in text["definitions"] if re.fullmatch(rf"{item['kind']}(\+[\w+]*)?(_part)?:{item['name']}", name)]
        assert definitions, item
        for name in definitions:
            assert text["definitions"][name]["description"] == item["help"], name
    temperature = text["definitions"]["loss+weight:kd"]["properties"]["temperature"]
    assert temperature["exclusiveMinimum"] == 0 and temperature["default"] == 4.0 and temperature["description"], temperature
    assert text["definitions"]["loss+weight:at"]["properties"]["weight"]["default"] == 1000.0, "the published one"
    assert text["definitions"]["loss+weight:kd"]["properties"]["form"]["enum"] == ["kl", "cross_entropy"]


def every_recipe_and_what_it_resolves_to_pass():
    validator = jsonschema.Draft7Validator(schema())
    for file in RECIPES:
        assert not problems(tomllib.loads(file.read_text()), validator), (file, problems(tomllib.loads(file.read_text()), validator))
        resolved = tomllib.loads(kdrun("config", file, "--profile", "smoke").stdout)  # with every default
        assert not problems(resolved, validator), (file, problems(resolved, validator))


def wrong_recipes_are_refused():
    validator = jsonschema.Draft7Validator(schema())
    found = {name: problems(recipe, validator) for name, _, recipe in bad_recipes()}
    for name, answer in {
            "unknown top-level key": "('tilte' was unexpected)",
            "seed is negative": "-1 is less than the minimum of 0",
            "no such device": "'gpu' does not match",
            "data type misspelt": "'glyph' is not one of ['cifar10'",
            "data key misspelt": "('trian' was unexpected)",
            "no stage": "'stage' is a required property",
            "no data": "'data' is a required property",
            "title is a number": "3 is not of type 'string'",
            "data has no type": "'type' is a required property",
            "seed is a string": "'3' is not of type 'integer'"}.items():
        assert any(answer in problem for problem in found[name]), (name, found[name])
    assert sum(1 for answers in found.values() if answers) >= 60, [name for name, answers in found.items() if not answers]


def an_unknown_key_is_refused_at_every_depth():
    """A key that nothing declares, put into one table after the other of a recipe."""
    recipe = tomllib.loads("""
        [data]
        type = "glyphs"
        [train]
        optimizer = { lr = 0.1 }
        [[stage]]
        name = "a"
        model = { type = "mlp" }
        [[stage]]
        name = "b"
        data = { classes = [1, 2] }
        scheme = { type = "vanilla_kd", losses = [{ type = "kd", weight = { type = "linear", to = 1.0, epochs = 3 } }] }
        teachers = [{ stage = "a", model = { type = "mlp" } }]
        models = [{ type = "mlp", count = 2, optimizer = { type = "sgd" }, init = { stage = "a" } }]
        augment = [{ type = "normalize" }]
        [[analysis]]
        type = "calibration"
        [profile.small]
        train = { schedule = { milestones = [1] } }
        stage.b.scheme = { temperature = 1, losses = { 0 = { temperature = 2 } } }
        [sweep]
        seeds = [1]
    """)
    validator = jsonschema.Draft7Validator(schema())
    recipe["profile"]["small"]["stage"]["b"]["scheme"].pop("temperature")
    assert not problems(recipe, validator), problems(recipe, validator)
    may_have_any_key = {"profile", "profile.small.stage"}
    tables = []

    def walk(value, path):
        if isinstance(value, list):
            for i, item in enumerate(value):
                walk(item, f"{path}.{i}")
        if isinstance(value, dict):
            tables.append((path, value))
            for key, item in value.items():
                walk(item, f"{path}.{key}".lstrip("."))

    walk(recipe, "")
    assert len(tables) > 25, [path for path, _ in tables]
    for path, value in tables:
        if path in may_have_any_key:
            continue
        value["zzz"] = 1
        assert problems(recipe, validator), f"an unknown key in '{path}' is not refused"
        del value["zzz"]
    assert not problems(recipe, validator)


def taplo(*arguments, code=0):
    done = subprocess.run([TAPLO, "lint", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, (arguments, done.stdout + done.stderr)
    return done.stdout + done.stderr


def taplo_agrees():
    if not TAPLO.exists():
        print("        (skipped: there is no program taplo; tools/setup installs it)")
        return
    pathlib.Path("kdrun.schema.json").write_text(kdrun("schema").stdout)
    by_name = ["--schema", f"file://{pathlib.Path('kdrun.schema.json').absolute()}"]
    taplo(*by_name, *RECIPES)
    validator = jsonschema.Draft7Validator(schema())
    for name, text, recipe in bad_recipes():
        if problems(recipe, validator) and name != "a date":  # which is a string to Taplo
            pathlib.Path("bad.toml").write_text(text)
            assert "error: " in taplo(*by_name, "bad.toml", code=1), name
    pathlib.Path("bad.toml").write_text("#:schema ./kdrun.schema.json\n[data]\ntype = 'glyphs'\ntrian = 3\n[[stage]]\nname = 'a'\n")
    assert "('trian' was unexpected)" in taplo("bad.toml", code=1)


def the_configuration_in_the_documents_works():
    if not TAPLO.exists():
        print("        (skipped: there is no program taplo; tools/setup installs it)")
        return
    (block,) = [text for text in re.findall(r"^```toml\n(.*?)^```", (SOURCE / "docs/shell.md").read_text(), re.M | re.S) if "[schema]" in text]
    pathlib.Path(".taplo.toml").write_text(block)
    pathlib.Path("kdrun.schema.json").write_text(kdrun("schema").stdout)
    pathlib.Path("base").mkdir()
    pathlib.Path("base/part.toml").write_text("[train]\nepochs = 3\n")
    assert "total=3 excluded=2" in taplo()  # recipe.toml is left
    pathlib.Path("bad.toml").write_text("[data]\ntype = 'glyphs'\ntrian = 3\n[[stage]]\nname = 'a'\n")
    assert "('trian' was unexpected)" in taplo(code=1)


main([it_is_a_schema_and_names_every_component, every_recipe_and_what_it_resolves_to_pass, wrong_recipes_are_refused,
      an_unknown_key_is_refused_at_every_depth, taplo_agrees, the_configuration_in_the_documents_works])
