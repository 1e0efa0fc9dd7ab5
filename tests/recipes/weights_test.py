"""Files of weights between plain PyTorch and kdrun, in both directions, and files that are damaged or hostile."""

import argparse
import collections
import io
import json
import os
import pathlib
import pickle
import struct
import subprocess
import tempfile
import zipfile

import numpy
import torch
from program import KDRUN, SOURCE, kdrun, main, train
from safetensors.torch import load_file, save_file

MODEL = '{ type = "lenet5" }'
DATA = '{ type = "glyphs", like = "mnist" }'


def train_one_step():
    """A run of one step, to know names and shapes from kdrun itself."""
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "one.toml").write_text(f'[data]\ntype = "glyphs"\ntrain = 64\ntest = 64\n[[stage]]\nname = "s"\nmodel = {MODEL}\n')
    return train(folder / "one.toml", folder / "runs", "--max-steps", "1")


RUN = train_one_step()
SHAPES = {name: tensor.shape for name, tensor in load_file(RUN / "stages/s/ckpt/last/model.safetensors").items()}


def weights():
    torch.manual_seed(0)
    return collections.OrderedDict((name, torch.randn(shape)) for name, shape in SHAPES.items())


def imported(file):
    pathlib.Path("out.safetensors").unlink(missing_ok=True)
    kdrun("import", file, "--model", MODEL, "--data", DATA, "--out", "out.safetensors")
    return load_file("out.safetensors")


def refused(file, *parts):
    error = kdrun("import", file, "--model", MODEL, "--data", DATA, "--out", "never.safetensors", code=4).stderr
    for part in (str(file), *parts):
        assert part in error, f"'{part}' is not in: {error}"
    assert "frame #" not in error, error
    assert not pathlib.Path("never.safetensors").exists()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def what_public_repositories_write_is_read():
    state = weights()
    wrapped = {
        "bare.pth": state,
        "model.pth": {"epoch": 240, "model": state, "best_acc": torch.tensor(72.5), "optimizer": {"state": {}, "param_groups": [{"lr": 0.05, "params": [0]}]}},
        "parallel.pth": {"state_dict": {"module." + name: tensor for name, tensor in state.items()}},
        "parameters.pth": {name: torch.nn.Parameter(tensor) for name, tensor in state.items()},
        "transposed.pth": {name: tensor.t().contiguous().t() if tensor.dim() == 2 else tensor for name, tensor in state.items()},
    }
    for name, content in wrapped.items():
        torch.save(content, name)
        assert same(imported(name), state), name
        torch.save(content, "old-" + name, _use_new_zipfile_serialization=False)
        assert same(imported("old-" + name), state), "old-" + name
    for protocol in (3, 4, 5):
        torch.save(state, "protocol.pth", pickle_protocol=protocol)
        assert same(imported("protocol.pth"), state), protocol
    save_file(dict(state), "plain.safetensors")
    assert same(imported("plain.safetensors"), state)


def views_of_one_storage_are_read():
    state = weights()
    shared = torch.cat([tensor.flatten() for tensor in state.values()])
    begin, views = 0, {}
    for name, tensor in state.items():
        views[name] = shared[begin:begin + tensor.numel()].view(tensor.shape)
        begin += tensor.numel()
    torch.save(views, "views.pth")
    assert same(imported("views.pth"), state)


def without_a_model_the_names_are_listed():
    torch.save(weights(), "listed.pth")
    text = kdrun("import", "listed.pth").stdout
    for name, shape in SHAPES.items():
        assert f"{name} " in text and str(list(shape)) in text, text
    assert not pathlib.Path("listed.safetensors").exists()


def mismatched_names_are_all_listed():
    state = weights()
    names = list(state)
    state["extra"] = torch.zeros(1)
    del state[names[0]]
    state[names[1]] = torch.zeros(3, 2)
    torch.save(state, "wrong.pth")
    refused("wrong.pth", f"missing: {names[0]}", f"wrong shape: {names[1]} is [3, 2]", "unexpected: extra")


def what_repositories_keep_beside_the_weights_is_passed_over():
    """RepDistiller's *_last.pth: the options as an argparse.Namespace, and the optimizer, beside the weights."""
    options = argparse.Namespace(model_s="resnet8x4", epochs=240, lr_decay_epochs=[150, 180, 210], seen={1, 2}, where=pathlib.Path("."))
    state = weights()
    torch.save({"opt": options, "model": state, "optimizer": {"lr": numpy.float64(0.05)}}, "last.pth")
    assert same(imported("last.pth"), state)
    assert "'opt' (argparse.Namespace)" in kdrun("import", "last.pth").stdout


def prefixes_of_all_names_are_taken_off_and_said():
    state = weights()
    for prefix in ("module.", "_orig_mod.", "module.student.", "student.", "model.", "_orig_mod.module.model."):
        torch.save({prefix + name: tensor for name, tensor in state.items()}, "prefixed.pth")
        pathlib.Path("out.safetensors").unlink(missing_ok=True)
        text = kdrun("import", "prefixed.pth", "--model", MODEL, "--data", DATA, "--out", "out.safetensors").stdout
        assert same(load_file("out.safetensors"), state), prefix
        assert f"the prefix '{prefix}' was taken off every name" in text, text


def a_part_of_a_file_and_other_names_can_be_taken():
    state = weights()
    both = {"student." + name: tensor for name, tensor in state.items()} | {"teacher." + name: tensor + 1 for name, tensor in state.items()}
    torch.save(both, "both.pth")
    refused("both.pth", "missing: ", "… and ")
    kdrun("import", "both.pth", "--model", MODEL, "--data", DATA, "--prefix", "student.", "--out", "student.safetensors")
    assert same(load_file("student.safetensors"), state)
    head = sorted(state)[-1].split(".")[0] + "."
    torch.save({("classifier." + name[len(head):] if name.startswith(head) else name): tensor for name, tensor in state.items()}, "head.pth")
    refused("head.pth", f"--rename classifier.={head}")
    kdrun("import", "head.pth", "--model", MODEL, "--data", DATA, "--rename", f"classifier.={head}", "--out", "head.safetensors")
    assert same(load_file("head.safetensors"), state)
    assert "wants FROM=TO" in kdrun("import", "head.pth", "--model", MODEL, "--rename", "x", "--out", "x.safetensors", code=2).stderr


def a_hundred_wrong_names_are_summed_up():
    torch.save({f"block{i}.weight": torch.zeros(1) for i in range(100)}, "hundred.pth")
    error = kdrun("import", "hundred.pth", "--model", MODEL, "--data", DATA, code=4).stderr
    assert "… and 94 more unexpected" in error and len(error.splitlines()) < 20, error


def a_flipped_bit_is_found():
    torch.save(weights(), "whole.pth")
    content = bytearray(pathlib.Path("whole.pth").read_bytes())
    with zipfile.ZipFile("whole.pth") as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    content[largest.header_offset + 200 + largest.file_size // 2] ^= 1
    pathlib.Path("flipped.pth").write_bytes(content)
    refused("flipped.pth", "damaged", "CRC")


def numbers_that_are_not_finite_are_refused():
    state = weights()
    names = list(state)
    state[names[0]].view(-1)[0] = float("nan")
    state[names[1]].view(-1)[:2] = float("inf")
    torch.save(state, "nan.pth")
    refused("nan.pth", f"{names[0]} (1 of ", f"{names[1]} (2 of ", "NaN or infinite")
    text = f'[data]\ntype = "glyphs"\ntrain = 64\ntest = 64\n[[stage]]\nname = "student"\nmodel = {MODEL}\n'
    text += f'scheme = {{ type = "vanilla_kd" }}\nteachers = [{{ file = "nan.pth", model = {MODEL} }}]\nepochs = 1\n'
    pathlib.Path("student.toml").write_text(text)
    assert "NaN or infinite" in kdrun("student.toml", "--device", "cpu", code=4).stderr
    assert not pathlib.Path("runs").exists()


def nothing_of_a_file_is_executed():
    class Evil:
        def __reduce__(self):
            return os.system, ("touch executed",)

    for old in (False, True):
        torch.save({"model": weights(), "evil": Evil()}, "evil.pth", _use_new_zipfile_serialization=not old)
        pathlib.Path("evil.safetensors").unlink(missing_ok=True)
        text = kdrun("import", "evil.pth", "--model", MODEL, "--data", DATA).stdout
        assert f"passed over, and nothing of it run: 'evil' ({os.system.__module__}.system)" in text, text
        torch.save({"weights": Evil()}, "only_evil.pth", _use_new_zipfile_serialization=not old)
        refused("only_evil.pth", f"{os.system.__module__}.system", "state_dict()")
    torch.save({"whole": torch.nn.Linear(2, 2)}, "module.pth")
    refused("module.pth", "torch.nn.modules.linear.Linear", "state_dict()")
    assert not pathlib.Path("executed").exists()


def damaged_files_are_refused():
    torch.save(weights(), "whole.pth")
    torch.save(weights(), "old.pth", _use_new_zipfile_serialization=False)
    for name in ("whole.pth", "old.pth"):
        content = pathlib.Path(name).read_bytes()
        for length in (0, 1, 10, len(content) // 3, len(content) // 2, len(content) - 1):
            pathlib.Path("cut.pth").write_bytes(content[:length])
            refused("cut.pth")
    pathlib.Path("text.pth").write_text("no weights")
    refused("text.pth", "neither safetensors nor a file of torch.save")
    torch.save([1, 2, 3], "list.pth")
    refused("list.pth", "holds no dictionary")
    torch.save({"epoch": 3, "lr": 0.1}, "empty.pth")
    refused("empty.pth", "its keys are: epoch, lr")


def damaged_bytes_never_end_the_process():
    """A byte of the pickle set to some other, again and again: read or refused, never a crash."""
    torch.save({"a": torch.arange(6.0).view(2, 3)}, "small.pth")
    with zipfile.ZipFile("small.pth") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    (inner,) = [name for name in entries if name.endswith("data.pkl")]
    generator = torch.Generator().manual_seed(1)
    for at in range(0, len(entries[inner]), 8):
        damaged = bytearray(entries[inner])
        damaged[at] = int(torch.randint(0, 256, (), generator=generator))
        write_archive("damaged.pth", entries | {inner: bytes(damaged)})
        done = subprocess.run([KDRUN, "import", "damaged.pth"], capture_output=True, text=True)
        assert done.returncode in (0, 4), (at, done.returncode, done.stderr)


def write_archive(file, entries):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def tensor_pickle(offset, size, stride, count):
    """A state dict of one tensor whose numbers are ours to choose."""
    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", count) if isinstance(value, Storage) else None

    class Tensor:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, size, stride, False, collections.OrderedDict())

    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump({"a": Tensor()})
    return stream.getvalue()


def tensors_stay_inside_their_storage():
    def write(**numbers):
        write_archive("bounds.pth", {"x/data.pkl": tensor_pickle(**numbers), "x/version": b"3\n", "x/data/0": struct.pack("6f", *range(6))})

    write(offset=0, size=(2, 3), stride=(3, 1), count=6)
    assert "[2, 3]" in kdrun("import", "bounds.pth").stdout
    for numbers in ({"offset": 1, "size": (2, 3), "stride": (3, 1), "count": 6}, {"offset": 0, "size": (2, 3), "stride": (4, 1), "count": 6},
                    {"offset": 0, "size": (2**40, 2**40), "stride": (2**40, 2**40), "count": 6}, {"offset": -1, "size": (2,), "stride": (1,), "count": 6},
                    {"offset": 0, "size": (2,), "stride": (-1,), "count": 6}, {"offset": 0, "size": (2,), "stride": (1,), "count": 7},
                    {"offset": 0, "size": (2,), "stride": (1,), "count": 2**60}, {"offset": 2**62, "size": (0,), "stride": (1,), "count": 6}):
        write(**numbers)
        refused("bounds.pth")


def nothing_is_overwritten():
    torch.save(weights(), "kept.pth")
    pathlib.Path("kept.safetensors").write_text("mine")
    assert "exists already" in kdrun("import", "kept.pth", "--model", MODEL, "--data", DATA, code=1).stderr
    assert pathlib.Path("kept.safetensors").read_text() == "mine"


def a_network_is_measured_on_images_as_it_saw_them():
    """The run's network was trained on pixels in [0, 1]; most published ones on normalised images, which is what is taken unasked."""
    result = json.loads((RUN / "stages/s/result.json").read_text())["networks"][0]["test"]
    data = '{ type = "glyphs", train = 64, test = 64 }'
    state = load_file(RUN / "stages/s/ckpt/last/model.safetensors")
    torch.save(state, "val_loss0.0001")
    said = kdrun("import", "val_loss0.0001", "--model", MODEL, "--data", data, "--evaluate", "--augment", "[]").stdout
    assert f"NLL {result['nll']:.4f}" in said, (result, said)
    assert same(load_file("val_loss0.0001.safetensors"), state)  # .0001 is no extension
    normalised = kdrun("import", "val_loss0.0001", "--model", MODEL, "--data", data, "--evaluate", "--out", "n.safetensors").stdout
    assert f"NLL {result['nll']:.4f}" not in normalised and "NLL" in normalised, normalised
    error = kdrun("import", "val_loss0.0001", "--model", MODEL, "--data", data, "--evaluate", "--out", "never", "--augment",
                  '{ type = "normalize" }', code=2).stderr
    assert "want a list" in error, error


def python_reads_what_is_exported():
    kdrun("export", RUN, "--format", "pth", "--out", "out")
    kdrun("export", RUN, "--format", "safetensors", "--out", "out")
    state = torch.load("out/s-model.pth", weights_only=True)
    assert same(state, load_file("out/s-model.safetensors"))
    assert {name: tensor.shape for name, tensor in state.items()} == SHAPES
    assert "exists already" in kdrun("export", RUN, "--format", "pth", "--out", "out", code=1).stderr
    assert same(imported("out/s-model.pth"), state)


def a_published_teacher_is_one_line_of_a_recipe():
    torch.save({"model": weights()}, "teacher.pth")
    text = f'[data]\ntype = "glyphs"\ntrain = 64\ntest = 64\n[[stage]]\nname = "student"\nmodel = {MODEL}\n'
    text += f'scheme = {{ type = "vanilla_kd" }}\nteachers = [{{ file = "teacher.pth", model = {MODEL} }}]\nepochs = 1\n'
    pathlib.Path("student.toml").write_text(text)
    kdrun("student.toml", "--device", "cpu")


def state_under_the_benchmarks_names():
    """Random weights of resnet32x4, by the names and shapes that its state dict has in the CRD benchmark."""
    lines = (SOURCE / "plugins/models/resnet/testdata/resnet32x4.txt").read_text().splitlines()
    state = {}
    for name, shape, _ in (line.split("\t") for line in lines):
        sizes = [int(size) for size in shape.split("x")] if shape[0].isdigit() else []
        state[name] = torch.randn(sizes) * 0.02 if len(sizes) > 1 else torch.rand(sizes) if sizes else torch.tensor(0)
    return state


def the_benchmarks_teacher_serves_its_recipe():
    torch.save({"model": state_under_the_benchmarks_names(), "epoch": 240}, "resnet32x4_vanilla.pth")
    teacher = 'stage.student.teachers=[{ file = "resnet32x4_vanilla.pth", model = { type = "resnet", depth = 32, width = 4 } }]'
    kdrun(SOURCE / "recipes/vanilla_kd.toml", "--profile", "smoke", teacher, "--max-steps", "1", "--device", "cpu")


main([what_repositories_keep_beside_the_weights_is_passed_over, prefixes_of_all_names_are_taken_off_and_said,
      a_part_of_a_file_and_other_names_can_be_taken, a_hundred_wrong_names_are_summed_up, a_flipped_bit_is_found,
      numbers_that_are_not_finite_are_refused, what_public_repositories_write_is_read, views_of_one_storage_are_read, without_a_model_the_names_are_listed, mismatched_names_are_all_listed,
      nothing_of_a_file_is_executed, damaged_files_are_refused, damaged_bytes_never_end_the_process, tensors_stay_inside_their_storage,
      a_network_is_measured_on_images_as_it_saw_them, nothing_is_overwritten, python_reads_what_is_exported, the_benchmarks_teacher_serves_its_recipe, a_published_teacher_is_one_line_of_a_recipe])
