"""What the PyTorch scripts of every benchmark share: the loss, and a PIL image as a tensor."""

import numpy
import torch
from torch.nn import functional

TEMPERATURE, HARD, SOFT = 4.0, 0.1, 0.9


def distillation_loss(student_logits, teacher_logits, labels):
    soft = functional.kl_div(functional.log_softmax(student_logits / TEMPERATURE, 1),
                             functional.softmax(teacher_logits / TEMPERATURE, 1), reduction="batchmean")
    return HARD * functional.cross_entropy(student_logits, labels) + SOFT * TEMPERATURE ** 2 * soft


def to_tensor(image):
    """The lines of torchvision.transforms.ToTensor that an image of bytes runs through."""
    pixels = torch.from_numpy(numpy.array(image, numpy.uint8, copy=True))
    pixels = pixels.view(image.size[1], image.size[0], len(image.getbands()))
    return pixels.permute((2, 0, 1)).contiguous().to(dtype=torch.get_default_dtype()).div(255)
