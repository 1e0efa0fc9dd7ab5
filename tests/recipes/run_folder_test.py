"""What a run leaves is read by others: TensorBoard's reader, the safetensors package, and an equal network in plain PyTorch."""

import io
import json
import os
import pathlib
import signal
import subprocess

import numpy
import PIL.Image
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

from program import KDRUN, kdrun, main, train

TWO_NETWORKS = """
[[stage]]
name = "together"
scheme = { type = "mutual" }
models = [{ type = "mlp", hidden = [8], name = "net", count = 2 }]
[[analysis]]
type = "calibration"
"""


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def events(folder):
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    read.Reload()
    return read


def hparams(folder):
    """What TensorBoard's HParams page shows of all runs below `folder`: its columns of settings and results, and its rows by name."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    context = backend_context.Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(folder))))
    wanted = api_pb2.GetExperimentRequest(include_metrics=True)
    experiment = get_experiment.Handler(RequestContext(), context, "", wanted).run()
    statuses = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING]
    columns = [api_pb2.ColParams(hparam=info.name) for info in experiment.hparam_infos]
    columns += [api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos]
    request = api_pb2.ListSessionGroupsRequest(allowed_statuses=statuses, col_params=columns, slice_size=100, include_metrics=True,
                                               aggregation_type=api_pb2.AGGREGATION_AVG)
    groups = list_session_groups.Handler(RequestContext(), context, "", request).run().session_groups
    return experiment, {group.name.split(" ", 1)[1]: group for group in groups}


def settings(group):
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()}


def results(group):
    return {value.name.tag: value.value for value in group.metric_values if value.name.tag.startswith("result/")}


def statuses(group):
    return [api_pb2.Status.Name(session.status) for session in group.sessions]


def summary(folder):
    """The table of results as HParams has it."""
    table = json.loads((folder / "summary.json").read_text())
    rows = [dict(zip([column["name"] for column in table["columns"]], row)) for row in table["rows"]]
    return {f"{row['stage']}/{row['network']}": {f"result/{name}": row[name] for name in ("top1", "nll", "ece")} for row in rows}


def tensorboard_reads_every_record():
    pathlib.Path("recipe.toml").write_text(pathlib.Path("recipe.toml").read_text() + TWO_NETWORKS)
    folder = train("recipe.toml", "runs")
    wanted = {}
    for record in records(folder):
        if record["value"] is not None:
            network = record["stage"] if record["network"] == "model" else f"{record['stage']}.{record['network']}"
            points = wanted.setdefault(network, {}).setdefault(f"{record['split']}/{record['name']}", [])
            points.append((record["step"], record["value"]))
    assert sorted(wanted) == ["student", "teacher", "together.net", "together.net_2"]
    assert {path.name for path in (folder / "tb").iterdir()} == {*wanted, "analyses"}
    assert set(wanted["teacher"]) & set(wanted["together.net"]) > {"train/loss", "train/loss/cross_entropy", "test/top1"}
    for network, tags in wanted.items():
        read = events(folder / "tb" / network)
        assert set(read.Tags()["scalars"]) == {*tags, "result/top1", "result/nll", "result/ece"}, network
        for tag, points in tags.items():
            curve = [(event.step, event.value) for event in read.Scalars(tag)]
            assert [step for step, _ in curve] == [step for step, _ in points], tag
            numpy.testing.assert_allclose([value for _, value in curve], [value for _, value in points], rtol=1e-6)


def tensorboard_shows_the_figures_of_analyses():
    pathlib.Path("recipe.toml").write_text(pathlib.Path("recipe.toml").read_text() + TWO_NETWORKS)
    folder = train("recipe.toml", "runs", "train.epochs=1")
    read = events(folder / "tb" / "analyses")
    pictures = {file.stem: file.read_bytes() for file in (folder / "analysis").glob("*.png")}
    assert {"reliability_teacher_model", "reliability_together_net_2"} < set(pictures) == set(read.Tags()["images"])
    for name, png in pictures.items():
        [image] = read.Images(name)
        assert image.encoded_image_string == png
        assert (image.width, image.height) == PIL.Image.open(io.BytesIO(png)).size


def hparams_compares_networks_by_settings_and_results():
    pathlib.Path("recipe.toml").write_text(pathlib.Path("recipe.toml").read_text() + TWO_NETWORKS)
    # With a validation split a result is that of the best epoch, which need not be the last.
    more = ["data.validation=100", "stage.together.optimizer.lr=0.2"]
    folder = train("recipe.toml", "runs", *more)
    experiment, groups = hparams(folder)
    assert set(groups) == {"teacher/model", "student/model", "together/net", "together/net_2"}
    for name, wanted in summary(folder).items():
        assert statuses(groups[name]) == ["STATUS_SUCCESS"], name
        assert results(groups[name]).keys() == wanted.keys()
        numpy.testing.assert_allclose([results(groups[name])[tag] for tag in wanted], list(wanted.values()), rtol=1e-6)
    last = events(folder / "tb" / "together.net").Scalars("test/top1")[-1].value
    assert results(groups["together/net"])["result/top1"] > last + 0.05  # its best epoch is the first
    # Those that the page shows before anything is ticked are the first five.
    assert [info.name.tag for info in experiment.metric_infos][:3] == ["result/ece", "result/nll", "result/top1"]
    student, net = settings(groups["student/model"]), settings(groups["together/net_2"])
    wanted = {"recipe": "recipe", "stage": "student", "network": "model", "seed": 0, "epochs": 3, "batch_size": 64, "optimizer.type": "sgd",
              "optimizer.lr": 0.05, "optimizer.nesterov": False, "scheme.type": "vanilla_kd", "scheme.losses.1.type": "kd", "scheme.losses.1.temperature": 4,
              "scheme.losses.1.weight": 0.9, "model.type": "mlp", "model.hidden": "[8]", "data.validation": 100, "teachers.0.stage": "teacher"}
    assert wanted.items() <= student.items(), [(key, value, student.get(key)) for key, value in wanted.items() if student.get(key) != value]
    assert net["stage"] == "together" and net["network"] == "net_2" and net["optimizer.lr"] == 0.2 and net["model.hidden"] == "[8]"
    assert "teachers" not in net and "freeze" not in net and not [name for name in net if name.startswith("models")]
    assert {info.name for info in experiment.hparam_infos if info.differs} > {"stage", "scheme.type", "optimizer.lr", "model.hidden"}


def hparams_shows_a_training_once_however_often_it_ran():
    slow = ["train.epochs=40", "train.checkpoint_seconds=0"]
    process = subprocess.Popen([KDRUN, "run", "recipe.toml", "--device", "cpu", "--run-dir", "runs", *slow], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if " epoch 5/" in line:
            process.send_signal(signal.SIGTERM)
            break
    process.stderr.read()
    assert process.wait() == 75
    _, groups = hparams("runs")
    assert {name: statuses(group) for name, group in groups.items()} == {"teacher/model": ["STATUS_UNKNOWN"]}
    assert results(groups["teacher/model"]) == {}  # what was cut off has no result
    resumed = train("recipe.toml", "runs", *slow)
    again = train("recipe.toml", "runs", *slow)
    cut_short = train("recipe.toml", "runs", *slow, "--max-steps", "2")
    _, groups = hparams("runs")
    assert {name: sorted(statuses(group)) for name, group in groups.items()} == {
        "teacher/model": ["STATUS_SUCCESS", "STATUS_SUCCESS", "STATUS_UNKNOWN"], "student/model": ["STATUS_SUCCESS", "STATUS_SUCCESS"],
        "teacher/model (2 steps)": ["STATUS_SUCCESS"], "student/model (2 steps)": ["STATUS_SUCCESS"]}
    wanted = summary(resumed)["teacher/model"]
    numpy.testing.assert_allclose([results(groups["teacher/model"])[tag] for tag in wanted], list(wanted.values()), rtol=1e-6)
    for folder in (resumed, again, cut_short):
        for network in ("teacher", "student"):
            assert len(list((folder / "tb" / network).iterdir())) == 1
    steps = [event.step for event in events(resumed / "tb" / "teacher").Scalars("train/loss")]
    assert steps == [8 * epoch for epoch in range(1, 41)]  # with the epochs before the stop


def hparams_says_what_failed():
    diverges = 'stage.student.schedule={type="multistep", milestones=[1], gamma=1e30}'  # in the second epoch
    kdrun("run", "recipe.toml", "--device", "cpu", "--run-dir", "runs", diverges, code=3)
    _, groups = hparams("runs")
    assert {name: statuses(group) for name, group in groups.items()} == {"teacher/model": ["STATUS_SUCCESS"], "student/model": ["STATUS_FAILURE"]}
    assert results(groups["teacher/model"]) and not results(groups["student/model"])


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


main([tensorboard_reads_every_record, tensorboard_shows_the_figures_of_analyses, hparams_compares_networks_by_settings_and_results,
      hparams_shows_a_training_once_however_often_it_ran, hparams_says_what_failed, the_safetensors_package_gives_an_equal_network,
      plain_pytorch_gets_the_same_accuracy_from_the_weights])
