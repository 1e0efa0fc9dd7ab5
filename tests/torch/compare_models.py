# Holds kdrun's models against the same networks in plain PyTorch: logits, features, gradients and batch statistics.
"""usage: compare_models.py DUMP_MODEL [NAME...]

Runs the program DUMP_MODEL for each network, loads the weights it dumped into a network written here with torch.nn, and
compares everything that both compute on the same images. One line per network; exit status 1 where any of them differs.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
from torch import nn
from torch.nn import functional

TOLERANCE = 1e-5  # largest difference of a tensor, relative to its largest magnitude


class Mlp(nn.Module):
    def __init__(self, sizes, activation):
        super().__init__()
        self.layers = len(sizes) - 1
        self.activation = activation
        for i in range(self.layers):
            setattr(self, f"fc{i + 1}", nn.Linear(sizes[i], sizes[i + 1]))

    def forward(self, images):
        taps = {}
        x = images.view(len(images), -1)
        for i in range(1, self.layers):
            taps[f"hidden{i}_pre"] = x = getattr(self, f"fc{i}")(x)
            taps[f"hidden{i}"] = x = self.activation(x)
        taps["pooled"] = x
        taps["logits"] = getattr(self, f"fc{self.layers}")(x)
        return taps


class LeNet5(nn.Module):
    def __init__(self, channels, classes, padding, activation, pooling):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=padding)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)
        self.activation = activation
        self.pooling = pooling

    def forward(self, images):
        taps = {}
        taps["stage1_pre"] = self.conv1(images)
        taps["stage1"] = self.activation(taps["stage1_pre"])
        taps["stage2_pre"] = self.conv2(self.pooling(taps["stage1"], 2))
        taps["stage2"] = self.activation(taps["stage2_pre"])
        taps["hidden_pre"] = self.fc1(torch.flatten(self.pooling(taps["stage2"], 2), 1))
        taps["hidden"] = self.activation(taps["hidden_pre"])
        taps["pooled_pre"] = self.fc2(taps["hidden"])
        taps["pooled"] = self.activation(taps["pooled_pre"])
        taps["logits"] = self.fc3(taps["pooled"])
        return taps


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x):
        """The sum before the last activation. Its input is the sum of the block before it."""
        x = functional.relu(x)
        return self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))) + self.downsample(x)


class ResNet(nn.Module):
    def __init__(self, depth, widths, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        blocks = (depth - 2) // 6
        for stage in (1, 2, 3):
            first = BasicBlock(widths[stage - 1], widths[stage], 1 if stage == 1 else 2)
            others = [BasicBlock(widths[stage], widths[stage], 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{stage}", nn.Sequential(first, *others))
        self.fc = nn.Linear(widths[3], classes)

    def forward(self, images):
        x = self.bn1(self.conv1(images))
        taps = {"stem": functional.relu(x)}
        for stage in (1, 2, 3):
            taps[f"stage{stage}_pre"] = x = getattr(self, f"layer{stage}")(x)
            taps[f"stage{stage}"] = functional.relu(x)
        taps["pooled"] = torch.flatten(functional.avg_pool2d(functional.relu(x), 8), 1)
        taps["logits"] = self.fc(taps["pooled"])
        return taps


def resnet(name, depth, width, widths):
    toml = f"{{ type = 'resnet', depth = {depth}, width = {width} }}"
    return name, toml, 100, "3x32x32", lambda: ResNet(depth, widths, 100)


NETWORKS = [
    ("mlp", "{ type = 'mlp', hidden = [64, 32] }", 10, "1x28x28", lambda: Mlp([784, 64, 32, 10], functional.relu)),
    ("mlp-gelu", "{ type = 'mlp', hidden = [64], activation = 'gelu' }", 10, "1x28x28",
     lambda: Mlp([784, 64, 10], functional.gelu)),
    ("lenet5", "{ type = 'lenet5' }", 10, "1x28x28",
     lambda: LeNet5(1, 10, 2, functional.relu, functional.max_pool2d)),
    ("lenet5-tanh", "{ type = 'lenet5', activation = 'tanh', pooling = 'average' }", 100, "3x32x32",
     lambda: LeNet5(3, 100, 0, torch.tanh, functional.avg_pool2d)),
    resnet("resnet8", 8, 1, (16, 16, 32, 64)),
    resnet("resnet20", 20, 1, (16, 16, 32, 64)),
    resnet("resnet8x4", 8, 4, (32, 64, 128, 256)),
]


def read_dump(folder):
    tensors = {}
    for line in (folder / "index.txt").read_text().splitlines():
        name, dtype, shape, file = line.split(" ")
        sizes = () if shape == "scalar" else tuple(int(size) for size in shape.split("x"))
        values = numpy.fromfile(folder / file, dtype=numpy.dtype(dtype).newbyteorder("<"))
        tensors[name] = torch.from_numpy(values.reshape(sizes))
    return tensors


def group_of(tensors, group):
    return {name[len(group) + 1:]: tensor for name, tensor in tensors.items() if name.startswith(group + "/")}


def load_state(network, dumped):
    parameters = group_of(dumped, "parameter")
    if list(parameters) != [name for name, _ in network.named_parameters()]:
        raise ValueError("parameters differ in name or order")
    network.load_state_dict({**parameters, **group_of(dumped, "buffer")}, strict=True)


def compute_all(network, dumped):
    """What the dump holds besides the state, computed here, under the same names."""
    found = {}
    for mode in ("eval", "train"):
        taps = network.train(mode == "train")(dumped["input"])
        found[f"{mode}/logits"] = taps["logits"]
        found.update({f"{mode}/tap/{name}": tap for name, tap in taps.items()})
    (found["train/logits"] * dumped["factors"]).sum().backward()
    found.update({f"buffer_after/{name}": buffer.float() for name, buffer in network.named_buffers()})
    found.update({f"gradient/{name}": parameter.grad for name, parameter in network.named_parameters()})
    return {name: tensor.detach() for name, tensor in found.items()}


def difference(ours, theirs):
    if ours.shape != theirs.shape:
        return float("inf")
    worst = (ours - theirs).abs().max().item()
    return worst / max(theirs.abs().max().item(), 1e-30) if worst == worst else float("inf")


def compare(program, toml, classes, shape, make_network):
    """Worst relative difference, the tensor that has it, and how many were compared."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([program, toml, str(classes), shape, str(folder)], check=True)
        dumped = read_dump(folder)
    network = make_network()
    load_state(network, dumped)
    found = compute_all(network, dumped)
    given = {"input", "factors"}
    computed = {name for name in dumped if name not in given and not name.startswith(("parameter/", "buffer/"))}
    if computed != set(found):
        raise ValueError(f"only on one side: {sorted(computed ^ set(found))}")
    differences = {name: difference(dumped[name], found[name]) for name in found}
    worst = max(differences, key=differences.get)
    return differences[worst], worst, len(differences)


def main(program, names):
    unknown = set(names) - {network[0] for network in NETWORKS}
    if unknown:
        sys.exit(f"unknown networks: {', '.join(sorted(unknown))}")
    failed = False
    for name, *arguments in NETWORKS:
        if names and name not in names:
            continue
        try:
            worst, where, count = compare(program, *arguments)
            passed = worst <= TOLERANCE
            text = f"{count} tensors, largest relative difference {worst:.1e} in {where}"
        except (ValueError, RuntimeError, subprocess.CalledProcessError) as error:
            passed, text = False, " ".join(str(error).split())
        print(f"{'ok  ' if passed else 'FAIL'} {name}: {text}")
        failed |= not passed
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
