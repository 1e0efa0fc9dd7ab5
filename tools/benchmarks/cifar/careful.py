"""CIFAR-100 distillation as careful PyTorch: tensors in memory, channels-last, a fused optimizer, bf16 where it pays.

No step waits for a number."""

import pathlib

import torch
from distillation import distillation_loss
from setting import (BATCH, DEVIATION, MEAN, make_networks, make_optimizer, make_parser, read_images, report_epochs,
                     start)
from torch.nn import functional

SIZE, PADDING = 32, 4


def processor_computes_bf16():
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


class Loader:
    """Random crops and flips of whole batches, cut from padded images of bytes."""

    def __init__(self, images, labels):
        self.images = functional.pad(torch.from_numpy(images), (0, 0, PADDING, PADDING, PADDING, PADDING))
        self.labels = torch.from_numpy(labels)
        self.scale = 1 / (255 * torch.tensor(DEVIATION))
        self.shift = -torch.tensor(MEAN) / torch.tensor(DEVIATION)

    def batches(self):
        along = torch.arange(SIZE)
        for index in torch.randperm(len(self.labels)).split(BATCH):
            top, left = torch.randint(0, 2 * PADDING + 1, (2, len(index), 1))
            flipped = torch.rand(len(index), 1) < 0.5
            rows, columns = top + along, left + torch.where(flipped, along.flip(0), along)
            pixels = self.images[index[:, None, None], rows[:, :, None], columns[:, None, :]]
            # Colours lie next to each other: the permuted view is what PyTorch calls channels-last.
            yield torch.addcmul(self.shift, pixels.float(), self.scale).permute(0, 3, 1, 2), self.labels[index]


def main():
    parser = make_parser()
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    arguments = start(parser)
    bf16 = arguments.precision == "bf16" or arguments.precision == "auto" and processor_computes_bf16()
    teacher_type = torch.bfloat16 if bf16 else torch.float32
    teacher, student = (network.to(memory_format=torch.channels_last) for network in make_networks(arguments))
    teacher.to(teacher_type)
    loader = Loader(*read_images(arguments.data, arguments.steps * BATCH))
    optimizer = make_optimizer(student, arguments, fused=True)

    def train_epoch():
        loss_sum, hits = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for images, labels in loader.batches():
            with torch.no_grad():
                teacher_logits = teacher(images.to(teacher_type)).float()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = student(images)
            logits = logits.float()
            loss = distillation_loss(logits, teacher_logits, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(labels)
            hits += (logits.argmax(1) == labels).sum()
        return loss_sum.item() / len(loader.labels)

    report_epochs(train_epoch, arguments, "bf16" if bf16 else "fp32")


main()
