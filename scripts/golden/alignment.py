"""Writes tests/golden/alignment.json: CKA, alignment, uniformity, anisotropy, xsim and a ridge probe by numpy, from their definitions.

    python scripts/golden/alignment.py tests/golden/alignment.json

Needs numpy. Vectors are rounded to f32 first, so that both sides start from the same numbers.
"""

import json
import sys

import numpy as np


def unbiased_hsic(k, l):
    """HSIC_1 of Song et al. 2012, from Gram matrices with their diagonals put to zero."""
    n = len(k)
    k, l = k.copy(), l.copy()
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    one = np.ones(n)
    total = np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l @ one)
    return total / (n * (n - 3))


def biased_hsic(k, l):
    n = len(k)
    h = np.eye(n) - np.ones((n, n)) / n
    return np.trace(k @ h @ l @ h) / (n - 1) ** 2


def cka(hsic, x, y):
    k, l = x @ x.T, y @ y.T
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


def geometry(x):
    n = len(x)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    apart = [np.sum((x[i] - x[j]) ** 2) for i, j in pairs]
    cosine = [x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for i, j in pairs]
    values = np.linalg.eigvalsh(np.cov(x.T))
    return {"uniformity": np.log(np.mean(np.exp(-2 * np.array(apart)))), "cosine": np.mean(cosine),
            "top_share": values[-1] / values.sum()}


def xsim(x, y, k, margin):
    """LASER's source/xsim.py with exact search: the accuracy, which is one minus its error rate."""
    def search(a, b):
        cosine = a @ b.T
        index = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(cosine, index, 1), index
    there, index = search(x, y)
    back, _ = search(y, x)
    ax, ay = there.mean(1), back.mean(1)
    hits = 0
    for i in range(len(x)):
        scores = []
        for j in range(k):
            a, b = there[i, j], (ax[i] + ay[index[i, j]]) / 2
            scores.append({"ratio": a / b, "distance": a - b, "absolute": a}[margin])
        hits += index[i, int(np.argmax(scores))] == i
    return hits / len(x)


def ridge(x, labels, classes, factor):
    """Weights' predictions on the rows themselves, as scikit-learn's RidgeClassifier has them."""
    y = np.where(np.arange(classes)[None] == np.array(labels)[:, None], 1.0, -1.0)
    xc, yc = x - x.mean(0), y - y.mean(0)
    square = xc.T @ xc
    lam = factor * np.trace(square) / len(square)
    w = np.linalg.solve(square + lam * np.eye(len(square)), xc.T @ yc)
    return xc @ w + y.mean(0)


def case(seed, n, width, noise, shift):
    draw = np.random.default_rng(seed)
    unit = lambda a: (a / np.linalg.norm(a, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    x = draw.normal(size=(n, width))
    turn = np.linalg.qr(draw.normal(size=(width, width)))[0]
    y = unit(0.6 * x + 0.4 * x @ turn + noise * draw.normal(size=(n, width)) + shift)
    x = unit(x + shift)
    labels = [int(v) for v in draw.integers(0, 3, size=n)]
    outputs = ridge(x, labels, 3, 0.05)
    k = min(4, n)
    return {
        "width": width, "x": x.ravel().tolist(), "y": y.ravel().tolist(), "labels": labels,
        "biased": cka(biased_hsic, x, y), "unbiased": cka(unbiased_hsic, x, y),
        "alignment": np.mean(np.sum((x - y) ** 2, axis=1)), "cosine": np.mean(np.sum(x * y, axis=1)),
        "geometry": geometry(x), "ridge": 0.05, "told": [int(v) for v in outputs.argmax(1)],
        "accuracy": {m: [xsim(x, y, k, m), xsim(y, x, k, m)] for m in ("ratio", "distance", "absolute")},
    }


def main():
    cases = [case(1, 12, 5, 0.6, 0.0), case(2, 40, 16, 0.5, 0.7), case(3, 9, 24, 0.3, 0.3), case(4, 60, 8, 1.0, 0.2)]
    digits = lambda v: ({k: digits(w) for k, w in v.items()} if isinstance(v, dict) else [digits(w) for w in v]
                        if isinstance(v, list) else float(f"{v:.12g}") if isinstance(v, float) else v)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump({"source": f"numpy {np.__version__}", "cases": digits(cases)}, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
