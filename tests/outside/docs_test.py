"""Builds every code block of the README and of docs/ against an installed kdrun, and runs every command that they show.

docs_test.py PREFIX SOURCE WORK_FOLDER PYTHON: PYTHON has safetensors, or is empty."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

PREFIX, SOURCE, WORK = (pathlib.Path(argument).resolve() for argument in sys.argv[1:4])
PYTHON = sys.argv[4] if len(sys.argv) > 4 else ""
KDRUN = PREFIX / "bin/kdrun"
DOCUMENTS = ["README.md", "docs/recipes.md", "docs/sweeps.md", "docs/plugins.md", "docs/run_folder.md", "docs/questions.md", "CONTRIBUTING.md"]

# What stands around a fragment that is no file of its own.
SCHEMA = """#include "kd/loss.h"
#include "kd/plugin.h"
enum class Form { kKl, kCe };
struct Params {
  double temperature = 0;
  Form form = Form::kKl;
  kd::Scheduled weight;
  kd::ComponentSpec then;
  std::vector<kd::ComponentSpec> losses;
  static void schema(kd::Schema<Params>& s) {
%s
  }
};
const auto fields = kd::fields_of<Params>();
"""
BODY = """#include "kd/loss.h"
#include "kd/plugin.h"
void body() {
%s
  (void)loss;
}
"""


def blocks():
    """(document, language, text) of every fenced block."""
    for document in DOCUMENTS:
        text = (SOURCE / document).read_text()
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S):
            yield document, language, block


def run(*command, cwd=WORK, code=0, env=None):
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, env=env)
    assert done.returncode == code, f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def build_code():
    """Every block of C++: plugins as plugins, programs as programs, fragments in what stands around them."""
    project = ["cmake_minimum_required(VERSION 3.25)", "project(docs LANGUAGES CXX)", "find_package(kdrun REQUIRED)", "find_package(GTest REQUIRED)"]
    count = 0
    tests = []
    for document, language, text in blocks():
        if language != "cpp":
            continue
        count += 1
        name = f"block{count}"
        if "KD_REGISTER" in text:
            project.append(f"kd_add_plugin({name} SOURCES {name}.cpp)")
        elif "TEST(" in text:
            tests.append(name)
            project.append(f"add_executable({name} {name}.cpp)\n"
                           f"target_link_libraries({name} PRIVATE kdrun::sdk GTest::gtest GTest::gtest_main)")
        elif "int main" in text:
            project.append(f"add_executable({name} {name}.cpp)\ntarget_link_libraries({name} PRIVATE kdrun::sdk)")
        else:
            text = (SCHEMA if text.startswith("s.") else BODY) % text
            project.append(f"add_library({name} OBJECT {name}.cpp)\ntarget_link_libraries({name} PRIVATE kdrun::sdk)")
        (WORK / f"{name}.cpp").write_text(f"// From {document}.\n" + text)
    assert count >= 4, "the documents have lost their code"
    (WORK / "CMakeLists.txt").write_text("\n".join(project) + "\n")
    launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    run("cmake", "-S", WORK, "-B", WORK / "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={PREFIX}", *launcher)
    run("cmake", "--build", WORK / "build")
    plugins = dict(os.environ, KDRUN_PLUGIN_PATH=str(WORK / "build/lib/kdrun/plugins"))
    assert "logits_mse" in run(KDRUN, "list", "loss", env=plugins)
    assert tests, "the documents have lost their tests"
    for test in tests:
        run(WORK / "build" / test, env=plugins)
    train = [KDRUN, SOURCE / "recipes/quickstart.toml", "--profile", "smoke", "--run-dir", WORK / "plugin_runs", "--device", "cpu"]
    losses = 'stage.student_distilled.scheme.losses=[{ type = "cross_entropy" }, { type = "logits_mse", weight = 0.5 }]'
    run(*train, losses, env=plugins)
    # The pages on features and on an analysis, in one training of two networks that have the features.
    networks = ['stage.teacher.model={ type = "resnet", depth = 8, width = 2 }', 'stage.student_distilled.model={ type = "resnet", depth = 8 }']
    features = 'stage.student_distilled.scheme.losses=[{ type = "cross_entropy" }, { type = "map_attention", weight = 10 }, { type = "map_hint" }]'
    run(*train, *networks, features, 'analysis=[{ type = "mean_confidence" }]', env=plugins)
    figures = list((WORK / "plugin_runs").rglob("confidence.png"))
    assert len(figures) == 1, figures


def check_recipes():
    """Every block that is a recipe is one."""
    folder = WORK / "recipes"
    shutil.copytree(SOURCE / "recipes", folder)
    count = 0
    for _, language, text in blocks():
        if language == "toml" and "[[stage]]" in text:
            count += 1
            (folder / f"doc{count}.toml").write_text(text)
            run(KDRUN, "validate", folder / f"doc{count}.toml", "--profile", "smoke", "--device", "cpu")
    assert count >= 1, "the documents have lost their recipe"


def check_questions():
    """Every analysis has its question."""
    text = (SOURCE / "docs/questions.md").read_text()
    for part in json.loads(run(KDRUN, "list", "analysis", "--json"))["components"]:
        assert text.count(f"`{part['name']}`") == 1 and f'"{part["name"]}"' in text, f"docs/questions.md does not name {part['name']}"


def show_the_answer_to_a_wrong_recipe():
    (WORK / "recipe.toml").write_text('title = "wrong"\n[data]\ntype     = "glyphs"\nfraction = 7\n[[stage]]\nname  = "a"\nmodel = { type = "mpl" }\n')
    answer = run(KDRUN, "validate", "recipe.toml", code=2)
    assert f"```\n{answer}```" in (SOURCE / "README.md").read_text(), answer


def run_commands():
    """The list of commands in the README: each is run with something in the place of its capitals."""
    recipe = ["RECIPE", "--profile", "smoke", "--device", "cpu"]
    RECIPE = SOURCE / "recipes/quickstart.toml"
    first = json.loads(subprocess.run([KDRUN, "run", RECIPE, *recipe[1:], "--run-dir", "runs", "--json"], cwd=WORK, check=True,
                                      capture_output=True, text=True).stdout)["run"]
    run(KDRUN, "export", first + "/stages/teacher", "--format", "pth", "--out", WORK / "weights")
    (weights,) = (WORK / "weights").iterdir()
    arguments = {
        "kdrun RECIPE.toml [key=value …]": recipe[1:],
        "kdrun list [kind]": ["list", "loss"],
        "kdrun describe loss kd": ["describe", "loss", "kd"],
        "kdrun validate RECIPE.toml": ["validate", *recipe],
        "kdrun config RECIPE.toml": ["config", *recipe],
        "kdrun augment RECIPE.toml": ["augment", *recipe[:3], "--stage", "teacher"],
        "kdrun eval RUN": ["eval", first, "--device", "cpu"],
        "kdrun sweep RECIPE.toml": ["sweep", *recipe, "--seeds", "0,1"],
        "kdrun compare RUN…": ["compare", first],
        "kdrun report RUN…|SWEEP": ["report", first, "-o", "told.html"],
        "kdrun runs": ["runs"],
        "kdrun copy [RECIPE] [FILE]": ["copy", "dml.toml", "mine.toml"],
        "kdrun schema": ["schema"],
        "kdrun completion bash|zsh|fish": ["completion", "bash"],
        "kdrun man": ["man"],
        "kdrun import FILE.pth": ["import", weights],
        "kdrun export RUN": ["export", first, "--out", "exported"],
        "kdrun data fetch mnist": ["data", "fetch", "--help"],  # from this machine or not, the network is no test's business
        "kdrun new plugin loss mine": ["new", "plugin", "loss", "mine", "--outside", "mine"],
        "kdrun doctor": ["doctor"],
    }
    listed = []
    for document, language, text in blocks():
        if document == "README.md" and not language and text.startswith("kdrun RECIPE.toml"):
            listed += [command for line in text.splitlines() for command in re.findall(r"kdrun \S+(?: \S+)*", line)]
    assert set(listed) == set(arguments), (listed, list(arguments))
    for command, words in arguments.items():
        words = [RECIPE if word == "RECIPE" else word for word in words]
        run(KDRUN, *([RECIPE] if command.startswith("kdrun RECIPE") else []), *words)
    for document, language, text in blocks():
        if language == "python" and PYTHON and document == "docs/run_folder.md":
            run(PYTHON, "-c", text.replace("runs/.../stages/student", first + "/stages/teacher"))


def sweep_as_documented():
    """Every command of docs/sweeps.md, on runs of the smoke profiles; its shell loop, and its search where the package is there."""
    folder = WORK / "sweeps"
    folder.mkdir()
    (folder / "recipes").symlink_to(SOURCE / "recipes")
    (folder / "bin").mkdir()
    (folder / "bin/kdrun").symlink_to(KDRUN)
    env = dict(os.environ, PATH=f"{folder / 'bin'}:{os.environ['PATH']}")
    text = (SOURCE / "tests/recipes/program.py").read_text()
    recipe = re.search(r'^RECIPE = """(.*?)"""', text, re.M | re.S)[1]
    for name in ("recipe.toml", "R.toml"):
        (folder / name).write_text(recipe)
    smoke = ["--profile", "smoke", "--device", "cpu"]
    run(KDRUN, "sweep", "recipes/dml.toml", *smoke, "--seeds", "0,1", cwd=folder, env=env)
    run(KDRUN, "sweep", "recipes/mnist/grid.toml", *smoke, "--grid", "stage.student_alone.optimizer.lr=[0.1, 0.2]", cwd=folder, env=env)
    (swept,) = (folder / "runs/grid.sweep").iterdir()
    count = 0
    for document, language, block in blocks():
        if document != "docs/sweeps.md":
            continue
        if language == "sh":
            assert run("sh", "-c", block, cwd=folder, env=env).strip(), block
        if language == "python":
            python = SOURCE / "build/venv-trackers/bin/python"
            if python.exists():
                assert "'temperature'" in run(python, "-c", block, cwd=folder, env=env)
            else:
                print("        (the search with Optuna is skipped: tools/setup --trackers installs it)")
        for line in block.splitlines() if not language else []:
            command = re.match(r"kdrun .*?(?=\s{3,}|$)", line)[0].replace("01fb448b", swept.name).replace("--profile small", "--profile smoke")
            command = command.replace("--jobs 4 --devices cuda:0,cuda:1", "--jobs 2 --devices cpu,cpu")
            run("sh", "-c", command, cwd=folder, env=env)
            count += 1
    assert count >= 8, count


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    os.environ.pop("KDRUN_PLUGIN_PATH", None)
    tests = [check_recipes, check_questions, show_the_answer_to_a_wrong_recipe, run_commands, sweep_as_documented, build_code]
    for test in tests:
        test()
        print(f"ok      {test.__name__}")
    print(f"{len(tests)} passed, 0 failed")


main()
