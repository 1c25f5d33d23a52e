"""The paper's equations and the official code's variants in Python loops over nested lists of floats: the oracle of the
tests of this folder. Written from the equations, one sum per loop; nothing here knows torch or detaux."""

import math


def compute_normalizer(vectors, name):
    """vectors[n][k][d] -> [k]."""
    count = len(vectors)
    result = []
    for k in range(len(vectors[0])):
        total = 0.0
        if name == "mean_norm":
            for n in range(count):
                total += math.hypot(*vectors[n][k])
            result.append(total / count)
            continue
        for n in range(count):
            for m in range(count):
                distance = math.dist(vectors[n][k], vectors[m][k])
                total += distance if name == "mean_distance" else distance**2
        mean = total / count**2
        result.append(mean + 1e-8 if name == "mean_distance" else math.sqrt(mean))
    return result


def compute_weights(first, second, is_different, normalizer, form, sharpness, alpha):
    """Eq. (3), and the matrix A of Eq. (10): rows of weights; sharpness 0 is the arg max."""
    scale = compute_normalizer(first + second, normalizer)
    count = len(scale)
    rows = []
    for b in range(len(first)):
        row = [0.0] * count
        free = [k for k in range(count) if k != alpha]
        scores = {}
        for k in free:
            distance = math.dist(first[b][k], second[b][k])
            scores[k] = (distance**2 if form == "squared" else distance) / scale[k]
        highest = max(scores.values())
        if is_different[b]:
            row[alpha] = 1.0
        elif sharpness == 0:
            row[min(k for k in free if scores[k] == highest)] = 1.0
        else:
            powers = {k: math.exp(sharpness * (scores[k] - highest)) for k in free}
            for k in free:
                row[k] = powers[k] / sum(powers.values())
        rows.append(row)
    return rows


def compute_reconstruction(images, reconstructions, form):
    """Eq. (5) on images[n][p]."""
    total = 0.0
    for image, reconstruction in zip(images, reconstructions, strict=True):
        for pixel, value in zip(image, reconstruction, strict=True):
            total += (pixel - value) ** 2
    return total / len(images) if form == "sum" else total / (len(images) * len(images[0]))


def compute_distance(first, second, changed, form, margin, pull):
    """Eq. (7) averaged over k and pairs; official: mean(d2 (1 - c)) + mean(10 relu(0.05 - d2 c))."""
    total = 0.0
    for b in range(len(first)):
        for k in range(len(first[0])):
            delta = math.dist(first[b][k], second[b][k])
            marked = changed[b][k]
            total += pull[b] * (1 - marked) * delta**2
            if form == "paper":
                total += marked * max(margin - delta, 0) ** 2
            else:
                total += 10 * max(0.05 - delta**2 * marked, 0)
    return total / (len(first) * len(first[0]))


def compute_sparsity(subspaces, form):
    """Eq. (8), the sum over j != i taken term by term; official: features averaged."""
    total = 0.0
    size = len(subspaces[0][0])
    for image in subspaces:
        for i in range(len(image)):
            for d in range(size):
                others = 0.0
                for j in range(len(image)):
                    if j != i:
                        others += image[j][d]
                total += abs(image[i][d] * others)
    return total / len(subspaces) if form == "paper" else total / (len(subspaces) * size)


def mix(first, second, b, i):
    """The code of x-hat in Eq. (9) for pair b and subspace i, and the K projections it is the sum of."""
    target = [first[b][j] if j == i else second[b][j] for j in range(len(first[b]))]
    code = [sum(target[j][d] for j in range(len(target))) for d in range(len(target[0]))]
    return code, target


def compute_consistency(reencoded, targets, subspaces, form):
    """Eq. (9) estimated over drawn mixes; official: mean squared error on every projector."""
    total = 0.0
    count, size = len(reencoded[0]), len(reencoded[0][0])
    for r in range(len(reencoded)):
        for k in range(count):
            if form == "official" or k == subspaces[r]:
                for d in range(size):
                    total += (reencoded[r][k][d] - targets[r][k][d]) ** 2
    return count * total / len(reencoded) if form == "paper" else total / (len(reencoded) * count * size)


def compute_regularization(usage, form):
    """Eq. (10); official: a hundred times the mean over k."""
    total = 0.0
    count = len(usage[0])
    for k in range(count):
        mean = 0.0
        for row in usage:
            mean += row[k] / len(usage)
        total += (mean - 1 / count) ** 2
    return total if form == "paper" else 100 * total / count


def compute_principal_contrast(vectors, labels, margin):
    """Mean pull over pairs of one label plus mean push over pairs of two."""
    pulls, pushes = [], []
    for n in range(len(vectors)):
        for m in range(n + 1, len(vectors)):
            delta = math.dist(vectors[n], vectors[m])
            if labels[n] == labels[m]:
                pulls.append(delta**2)
            else:
                pushes.append(max(margin - delta, 0) ** 2)
    return sum(pulls) / max(1, len(pulls)) + sum(pushes) / max(1, len(pushes))


def compute_neighbour_contrast(vectors, chains, is_near):
    """Mean of -log(q_nm / sum over l != n of q_nl) over near pairs and both directions."""
    terms = []
    for n in range(len(vectors) - chains):
        if not is_near[n]:
            continue
        for here, there in ((n, n + chains), (n + chains, n)):
            total = 0.0
            for other in range(len(vectors)):
                if other != here:
                    total += 1 / (1 + math.dist(vectors[here], vectors[other]) ** 2)
            terms.append(math.log(total * (1 + math.dist(vectors[here], vectors[there]) ** 2)))
    return sum(terms) / max(1, len(terms))


def compute_divergence(means, log_variance):
    """Kullback-Leibler divergence of each image's normal numbers from N(0, 1), averaged over images."""
    total = 0.0
    for row in means:
        for mean, logarithm in zip(row, log_variance, strict=True):
            total += (mean**2 + math.exp(logarithm) - logarithm - 1) / 2
    return total / len(means)
