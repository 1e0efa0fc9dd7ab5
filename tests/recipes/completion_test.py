"""Completion in the shells themselves: bash, zsh and fish, as far as they are here."""

import json
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import time

from program import KDRUN, SOURCE, kdrun, main, train

COMPLETER = pathlib.Path(KDRUN).parent / "kdrun_complete"


def ask(*words):
    return subprocess.run([COMPLETER, *words], capture_output=True, text=True, check=True).stdout


def words_of(lines):
    return [line.split("\t")[0] for line in lines.splitlines()]


def own_cache():
    os.environ["XDG_CACHE_HOME"] = str(pathlib.Path("cache").absolute())


def script_of(shell):
    """The script in a file; None, and said, where there is no such shell."""
    if shutil.which(shell) is None:
        print(f"        (skipped: there is no {shell} here; apt-get install {shell})")
        return None
    script = pathlib.Path(f"script.{shell}").absolute()
    script.write_text(kdrun("completion", shell).stdout)
    return script


def bash(*words, breaks=True):
    """What bash would put in the place of the last word, which it breaks at = and :."""
    broken = [part for word in words for part in (re.findall(r"[=:]|[^=:]+", word) or [""] if breaks else [word])]
    command = f'source script.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _kdrun; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", command, "bash", "kdrun", *broken], capture_output=True, text=True, check=True)
    assert done.stderr == "", done.stderr
    return [word for word in done.stdout.splitlines() if word]


def bash_completes():
    own_cache()
    if script_of("bash") is None:
        return
    assert bash("descr") == ["describe"]
    assert bash("describe", "loss", "cross_e") == ["cross_entropy"]
    assert bash("recipe.toml", "stage.stu") == ["stage.student."]
    assert bash("recipe.toml", "stage.student.sch") == ["stage.student.scheme.", "stage.student.schedule."]
    assert bash("recipe.toml", "stage.student.scheme.losses.1.te") == ["stage.student.scheme.losses.1.temperature="]
    # Only what stands behind the = is replaced, and TOML's quotes need others in a shell.
    assert bash("recipe.toml", "train.precision=") == ["\\\"auto\\\"", "\\\"fp32\\\"", "\\\"tf32\\\"", "\\\"bf16\\\"", "\\\"fp16\\\""]
    assert bash("recipe.toml", 'train.precision=\\"b') == ["\\\"bf16\\\""]
    assert bash("recipe.toml", "--profile=", "x") == [] and bash("recipe.toml", "--device=c") == ["cpu", "cuda"]
    assert bash("recipe.toml", "'train.precision=\"b", breaks=False) == ['train.precision="bf16"'], "in quotes that are open"
    pathlib.Path("my own.toml").write_text("")
    assert bash("my") == ["my\\ own.toml"]
    assert bash("import", "my") == ["my own.toml"], "a file of any name, which bash itself quotes"
    run = train("recipe.toml", "runs")
    for command in (["eval"], ["compare"], ["export"], ["runs", "remove"]):
        assert bash(*command, "") == [str(run)], command
    assert bash("eval", f"{run}/") == [f"{run}/stages/student", f"{run}/stages/teacher"]


def typed_into(terminal_command, script, typed, start=""):
    """The words that a command gets of what is typed into a shell on a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="dumb", PS1="> ", HOME=os.getcwd())
        os.execvp(terminal_command[0], terminal_command)
    shown = ""

    def read_until(text):
        nonlocal shown
        end = time.time() + 20
        while text not in shown and time.time() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 65536).decode(errors="replace")
        assert text in shown, shown
        before, shown = shown.split(text, 1)
        return before

    os.write(terminal, f"{start}source {script}; kdrun() {{ printf '<%s>' \"$@\" EN''D; }}; echo REA''DY\r".encode())
    read_until("READY\r\n")
    for part in re.split("(\t)", typed):
        os.write(terminal, part.encode())
        time.sleep(0.3)
    os.write(terminal, b"\r")
    words = re.findall("<(.*?)>", read_until("<END>"))
    os.close(terminal)
    os.waitpid(pid, 0)
    return words


SETTINGS = "recipe.toml stage.teacher.model.dropo\t0.1 train.epo\t5", ["recipe.toml", "stage.teacher.model.dropout=0.1", "train.epochs=5"]
QUOTED = 'recipe.toml train.precision=\\"bf\t', ["recipe.toml", 'train.precision="bf16"']


def bash_completes_what_is_typed():
    own_cache()
    script = script_of("bash")
    if script is None:
        return
    for typed, words in (("desc\tloss cross_e\t", ["describe", "loss", "cross_entropy"]), SETTINGS, QUOTED):
        assert typed_into(["bash", "--norc", "--noprofile", "-i"], script, "kdrun " + typed) == words, typed


def zsh_completes_what_is_typed():
    own_cache()
    script = script_of("zsh")
    if script is None:
        return
    start = "unset zle_bracketed_paste; autoload -U compinit; compinit -u -D; "
    for typed, words in (("desc\tloss cross_e\t", ["describe", "loss", "cross_entropy"]), SETTINGS, QUOTED):
        assert typed_into(["zsh", "-f", "-i"], script, "kdrun " + typed, start) == words, typed
    functions = pathlib.Path("functions").absolute()  # for good: in a folder of $fpath
    functions.mkdir()
    script.rename(functions / "_kdrun")
    start = f"fpath=({functions} $fpath); {start}"
    for typed in ("desc\tloss cross_e\t", "desc\tlo\tcross_e\t"):
        assert typed_into(["zsh", "-f", "-i"], "/dev/null", "kdrun " + typed, start) == ["describe", "loss", "cross_entropy"], typed


def fish(line):
    command = f"source script.fish; complete -C {json.dumps(line)}"
    done = subprocess.run(["fish", "--no-config", "-c", command], capture_output=True, text=True, check=True, env=dict(os.environ, HOME=os.getcwd()))
    return done.stdout


def fish_completes():
    own_cache()
    if script_of("fish") is None:
        return
    assert fish("kdrun descr").startswith("describe\tshow the parameters"), fish("kdrun descr")
    assert words_of(fish("kdrun describe loss cross_e")) == ["cross_entropy"]
    assert words_of(fish("kdrun recipe.toml stage.student.sch")) == ["stage.student.schedule.", "stage.student.scheme."]
    assert words_of(fish("kdrun recipe.toml --device c")) == ["cpu", "cuda"]
    assert 'train.precision="bf16"' in words_of(fish("kdrun recipe.toml train.precision="))
    run = train("recipe.toml", "runs")
    assert words_of(fish("kdrun eval ")) == [str(run)]
    assert "recipe.toml" in fish("kdrun import rec"), "a file of any name"


def both_programs_answer_alike():
    own_cache()
    for words in (["run", "recipe.toml", "stage.student.scheme.losses."], ["describe", "model", ""], ["--"], [""], ["copy", "m"], ["runs", "--sort", ""]):
        assert ask(*words) == kdrun("complete", "--", *words).stdout != "", words


def every_offered_setting_is_one():
    """Each step that leads to a leaf is an override that kdrun takes, but for its value."""
    own_cache()

    def leaves(typed):
        for word in words_of(ask("run", "recipe.toml", typed)):
            if word.endswith("="):
                yield word
            elif not re.search(r"\.losses\.[a-z_]+\.$", word):  # the same again by its type
                yield from leaves(word)

    settings = list(leaves("stage.student."))
    assert len(settings) > 40 and "stage.student.scheme.losses.1.weight=" in settings, settings
    # A date fits nowhere: what kdrun says of it is that, and not that there is no such key.
    error = kdrun("config", "recipe.toml", *[setting + "{}" for setting in settings if setting.count(".") == 2], code=2).stderr
    assert "unknown key" not in error, error


def an_answer_takes_no_time_to_speak_of():
    own_cache()
    ask("descr")
    seconds = []
    for _ in range(10):  # other tests run beside this one: the quickest counts
        begin = time.time()
        assert ask("run", "recipe.toml", "stage.student.scheme.losses.")
        seconds.append(time.time() - begin)
    assert min(seconds) < 0.1, seconds


def what_is_kept_is_of_the_plugins_that_are_there():
    own_cache()
    cache = pathlib.Path("cache/kdrun/completion.json")
    assert "kd\t" in ask("describe", "loss", "")
    kept = cache.read_text()
    cache.write_text(kept.replace("soft targets", "SOFT TARGETS"))
    assert "SOFT TARGETS" in ask("describe", "loss", "kd"), "it is not read"
    cache.write_text(kept[:1000])
    assert "soft targets" in ask("describe", "loss", "kd"), "a damaged one is not mended"
    assert cache.read_text() == kept
    plugins = pathlib.Path("plugins")
    plugins.mkdir()
    (plugins / "broken.so").write_text("")
    os.environ["KDRUN_PLUGIN_PATH"] = str(plugins)
    try:
        assert "soft targets" in ask("describe", "loss", "kd")
    finally:
        del os.environ["KDRUN_PLUGIN_PATH"]
    assert cache.read_text() != kept
    # Without a place to keep anything there is an answer too.
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    for more in ({}, {"XDG_CACHE_HOME": "/proc/nowhere"}):
        done = subprocess.run([COMPLETER, "descr"], capture_output=True, text=True, env=dict(environment, **more), check=True)
        assert done.stdout.startswith("describe\t"), done


def the_command_is_hidden_and_knows_its_shells():
    assert "complete " not in kdrun("--help").stdout
    assert "csh not in {bash,zsh,fish}" in kdrun("completion", "csh", code=2).stderr
    kdrun("completion", code=2)


os.environ.pop("KDRUN_PLUGIN_PATH", None)
main([bash_completes, bash_completes_what_is_typed, zsh_completes_what_is_typed, fish_completes, both_programs_answer_alike,
      every_offered_setting_is_one, an_answer_takes_no_time_to_speak_of, what_is_kept_is_of_the_plugins_that_are_there,
      the_command_is_hidden_and_knows_its_shells])
