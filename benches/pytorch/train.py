#!/usr/bin/env python3
"""Training speed of plain PyTorch: python train.py MODEL_DIR BATCHES.json

BATCHES.json: {"batches": [{"queries": [[ids]...], "passages": [[ids]...]}]}, special tokens included (`polymix bench train
--write-ids` writes it). One step: a padded forward, mean pooling, cosine InfoNCE, backward, clipping at 1.0, fused AdamW (biases and LayerNorm
not decayed). The batches are taken in order, round and round. CPU. Prints one JSON object;
its first_loss is that of the first batch before any step, without dropout: compare it before the speed.

--layout: merged (queries and passages padded to one length, one forward), split (one forward each), buckets (all texts of a
batch sorted by length, --buckets forwards, each padded to its own longest).
"""
import argparse
import json
import os
import resource
import statistics
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
import torch.nn.functional as F
from transformers import AutoModel


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model"); ap.add_argument("batches")
    ap.add_argument("--steps", type=int, default=20)
    ap.add_argument("--warmup", type=int, default=3, help="steps before the clock starts (they train as well)")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--dropout", type=float, default=0.1)
    ap.add_argument("--tau", type=float, default=0.05)
    ap.add_argument("--lr", type=float, default=3e-5)
    ap.add_argument("--weight-decay", type=float, default=0.01)
    ap.add_argument("--clip", type=float, default=1.0)
    ap.add_argument("--max-length", type=int, default=512)
    ap.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--layout", default="merged", choices=["merged", "split", "buckets"])
    ap.add_argument("--buckets", type=int, default=4)
    ap.add_argument("--autocast", action="store_true", help="bf16 autocast")
    ap.add_argument("--compile", action="store_true", help="torch.compile, dynamic shapes")
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)

    model, info = AutoModel.from_pretrained(a.model, add_pooling_layer=False, dtype=torch.float32, attn_implementation=a.attention,
                                            hidden_dropout_prob=a.dropout, attention_probs_dropout_prob=a.dropout,
                                            output_loading_info=True)
    assert not info["missing_keys"], info
    model.train()
    pad = model.config.pad_token_id
    # The bert layout of scripts/pretrained.sh gives <s> as pad_token_id; let its row train like any other.
    model.get_input_embeddings().padding_idx = None
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW([{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": a.weight_decay},
                                   {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}],
                                  lr=a.lr, betas=(0.9, 0.999), eps=1e-8, fused=True)
    cut = lambda s: s if len(s) <= a.max_length else s[:a.max_length - 1] + s[-1:]
    with open(a.batches) as f:
        batches = [([cut(s) for s in b["queries"]], [cut(s) for s in b["passages"]]) for b in json.load(f)["batches"]]

    network = torch.compile(model, dynamic=True) if a.compile else model

    def parts(queries, passages):
        rows = queries + passages
        if a.layout == "merged":
            return [list(range(len(rows)))]
        if a.layout == "split":
            return [list(range(len(queries))), list(range(len(queries), len(rows)))]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        size = -(-len(order) // a.buckets)
        return [order[i:i + size] for i in range(0, len(order), size)]

    def loss_of(queries, passages):
        rows, split, vectors = queries + passages, parts(queries, passages), []
        for part in split:
            longest = max(len(rows[i]) for i in part)
            ids = torch.tensor([rows[i] + [pad] * (longest - len(rows[i])) for i in part])
            mask = torch.tensor([[1] * len(rows[i]) + [0] * (longest - len(rows[i])) for i in part])
            # Nothing padded: no mask, which spares SDPA the work.
            given = None if bool(mask.all()) else mask
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=a.autocast):
                hidden = network(input_ids=ids, attention_mask=given).last_hidden_state
            hidden, weight = hidden.float(), mask.unsqueeze(-1).float()
            vectors.append(F.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1))
        order = torch.tensor([i for part in split for i in part])
        pooled = torch.cat(vectors)[torch.argsort(order)]
        n = len(queries)
        return F.cross_entropy(pooled[:n] @ pooled[n:].T / a.tau, torch.arange(n))

    def computed(queries, passages):
        rows = queries + passages
        return sum(len(part) * max(len(rows[i]) for i in part) for part in parts(queries, passages))

    def step(queries, passages):
        begin = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(queries, passages)
        forward = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        norm = torch.nn.utils.clip_grad_norm_(parameters, a.clip)
        optimiser.step()
        end = time.perf_counter()
        return loss.item(), norm.item(), [1e3 * t for t in (end - begin, forward - begin, backward - forward, end - backward)]

    model.eval()
    with torch.no_grad():
        first_loss = loss_of(*batches[0]).item()
    model.train()
    losses, norms, times, pairs, real, padded = [], [], [], 0, 0, 0
    for i in range(a.warmup + a.steps):
        queries, passages = batches[i % len(batches)]
        loss, norm, took = step(queries, passages)
        if i == a.warmup - 1:
            used = time.process_time()
        losses.append(loss); norms.append(norm)
        if i >= a.warmup:
            times.append(took)
            pairs += len(queries)
            real += sum(map(len, queries)) + sum(map(len, passages))
            padded += computed(queries, passages)
    used = time.process_time() - used
    total, forward, backward, update = zip(*times)
    seconds = sum(total) / 1e3
    p95 = sorted(total)[max(0, -(-95 * len(total) // 100) - 1)]
    print(json.dumps({"torch": torch.__version__, "threads": a.threads, "attention": a.attention, "dropout": a.dropout,
                      "layout": a.layout + (str(a.buckets) if a.layout == "buckets" else ""), "autocast": a.autocast,
                      "compile": a.compile, "first_loss": first_loss,
                      "cpu_seconds_per_step": used / len(total), "peak_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                      "steps": len(total), "pairs_per_s": pairs / seconds, "real_tokens_per_s": real / seconds,
                      "padded_tokens_per_s": padded / seconds, "ms_per_step": {"p50": statistics.median(total), "p95": p95},
                      "ms_p50": {"forward": statistics.median(forward), "backward": statistics.median(backward),
                                 "clip_and_optimiser": statistics.median(update)},
                      "losses": losses, "gradient_norms": norms}))


if __name__ == "__main__":
    main()
