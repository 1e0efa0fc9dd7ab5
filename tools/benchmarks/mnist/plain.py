"""MNIST distillation as most scripts write it: a DataLoader over PIL images, torch.optim, .item() in every step."""

import time

import torch
from distillation import distillation_loss, to_tensor
from networks import LEARNING_RATE, make_networks, parse_arguments, read_split, report
from PIL import Image
from torch.utils.data import DataLoader, Dataset


class Mnist(Dataset):
    """As torchvision.datasets.MNIST: tensors in memory, a PIL image per sample, then the transform."""

    def __init__(self, root, prefix):
        images, labels = read_split(root, prefix)
        self.data, self.targets = torch.from_numpy(images.copy()), torch.from_numpy(labels.astype("int64"))

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image, target = self.data[index], int(self.targets[index])
        return to_tensor(Image.fromarray(image.numpy(), mode="L")), target


def main():
    arguments = parse_arguments()
    teacher, student = make_networks(arguments.teacher)
    train = DataLoader(Mnist(arguments.data, "train"), batch_size=arguments.batch, shuffle=True)
    test = DataLoader(Mnist(arguments.data, "t10k"), batch_size=1000)
    optimizer = torch.optim.SGD(student.parameters(), lr=LEARNING_RATE)
    training_seconds = 0
    for _ in range(arguments.epochs):
        begin = time.time()
        student.train()
        running_loss, hits = 0.0, 0
        for images, labels in train:
            with torch.no_grad():
                teacher_logits = teacher(images)
            logits = student(images)
            loss = distillation_loss(logits, teacher_logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * len(labels)
            hits += (logits.argmax(1) == labels).sum().item()
        training_seconds += time.time() - begin
        student.eval()
        with torch.no_grad():
            right = sum((student(images).argmax(1) == labels).sum().item() for images, labels in test)
    report(right / len(test.dataset), arguments.epochs * len(train.dataset) / training_seconds)


main()
