"""Reference values of scipy for the tests and intervals over clusters: tests/golden/significance.json.

Every case is a list of questions [cluster, first, second]; the statistic is the mean over questions of second - first,
and whole clusters are flipped or drawn.
"""

import json
import pathlib
import sys

import numpy as np
import scipy
from scipy import stats

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "significance.json"


def questions(rng, clusters, most, effect, skew):
    """Reciprocal ranks of two systems; questions of a cluster share their difficulty and their difference."""
    rows = []
    for cluster in range(clusters):
        hard, shift = rng.normal(), rng.normal(effect, 0.6) + skew * rng.exponential()
        for _ in range(rng.integers(1, most + 1)):
            ranks = [1 + np.floor(np.exp(hard + rng.normal(scale=0.4) - s)) for s in (0.0, shift)]
            rows.append([cluster, float(1 / ranks[0]), float(1 / ranks[1])])
    return rows


def case(rows, resamples):
    clusters = 1 + max(r[0] for r in rows)
    sums = np.zeros((clusters, 2))
    counts = np.zeros(clusters)
    for cluster, first, second in rows:
        sums[cluster] += (first, second)
        counts[cluster] += 1
    total = counts.sum()
    rng = np.random.default_rng(1)
    # Swapping the two sums of a cluster flips the sign of their difference.
    test = stats.permutation_test(
        (sums[:, 0], sums[:, 1]),
        lambda a, b, axis=-1: (b - a).sum(axis=axis) / total,
        permutation_type="samples", vectorized=True, n_resamples=resamples, rng=rng, batch=10_000,
    )
    # scipy doubles the smaller tail; ours counts both tails by absolute value.
    both = float((np.abs(test.null_distribution) >= abs(test.statistic) - 1e-12).mean())
    boot = stats.bootstrap(
        (sums[:, 1] - sums[:, 0], counts), lambda d, n, axis=-1: d.sum(axis=axis) / n.sum(axis=axis),
        paired=True, vectorized=True, n_resamples=200_000, method="BCa", rng=rng, batch=10_000,
    )
    return {
        "questions": rows, "difference": float(test.statistic), "p": float(test.pvalue), "p_both_tails": both,
        "is_exact": bool(2**clusters <= resamples),
        "low": float(boot.confidence_interval.low), "high": float(boot.confidence_interval.high),
        "standard_error": float(boot.standard_error),
    }


def main():
    rng = np.random.default_rng(7)
    few, many = questions(rng, 10, 1, 1.5, 0.0), questions(rng, 80, 1, 0.6, 0.0)
    uneven, skewed = questions(rng, 40, 5, 0.3, 0.0), questions(rng, 30, 2, -0.2, 0.9)
    # Two groups of seeds, [seeds, clusters]: no spread over clusters, and no spread over seeds.
    a, b = rng.normal(0.50, 0.02, 3), rng.normal(0.56, 0.01, 4)
    per_cluster = rng.normal(0.03, 0.2, 25)
    welch, paired = stats.ttest_ind(b, a, equal_var=False), stats.ttest_1samp(per_cluster, 0.0)
    ends = [t.confidence_interval(0.95) for t in (welch, paired)]
    out = {
        "versions": {"python": sys.version.split()[0], "numpy": np.__version__, "scipy": scipy.__version__},
        "cases": {
            "few": case(few, 10_000), "many": case(many, 400_000),
            "uneven": case(uneven, 400_000), "skewed": case(skewed, 400_000),
        },
        "welch": {"first": a.tolist(), "second": b.tolist(), "p": float(welch.pvalue), "df": float(welch.df),
                  "low": float(ends[0].low), "high": float(ends[0].high)},
        "paired_t": {"differences": per_cluster.tolist(), "p": float(paired.pvalue),
                     "low": float(ends[1].low), "high": float(ends[1].high)},
    }
    OUT.write_text(json.dumps(out, indent=1) + "\n")
    for name, found in out["cases"].items():
        print(name, {k: v for k, v in found.items() if k != "questions"})


if __name__ == "__main__":
    main()
