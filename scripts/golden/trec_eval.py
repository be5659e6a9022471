"""Writes tests/golden/trec_eval.json: what trec_eval says about random runs full of ties.

Needs pytrec-eval-terrier, the Python binding of NIST's trec_eval:
    pip install pytrec-eval-terrier
    python scripts/golden/trec_eval.py tests/golden/trec_eval.json
`cases` are datasets in three languages: for each question one ranking a language (the pool of that language) and one
of the union; scores are multiples of 1/8, so that f32 holds them exactly. `runs` are 200 TREC run files with labels:
ties, scores that only differ beyond f32, graded and negative labels, judged queries that the run does not rank or that
have no relevant document, queries without labels, and in every fifth run a line that repeats a document, for which
trec_eval has no value: `repeated` is that line, and the values are those without it.
`map_norm_k` is not trec_eval's: it is its `map_cut_k`, times R, over min(R, k).
"""

import json
import random
import sys

import pytrec_eval

CUTS = {"ndcg_cut": [10, 100], "recall": [1, 5, 10, 20, 100], "success": [1, 5, 10, 20, 100], "map_cut": [10, 20, 100]}
NAMES = {"ndcg_cut": "ndcg@{}", "recall": "recall@{}", "success": "success@{}", "map_cut": "map_cut_{}"}
MEASURES = {"map": "map", "recip_rank": "mrr"} | {
    f"{theirs}_{k}": NAMES[theirs].format(k) for theirs, ks in CUTS.items() for k in ks
}
REQUEST = {"map", "recip_rank"} | {f"{name}.{','.join(map(str, ks))}" for name, ks in CUTS.items()}
LANGUAGES = ["aa", "bb", "cc"]


def measured(qrels, run):
    """Our names and trec_eval's values, by query."""
    found = pytrec_eval.RelevanceEvaluator(qrels, REQUEST).evaluate(run)
    result = {}
    for query in sorted(found):
        values = {ours: found[query][theirs] for theirs, ours in MEASURES.items()}
        relevant = sum(grade > 0 for grade in qrels[query].values())
        for k in CUTS["map_cut"]:
            values[f"map_norm_{k}"] = values[f"map_cut_{k}"] * relevant / max(1, min(relevant, k))
        result[query] = values
    return result


def case(seed, passages, questions, levels):
    """One dataset: passages with ids whose string order is not their numeric order."""
    draw = random.Random(seed)
    ids = [[draw.choice(LANGUAGES), f"d{number}"] for number in range(passages)]
    draw.shuffle(ids)
    result = {"passages": [{"language": language, "id": name} for language, name in ids], "questions": []}
    for _ in range(questions):
        scores = [draw.randrange(levels) / 8 for _ in ids]
        relevant = sorted(draw.sample(range(passages), draw.randrange(1, 8)))
        pools = {language: [i for i, p in enumerate(ids) if p[0] == language] for language in LANGUAGES}
        pools["*"] = list(range(passages))
        expected = {}
        for pool, members in pools.items():
            judged = {ids[i][1]: 1 for i in members if i in relevant}
            if not judged:
                continue
            run = {ids[i][1]: scores[i] for i in members}
            expected[pool] = measured({"q": judged}, {"q": run})["q"]
        result["questions"].append(
            {
                "language": draw.choice(LANGUAGES),
                "eighths": [round(s * 8) for s in scores],
                "relevant": relevant,
                "expected": expected,
            }
        )
    return result


def run_file(seed):
    """One run file and its labels as text, and what trec_eval says."""
    draw = random.Random(1000 + seed)
    levels = draw.choice([1, 2, 4, 10, 1000])
    qrels, run, lines = {}, {}, []
    for number in range(4):
        query = f"q{number}"
        documents = [f"d{n}" for n in draw.sample(range(200), draw.choice([1, 5, 12, 25]))]
        pool = documents + [f"x{n}" for n in range(3)]
        kind = draw.randrange(8)
        if kind != 0:
            judged = draw.sample(pool, draw.randrange(1, len(pool) + 1))
            grades = [0, -1] if kind == 1 else [0, 0, 1, 1, 2, 3, -1]
            qrels[query] = {document: draw.choice(grades) for document in judged}
        if kind != 2:
            # A ninth decimal is lost in a float: those scores are equal to trec_eval.
            run[query] = {d: draw.randrange(levels) / 8 + draw.choice([0, 1e-9]) for d in documents}
            lines += [f"{query} Q0 {d} {r} {score!r} tag" for r, (d, score) in enumerate(run[query].items())]
    if not run or not any(g > 0 for labels in qrels.values() for g in labels.values()):
        return run_file(seed + 5000)
    draw.shuffle(lines)
    result = {"qrels": "".join(f"{q} 0 {d} {g}\n" for q, ds in qrels.items() for d, g in ds.items())}
    if seed % 5 == 0:
        result["repeated"] = len(lines) + 1
        lines.append(draw.choice(lines))
    result["run"] = "".join(line + "\n" for line in lines)
    found = measured(qrels, run)
    order = list(next(iter(found.values()), {}))
    result["metrics"] = order
    result["queries"] = {query: [round(values[name], 11) for name in order] for query, values in found.items()}
    result["judged"] = len(qrels)
    result["relevant"] = {q: sum(g > 0 for g in labels.values()) for q, labels in qrels.items()}
    return result


def main():
    cases = [
        case(seed=1, passages=30, questions=12, levels=3),
        case(seed=2, passages=150, questions=8, levels=5),
        case(seed=3, passages=150, questions=8, levels=400),
        case(seed=4, passages=12, questions=12, levels=1),
    ]
    runs = [run_file(seed) for seed in range(200)]
    metrics = next(run["metrics"] for run in runs if run["metrics"])
    for run in runs:
        run.pop("metrics")
    golden = {"source": "pytrec-eval-terrier", "cases": cases, "metrics": metrics, "runs": runs}
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(golden, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
