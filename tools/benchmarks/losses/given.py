# What a step gives to a loss in plain PyTorch.
"""Learned layers are functions of tensors whose names are those of kdrun's adapters: both compute with one set of weights."""

from dataclasses import dataclass, field

import torch
from torch.nn import functional as F


@dataclass
class Given:
    student: dict  # features and "logits" by name
    teacher: dict
    labels: torch.Tensor
    index: torch.Tensor
    parameters: dict = field(default_factory=dict)  # of learned layers
    buffers: dict = field(default_factory=dict)  # what the loss remembers
    draws: dict = field(default_factory=dict)  # random numbers of the step
    student_head: torch.Tensor = None  # channels × classes, of vectors
    teacher_head: torch.Tensor = None
    batch_norm: dict = field(default_factory=dict)  # (scale, shift) by the teacher's feature

    def convolution(self, name, x, **options):
        return F.conv2d(x, self.parameters[f"{name}.weight"], self.parameters.get(f"{name}.bias"), **options)

    def transposed(self, name, x, **options):
        return F.conv_transpose2d(x, self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"], **options)

    def linear(self, name, x):
        return F.linear(x, self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"])

    def batch_normed(self, name, x):
        return F.batch_norm(x, None, None, self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"], training=True)
