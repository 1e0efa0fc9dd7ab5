# Losses on features and relations in plain PyTorch, as the papers or their authors' code have them.

import math

import torch
from torch.nn import functional as F

STAGES = ("stage1", "stage2", "stage3")


def common_size(a, b):
    size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
    return F.adaptive_avg_pool2d(a, size), F.adaptive_avg_pool2d(b, size)


def at(given, taps=STAGES):
    def attention(f):
        return F.normalize(f.pow(2).mean(1).flatten(1))

    total = 0
    for tap in taps:
        s, t = common_size(given.student[tap], given.teacher[tap])
        total = total + (attention(s) - attention(t)).pow(2).mean()
    return total


def at_paper(given, taps=STAGES):
    def attention(f):
        return F.normalize(f.pow(2).mean(1).flatten(1))

    total = 0
    for tap in taps:
        s, t = common_size(given.student[tap], given.teacher[tap])
        total = total + (attention(s) - attention(t)).norm(dim=1).mean() / 2
    return total


def sp(given):
    def similarity(f):
        f = f.flatten(1)
        return F.normalize(torch.mm(f, f.t()))

    return (similarity(given.teacher["stage3"]) - similarity(given.student["stage3"])).pow(2).mean()


def pairwise(e):
    squares = e.pow(2).sum(1)
    distance = (squares.unsqueeze(1) + squares.unsqueeze(0) - 2 * e @ e.t()).clamp(min=1e-12).sqrt().clone()
    distance[range(len(e)), range(len(e))] = 0
    return distance


def rkd(given):
    s, t = given.student["pooled"], given.teacher["pooled"]
    with torch.no_grad():
        t_distance = pairwise(t)
        t_distance = t_distance / t_distance[t_distance > 0].mean()
        t_angle = F.normalize(t.unsqueeze(0) - t.unsqueeze(1), dim=2)
        t_angle = torch.bmm(t_angle, t_angle.transpose(1, 2)).view(-1)
    s_distance = pairwise(s)
    s_distance = s_distance / s_distance[s_distance > 0].mean()
    s_angle = F.normalize(s.unsqueeze(0) - s.unsqueeze(1), dim=2)
    s_angle = torch.bmm(s_angle, s_angle.transpose(1, 2)).view(-1)
    return 25 * F.smooth_l1_loss(s_distance, t_distance) + 50 * F.smooth_l1_loss(s_angle, t_angle)


def pkt(given, eps=1e-7):
    def probabilities(f):
        f = f / (torch.sqrt(torch.sum(f**2, dim=1, keepdim=True)) + eps)
        similarity = (torch.mm(f, f.t()) + 1) / 2
        return similarity / similarity.sum(1, keepdim=True)

    s, t = probabilities(given.student["pooled"]), probabilities(given.teacher["pooled"])
    return torch.mean(t * torch.log((t + eps) / (s + eps)))


def nst(given):
    def kernel(a, b):
        return (a.unsqueeze(1) * b.unsqueeze(2)).sum(-1).pow(2)

    total = 0
    for tap in STAGES:
        s, t = common_size(given.student[tap], given.teacher[tap])
        s, t = F.normalize(s.flatten(2), dim=2), F.normalize(t.flatten(2), dim=2)
        total = total + kernel(t, t).mean().detach() + kernel(s, s).mean() - 2 * kernel(s, t).mean()
    return total


def cc(given, gamma=0.4, order=2):
    def correlations(f):
        f = F.normalize(f)
        cosine = f @ f.t()
        return sum(math.exp(-2 * gamma) * (2 * gamma) ** p / math.factorial(p) * cosine.pow(p) for p in range(order + 1))

    return F.mse_loss(correlations(given.student["pooled"]), correlations(given.teacher["pooled"]))


def cc_repdistiller(given):
    s = given.linear("student1.0", given.student["pooled"])
    t = given.linear("teacher1.0", given.teacher["pooled"])
    delta = torch.abs(s - t)
    return torch.mean((delta[:-1] * delta[1:]).sum(1))


def vid(given):
    total = 0
    for i, tap in enumerate(STAGES, 1):
        s, t = common_size(given.student[tap], given.teacher[tap])
        mean = given.convolution(f"mean{i}.0", s)
        mean = given.convolution(f"mean{i}.2", F.relu(mean))
        mean = given.convolution(f"mean{i}.4", F.relu(mean))
        variance = (torch.log(1 + torch.exp(given.parameters[f"variance{i}"])) + 1e-5).view(1, -1, 1, 1)
        total = total + torch.mean(0.5 * ((mean - t) ** 2 / variance + torch.log(variance)))
    return total


def regress(given, name, s, t):
    if s.shape[2] == 2 * t.shape[2]:
        s = given.convolution(f"{name}.0", s, stride=2, padding=1)
    elif 2 * s.shape[2] == t.shape[2]:
        s = given.transposed(f"{name}.0", s, stride=2, padding=1)
    else:
        s = given.convolution(f"{name}.0", s)
    return given.batch_normed(f"{name}.1", s)


def fitnet(given):
    s = F.relu(regress(given, "regressor1", given.student["stage2"], given.teacher["stage2"]))
    return F.mse_loss(s, given.teacher["stage2"])


def ab(given):
    total = 0
    for i, tap in enumerate(STAGES):
        s, t = given.student[f"{tap}_pre"], given.teacher[f"{tap}_pre"]
        if s.shape != t.shape:
            s = regress(given, f"connector{i + 1}", s, t)
        s, t = common_size(s, t)
        loss = (s + 1) ** 2 * ((s > -1) & (t <= 0)).to(s.dtype) + (s - 1) ** 2 * ((s <= 1) & (t > 0)).to(s.dtype)
        total = total + 2 ** (i - 2) * torch.abs(loss).sum() / len(s) / 1000 * 3
    return total


def encode(given, name, x, batch_norm):
    step = 3 if batch_norm else 2
    for layer in range(3):
        x = given.convolution(f"{name}.{layer * step}", x, padding=1)
        if batch_norm:
            x = given.batch_normed(f"{name}.{layer * step + 1}", x)
        x = F.leaky_relu(x, 0.1)
    return x


def ft(given, channel_mean=False):
    def normalized(f):
        return F.normalize((f.pow(2).mean(1) if channel_mean else f).flatten(1))

    with torch.no_grad():
        t = encode(given, "paraphraser", given.teacher["stage3"], False)
    s, t = common_size(encode(given, "translator", given.student["stage3"], True), t)
    return (normalized(s) - normalized(t)).abs().mean()


def ft_paraphraser(given):
    t = given.teacher["stage3"]
    x = encode(given, "paraphraser", t, False)
    for layer in range(3):
        x = F.leaky_relu(given.transposed(f"decoder.{2 * layer}", x, padding=1), 0.1)
    return F.mse_loss(x, t)


def fsp(given):
    def flow(bottom, top):
        bottom, top = common_size(bottom, top)
        return (bottom.unsqueeze(1).flatten(3) * top.unsqueeze(2).flatten(3)).mean(-1)

    names = ("stem",) + STAGES
    total = 0
    for a, b in zip(names, names[1:]):
        s, t = flow(given.student[a], given.student[b]), flow(given.teacher[a], given.teacher[b])
        total = total + (s - t).pow(2).mean()
    return total


def kdsvd(given):
    def decompose(f, count):
        u, s, v = torch.linalg.svd(f.flatten(2).transpose(1, 2), full_matrices=False)
        v = v.transpose(1, 2)[:, :, :count]
        largest = v.abs().argmax(1, keepdim=True)  # a sign is arbitrary: here the largest number is above 0
        return F.normalize(s[:, :count], dim=1), v * torch.gather(v, 1, largest).sign()

    total, before = 0, None
    for tap in STAGES:
        f_s, f_t = common_size(given.student[tap], given.teacher[tap])
        with torch.no_grad():
            s_t, v_t = decompose(f_t, 1)
        _, v_s = decompose(f_s, 4)
        cosine = v_s.transpose(1, 2) @ v_t
        most = cosine.abs().max(1, keepdim=True)[0]
        mask = torch.where(most == cosine.abs(), cosine.sign(), torch.zeros_like(cosine))
        v_s, v_t = (v_s @ mask) * s_t.unsqueeze(1), v_t * s_t.unsqueeze(1)
        if before is not None:
            s_rbf = torch.exp(-((v_s.unsqueeze(2) - before[0].unsqueeze(1)).pow(2)) / 8)
            t_rbf = torch.exp(-((v_t.unsqueeze(2) - before[1].unsqueeze(1)).pow(2)) / 8)
            total = total + (s_rbf - t_rbf).pow(2).sum() / len(f_s)
        before = v_s, v_t
    return total


def crd(given, temperature=0.07, eps=1e-7):
    bank_s, bank_t = given.buffers["student_bank"], given.buffers["teacher_bank"]
    n = len(bank_s)
    order, begin, count = (given.buffers[name].long() for name in ("order", "begin", "count"))
    begin, count = begin[given.index].unsqueeze(1), count[given.index].unsqueeze(1)
    place = (given.draws["negatives"] * (n - count)).long()
    chosen = torch.cat([given.index.unsqueeze(1), order[torch.where(place < begin, place, place + count)]], 1)
    s = F.normalize(given.linear("student.0", given.student["pooled"]))
    t = F.normalize(given.linear("teacher.0", given.teacher["pooled"]))

    def contrast(rows, bank):
        weights = torch.index_select(bank, 0, chosen.view(-1)).detach().view(len(rows), -1, bank.shape[1])
        scores = torch.exp(torch.bmm(weights, rows.unsqueeze(2)).squeeze(2) / temperature)
        scores = scores / (scores.mean() * n).detach()
        noise = (scores.shape[1] - 1) / n
        positive = torch.log(scores[:, 0] / (scores[:, 0] + noise + eps))
        negative = torch.log(noise / (scores[:, 1:] + noise + eps))
        return -(positive.sum() + negative.sum()) / len(rows)

    return contrast(s, bank_t) + contrast(t, bank_s)


def ofd(given):
    total = 0
    for i, tap in enumerate(STAGES):
        s, t = given.student[f"{tap}_pre"], given.teacher[f"{tap}_pre"]
        s = given.batch_normed(f"connector{i + 1}.1", given.convolution(f"connector{i + 1}.0", s))
        s, t = common_size(s, t)
        scale, shift = given.batch_norm[f"{tap}_pre"]
        margins = []
        for deviation, mean in zip(scale.abs().tolist(), shift.tolist()):
            below = 0.5 * (1 + math.erf(-mean / deviation / math.sqrt(2)))
            density = math.exp(-((mean / deviation) ** 2) / 2) / math.sqrt(2 * math.pi)
            margins.append(mean - deviation * density / below if below > 0.001 else -3 * deviation)
        margin = torch.tensor(margins, dtype=s.dtype).view(1, -1, 1, 1)
        loss = ((s - margin) ** 2 * ((s > margin) & (t <= margin)).to(s.dtype) +
                (s - t) ** 2 * ((s > t) & (t > margin) & (t <= 0)).to(s.dtype) + (s - t) ** 2 * (t > 0).to(s.dtype))
        total = total + torch.abs(loss).mean(0).sum() / 2 ** (2 - i)
    return total


def review_kd(given):
    def context(s, t):
        loss, weight, whole = F.mse_loss(s, t), 1.0, 1.0
        for side in (4, 2, 1):
            if side < s.shape[2]:
                weight /= 2
                whole += weight
                pooled = F.adaptive_avg_pool2d(s, side), F.adaptive_avg_pool2d(t, side)
                loss = loss + F.mse_loss(*pooled) * weight
        return loss / whole

    def as_map(f):
        return f if f.dim() == 4 else f[:, :, None, None]

    names = STAGES + ("pooled",)
    total, review = 0, None
    for i in range(len(names), 0, -1):
        tap = names[i - 1]
        t = as_map(given.teacher[tap if tap == "pooled" else f"{tap}_pre"])
        x = as_map(given.student[tap])
        x = given.batch_normed(f"narrow{i}.1", given.convolution(f"narrow{i}.0", x))
        if review is not None:
            review = F.interpolate(review, x.shape[2:], mode="nearest")
            share = torch.sigmoid(given.convolution(f"attend{i}.0", torch.cat([x, review], 1)))
            x = x * share[:, :1] + review * share[:, 1:]
        review = F.interpolate(x, t.shape[2:], mode="nearest") if x.shape != t.shape else x
        s = given.batch_normed(f"widen{i}.1", given.convolution(f"widen{i}.0", review, padding=1))
        total = total + context(s, t)
    return total


def srrl(given):
    s = given.batch_normed("to_teacher.1", given.convolution("to_teacher.0", given.student["stage3"]))
    s, t = common_size(F.relu(s), given.teacher["stage3"])
    answered = s.mean((2, 3)) @ given.teacher_head
    return F.mse_loss(answered, given.teacher["logits"]) + (s.mean((2, 3)) - t.mean((2, 3))).pow(2).mean(1).mean()


def simkd(given):
    s, t = common_size(given.student["transferred"], given.teacher["stage3"])
    return F.mse_loss(s, t)


def cwd(given, temperature=4.0):
    s = given.student["stage3"]
    if "to_teacher1.0.weight" in given.parameters:
        s = given.convolution("to_teacher1.0", s)
    s, t = common_size(s, given.teacher["stage3"])
    n, c = t.shape[:2]
    q = F.softmax(t.reshape(n * c, -1) / temperature, 1)
    log_q = F.log_softmax(t.reshape(n * c, -1) / temperature, 1)
    return torch.sum(q * (log_q - F.log_softmax(s.reshape(n * c, -1) / temperature, 1))) * temperature**2 / (n * c)


def pkd(given):
    def standardized(f):
        f = f.permute(1, 0, 2, 3).flatten(1)
        return (f - f.mean(1, keepdim=True)) / (f.std(1, keepdim=True) + 1e-6)

    s = given.student["stage3"]
    if "to_teacher1.0.weight" in given.parameters:
        s = given.convolution("to_teacher1.0", s)
    s, t = common_size(s, given.teacher["stage3"])
    return F.mse_loss(standardized(s), standardized(t)) / 2


def feature_mse(given):
    s = given.student["pooled"]
    if "to_teacher1.0.weight" in given.parameters:
        s = given.linear("to_teacher1.0", s)
    return F.mse_loss(s, given.teacher["pooled"])


def kdpp(given):
    s, t = given.student["pooled"], given.teacher["pooled"]
    if "to_teacher.0.weight" in given.parameters:
        s = given.linear("to_teacher.0", s)
    classes = given.student["logits"].shape[1]
    centres = torch.stack([t[given.labels == c].sum(0) for c in range(classes)])
    total = 0
    for a, b, label in zip(s, t, given.labels.tolist()):
        centre = centres[label] / centres[label].norm()
        total = total + 1 - torch.dot(a, centre) / max(a.norm(), b.norm())
    return total / len(s)


def cat_kd(given, resolution=2, normalize=False):
    def maps(f, head):
        maps = F.conv2d(f, head.t()[:, :, None, None])
        maps = F.adaptive_avg_pool2d(maps, resolution)
        return F.normalize(maps.flatten(2), dim=2) if normalize else maps.flatten(2)

    return F.mse_loss(maps(given.student["stage3"], given.student_head), maps(given.teacher["stage3"], given.teacher_head))


def itrd(given, alpha=1.01):
    own, t = given.student["pooled"], given.teacher["pooled"]
    s = given.linear("to_teacher.0", own)
    s_norm, t_norm = (s - s.mean(0)) / s.std(0), (t - t.mean(0)) / t.std(0)
    difference = torch.einsum("bx,bx->x", s_norm, t_norm) / len(s) - 1
    correlation = torch.log2(difference.abs().pow(2.0).pow(alpha).sum())
    if own.shape[1] == t.shape[1]:
        s = own
    g_s = F.normalize(s) @ F.normalize(s).t()
    g_st = g_s * (F.normalize(t) @ F.normalize(t).t())
    mutual = ((g_s / torch.trace(g_s)).pow(2) - (g_st / torch.trace(g_st)).pow(2)).sum()
    return 2 * correlation + mutual
