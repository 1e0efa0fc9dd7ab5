"""CIFAR-100 distillation as careful PyTorch: tensors on the device, channels-last, a fused optimizer, bf16 where it pays.

No step waits for a number. With --graph a GPU gets each step as one CUDA graph. Started by torchrun, it trains by
DistributedDataParallel: each process has its part of every batch."""

import os
import pathlib

import torch
from distillation import distillation_loss
from setting import (BATCH, DEVIATION, MEAN, full_precision, make_networks, make_optimizer, make_parser, read_images,
                     report_epochs, start)
from torch.nn import functional

SIZE, PADDING = 32, 4
WARM_UP_STEPS = 3  # before a graph is captured
RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def computes_bf16(device):
    if device == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


class Loader:
    """Random crops and flips of whole batches, cut from padded images of bytes."""

    def __init__(self, images, labels, device):
        self.device = device
        padded = functional.pad(torch.from_numpy(images), (0, 0, PADDING, PADDING, PADDING, PADDING))
        self.images, self.labels = padded.to(device), torch.from_numpy(labels).to(device)
        self.scale = (1 / (255 * torch.tensor(DEVIATION))).to(device)
        self.shift = (-torch.tensor(MEAN) / torch.tensor(DEVIATION)).to(device)

    def batches(self):
        along = torch.arange(SIZE, device=self.device)
        for batch in torch.randperm(len(self.labels), device=self.device).split(BATCH):
            index = batch.tensor_split(WORLD)[RANK]
            top, left = torch.randint(0, 2 * PADDING + 1, (2, len(index), 1), device=self.device)
            flipped = torch.rand(len(index), 1, device=self.device) < 0.5
            rows, columns = top + along, left + torch.where(flipped, along.flip(0), along)
            pixels = self.images[index[:, None, None], rows[:, :, None], columns[:, None, :]]
            # Colours lie next to each other: the permuted view is what PyTorch calls channels-last.
            yield torch.addcmul(self.shift, pixels.float(), self.scale).permute(0, 3, 1, 2), self.labels[index]


class Graph:
    """A step as one CUDA graph, which reads its batch from tensors of its own. The first steps warm up without it."""

    def __init__(self, step):
        self.step, self.steps, self.graph = step, 0, None
        self.stream = torch.cuda.Stream()

    def __call__(self, images, labels):
        self.steps += 1
        if self.steps <= WARM_UP_STEPS:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                self.step(images, labels)
            torch.cuda.current_stream().wait_stream(self.stream)
            return
        if self.graph is None:
            self.images, self.labels = images.clone(memory_format=torch.preserve_format), labels.clone()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=self.stream):
                self.step(self.images, self.labels)
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.graph.replay()


def main():
    parser = make_parser()
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--graph", action="store_true")
    arguments = start(parser)
    device = arguments.device
    torch.backends.cudnn.benchmark = True
    bf16 = arguments.precision == "bf16" or arguments.precision == "auto" and computes_bf16(device)
    teacher_type = torch.bfloat16 if bf16 else torch.float32
    teacher, student = (network.to(memory_format=torch.channels_last) for network in make_networks(arguments))
    teacher.to(teacher_type)
    if WORLD > 1:
        torch.distributed.init_process_group("gloo")
        student = torch.nn.parallel.DistributedDataParallel(student)
    loader = Loader(*read_images(arguments.data, arguments.steps * BATCH), device)
    optimizer = make_optimizer(student, arguments, fused=True)
    loss_sum, hits = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)

    def train_step(images, labels):
        with torch.no_grad():
            teacher_logits = teacher(images.to(teacher_type)).float()
        # A graph must cast the weights anew in each replay.
        with torch.autocast(device, torch.bfloat16, enabled=bf16, cache_enabled=not arguments.graph):
            logits = student(images)
        logits = logits.float()
        loss = distillation_loss(logits, teacher_logits, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss_sum.add_(loss.detach() * len(labels))
        hits.add_((logits.argmax(1) == labels).sum())

    step = Graph(train_step) if arguments.graph else train_step

    def train_epoch():
        loss_sum.zero_()
        hits.zero_()
        for images, labels in loader.batches():
            step(images, labels)
        return loss_sum.item() / len(loader.labels)

    report_epochs(train_epoch, arguments, "bf16" if bf16 else full_precision(arguments), quiet=RANK > 0)
    if WORLD > 1:
        torch.distributed.destroy_process_group()


main()
