"""The numbers of `cargo bench --bench ranking -- DIR` again by pytrec_eval and ranx: must be equal; and their times.

    pip install numpy ranx pytrec-eval-terrier
    cargo bench --bench ranking -- DIR
    python scripts/compare-ranking.py DIR [--languages 1]

The Python sides get finished scores as dictionaries, 119 questions at a time (all at once do not fit memory), and do the
questions of the first N of 11 languages; times are then multiplied by 11 / N. Counted for pytrec_eval: `evaluate`
alone. For ranx: `Run` (which sorts) and `evaluate` after a warm-up that compiles it. Not counted: products, and
building the dictionaries, which is printed beside it. polymix's time is of everything from the vectors on: products,
ranks, metrics. ranx orders equal scores arbitrarily: it gets scores in which ids break ties.
"""

import argparse
import json
import pathlib
import time

import numpy as np
import pytrec_eval
import ranx

CHUNK = 119
TREC = {
    "map": "map", "recip_rank": "mrr", "ndcg_cut_10": "ndcg@10", "recall_1": "recall@1", "recall_5": "recall@5",
    "recall_10": "recall@10", "recall_20": "recall@20", "recall_100": "recall@100", "success_1": "success@1",
    "success_5": "success@5", "success_10": "success@10",
}
REQUEST = {"map", "recip_rank", "ndcg_cut.10", "recall.1,5,10,20,100", "success.1,5,10"}
RANX = {
    "map": "map", "mrr": "mrr", "ndcg@10": "ndcg@10", "recall@1": "recall@1", "recall@5": "recall@5",
    "recall@10": "recall@10", "recall@20": "recall@20", "recall@100": "recall@100", "hit_rate@1": "success@1",
    "hit_rate@5": "success@5", "hit_rate@10": "success@10", "hit_rate@100": "success@100",
}


class Side:
    """Sums of one library's metrics by cell, and its seconds."""

    def __init__(self):
        self.sums, self.counts = {}, {}
        self.dictionaries = self.evaluation = 0.0

    def add(self, cell, metric, values):
        key = (*cell, metric)
        self.sums[key] = self.sums.get(key, 0.0) + float(np.sum(values))
        self.counts[key] = self.counts.get(key, 0) + len(values)


def dictionaries(side, names, ids, scores):
    start = time.perf_counter()
    run = {name: dict(zip(ids, row)) for name, row in zip(names, scores.tolist())}
    side.dictionaries += time.perf_counter() - start
    return run


def trec(side, cell, qrels, names, ids, scores):
    run = dictionaries(side, names, ids, scores)
    start = time.perf_counter()
    found = pytrec_eval.RelevanceEvaluator(qrels, REQUEST).evaluate(run)
    side.evaluation += time.perf_counter() - start
    for theirs, ours in TREC.items():
        side.add(cell, ours, [values[theirs] for values in found.values()])


def ranx_side(side, cell, qrels, names, ids, scores):
    run = dictionaries(side, names, ids, scores)
    qrels = ranx.Qrels(qrels)
    start = time.perf_counter()
    found = ranx.evaluate(qrels, ranx.Run(run), list(RANX), return_mean=False, make_comparable=False)
    side.evaluation += time.perf_counter() - start
    for theirs, ours in RANX.items():
        side.add(cell, ours, found[theirs])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("dir", type=pathlib.Path)
    arguments.add_argument("--languages", type=int, default=1)
    arguments = arguments.parse_args()
    data = json.loads((arguments.dir / "ranking.json").read_text())
    vectors = lambda name: np.fromfile(arguments.dir / name, "<f4").reshape(-1, data["width"])
    questions, passages = vectors("questions.f32"), vectors("passages.f32")
    language_of = np.array([p[0] for p in data["passages"]])
    ids = np.array([p[1] for p in data["passages"]])
    # trec_eval's rule for equal scores, as a fraction of the smallest difference between scores, which is 1.
    later = np.argsort(np.argsort(ids)) / (2.0 * len(ids))
    expected = {
        (c["setting"], c["query_language"], c["passage_language"], c["metric"]): (c["n"], c["value"])
        for c in data["cells"]
    }
    settings = {setting for setting, *_ in expected}
    codes = range(len(data["languages"]))
    sides = {"pytrec_eval": (Side(), trec), "ranx": (Side(), ranx_side)}
    warm = {"q": {"a": 1}}
    ranx.evaluate(ranx.Qrels(warm), ranx.Run({"q": {"a": 1.0, "b": 0.5}}), list(RANX), return_mean=False)

    for asked in range(arguments.languages):
        rows = [i for i, (language, _) in enumerate(data["questions"]) if language == asked]
        pools = [("mono" if b == asked else "cross", b, np.flatnonzero(language_of == b)) for b in codes]
        pools.append(("multi", None, np.arange(len(ids))))
        if "multi_strict" in settings:
            pools.append(("multi_strict", None, np.flatnonzero(language_of != asked)))
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            scores = (questions[chunk] @ passages.T).astype(np.float64)
            names = [f"q{i}" for i in chunk]
            for setting, b, pool in pools:
                members = set(pool.tolist())
                qrels = {
                    name: {str(ids[p]): 1 for p in data["relevant"][data["questions"][i][1]] if p in members}
                    for name, i in zip(names, chunk)
                }
                cell, chosen = (setting, asked, b), ids[pool].tolist()
                for name, (side, evaluate) in sides.items():
                    given = scores[:, pool] + (later[pool] if name == "ranx" else 0.0)
                    evaluate(side, cell, qrels, names, chosen, given)
        print(f"questions in {data['languages'][asked]} done", flush=True)

    scale = len(data["languages"]) / arguments.languages
    ours = data["seconds"]
    print(f"polymix, from vectors to metrics: {ours:.2f} s")
    for name, (side, _) in sides.items():
        compared = 0
        for key, total in side.sums.items():
            n, value = expected[key]
            assert side.counts[key] == n, (name, key, side.counts[key], n)
            assert abs(total / n - value) < 1e-9, (name, key, total / n, value)
            compared += 1
        seconds = side.evaluation * scale
        print(
            f"{name}: {compared} means equal to 1e-9; evaluation {seconds:.1f} s, {seconds / ours:.0f} times polymix's; "
            f"building dictionaries another {side.dictionaries * scale:.1f} s"
            + (f" (both measured on 1/{scale:g} of the questions)" if scale > 1 else "")
        )
        assert seconds >= 20 * ours, f"less than 20 times {name}"


if __name__ == "__main__":
    main()
