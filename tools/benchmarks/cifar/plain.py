"""CIFAR-100 distillation as the public benchmarks write it: a DataLoader over PIL images, fp32 numbers, .item() each step."""

import torch
from distillation import distillation_loss, to_tensor
from PIL import Image, ImageOps
from setting import (BATCH, DEVIATION, MEAN, full_precision, make_networks, make_optimizer, make_parser, read_images,
                     report_epochs, start)
from torch.utils.data import DataLoader, Dataset


class Cifar100(Dataset):
    """As torchvision.datasets.CIFAR100: an array in memory, a PIL image per sample, then the transforms."""

    def __init__(self, images, labels):
        self.data, self.targets = images, labels.tolist()

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image = flip(crop(Image.fromarray(self.data[index])))
        return normalize(to_tensor(image)), self.targets[index]


def crop(image, size=32, padding=4):
    image = ImageOps.expand(image, border=padding, fill=0)
    top = torch.randint(0, image.height - size + 1, size=(1,)).item()
    left = torch.randint(0, image.width - size + 1, size=(1,)).item()
    return image.crop((left, top, left + size, top + size))


def flip(image):
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(1) < 0.5 else image


def normalize(tensor):
    mean = torch.as_tensor(MEAN, dtype=tensor.dtype).view(-1, 1, 1)
    deviation = torch.as_tensor(DEVIATION, dtype=tensor.dtype).view(-1, 1, 1)
    return tensor.clone().sub_(mean).div_(deviation)


class AverageMeter:
    def __init__(self):
        self.sum, self.count = 0.0, 0

    def update(self, value, count):
        self.sum += value * count
        self.count += count

    @property
    def average(self):
        return self.sum / self.count


def accuracy(logits, labels, ranks=(1, 5)):
    """Per cent of the samples whose label is among the k largest logits, for each k."""
    with torch.no_grad():
        _, predicted = logits.topk(max(ranks), 1, True, True)
        correct = predicted.t().eq(labels.view(1, -1).expand(max(ranks), -1))
        return [correct[:k].reshape(-1).float().sum(0).mul_(100.0 / len(labels)) for k in ranks]


def main():
    parser = make_parser()
    parser.add_argument("--workers", type=int, default=2, help="processes that load images")
    arguments = start(parser)
    teacher, student = make_networks(arguments)
    train = Cifar100(*read_images(arguments.data, arguments.steps * BATCH))
    loader = DataLoader(train, batch_size=BATCH, shuffle=True, num_workers=arguments.workers)
    optimizer = make_optimizer(student, arguments)

    def train_epoch():
        losses, top1, top5 = AverageMeter(), AverageMeter(), AverageMeter()
        for images, labels in loader:
            images, labels = images.to(arguments.device), labels.to(arguments.device)
            logits = student(images)
            with torch.no_grad():
                teacher_logits = teacher(images)
            loss = distillation_loss(logits, teacher_logits, labels)
            first, fifth = accuracy(logits, labels)
            losses.update(loss.item(), len(labels))
            top1.update(first.item(), len(labels))
            top5.update(fifth.item(), len(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return losses.average

    report_epochs(train_epoch, arguments, full_precision(arguments))


main()
