"""Writes tests/golden/fairness.json: what SciPy says about random rankings.

    pip install scipy
    python scripts/golden/fairness.py tests/golden/fairness.json
`chi_square`: upper tails. `friedman`: SciPy's test with ties, and Kendall's W = chi-square / (n (k - 1)). `peer`: ranks of
relevant documents by language; `reranked` is SciPy's Kruskal-Wallis test of them, documents beyond the cutoff sharing
the last place; `reference` follows the published PEER code: H = (N - 1) SSG / SSA on the positions as they are,
documents beyond the cutoff at (2N + u + 1) / 2 for N documents of which u are beyond it.
"""

import json
import random
import sys

import numpy
import scipy
from scipy import stats


def friedman(draw):
    blocks, treatments = draw.randrange(2, 30), draw.randrange(3, 12)
    values = [[draw.randrange(draw.choice([4, 1000])) for _ in range(treatments)] for _ in range(blocks)]
    found = stats.friedmanchisquare(*numpy.array(values).T)
    chi_square = float(found.statistic)
    return {
        "blocks": values,
        "chi_square": chi_square,
        "p": float(found.pvalue),
        "w": chi_square / (blocks * (treatments - 1)),
    }


def reference(groups, cutoff):
    total = sum(map(len, groups))
    beyond = sum(rank > cutoff for group in groups for rank in group)
    tail = (2 * total + beyond + 1) / 2
    samples = [numpy.array([rank if rank <= cutoff else tail for rank in group]) for group in groups if group]
    everything = numpy.concatenate(samples)
    between = sum(len(s) * (s.mean() - everything.mean()) ** 2 for s in samples)
    within = ((everything - everything.mean()) ** 2).sum()
    return float(stats.chi2.sf((total - 1) * between / within, len(samples) - 1))


def peer(draw):
    while True:
        languages, total = draw.randrange(2, 6), draw.randrange(4, 20)
        ranks = draw.sample(range(1, 300), total)
        groups = [[] for _ in range(languages)]
        for rank in ranks:
            draw.choice(groups).append(rank)
        cutoff = draw.choice([10**9, 100, 150])
        found = sum(rank <= cutoff for rank in ranks)
        if max(map(len, groups)) > 1 and sum(map(bool, groups)) > 1 and found > 1:
            break
    kept = [[min(rank, cutoff + 1) for rank in group] for group in groups if group]
    return {
        "groups": groups,
        "cutoff": cutoff,
        "reference": reference(groups, cutoff),
        # SciPy corrects for ties: where none is beyond the cutoff, or one, there are no ties.
        "reranked": float(stats.kruskal(*kept).pvalue),
    }


def main():
    draw = random.Random(7)
    chi_square = [
        {"x": x, "freedom": freedom, "above": float(stats.chi2.sf(x, freedom))}
        for x in [1e-6, 0.1, 0.7, 1, 2.5, 5, 10, 17.3, 40, 120, 600, 1300]
        for freedom in [1, 2, 3, 6, 10, 17, 100]
    ]
    golden = {
        "source": f"scipy {scipy.__version__}",
        "chi_square": chi_square,
        "friedman": [friedman(draw) for _ in range(40)],
        "peer": [peer(draw) for _ in range(60)],
    }
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(golden, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
