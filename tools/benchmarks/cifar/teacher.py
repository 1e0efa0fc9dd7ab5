"""Writes the weights of a pair's teacher, random with sane statistics, and prints the pair's multiply-adds an image."""

import argparse
import json

import torch
from networks import PAIRS, count_multiply_adds
from setting import DEVIATION, MEAN, read_images

LOGIT_DEVIATION = 1  # over images; larger random targets make single images outweigh a batch


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--pair", choices=PAIRS, required=True)
    parser.add_argument("--teacher", required=True)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    teacher, student = (make() for make in PAIRS[arguments.pair])
    images = torch.from_numpy(read_images(arguments.data, 256)[0]).permute(0, 3, 1, 2).contiguous().div(255)
    images = (images - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(DEVIATION).view(-1, 1, 1)
    for module in teacher.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # the statistics of the one pass below
    classifier = list(teacher.children())[-1]
    with torch.no_grad():
        teacher.train()(images)
        logits = teacher.eval()(images)
        scale = LOGIT_DEVIATION / logits.std(0).mean()
        classifier.bias.sub_(logits.mean(0)).mul_(scale)
        classifier.weight.mul_(scale)
    torch.save(teacher.state_dict(), arguments.teacher)
    print(json.dumps({"teacher": count_multiply_adds(teacher), "student": count_multiply_adds(student)}))


main()
