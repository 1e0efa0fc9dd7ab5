"""tools/ on machines of other kinds: where there is an NVIDIA driver, where only one of both LibTorches is installed, without tests.

scripts_test.py SOURCE TORCH: SOURCE is the source tree and TORCH the LibTorch that it was built with. LibTorch, the compiler and kdrun
are stand-ins here, so that nothing is built; CMake is real and configures."""

import hashlib
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import traceback

SOURCE, TORCH = (pathlib.Path(argument) for argument in sys.argv[1:3])
PATH = os.environ["PATH"]


def write_program(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def make_tree(root, flavours):
    """A source tree that is set up, with a stand-in of LibTorch in the environment of each flavour."""
    for item in SOURCE.iterdir():
        if item.name not in ("build", "runs", ".git"):
            (root / item.name).symlink_to(item)
    (root / "tools").unlink()  # scripts find their tree by their own place
    (root / "tools").mkdir()
    for item in (SOURCE / "tools").iterdir():
        if item.is_file():
            (root / "tools" / item.name).write_bytes(item.read_bytes())
            (root / "tools" / item.name).chmod(item.stat().st_mode)
        else:
            (root / "tools" / item.name).symlink_to(item)
    setup = hashlib.sha256((root / "tools/setup").read_bytes()).hexdigest()
    for flavour in flavours:
        environment = root / "build" / ("venv-cuda" if flavour == "cuda" else "venv")
        torch = environment / "lib/python3.11/site-packages/torch"
        for header in ("torch/headeronly/version.h", "torch/csrc/api/include/torch/version.h"):
            real = TORCH / "include" / header
            if real.exists():
                (torch / "include" / header).parent.mkdir(parents=True, exist_ok=True)
                (torch / "include" / header).write_bytes(real.read_bytes())
        (torch / "lib").mkdir(parents=True)
        for name in ["c10", "torch_cpu", "torch"] + (["c10_cuda", "torch_cuda"] if flavour == "cuda" else []):
            (torch / "lib" / f"lib{name}.so").write_text("")
        write_program(environment / "bin/python", f'#!/bin/sh\necho "python of {flavour}: $@"\n')
        (root / "build" / f".setup-{flavour}").write_text(setup + "\n")


def run(root, *command, code=0, **variables):
    """Runs a script of the tree with a CMake that configures and does not build."""
    write_program(root / "bin/cmake", f"""#!/bin/sh
if [ "$1" = --build ]; then echo "builds $2" >&2; mkdir -p "$2/bin"; printf '#!/bin/sh\\necho "kdrun of $0: $@"\\n' > "$2/bin/kdrun"; chmod +x "$2/bin/kdrun"; exit 0; fi
PATH={PATH} exec cmake "$@"
""")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KDRUN_")}
    environment.update(variables, PATH=f"{root}/bin:{PATH}")
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def a_machine_with_a_driver_takes_the_cuda_flavour_everywhere(root):
    make_tree(root, ["cuda"])
    (root / "driver").write_text("")
    variables = {"KDRUN_NVIDIA_DRIVER": str(root / "driver")}
    text = run(root, "tools/kdrun", "list", **variables)
    assert f"kdrun of {root}/build/cuda/bin/kdrun: list" in text, text
    log = (root / "build/configure-cuda.log").read_text()
    assert "(CUDA: ON) in " in log and "venv-cuda" in log, log
    assert "python of cuda" in run(root, "tools/benchmark", "mnist", **variables)
    (root / "build/cuda/build.ninja").unlink()
    run(root, "tools/build", **variables)
    assert (root / "build/cuda/build.ninja").exists() and not (root / "build/release").exists()


def a_preset_that_is_asked_for_counts_more_than_the_driver(root):
    make_tree(root, ["cpu", "cuda"])
    (root / "driver").write_text("")
    text = run(root, "tools/kdrun", "list", KDRUN_NVIDIA_DRIVER=str(root / "driver"), KDRUN_PRESET="release")
    assert f"kdrun of {root}/build/release/bin/kdrun: list" in text, text
    assert "(CUDA: OFF)" in (root / "build/configure-release.log").read_text()


def a_machine_without_a_driver_takes_the_cpu_flavour(root):
    make_tree(root, ["cpu"])
    text = run(root, "tools/kdrun", "list", KDRUN_NVIDIA_DRIVER=str(root / "no_driver"))
    assert f"kdrun of {root}/build/release/bin/kdrun: list" in text, text


def cmake_alone_takes_the_libtorch_that_is_there(root):
    make_tree(root, ["cuda"])
    text = run(root, "cmake", "-S", ".", "-B", "alone", "-G", "Ninja")
    assert "(CUDA: ON)" in text, text


def a_build_without_tests_configures(root):
    make_tree(root, ["cpu"])
    run(root, "cmake", "-S", ".", "-B", "alone", "-G", "Ninja", "-DBUILD_TESTING=OFF")
    assert "_test" not in (root / "alone/build.ninja").read_text().replace("kd_test", "")


def a_libtorch_of_ones_own_is_no_environment(root):
    """After a set-up with KDRUN_TORCH the wheel is still missing, and a later call without it must not think otherwise."""
    make_tree(root, ["cpu"])
    (root / "build/venv/bin/python").unlink()
    write_program(root / "bin/python3", '#!/bin/sh\necho "makes an environment: $@" >&2; exit 7\n')
    text = run(root, "tools/setup", code=7, KDRUN_NVIDIA_DRIVER=str(root / "no_driver"))
    assert "makes an environment" in text, text


def trackers_have_an_environment_of_their_own(root):
    make_tree(root, [])
    write_program(root / "build/venv-trackers/bin/python", '#!/bin/sh\necho "python of trackers: $@"\n')
    text = run(root, "tools/setup", "--trackers")
    assert text.startswith("python of trackers: -m pip install ") and " wandb==" in text and " aim==" in text, text
    assert not (root / "build/venv").exists() and not (root / "build/.setup-cpu").exists()
    assert "usage: tools/setup [--cuda | --cpu | --browser | --cluster | --trackers]" in run(root, "tools/setup", "--tracker", code=2)


TESTS = [a_machine_with_a_driver_takes_the_cuda_flavour_everywhere, a_preset_that_is_asked_for_counts_more_than_the_driver,
         a_machine_without_a_driver_takes_the_cpu_flavour, cmake_alone_takes_the_libtorch_that_is_there, a_build_without_tests_configures,
         a_libtorch_of_ones_own_is_no_environment, trackers_have_an_environment_of_their_own]
failed = 0
for test in TESTS:
    with tempfile.TemporaryDirectory() as folder:
        try:
            test(pathlib.Path(folder).resolve())
            print(f"ok      {test.__name__}")
        except Exception:
            failed += 1
            print(f"FAILED  {test.__name__}\n{traceback.format_exc()}")
print(f"{len(TESTS) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
