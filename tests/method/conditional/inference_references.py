"""Plain readings of inference: Algorithm 1 line by line, and the argmax by enumerating all labelings."""

import itertools

import numpy as np


def plain_algorithm(scores, columns, suppress, box_iou=None, threshold=0.5, higher_order=True):
    """Algorithm 1 read line by line: one problem, float [P, J]; lists R_j of remaining candidates per slot."""
    proposals, slots = scores.shape[0], len(columns)
    gain = [[scores[u, columns[a]] - scores[u, 0] for a in range(slots)] for u in range(proposals)]
    if box_iou is not None and proposals and slots:
        low, high = min(min(row) for row in gain), max(max(row) for row in gain)
        floor = low - (high - low) - np.float32(1)
        for u in range(proposals):
            for a in range(slots):
                if box_iou[u, a] < threshold:
                    gain[u][a] = (floor + box_iou[u, a] - np.float32(1)) if higher_order else -np.inf
    candidates = [set(range(proposals)) for _ in range(slots)]
    labels = [0] * proposals
    empty = set(range(slots)) if higher_order or box_iou is not None else set()

    def best(wanted):
        ranked = [(-gain[u][a], u, a) for a in wanted for u in candidates[a]]
        return min(ranked, default=None)

    def most_urgent():
        """The empty slot that would lose most by its second best, with its best proposal."""
        found = []
        for a in sorted(empty):
            ranked = sorted((-gain[u][a], u) for u in candidates[a])
            ranked = [entry for entry in ranked if -entry[0] > (-np.inf if higher_order else 0)]
            if ranked:
                every = sorted(-gain[u][a] for u in candidates[a])
                second = max(-every[1], np.float32(-1e4)) if len(every) > 1 else np.float32(-1e4)
                regret = -every[0] - second
                found.append((-regret, a, ranked[0][1]))
        return min(found, default=None)

    def take(u, a):
        labels[u] = int(columns[a])
        for other in range(slots):
            candidates[other].discard(u)
        candidates[a] -= {v for v in candidates[a] if suppress[u, v]}
        empty.discard(a)

    while empty:
        found = most_urgent()
        if found is None:
            break
        take(found[2], found[1])
    while box_iou is None:
        found = best(range(slots))
        if found is None or found[0] >= 0:
            break
        take(found[1], found[2])
    return labels


def printed_algorithm(scores, columns, suppress, higher_order=True):
    """Algorithm 1, lines 7-17, as printed: class by class, each with a list R_j of its own; lists of chosen ids.

    Our one addition is the end (the paper's loop has none but an empty R_j): after the first, which the higher-order
    term demands, a proposal is taken only while its class beats its background.
    """
    chosen = []
    for j in columns:
        gain = {u: float(scores[u, j] - scores[u, 0]) for u in range(len(scores))}
        remaining = sorted(gain, key=lambda u: (-gain[u], u))
        taken = []
        while remaining:
            first = remaining.pop(0)
            if gain[first] <= 0 and (taken or not higher_order):
                break
            taken.append(first)
            remaining = [other for other in remaining if not suppress[first, other]]
        chosen.append(taken)
    return chosen


def all_labelings(proposals, columns):
    """Every labelling of the proposals by the background and the columns, int [(1 + A)^P, P]."""
    return np.array(list(itertools.product([0, *columns], repeat=proposals)), dtype=np.int64)


def feasible(labelings, scores, columns, suppress, higher_order=True):
    """Which labelings Algorithm 1 may return: every class is there, and of two proposals of a class the one with the
    larger gain (which is taken first; ties: the lower id) does not contain the other one by more than t."""
    kept = np.ones(len(labelings), dtype=bool)
    for j in columns:
        own = labelings == j
        if higher_order:
            kept &= own.any(1)
        gain = scores[:, j] - scores[:, 0]
        for u, v in itertools.permutations(range(len(scores)), 2):
            if suppress[u, v] and (-gain[u], u) < (-gain[v], v):
                kept &= ~(own[:, u] & own[:, v])
    return kept


def values(labelings, scores):
    """S(y) = sum over u of G_{u, y_u} (eq. 3), float64 [L]."""
    return np.take_along_axis(scores.astype(np.float64)[None], labelings[:, :, None], 2)[..., 0].sum(1)


def brute_force(scores, columns, suppress, higher_order=True):
    """Largest S over all labelings that Algorithm 1 may return; minus infinity where there is none."""
    labelings = all_labelings(len(scores), columns)
    kept = feasible(labelings, scores, columns, suppress, higher_order)
    return values(labelings[kept], scores).max(initial=-np.inf)


def brute_force_boxes(scores, columns, box_iou, threshold=0.5):
    """Largest S with exactly one proposal a box, all different and above the threshold."""
    best = -np.inf
    for ids in itertools.permutations(range(len(scores)), len(columns)):
        if all(box_iou[u, a] >= threshold for a, u in enumerate(ids)):
            gain = sum(float(scores[u, j]) - float(scores[u, 0]) for u, j in zip(ids, columns, strict=True))
            best = max(best, gain)
    return best + float(scores[:, 0].astype(np.float64).sum())
