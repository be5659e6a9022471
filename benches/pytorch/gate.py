#!/usr/bin/env python3
"""Does polymix compute what PyTorch computes? python gate.py MODEL_DIR BATCHES.json GRADIENTS.safetensors LOSS [--dtype bf16] [--device cuda]
                                              python gate.py --self-test

GRADIENTS.safetensors: what `polymix bench train --model MODEL_DIR --ids BATCHES.json --write-gradients ...` wrote for the first batch, without
dropout; LOSS: the first loss that it printed, or the file with the JSON that it printed. PyTorch computes both in f32 (no TF32). Prints one JSON
object, whose `faults` say in words what is wrong, and exits with 1 if anything is:

  loss       finite, and within `loss` of PyTorch's, relative
  tensors    every parameter that PyTorch gives a gradient is in the file, in its shape, and nothing else is
  finite     every value of every tensor, key.bias too
  relative   |ours - PyTorch's| / |PyTorch's| of each tensor: scale and sign, which a cosine alone does not see
  cosine     of each tensor
  key.bias   softmax does not see a shift of all keys, so that this gradient is zero but for rounding and has no direction to compare: its length
             at most `key` of that of the same layer's query.bias

           loss   relative  cosine  key
  f32      1e-5   1e-3      .9999   1e-4
  bf16     5e-3   0.15      .99     0.05

bf16's 0.15: a vector whose cosine with another is .99 is at least sqrt(1 - .99^2) = 0.141 of that one's length away, whatever its own length. A
lower bound would tighten the cosine's; this one leaves 5% for a wrong length. key.bias in bf16: a sum over tokens of terms that cancel exactly, each
rounded by up to 2^-9 = 0.002 of its size, beside the same sum for the query, whose terms need not cancel. Measured on the CPU with the pretrained
12-layer model and 16 pairs: relative 7.2e-5 in f32 and 0.063 in bf16, cosine .998 in bf16, key.bias 2.8e-7 and 0.0025.

--self-test feeds the judgement what it must refuse (NaN, gradients times 1000, a missing tensor, a huge key.bias, ...) and exits with 1 where
it lets one pass. The gate runs it before each judgement, so that a gate that cannot fail does not pass.
"""
import argparse
import json
import math
import re
import sys

import torch

LIMITS = {"f32": {"loss": 1e-5, "relative": 1e-3, "cosine": 0.9999, "key": 1e-4},
          "bf16": {"loss": 5e-3, "relative": 0.15, "cosine": 0.99, "key": 0.05}}
KEY = re.compile(r"key\.bias$")


def judge(found, expected, loss, loss_expected, limits):
    """Gradients and loss of polymix beside PyTorch's; numbers that are not finite are None."""
    faults = [f"{name}: missing" for name in expected if name not in found]
    faults += [f"{name}: PyTorch has no such gradient" for name in found if name not in expected]
    worst = {"cosine": None, "relative": None, "key": None}

    def note(measure, value, name, is_worse, limit):
        if worst[measure] is None or is_worse(value, worst[measure][0]):
            worst[measure] = (value, name)
        # Written so that NaN is a fault.
        if not (value == limit or is_worse(limit, value)):
            faults.append(f"{name}: {measure} {value:.3g}, limit {limit:g}")

    more, less = (lambda a, b: a > b), (lambda a, b: a < b)
    compared = 0
    for name in expected:
        if name not in found:
            continue
        if found[name].shape != expected[name].shape:
            faults.append(f"{name}: shape {list(found[name].shape)}, PyTorch's {list(expected[name].shape)}")
            continue
        sides = {"ours": found[name].double().flatten(), "PyTorch's": expected[name].double().flatten()}
        wrong = {side: int((~torch.isfinite(t)).sum()) for side, t in sides.items()}
        for side, count in wrong.items():
            if count:
                faults.append(f"{name}: {count} of {sides[side].numel()} values are not finite ({side})")
        if any(wrong.values()):
            continue
        ours, theirs = sides.values()
        compared += 1
        if KEY.search(name):
            beside = expected.get(KEY.sub("query.bias", name))
            length = float(beside.double().norm()) if beside is not None else 0.0
            note("key", float(ours.norm()) / max(length, 1e-30), name, more, limits["key"])
            continue
        length = max(float(theirs.norm()), 1e-30)
        note("cosine", float(ours @ theirs) / max(float(ours.norm()) * length, 1e-30), name, less, limits["cosine"])
        note("relative", float((ours - theirs).norm()) / length, name, more, limits["relative"])
    off = abs(loss - loss_expected) / max(abs(loss_expected), 1e-30)
    if not off <= limits["loss"]:
        faults.append(f"loss {loss}, PyTorch's {loss_expected}: off by {off:.3g}, limit {limits['loss']:g}")
    if not compared:
        faults.append("no tensor was compared")
    plain = lambda x: x if x is not None and math.isfinite(x) else None
    at = lambda measure: worst[measure] or (None, "")
    return {"passed": not faults, "loss": plain(loss), "loss_pytorch": plain(loss_expected), "loss_relative": plain(off), "tensors": len(found),
            "compared": compared, "lowest_cosine": plain(at("cosine")[0]), "of": at("cosine")[1], "largest_relative": plain(at("relative")[0]),
            "relative_of": at("relative")[1], "largest_key_bias": plain(at("key")[0]), "limits": limits, "faults": faults}


def self_test():
    """What the judgement must take and refuse. Returns the cases it gets wrong."""
    make = torch.Generator().manual_seed(1)
    names = ["embeddings.word.weight", *(f"layer.{i}.{n}" for i in (0, 1) for n in ("query.weight", "query.bias", "key.bias"))]
    expected = {n: torch.randn(40, 3, generator=make) * (1e-7 if n.endswith("key.bias") else 1.0) for n in names}
    nan, weight, key = float("nan"), "layer.1.query.weight", "layer.0.key.bias"

    def one(name, change):
        return expected | {name: change(expected[name].clone())}

    def put(value):
        def change(tensor):
            tensor[7, 1] = value
            return tensor
        return change

    def noisy(share):
        return {n: t + share * t.norm() / t.numel() ** 0.5 * torch.randn(t.shape, generator=make) for n, t in expected.items()}
    times = lambda by: {n: t * by for n, t in expected.items()}
    # What, the gradients, the loss (PyTorch's is 2), whether f32 and bf16 take it.
    cases = [("the same", expected, 2.0, True, True),
             ("f32's rounding", noisy(1e-5), 2.0, True, True),
             ("bf16's rounding", noisy(2e-2), 2.0, False, True),
             ("another key.bias as small", one(key, lambda t: -3 * t), 2.0, True, True),
             ("all NaN", times(nan), 2.0, False, False),
             ("one NaN", one(weight, put(nan)), 2.0, False, False),
             ("one infinite", one(weight, put(math.inf)), 2.0, False, False),
             ("NaN in key.bias", one(key, put(nan)), 2.0, False, False),
             ("times 1000", times(1000.0), 2.0, False, False),
             ("times 1.2", times(1.2), 2.0, False, False),
             ("one tensor halved", one(weight, lambda t: t / 2), 2.0, False, False),
             ("one sign turned", one(weight, lambda t: -t), 2.0, False, False),
             ("all zero", times(0.0), 2.0, False, False),
             ("a huge key.bias", one(key, lambda t: t * 1e9), 2.0, False, False),
             ("a tensor missing", {n: t for n, t in expected.items() if n != weight}, 2.0, False, False),
             ("key.bias missing", {n: t for n, t in expected.items() if n != key}, 2.0, False, False),
             ("a tensor too many", expected | {"other": torch.ones(3)}, 2.0, False, False),
             ("another shape", one(weight, lambda t: t.T), 2.0, False, False),
             ("no tensor", {}, 2.0, False, False),
             ("a NaN loss", expected, nan, False, False),
             ("an infinite loss", expected, math.inf, False, False),
             ("a loss off by 1e-4", expected, 2.0002, False, True),
             ("a loss off by 1%", expected, 2.02, False, False)]
    wrong = []
    for what, gradients, loss, *wanted in cases:
        for dtype, taken in zip(LIMITS, wanted):
            result = judge(gradients, expected, loss, 2.0, LIMITS[dtype])
            json.dumps(result, allow_nan=False)
            if result["passed"] != taken:
                wrong.append(f"{what}, {dtype}: passed is {result['passed']} ({'; '.join(result['faults'][:3])})")
    if judge(expected, times(nan), 2.0, 2.0, LIMITS["f32"])["passed"]:
        wrong.append("NaN on PyTorch's side passed")
    return wrong, 2 * len(cases) + 1


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    if sys.argv[1:] == ["--self-test"]:
        wrong, count = self_test()
        print(json.dumps({"passed": not wrong, "cases": count, "wrong": wrong}))
        sys.exit(1 if wrong else 0)
    ap.add_argument("model"); ap.add_argument("batches"); ap.add_argument("gradients"); ap.add_argument("loss_found", metavar="loss")
    ap.add_argument("--device", default="cpu")
    ap.add_argument("--tau", type=float, default=0.05)
    ap.add_argument("--dtype", default="f32", choices=list(LIMITS), help="the type that polymix computed in: whose limits hold")
    a = ap.parse_args()
    wrong, _ = self_test()
    if wrong:
        sys.exit(f"the gate itself is broken: {'; '.join(wrong)}")
    try:
        loss = float(a.loss_found)
    except ValueError:
        with open(a.loss_found) as f:
            loss = json.load(f)["measured"]["first_loss"]
        loss = math.nan if loss is None else float(loss)

    import torch.nn.functional as F
    from safetensors.torch import load_file
    from transformers import AutoModel
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
    loss_expected = F.cross_entropy(vectors[:n] @ vectors[n:].T / a.tau, torch.arange(n, device=a.device))
    loss_expected.backward()
    expected = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    result = judge(load_file(a.gradients), expected, loss, loss_expected.item(), LIMITS[a.dtype])
    print(json.dumps(result | {"dtype": a.dtype}, allow_nan=False))
    for fault in result["faults"]:
        print(fault, file=sys.stderr)
    sys.exit(0 if result["passed"] else 1)


if __name__ == "__main__":
    main()
