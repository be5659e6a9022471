#!/usr/bin/env python3
"""Encoding speed of plain PyTorch: python encode.py MODEL_DIR IDS.json

IDS.json: a JSON list of token id sequences (special tokens included). They are sorted by length, batched, padded to the
longest of each batch, mean-pooled and normalised. Prints one JSON object; tokens_per_s counts real tokens, not padding.
"""
import argparse
import json
import os
import statistics
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
import torch.nn.functional as F
from transformers import AutoModel


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model"); ap.add_argument("ids")
    ap.add_argument("--batch", type=int, default=32, help="sequences a batch")
    ap.add_argument("--max-length", type=int, default=512)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--repeats", type=int, default=3)
    ap.add_argument("--limit", type=int, help="use only the first so many sequences")
    ap.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    ap.add_argument("--embeddings", help="also write the embeddings here (safetensors, 'embeddings', input order)")
    a = ap.parse_args()
    torch.set_num_threads(a.threads)

    model, info = AutoModel.from_pretrained(a.model, add_pooling_layer=False, dtype=torch.float32, attn_implementation=a.attention,
                                            output_loading_info=True)
    assert not info["missing_keys"], info
    model.eval()
    pad = model.config.pad_token_id
    with open(a.ids) as f:
        sequences = [s if len(s) <= a.max_length else s[:a.max_length - 1] + s[-1:] for s in json.load(f)[:a.limit]]
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    chunks = [order[i:i + a.batch] for i in range(0, len(order), a.batch)]

    @torch.inference_mode()
    def encode(chunk):
        rows = [sequences[i] for i in chunk]
        longest = max(map(len, rows))
        ids = torch.tensor([r + [pad] * (longest - len(r)) for r in rows])
        mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows])
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)

    encode(chunks[len(chunks) // 2])  # warm-up
    seconds, out = [], None
    for _ in range(a.repeats):
        start = time.perf_counter()
        out = [encode(c) for c in chunks]
        seconds.append(time.perf_counter() - start)
    if a.embeddings:
        from safetensors.torch import save_file
        inverse = torch.empty(len(order), dtype=torch.long)
        inverse[torch.tensor(order)] = torch.arange(len(order))
        save_file({"embeddings": torch.cat(out)[inverse].contiguous()}, a.embeddings)

    real = sum(map(len, sequences))
    computed = sum(len(c) * len(sequences[c[0]]) for c in chunks)
    median = statistics.median(seconds)
    print(json.dumps({"torch": torch.__version__, "threads": a.threads, "attention": a.attention, "batch": a.batch,
                      "sequences": len(sequences), "real_tokens": real, "padded_tokens": computed, "seconds": median,
                      "seconds_range": [min(seconds), max(seconds)], "tokens_per_s": real / median,
                      "sequences_per_s": len(sequences) / median}))


if __name__ == "__main__":
    main()
