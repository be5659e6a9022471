"""Writes tests/golden/trec_eval.json: what trec_eval says about random runs full of ties.

Needs pytrec-eval-terrier, the Python binding of NIST's trec_eval:
    pip install pytrec-eval-terrier
    python scripts/golden/trec_eval.py tests/golden/trec_eval.json
Scores are multiples of 1/8, so that f32 holds them exactly. For each question there is one ranking a language
(the pool of that language) and one of the union.
"""

import json
import random
import sys

import pytrec_eval

MEASURES = {
    "map": "map",
    "recip_rank": "mrr",
    "ndcg_cut_10": "ndcg@10",
    "recall_1": "recall@1",
    "recall_5": "recall@5",
    "recall_10": "recall@10",
    "recall_20": "recall@20",
    "recall_100": "recall@100",
    "success_1": "success@1",
    "success_5": "success@5",
    "success_10": "success@10",
}
LANGUAGES = ["aa", "bb", "cc"]
REQUEST = {"map", "recip_rank", "ndcg_cut.10", "recall.1,5,10,20,100", "success.1,5,10"}


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
            values = pytrec_eval.RelevanceEvaluator({"q": judged}, REQUEST).evaluate({"q": run})["q"]
            expected[pool] = {ours: values[theirs] for theirs, ours in MEASURES.items()}
        result["questions"].append(
            {
                "language": draw.choice(LANGUAGES),
                "eighths": [round(s * 8) for s in scores],
                "relevant": relevant,
                "expected": expected,
            }
        )
    return result


def main():
    cases = [
        case(seed=1, passages=30, questions=12, levels=3),
        case(seed=2, passages=150, questions=8, levels=5),
        case(seed=3, passages=150, questions=8, levels=400),
        case(seed=4, passages=12, questions=12, levels=1),
    ]
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump({"source": "pytrec-eval-terrier", "cases": cases}, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
