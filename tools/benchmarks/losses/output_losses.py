# Losses on outputs in plain PyTorch, as the papers or their authors' code have them.

from dataclasses import replace

import torch
from torch.nn import functional as F


def kd(given, temperature=4.0):
    s, t = given.student["logits"] / temperature, given.teacher["logits"] / temperature
    return F.kl_div(F.log_softmax(s, 1), F.softmax(t, 1), reduction="batchmean") * temperature**2


def dkd_rows(s, t, labels, alpha=1.0, beta=8.0, temperature=4.0):
    hot = F.one_hot(labels, s.shape[1]).to(s.dtype)
    p, q = F.softmax(s / temperature, 1), F.softmax(t / temperature, 1)

    def two(x):
        return torch.stack([(x * hot).sum(1), (x * (1 - hot)).sum(1)], 1)

    target = F.kl_div(torch.log(two(p)), two(q), reduction="none").sum(1)
    log_p = F.log_softmax(s / temperature - 1000.0 * hot, 1)
    others = F.kl_div(log_p, F.softmax(t / temperature - 1000.0 * hot, 1), reduction="none").sum(1)
    return (alpha * target + beta * others) * temperature**2


def dkd(given):
    return dkd_rows(given.student["logits"], given.teacher["logits"], given.labels).mean()


def dist(given, tau=4.0):
    def distance(a, b):
        return 1 - F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), eps=1e-8).mean()

    p, q = F.softmax(given.student["logits"] / tau, 1), F.softmax(given.teacher["logits"] / tau, 1)
    return tau**2 * (distance(p, q) + distance(p.t(), q.t()))


def sdd(given):
    def regions(f, head):
        answers = []
        for n in (1, 2, 4):
            pooled = F.adaptive_avg_pool2d(f, n).flatten(2)
            answers += [pooled[:, :, i] @ head for i in range(n * n)]
        return answers

    s = regions(given.student["stage3"], given.student_head)
    t = regions(given.teacher["stage3"], given.teacher_head)
    whole = t[0].argmax(1) == given.labels
    total = 0
    for a, b in zip(s, t):
        weight = torch.where((b.argmax(1) == given.labels) == whole, 1.0, 2.0).to(a.dtype)
        total = total + (dkd_rows(a, b, given.labels) * weight).mean()
    return total / len(s)


def wttm(given, power=0.2):
    q = torch.pow(torch.softmax(given.teacher["logits"], 1), power)
    norm = q.sum(1)
    q = q / norm.unsqueeze(1)
    return torch.mean(norm * F.kl_div(F.log_softmax(given.student["logits"], 1), q, reduction="none").sum(1))


def mlkd(given, samples=lambda z: z):
    total = 0
    for temperature in (2.0, 3.0, 4.0, 5.0, 6.0):
        s, t = given.student["logits"], given.teacher["logits"]
        p, q = F.softmax(s / temperature, 1), F.softmax(t / temperature, 1)
        log_p, of_samples = F.log_softmax(samples(s) / temperature, 1), F.softmax(samples(t) / temperature, 1)
        total = total + F.kl_div(log_p, of_samples, reduction="none").sum(1).mean() * temperature**2
        total = total + ((q @ q.t() - p @ p.t()) ** 2).sum() / len(p) + ((q.t() @ q - p.t() @ p) ** 2).sum() / p.shape[1]
    return total / 2


def ctkd(given):
    raw = given.parameters["temperature"]
    temperature = 1 + 20 * torch.sigmoid(2 * raw.detach() - raw)  # its gradient is turned round
    s, t = given.student["logits"] / temperature, given.teacher["logits"] / temperature
    return (F.kl_div(F.log_softmax(s, 1), F.softmax(t, 1), reduction="batchmean") * temperature**2).squeeze()


def rld(given, temperature=4.0):
    s, t, labels = given.student["logits"], given.teacher["logits"], given.labels
    p, q = F.softmax(s, 1), F.softmax(t, 1)
    at_label, most = p.gather(1, labels.unsqueeze(1)), q.max(1, keepdim=True)[0]
    confidence = F.kl_div(torch.log(torch.cat([at_label, 1 - at_label], 1)), torch.cat([most, 1 - most], 1),
                          reduction="batchmean")
    mask = t >= t.gather(1, labels.unsqueeze(1))
    log_p = F.log_softmax((s / temperature).masked_fill(mask, -1e9), 1)
    others = F.kl_div(log_p, F.softmax((t / temperature).masked_fill(mask, -1e9), 1), reduction="batchmean")
    return confidence + 8 * others * temperature**2


def wsld(given, temperature=2.0):
    s, t = given.student["logits"], given.teacher["logits"]
    soft = -(F.softmax(t / temperature, 1) * F.log_softmax(s / temperature, 1)).sum(1)
    of_student = F.cross_entropy(s.detach(), given.labels, reduction="none")
    of_teacher = F.cross_entropy(t, given.labels, reduction="none")
    return temperature**2 * torch.mean((1 - torch.exp(-of_student / (of_teacher + 1e-7))) * soft)


def brier(given):
    return (F.softmax(given.student["logits"], 1) - F.softmax(given.teacher["logits"], 1)).pow(2).sum(1).mean()


def fisher_logits(given):
    q, difference = F.softmax(given.teacher["logits"], 1), given.student["logits"] - given.teacher["logits"]
    fisher = torch.diag_embed(q) - q.unsqueeze(2) * q.unsqueeze(1)
    return torch.einsum("na,nab,nb->n", difference, fisher, difference).mean() / 2


def tekap(given, temperature=4.0, views=3):
    s, t = F.log_softmax(given.student["logits"] / temperature, 1), given.teacher["logits"]
    total = F.kl_div(s, F.softmax(t / temperature, 1), reduction="batchmean") / 2
    noise = given.draws["noise"].view(len(t), views, -1)
    for view in range(views):
        noisy = F.softmax((0.9 * t + 0.1 * noise[:, view]) / temperature, 1)
        total = total + F.kl_div(s, noisy, reduction="batchmean") / (2 * views)
    return total * temperature**2


def standardize(z):
    """Per sample (Sun et al., 2024)."""
    return (z - z.mean(1, keepdim=True)) / (z.std(1, keepdim=True) + 1e-7)


def standardized(loss):
    """`loss` of standardised logits."""
    return lambda given: loss(replace(given, student={**given.student, "logits": standardize(given.student["logits"])},
                                      teacher={**given.teacher, "logits": standardize(given.teacher["logits"])}))


def dynamic_temperatures(s, t, temperature=4.0):
    """Of the student and of the teacher (Wei and Bai, 2024), within bounds that are kdrun's own."""
    largest_s, largest_t = s.max(1, keepdim=True)[0].clamp_min(0), t.max(1, keepdim=True)[0].clamp_min(0)
    share = (largest_s / (largest_s + largest_t).clamp_min(1e-6)).clamp(0.05, 0.95)
    return 2 * temperature * share, 2 * temperature * (1 - share)


def kd_confidence(given):
    s, t = given.student["logits"], given.teacher["logits"]
    of_student, of_teacher = dynamic_temperatures(s, t)
    rows = F.kl_div(F.log_softmax(s / of_student, 1), F.softmax(t / of_teacher, 1), reduction="none").sum(1, keepdim=True)
    return (rows * of_student * of_teacher).mean()


def dkd_confidence(given):
    s, t = given.student["logits"], given.teacher["logits"]
    of_student, of_teacher = dynamic_temperatures(s, t)
    rows = dkd_rows(s / of_student, t / of_teacher, given.labels, temperature=1.0).unsqueeze(1)
    return (rows * of_student * of_teacher).mean()
