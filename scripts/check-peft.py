#!/usr/bin/env python3
"""Checks that PEFT gives a language's texts the vectors that polymix gives them through that language's LoRA.

    polymix model embed RUN --language de --file texts.txt > vectors.jsonl
    scripts/check-peft.py RUN_DIR/model de vectors.jsonl

Needs peft and transformers (and with them torch). For mean pooling and a base that was frozen. Prints one line; exit
status 0: equal within --tolerance, 1: not.
"""

import argparse
import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model directory of a run")
    parser.add_argument("language", help="whose adapter")
    parser.add_argument("vectors", help="JSON lines of `polymix model embed` with text and vector")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="largest difference of a component")
    args = parser.parse_args()

    import torch
    from peft import PeftModel
    from tokenizers import Tokenizer
    from transformers import AutoModel

    with open(os.path.join(args.model, "adapters/adapters.json")) as file:
        base = json.load(file)["base"]["base"]
    model = AutoModel.from_pretrained(base, attn_implementation="eager")
    model = PeftModel.from_pretrained(model, os.path.join(args.model, "adapters", args.language)).eval()
    tokenizer = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
    tokenizer.no_padding()
    worst, count = 0.0, 0
    with open(args.vectors) as file:
        for line in map(json.loads, file):
            ids = torch.tensor([tokenizer.encode(line["text"]).ids])
            with torch.no_grad():
                tokens = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            mean = tokens.mean(0)
            worst = max(worst, (mean / mean.norm() - torch.tensor(line["vector"])).abs().max().item())
            count += 1
    print(f"{args.language}: {count} texts, largest difference of a component {worst:.2e}")
    return 0 if count and worst <= args.tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
