"""What a run leaves is read by others: TensorBoard's reader, the safetensors package, and an equal network in plain PyTorch."""

import json
import os
import pathlib

import numpy
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from program import kdrun, main, train


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def tensorboard_reads_every_record():
    folder = train("recipe.toml", "runs")
    events = EventAccumulator(str(folder / "tb"), size_guidance={"scalars": 0})
    events.Reload()
    wanted = {}
    for record in records(folder):
        if record["value"] is not None:
            tag = f"{record['stage']}/{record['network']}/{record['split']}/{record['name']}"
            wanted.setdefault(tag, []).append((record["step"], record["value"]))
    assert set(events.Tags()["scalars"]) == set(wanted)
    for tag, points in wanted.items():
        read = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in read] == [step for step, _ in points], tag
        numpy.testing.assert_allclose([value for _, value in read], [value for _, value in points], rtol=1e-6)


def the_safetensors_package_gives_an_equal_network():
    folder = train("recipe.toml", "runs", 'stage.student.model={type="resnet", depth=8}', "train.epochs=1")
    for stage, names in (("teacher", ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]), ("student", None)):
        state = load_file(folder / "stages" / stage / "ckpt" / "last" / "model.safetensors")
        manifest = json.loads((folder / "stages" / stage / "ckpt" / "last" / "MANIFEST.json").read_text())
        assert set(manifest["files"]) == {"model.safetensors", "state.json"}  # a finished stage keeps no optimizer
        if names:
            assert sorted(state) == sorted(names)
        else:
            assert "layer3.0.bn2.running_mean" in state and state["layer3.0.bn2.num_batches_tracked"].dtype == torch.int64


def plain_pytorch_gets_the_same_accuracy_from_the_weights():
    root = pathlib.Path(os.environ.get("KD_DATA", "/nonexistent")) / "mnist"
    if not root.is_dir():
        print("        (skipped: KD_DATA names no data root with mnist)")
        return
    folder = train("recipe.toml", "runs", 'data={type="mnist", per_class=100}', "train.epochs=2", 'train.augment=[]')
    weights = load_file(folder / "stages/student/ckpt/last/model.safetensors")
    images = numpy.frombuffer((root / "t10k-images-idx3-ubyte").read_bytes()[16:], numpy.uint8).reshape(-1, 784)
    labels = torch.from_numpy(numpy.frombuffer((root / "t10k-labels-idx1-ubyte").read_bytes()[8:], numpy.uint8).astype(numpy.int64))
    hidden = torch.relu(torch.from_numpy(images.astype(numpy.float32) / 255) @ weights["fc1.weight"].T + weights["fc1.bias"])
    logits = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
    evaluated = json.loads(kdrun("eval", folder / "stages" / "student", "--json", "--device", "cpu").stdout)[0]
    assert abs((logits.argmax(1) == labels).double().mean().item() - evaluated["top1"]) < 2e-4, evaluated
    assert abs(torch.nn.functional.cross_entropy(logits, labels).item() - evaluated["nll"]) < 1e-4, evaluated


main([tensorboard_reads_every_record, the_safetensors_package_gives_an_equal_network,
      plain_pytorch_gets_the_same_accuracy_from_the_weights])
