#!/usr/bin/env python3
"""Does polymix compute what PyTorch computes? python gate.py MODEL_DIR BATCHES.json GRADIENTS.safetensors LOSS [--device cuda]

GRADIENTS.safetensors: what `polymix bench train --model MODEL_DIR --ids BATCHES.json --write-gradients ...` wrote for the first batch, without
dropout; LOSS: the first loss that it printed, or the file with the JSON that it printed. PyTorch computes both in f32 (no TF32). Prints one JSON object and exits with 1 unless the
loss lies within --loss relative and the cosine of every tensor's gradient above --cosine.
"""
import argparse
import json
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModel


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model"); ap.add_argument("batches"); ap.add_argument("gradients"); ap.add_argument("loss_found", metavar="loss")
    ap.add_argument("--device", default="cpu")
    ap.add_argument("--tau", type=float, default=0.05)
    ap.add_argument("--loss", type=float, default=1e-5)
    ap.add_argument("--cosine", type=float, default=0.9999)
    a = ap.parse_args()
    try:
        a.loss_found = float(a.loss_found)
    except ValueError:
        with open(a.loss_found) as f:
            a.loss_found = json.load(f)["measured"]["first_loss"]
    torch.set_float32_matmul_precision("highest")
    model = AutoModel.from_pretrained(a.model, add_pooling_layer=False, dtype=torch.float32,
                                      hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).to(a.device).train()
    model.get_input_embeddings().padding_idx = None
    with open(a.batches) as f:
        batch = json.load(f)["batches"][0]
    rows = batch["queries"] + batch["passages"]
    longest, pad = max(map(len, rows)), model.config.pad_token_id
    ids = torch.tensor([r + [pad] * (longest - len(r)) for r in rows], device=a.device)
    mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows], device=a.device)
    hidden, weight = model(input_ids=ids, attention_mask=mask).last_hidden_state, mask.unsqueeze(-1).float()
    vectors = F.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)
    n = len(batch["queries"])
    loss = F.cross_entropy(vectors[:n] @ vectors[n:].T / a.tau, torch.arange(n, device=a.device))
    loss.backward()
    found, lowest, missing = load_file(a.gradients), (2.0, ""), []
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        if name not in found:
            missing.append(name)
            continue
        # Softmax does not see a shift of all keys: that gradient is zero but for rounding.
        if name.endswith("key.bias"):
            continue
        ours, theirs = found[name].double().flatten(), parameter.grad.cpu().double().flatten()
        cosine = float(ours @ theirs / (ours.norm() * theirs.norm()).clamp(min=1e-30))
        lowest = min(lowest, (cosine, name))
    off = abs(a.loss_found - loss.item()) / abs(loss.item())
    passed = off <= a.loss and lowest[0] >= a.cosine and not missing
    print(json.dumps({"passed": passed, "loss": a.loss_found, "loss_pytorch": loss.item(), "loss_relative": off, "tensors": len(found),
                      "lowest_cosine": lowest[0], "of": lowest[1], "missing": missing}))
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
