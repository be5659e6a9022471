#!/usr/bin/env python3
"""Checks that sentence-transformers gives an exported model's texts the vectors that polymix gave them.

    polymix model export RUN OUT
    polymix model embed RUN --as query --file texts.txt > vectors.jsonl
    scripts/check-export.py OUT vectors.jsonl --prompt query

Needs sentence-transformers (and with it torch): pip install sentence-transformers
Prints one line; exit status 0: equal within --tolerance, 1: not, 3: sentence-transformers is not installed.
"""

import argparse
import json
import logging
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="directory that `polymix model export` wrote")
    parser.add_argument("vectors", help="JSON lines of `polymix model embed` with text, tokens and vector")
    parser.add_argument("--prompt", help="prompt to use, by its name")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest difference of a component")
    args = parser.parse_args()
    try:
        import numpy
        import sentence_transformers
        import torch
        import transformers
    except ImportError as error:
        print(f"{error}; pip install sentence-transformers", file=sys.stderr)
        return 3
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)

    with open(args.vectors, encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    texts = [record["text"] for record in records]
    expected = numpy.array([record["vector"] for record in records], dtype=numpy.float64)
    # bf16 and f16 weights are computed with in f32, as polymix does.
    arguments = {"dtype": torch.float32}
    model = sentence_transformers.SentenceTransformer(args.model, device="cpu", model_kwargs=arguments)
    vectors = model.encode(texts, prompt_name=args.prompt, show_progress_bar=False).astype(numpy.float64)
    if vectors.shape != expected.shape:
        print(f"shape {vectors.shape}, polymix has {expected.shape}")
        return 1
    worst = float(numpy.abs(vectors - expected).max())
    prompt = model.prompts[args.prompt] if args.prompt else ""
    ids = model.tokenizer([prompt + text for text in texts], truncation=True)["input_ids"]
    lengths = [len(i) for i in ids]
    wrong = [i for i, (length, record) in enumerate(zip(lengths, records)) if length != record["tokens"]]
    modules = ", ".join(type(module).__name__ for module in model)
    print(
        f"largest difference {worst:.2e} over {len(texts)} texts of {min(lengths)} to {max(lengths)} tokens, "
        f"max_seq_length {model.max_seq_length}, {modules}; sentence-transformers "
        f"{sentence_transformers.__version__}, transformers {transformers.__version__}, torch {torch.__version__}"
    )
    if wrong:
        print(f"text {wrong[0]} has {lengths[wrong[0]]} tokens, polymix has {records[wrong[0]]['tokens']}")
    return 0 if worst <= args.tolerance and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
