# Holds kdrun's models against the same networks in plain PyTorch: logits, features, gradients and batch statistics.
"""usage: compare_models.py DUMP_MODEL [NAME...]

Runs the program DUMP_MODEL for each network, loads the weights it dumped into a network written here with torch.nn, and
compares everything that both compute on the same images. One line per network; exit status 1 where any of them differs.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
from torch import nn
from torch.nn import functional

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # the images are few: more threads would only wait for each other
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


class WideBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.convShortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        activated = functional.relu(self.bn1(x))
        branch = self.conv2(functional.relu(self.bn2(self.conv1(activated))))
        return branch + (x if self.convShortcut is None else self.convShortcut(activated))


class WideResNet(nn.Module):
    def __init__(self, depth, widen, classes):
        super().__init__()
        widths = [16, 16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        for stage in (1, 2, 3):
            first = WideBlock(widths[stage - 1], widths[stage], 1 if stage == 1 else 2)
            others = [WideBlock(widths[stage], widths[stage], 1) for _ in range((depth - 4) // 6 - 1)]
            setattr(self, f"block{stage}", nn.ModuleDict({"layer": nn.Sequential(first, *others)}))
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], classes)
        self.normalized = {}
        for name, layer in (("stage1", self.block2.layer[0].bn1), ("stage2", self.block3.layer[0].bn1),
                            ("stage3", self.bn1)):
            layer.register_forward_hook(lambda _, given, result, name=name: self.normalized.update({name: result}))

    def forward(self, images):
        taps = {"stem": self.conv1(images)}
        x = taps["stem"]
        for stage in (1, 2, 3):
            taps[f"stage{stage}"] = x = getattr(self, f"block{stage}").layer(x)
        x = functional.relu(self.bn1(x))
        taps.update({f"{name}_pre": result for name, result in self.normalized.items()})
        taps["pooled"] = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        taps["logits"] = self.fc(taps["pooled"])
        return taps


class Vgg(nn.Module):
    WIDTHS = (64, 128, 256, 512, 512)

    def __init__(self, counts, classes):
        super().__init__()
        inputs = 3
        for i, (outputs, count) in enumerate(zip(self.WIDTHS, counts)):
            layers = []
            for _ in range(count):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
                inputs = outputs
            setattr(self, f"block{i}", nn.Sequential(*layers[:-1]))
        self.classifier = nn.Linear(512, classes)

    def forward(self, images):
        taps = {"stem": functional.relu(self.block0(images))}
        x = taps["stem"]
        for stage in (1, 2, 3, 4):
            if stage < 4 or images.shape[2] == 64:
                x = functional.max_pool2d(x, 2, 2)
            taps[f"stage{stage}_pre"] = getattr(self, f"block{stage}")(x)
            taps[f"stage{stage}"] = x = functional.relu(taps[f"stage{stage}_pre"])
        taps["pooled"] = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        taps["logits"] = self.classifier(taps["pooled"])
        return taps


def convolve_and_normalize(inputs, outputs, size=1, stride=1, groups=1):
    return [nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        wide = inputs * expansion
        self.conv = nn.Sequential(*convolve_and_normalize(inputs, wide), nn.ReLU(),
                                  *convolve_and_normalize(wide, wide, 3, stride, wide), nn.ReLU(),
                                  *convolve_and_normalize(wide, outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    ROWS = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, width, classes):
        super().__init__()
        inputs = int(32 * width)
        self.conv1 = nn.Sequential(*convolve_and_normalize(3, inputs, 3, 2), nn.ReLU())
        self.blocks = nn.ModuleList()
        for expansion, channels, count, stride in self.ROWS:
            row = []
            for i in range(count):
                row.append(InvertedResidual(inputs, int(channels * width), stride if i == 0 else 1, expansion))
                inputs = int(channels * width)
            self.blocks.append(nn.Sequential(*row))
        last = int(1280 * width) if width > 1 else 1280
        self.conv2 = nn.Sequential(*convolve_and_normalize(inputs, last), nn.ReLU())
        self.classifier = nn.Sequential(nn.Linear(last, classes))

    def forward(self, images):
        x = self.conv1(images)
        taps = {"stem": x}
        for i, row in enumerate(self.blocks):
            x = row(x)
            stage = {1: 1, 2: 2, 4: 3, 6: 4}.get(i)
            if stage:
                taps[f"stage{stage}_pre"] = taps[f"stage{stage}"] = x
        taps["pooled"] = functional.adaptive_avg_pool2d(self.conv2(x), 1).flatten(1)
        taps["logits"] = self.classifier(taps["pooled"])
        return taps


class NumberedLayers(nn.Module):
    """Convolutions without bias, conv1, conv2, …, each with a batch norm bn1, bn2, …"""

    def __init__(self, *layers):
        super().__init__()
        for number, layer in enumerate(layers, 1):
            convolution, normalization = convolve_and_normalize(*layer)
            setattr(self, f"conv{number}", convolution)
            setattr(self, f"bn{number}", normalization)

    def apply_layer(self, number, x):
        return getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))


def shuffle(x, groups):
    each = x.shape[1] // groups
    return x[:, [i * each + j for j in range(each) for i in range(groups)]]


class ShuffleUnit(NumberedLayers):
    """Of ShuffleNet. Its input and output are what stands before the last activation."""

    def __init__(self, inputs, outputs, stride, groups):
        middle = outputs // 4
        super().__init__((inputs, middle, 1, 1, groups), (middle, middle, 3, stride, middle),
                         (middle, outputs, 1, 1, 3))
        self.stride = stride
        self.groups = groups

    def forward(self, x):
        x = functional.relu(x)
        branch = shuffle(functional.relu(self.apply_layer(1, x)), self.groups)
        branch = self.apply_layer(3, functional.relu(self.apply_layer(2, branch)))
        if self.stride == 2:
            return torch.cat([branch, functional.avg_pool2d(x, 3, stride=2, padding=1)], 1)
        return branch + x


class ShuffleNetV1(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1, self.bn1 = convolve_and_normalize(3, 24)
        inputs = 24
        for stage, (outputs, count) in enumerate(((240, 4), (480, 8), (960, 4)), 1):
            first = ShuffleUnit(inputs, outputs - inputs, 2, 1 if stage == 1 else 3)
            others = [ShuffleUnit(outputs, outputs, 1, 3) for _ in range(count - 1)]
            setattr(self, f"layer{stage}", nn.Sequential(first, *others))
            inputs = outputs
        self.linear = nn.Linear(960, classes)

    def forward(self, images):
        x = self.bn1(self.conv1(images))
        taps = {"stem": functional.relu(x)}
        for stage in (1, 2, 3):
            taps[f"stage{stage}_pre"] = x = getattr(self, f"layer{stage}")(x)
            taps[f"stage{stage}"] = functional.relu(x)
        taps["pooled"] = functional.adaptive_avg_pool2d(functional.relu(x), 1).flatten(1)
        taps["logits"] = self.linear(taps["pooled"])
        return taps


class DownUnit(NumberedLayers):
    """Of ShuffleNet V2. Its result is both halves, before and after the last activations."""

    def __init__(self, inputs, outputs):
        half = outputs // 2
        super().__init__((inputs, inputs, 3, 2, inputs), (inputs, half), (inputs, half), (half, half, 3, 2, half),
                         (half, half))

    def forward(self, x):
        left = functional.relu(self.apply_layer(2, self.apply_layer(1, x)))
        right = self.apply_layer(4, functional.relu(self.apply_layer(3, x)))
        return left, self.apply_layer(5, right)


class SplitUnit(NumberedLayers):
    """Of ShuffleNet V2, with such a result too."""

    def __init__(self, channels):
        half = channels // 2
        super().__init__((half, half), (half, half, 3, 1, half), (half, half))
        self.half = half

    def forward(self, x):
        branch = self.apply_layer(2, functional.relu(self.apply_layer(1, x[:, self.half:])))
        return x[:, :self.half], self.apply_layer(3, branch)


class ShuffleNetV2(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1, self.bn1 = convolve_and_normalize(3, 24)
        inputs = 24
        for stage, (outputs, count) in enumerate(((116, 3), (232, 7), (464, 3)), 1):
            units = [DownUnit(inputs, outputs)] + [SplitUnit(outputs) for _ in range(count)]
            setattr(self, f"layer{stage}", nn.ModuleList(units))
            inputs = outputs
        self.conv2, self.bn2 = convolve_and_normalize(464, 1024)
        self.linear = nn.Linear(1024, classes)

    def forward(self, images):
        taps = {"stem": functional.relu(self.bn1(self.conv1(images)))}
        x = taps["stem"]
        for stage in (1, 2, 3):
            for unit in getattr(self, f"layer{stage}"):
                kept, changed = unit(x)
                x = shuffle(torch.cat([kept, functional.relu(changed)], 1), 2)
            taps[f"stage{stage}_pre"] = torch.cat([kept, changed], 1)
            taps[f"stage{stage}"] = x
        x = functional.relu(self.bn2(self.conv2(x)))
        taps["pooled"] = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        taps["logits"] = self.linear(taps["pooled"])
        return taps


class WideStemBlock(NumberedLayers):
    """Of ResNet-18 to -50. Its input and output are the sums before the last activation."""

    def __init__(self, inputs, width, stride, bottleneck):
        if bottleneck:
            outputs = 4 * width
            super().__init__((inputs, width), (width, width, 3, stride), (width, outputs))
        else:
            outputs = width
            super().__init__((inputs, width, 3, stride), (width, outputs, 3))
        self.count = 3 if bottleneck else 2
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(*convolve_and_normalize(inputs, outputs, 1, stride))

    def forward(self, x):
        branch = x = functional.relu(x)
        for number in range(1, self.count):
            branch = functional.relu(self.apply_layer(number, branch))
        return self.apply_layer(self.count, branch) + self.shortcut(x)


class WideStemResNet(nn.Module):
    def __init__(self, counts, bottleneck, classes):
        super().__init__()
        self.conv1, self.bn1 = convolve_and_normalize(3, 64, 3)
        inputs = 64
        for stage, count in enumerate(counts, 1):
            width = 32 * 2**stage
            blocks = []
            for i in range(count):
                blocks.append(WideStemBlock(inputs, width, 2 if i == 0 and stage > 1 else 1, bottleneck))
                inputs = 4 * width if bottleneck else width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.linear = nn.Linear(inputs, classes)

    def forward(self, images):
        x = self.bn1(self.conv1(images))
        taps = {"stem": functional.relu(x)}
        for stage in (1, 2, 3, 4):
            taps[f"stage{stage}_pre"] = x = getattr(self, f"layer{stage}")(x)
            taps[f"stage{stage}"] = functional.relu(x)
        taps["pooled"] = functional.adaptive_avg_pool2d(functional.relu(x), 1).flatten(1)
        taps["logits"] = self.linear(taps["pooled"])
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
    ("wrn_16_2", "{ type = 'wrn', depth = 16, widen = 2 }", 100, "3x16x16", lambda: WideResNet(16, 2, 100)),
    ("wrn_22_1", "{ type = 'wrn', depth = 22, widen = 1 }", 100, "3x16x16", lambda: WideResNet(22, 1, 100)),
    ("vgg8", "{ type = 'vgg', depth = 8 }", 100, "3x16x16", lambda: Vgg((1, 1, 1, 1, 1), 100)),
    ("vgg11-64", "{ type = 'vgg', depth = 11 }", 100, "3x64x16", lambda: Vgg((1, 1, 2, 2, 2), 100)),
    ("mobilenet_v2", "{ type = 'mobilenet_v2' }", 100, "3x32x32", lambda: MobileNetV2(0.5, 100)),
    ("shufflenet_v1", "{ type = 'shufflenet_v1' }", 100, "3x16x16", lambda: ShuffleNetV1(100)),
    ("shufflenet_v2", "{ type = 'shufflenet_v2' }", 100, "3x16x16", lambda: ShuffleNetV2(100)),
    ("resnet18", "{ type = 'resnet50', depth = 18 }", 100, "3x8x8",
     lambda: WideStemResNet((2, 2, 2, 2), False, 100)),
    ("resnet50", "{ type = 'resnet50' }", 100, "3x8x8", lambda: WideStemResNet((3, 4, 6, 3), True, 100)),
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


def difference(ours, theirs, scale):
    if ours.shape != theirs.shape:
        return float("inf")
    worst = (ours - theirs).abs().max().item()
    return worst / max(scale, 1e-30) if worst == worst else float("inf")


def scale_of(name, tensors):
    """Largest magnitude of a tensor; of a bias' gradient, which vanishes before batch norm, with its layer's weight."""
    names = {name, name.removesuffix(".bias") + ".weight"} if name.startswith("gradient/") else {name}
    return max(tensors[each].abs().max().item() for each in names if each in tensors)


def compare(program, toml, classes, shape, make_network):
    """Worst relative difference, the tensor that has it, and how many were compared."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([program, toml, str(classes), shape, str(folder)], check=True, env=ONE_THREAD)
        dumped = read_dump(folder)
    network = make_network()
    load_state(network, dumped)
    found = compute_all(network, dumped)
    given = {"input", "factors"}
    computed = {name for name in dumped if name not in given and not name.startswith(("parameter/", "buffer/"))}
    if computed != set(found):
        raise ValueError(f"only on one side: {sorted(computed ^ set(found))}")
    differences = {name: difference(dumped[name], found[name], scale_of(name, found)) for name in found}
    worst = max(differences, key=differences.get)
    return differences[worst], worst, len(differences)


def main(program, names):
    unknown = set(names) - {network[0] for network in NETWORKS}
    if unknown:
        sys.exit(f"unknown networks: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
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
