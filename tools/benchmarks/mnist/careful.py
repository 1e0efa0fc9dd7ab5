"""MNIST distillation as careful PyTorch: tensors in memory, a fused optimizer, no synchronisation in a step.

Started by torchrun, it trains by DistributedDataParallel: each process has its part of every batch."""

import os
import time

import torch
from distillation import distillation_loss
from networks import LEARNING_RATE, make_networks, parse_arguments, read_split, report


RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def load(root, prefix):
    images, labels = read_split(root, prefix)
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype("int64"))


def main():
    arguments = parse_arguments()
    teacher, student = make_networks(arguments.teacher)
    images, labels = load(arguments.data, "train")
    test_images, test_labels = load(arguments.data, "t10k")
    images, test_images = images.flatten(1).float().div_(255), test_images.flatten(1).float().div_(255)
    if WORLD > 1:
        torch.distributed.init_process_group("gloo")
        student = torch.nn.parallel.DistributedDataParallel(student)
    optimizer = torch.optim.SGD(student.parameters(), lr=LEARNING_RATE, fused=True)
    training_seconds = 0
    for _ in range(arguments.epochs):
        begin = time.time()
        student.train()
        loss_sum, hits = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for index in torch.randperm(len(labels)).split(arguments.batch):
            index = index.tensor_split(WORLD)[RANK]
            batch, batch_labels = images[index], labels[index]
            with torch.no_grad():
                teacher_logits = teacher(batch)
            logits = student(batch)
            loss = distillation_loss(logits, teacher_logits, batch_labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(index)
            hits += (logits.argmax(1) == batch_labels).sum()
        loss_sum.item()
        training_seconds += time.time() - begin
        student.eval()
        with torch.no_grad():
            right = (student(test_images).argmax(1) == test_labels).sum().item()
    if RANK == 0:
        report(right / len(test_labels), arguments.epochs * len(labels) / training_seconds)
    if WORLD > 1:
        torch.distributed.destroy_process_group()


main()
