"""The networks of the CIFAR-100 benchmark: the layers of tests/torch/compare_models.py, run as public code runs them.

The comparison of models computes every feature and shuffles channels by an index, which would slow the scripts down."""

import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests" / "torch"))
import compare_models  # noqa: E402

CLASSES = 100


def run_basic_block(block, x):
    out = functional.relu(block.bn1(block.conv1(x)), inplace=True)
    out = block.bn2(block.conv2(out))
    out += block.downsample(x)
    return functional.relu(out)


class ResNet(compare_models.ResNet):
    def __init__(self, depth, widths):
        super().__init__(depth, widths, CLASSES)
        start_convolutions(self)

    def forward(self, images):
        x = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        for block in (*self.layer1, *self.layer2, *self.layer3):
            x = run_basic_block(block, x)
        return self.fc(functional.avg_pool2d(x, 8).flatten(1))


def run_wide_block(block, x):
    activated = functional.relu(block.bn1(x), inplace=True)
    branch = block.conv2(functional.relu(block.bn2(block.conv1(activated)), inplace=True))
    return branch + (x if block.convShortcut is None else block.convShortcut(activated))


class WideResNet(compare_models.WideResNet):
    def __init__(self, depth, widen):
        super().__init__(depth, widen, CLASSES)
        start_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images):
        x = self.conv1(images)
        for stage in (self.block1, self.block2, self.block3):
            for block in stage.layer:
                x = run_wide_block(block, x)
        x = functional.relu(self.bn1(x), inplace=True)
        return self.fc(functional.avg_pool2d(x, 8).flatten(1))


def shuffle(x, groups):
    if not x.is_contiguous():  # channels-last, which the published lines would undo
        return functional.channel_shuffle(x, groups)
    count, channels, height, width = x.shape
    x = x.view(count, groups, channels // groups, height, width)
    return x.permute(0, 2, 1, 3, 4).reshape(count, channels, height, width)


def run_shuffle_unit(unit, x):
    branch = shuffle(functional.relu(unit.apply_layer(1, x)), unit.groups)
    branch = unit.apply_layer(3, functional.relu(unit.apply_layer(2, branch)))
    if unit.stride == 2:
        return functional.relu(torch.cat([branch, functional.avg_pool2d(x, 3, stride=2, padding=1)], 1))
    return functional.relu(branch + x)


class ShuffleNetV1(compare_models.ShuffleNetV1):
    def __init__(self):
        super().__init__(CLASSES)

    def forward(self, images):
        x = functional.relu(self.bn1(self.conv1(images)))
        for unit in (*self.layer1, *self.layer2, *self.layer3):
            x = run_shuffle_unit(unit, x)
        return self.linear(functional.avg_pool2d(x, 4).flatten(1))


def start_convolutions(network):
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


# Teacher and student of each pair.
PAIRS = {
    "resnet32x4-resnet8x4": (lambda: ResNet(32, (32, 64, 128, 256)), lambda: ResNet(8, (32, 64, 128, 256))),
    "wrn_40_2-shufflenet_v1": (lambda: WideResNet(40, 2), ShuffleNetV1),
    "resnet56-resnet20": (lambda: ResNet(56, (16, 16, 32, 64)), lambda: ResNet(20, (16, 16, 32, 64))),
}


def count_multiply_adds(network):
    """Of the convolutions and linear layers, in a forward pass of one image."""
    counts = []

    def count(layer, _, result):
        counts.append(result[0].numel() * layer.weight[0].numel())

    layers = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        network(torch.zeros(2, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return sum(counts)
