"""The help of every command: it has examples, the examples are command lines that kdrun takes, and the manual page has all of it."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess

from program import KDRUN, SOURCE, kdrun, main


def commands_in(help_text):
    listed = help_text.partition("\nSubcommands:\n")[2].partition("\n\n")[0]
    return re.findall(r"^  (\w+)", listed, re.M)


def commands(*above):
    """Every command, and those below it, as lists of words."""
    for name in commands_in(kdrun(*above, "--help").stdout):
        yield [*above, name]
        yield from commands(*above, name)


def examples_in(help_text):
    """The words of each command line below "Examples:"."""
    shown = help_text.partition("\nExamples:\n")[2]
    for line in re.findall(r"^  (.*)$", shown, re.M):
        line = line.split("   ")[0]  # what it does may stand behind it
        words = shell_words(line)
        assert "kdrun" in words, line
        while "kdrun" in words:
            words = words[words.index("kdrun") + 1:]
            end = next((i for i, word in enumerate(words) if re.fullmatch(r"[;|&<>()]+", word)), len(words))
            yield words[:end]


def shell_words(line):
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.wordchars += "[]{}=…,:~*"
    return list(lexer)


def every_command_shows_examples():
    names = commands_in(kdrun("--help").stdout)
    assert len(names) > 15, names
    for name in names:
        examples = list(examples_in(kdrun(name, "--help").stdout))
        assert examples, f"kdrun {name} --help shows no example: see add_examples() in cli/main.cpp"
        assert any(words[0] == name or (name == "run" and words[0].endswith(".toml")) for words in examples), (name, examples)


def every_example_is_a_command_line():
    """kdrun says of each with one word more that this word is wrong, and of nothing else: it reads all of them first."""
    for file in ("resnet32x4.pth", "net.pth"):
        pathlib.Path(file).write_text("")
    pathlib.Path("recipes").symlink_to(SOURCE / "recipes")
    before = sorted(path.name for path in pathlib.Path(".").iterdir())
    count = 0
    for above in [[], *commands()]:
        for words in examples_in(kdrun(*above, "--help").stdout):
            count += 1
            error = kdrun(*words, "--no-such-option", code=2).stderr
            assert error.startswith("error: The following argument was not expected: --no-such-option\n"), (words, error)
    assert count > 30, count
    assert sorted(path.name for path in pathlib.Path(".").iterdir()) == before, "one of them was carried out"


def a_wrong_example_would_be_found():
    for words in (["runs", "--sort", "colour"], ["runs", "--statu", "ok"], ["config"], ["eval", "a", "--bins", "0"], ["completion", "csh"]):
        error = kdrun(*words, "--no-such-option", code=2).stderr
        assert not error.startswith("error: The following argument was not expected: --no-such-option\n"), (words, error)


def the_manual_page_has_every_command_and_option():
    page = kdrun("man").stdout
    sections = dict(re.findall(r"^\.SS kdrun (.*?)\n(.*?)(?=^\.S[SH] )", page, re.M | re.S))
    listed = list(commands())
    assert set(sections) == {" ".join(words) for words in listed}, sections.keys()
    for words in listed:
        text = kdrun(*words, "--help").stdout
        section = sections[" ".join(words)].replace("\\-", "-").replace("\\(aq", "'").replace("\\(ti", "~")
        for option in re.findall(r"^  (?:-\w,)?(--[\w-]+)", text, re.M):
            assert f"\\fB{option}\\fR" in section, (words, option)
        assert text.splitlines()[0] in section, words
        for line in re.findall(r"^  (kdrun .*)$", text.partition("\nExamples:\n")[2], re.M):
            assert line.replace("…", "...") in section, (words, line)


def the_manual_page_is_good_troff():
    pathlib.Path("kdrun.1").write_text(kdrun("man").stdout)
    assert pathlib.Path("kdrun.1").read_bytes().isascii()
    if shutil.which("groff") is None:
        print("        (skipped: there is no groff here; apt-get install groff-base)")
        return
    for device in ("ascii", "latin1", "utf8"):
        done = subprocess.run(["groff", "-man", "-ww", f"-T{device}", "kdrun.1"], capture_output=True, text=True, check=True)
        assert done.stderr == "", (device, done.stderr)
    text = re.sub(".\b", "", subprocess.run(["groff", "-man", "-Tutf8", "-P-c", "kdrun.1"], capture_output=True, text=True, check=True).stdout)
    assert "--baseline student_alone --format latex\n" in text and "--model '{ type = \"resnet\", depth = 20 }' --rename" in text, text
    if shutil.which("man") is None:
        print("        (man itself is not here)")
        return
    for locale in ("C", "C.UTF-8"):
        done = subprocess.run(["man", "--warnings", "-l", "kdrun.1"], capture_output=True, text=True, env=dict(os.environ, LC_ALL=locale), check=True)
        assert done.stderr == "", (locale, done.stderr)


def the_build_has_written_the_manual_page():
    written = pathlib.Path(KDRUN).parent.parent / "framework/kdrun.1"
    assert written.read_text() == kdrun("man").stdout


main([every_command_shows_examples, every_example_is_a_command_line, a_wrong_example_would_be_found,
      the_manual_page_has_every_command_and_option, the_manual_page_is_good_troff, the_build_has_written_the_manual_page])
