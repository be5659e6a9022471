#!/usr/bin/env python3
"""tests/golden/tiny-{xlm-roberta,bert,labse}/: small random encoders with embeddings, loss, gradients and a loss trajectory."""
import copy
import json
import shutil

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from common import GOLDEN, adamw_trajectory, digits, embed, info_nce, padded, relative, versions, write_json

TAU, VOCAB, HIDDEN, MAX_POSITIONS, HEAD_OUT = 0.05, 120, 32, 40, 24
LR, BETAS, EPS, DECAY, CLIP, STEPS = 1e-3, (0.9, 0.999), 1e-8, 0.01, 1.0, 50
SHARED = dict(vocab_size=VOCAB, hidden_size=HIDDEN, num_attention_heads=4, intermediate_size=64,
              max_position_embeddings=MAX_POSITIONS, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
# layers, special ids (first, last, pad), longest sequence the position table holds
KINDS = {
    "xlm-roberta": dict(layers=2, bos=0, eos=2, pad=1, longest=MAX_POSITIONS - 2, first_word=4, seed=11),
    "bert": dict(layers=3, bos=2, eos=3, pad=0, longest=MAX_POSITIONS, first_word=5, seed=12),
    "labse": dict(layers=2, bos=2, eos=3, pad=0, longest=MAX_POSITIONS, first_word=5, seed=13),
}


def build(kind, k):
    common = dict(SHARED, num_hidden_layers=k["layers"], pad_token_id=k["pad"], bos_token_id=k["bos"], eos_token_id=k["eos"])
    if kind == "xlm-roberta":
        model = XLMRobertaModel(XLMRobertaConfig(**common, type_vocab_size=1, layer_norm_eps=1e-5, attn_implementation="eager"),
                                add_pooling_layer=False)
    else:
        model = BertModel(BertConfig(**common, type_vocab_size=2, layer_norm_eps=1e-12, attn_implementation="eager"))
    return model.eval()


def randomise(module, generator):
    """Every parameter away from its initial value; padding rows too, since nothing may depend on them."""
    for name, p in sorted(module.named_parameters()):
        noise = torch.randn(p.shape, generator=generator)
        with torch.no_grad():
            if p.dim() >= 2:
                p.copy_(noise * (0.3 if "embeddings" in name else 0.2))
            elif "LayerNorm.weight" in name:
                p.copy_(1 + 0.2 * noise)
            else:
                p.copy_(0.1 * noise)


def sequences(k, generator):
    lengths = [[7, 12, 3, k["longest"], 5, 9], [15, k["longest"], 4, 21, 2, 11]]
    word = lambda: int(torch.randint(k["first_word"], VOCAB, (), generator=generator))
    return [[[k["bos"]] + [word() for _ in range(n - 2)] + [k["eos"]] for n in side] for side in lengths]


def loss_of(model, queries, passages, pad, pooling="mean", head=None):
    return info_nce(embed(model, queries, pad, pooling, head), embed(model, passages, pad, pooling, head), TAU)


def gradients(model, queries, passages, pad, pooling="mean", head=None):
    modules = {"": model} | ({"dense.": head} if head is not None else {})
    parameters = {prefix + n: p for prefix, m in modules.items() for n, p in m.named_parameters()}
    for p in parameters.values():
        p.grad = None
    loss = loss_of(model, queries, passages, pad, pooling, head)
    loss.backward()
    grads = {n: p.grad.clone() for n, p in parameters.items() if p.grad is not None}
    return loss.item(), grads, sorted(n for n, p in parameters.items() if p.grad is None)


def half(model, queries, passages, pad):
    """Loss and gradients of `gradients` with the encoder under bf16 autocast: weights, pooling and loss stay float32."""
    for p in model.parameters():
        p.grad = None

    def vectors(batch):
        ids, mask = padded(batch, pad)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states = model(input_ids=ids, attention_mask=mask).last_hidden_state
        m = mask.float().unsqueeze(-1)
        return torch.nn.functional.normalize((states.float() * m).sum(1) / m.sum(1), dim=-1)

    loss = info_nce(vectors(queries), vectors(passages), TAU)
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def trajectory(model, queries, passages, pad):
    """Loss before each step and gradient norm before clipping, for STEPS steps on one batch."""
    return adamw_trajectory(copy.deepcopy(model), lambda m: loss_of(m, queries, passages, pad), LR, BETAS, EPS, DECAY, CLIP, STEPS)


def wordpiece(k):
    """A small cased WordPiece tokeniser of VOCAB entries in BERT's own form."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list("0123456789.,?!-") + list(letters) + ["##" + c for c in letters]
    words += ["the", "of", "and", "river", "house", "##ing", "##ed", "##er", "é", "ß", "Я", "я", "河", "水", "A", "B", "C", "M", "T"]
    words += [f"[unused{i}]" for i in range(VOCAB - len(words))]
    vocab = {w: i for i, w in enumerate(words)}
    assert len(vocab) == VOCAB and vocab["[CLS]"] == k["bos"] and vocab["[SEP]"] == k["eos"] and vocab["[PAD]"] == k["pad"]
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=None)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
                                                            special_tokens=[("[CLS]", k["bos"]), ("[SEP]", k["eos"])])
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(words[:5])
    return tokenizer


def write_labse(out, k, head):
    """The files round the encoder as sentence-transformers/LaBSE has them (modules.json with the old class names)."""
    w = lambda name, value: (out / name).write_text(json.dumps(value, indent=2) + "\n")
    wordpiece(k).save(str(out / "tokenizer.json"))
    w("tokenizer_config.json", {"do_lower_case": False, "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]",
                                "cls_token": "[CLS]", "mask_token": "[MASK]", "model_max_length": MAX_POSITIONS,
                                "tokenizer_class": "BertTokenizer"})
    w("sentence_bert_config.json", {"max_seq_length": MAX_POSITIONS, "do_lower_case": False})
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize")]
    w("modules.json", [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
                       for i, (path, kind) in enumerate(kinds)])
    for folder in ("1_Pooling", "2_Dense"):
        (out / folder).mkdir()
    w("1_Pooling/config.json", {"word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": True,
                                "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False,
                                "pooling_mode_mean_sqrt_len_tokens": False})
    w("2_Dense/config.json", {"in_features": HIDDEN, "out_features": HEAD_OUT, "bias": True,
                              "activation_function": "torch.nn.modules.activation.Tanh"})
    save_file({"linear.weight": head.weight.detach().contiguous(), "linear.bias": head.bias.detach().contiguous()},
              str(out / "2_Dense" / "model.safetensors"), metadata={"format": "pt"})


def check_labse(out, model, head, batch, pad):
    """sentence-transformers itself reads the folder and gives the same embeddings, from ids and from text."""
    from sentence_transformers import SentenceTransformer
    st = SentenceTransformer(str(out), device="cpu")
    names = [type(m).__name__ for m in st]
    assert names == ["Transformer", "Pooling", "Dense", "Normalize"], names
    ids, mask = padded(batch, pad)
    with torch.no_grad():
        theirs = st({"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)})["sentence_embedding"]
        ours = embed(model, batch, pad, "cls", head)
        texts = ["the river house", "Toe Aß, 42!", "河水 and river-ing Яя?", "A café flooded near the bridge"]
        tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
        text_ids = [tokenizer.encode(t).ids for t in texts]
        text_theirs = torch.tensor(st.encode(texts))
        text_ours = embed(model, text_ids, pad, "cls", head)
    difference = {"ids": (theirs - ours).abs().max().item(), "text": (text_theirs - text_ours).abs().max().item()}
    assert max(difference.values()) < 1e-6, difference
    return digits_of(difference), [{"text": t, "ids": i, "embedding": digits(e, 8)} for t, i, e in zip(texts, text_ids, text_ours)]


def digits_of(d):
    return {n: digits(v, 3) for n, v in d.items()}


def one(kind, k):
    generator = torch.Generator().manual_seed(k["seed"])
    model = build(kind, k)
    randomise(model, generator)
    queries, passages = sequences(k, generator)
    head = None
    if kind == "labse":
        head = torch.nn.Linear(HIDDEN, HEAD_OUT)
        randomise(head, generator)

    out = GOLDEN / f"tiny-{kind}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    model.save_pretrained(str(out))
    # What the folder holds is what is measured: reload it.
    loaded, info = type(model).from_pretrained(str(out), attn_implementation="eager", output_loading_info=True,
                                               **({"add_pooling_layer": False} if kind == "xlm-roberta" else {}))
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    model = loaded.eval()
    double, double_head = copy.deepcopy(model).double(), copy.deepcopy(head).double() if head is not None else None

    runs = {"mean": ("mean", None, None), "cls": ("cls", None, None)}
    if head is not None:
        runs["labse"] = ("cls", head, double_head)
    tensors, losses, unused, accuracy = {}, {}, {}, {}
    for name, (pooling, h, h64) in runs.items():
        with torch.no_grad():
            for side, seqs in (("queries", queries), ("passages", passages)):
                tensors[f"{name}.{side}"] = embed(model, seqs, k["pad"], pooling, h)
                exact = embed(double, seqs, k["pad"], pooling, h64)
                accuracy.setdefault(f"{name}.embeddings", 0.0)
                accuracy[f"{name}.embeddings"] = max(accuracy[f"{name}.embeddings"],
                                                     (tensors[f"{name}.{side}"] - exact).abs().max().item())
        losses[name], grads, unused[name] = gradients(model, queries, passages, k["pad"], pooling, h)
        exact_loss, exact_grads, _ = gradients(double, queries, passages, k["pad"], pooling, h64)
        accuracy[f"{name}.loss_relative"] = abs(losses[name] - exact_loss) / exact_loss
        # A key bias shifts a whole softmax row: its true gradient is zero and what float32 gives is rounding.
        real = [n for n in grads if not n.endswith("key.bias") and exact_grads[n].norm() > 0]
        accuracy[f"{name}.gradient_relative"] = max(relative(grads[n], exact_grads[n]) for n in real)
        accuracy[f"{name}.key_bias_gradient_norm"] = max(grads[n].norm().item() for n in grads if n.endswith("key.bias"))
        tensors |= {f"grad.{name}.{n}": g for n, g in grads.items()}
    tensors = {n: t.detach().float().contiguous() for n, t in tensors.items()}
    if head is None:
        losses["bf16"], grads = half(model, queries, passages, k["pad"])
        # Two of the four bytes are enough for gradients that are no better than that.
        tensors |= {f"grad.bf16.{n}": g.bfloat16().contiguous() for n, g in grads.items()}
        real = [n for n in grads if not n.endswith("key.bias")]
        cosine = lambda n: torch.nn.functional.cosine_similarity(grads[n].flatten(), tensors[f"grad.mean.{n}"].flatten(), dim=0)
        accuracy["bf16.loss_relative"] = abs(losses["bf16"] - losses["mean"]) / losses["mean"]
        accuracy["bf16.gradient_one_less_cosine"] = 1 - min(cosine(n).item() for n in real)
    save_file(tensors, str(out / "golden.safetensors"))

    golden = {
        "made_by": "scripts/golden/tiny.py", "versions": versions("safetensors", "sentence-transformers"), "seed": k["seed"],
        "notes": [
            "golden.safetensors: POOLING.queries, POOLING.passages (normalised embeddings), grad.POOLING.PARAMETER",
            "loss: cross_entropy(Q @ P^T / tau, diagonal), questions to passages only, nothing masked, dropout 0, padding masked",
            "unused: parameters that get no gradient in that run (the optimiser leaves them untouched, undecayed)",
            "accuracy: float32 against float64; gradient_relative is the worst |g32 - g64| / |g64| of a parameter, key biases left out "
            "(their true gradient is zero)",
            "bf16: mean pooling with the encoder under bf16 autocast on the CPU; its accuracy is against float32",
        ],
        "pad": k["pad"], "tau": TAU, "queries": queries, "passages": passages, "loss": {n: digits(v, 9) for n, v in losses.items()},
        "unused": unused, "accuracy": digits_of(accuracy),
    }
    if kind == "labse":
        write_labse(out, k, head)
        golden["sentence_transformers_max_difference"], golden["texts"] = check_labse(out, model, head, queries + passages, k["pad"])
        golden["notes"].append("labse: normalise(tanh(Dense(CLS))), the Dense parameters under dense.weight and dense.bias")
    else:
        run, norms = trajectory(model, queries, passages, k["pad"])
        exact_run, exact_norms = trajectory(double, queries, passages, k["pad"])
        spread = max(abs(a - b) / b for a, b in zip(run, exact_run))
        absolute = max(abs(a - b) for a, b in zip(run, exact_run))
        norm_spread = max(abs(a - b) / b for a, b in zip(norms, exact_norms))
        golden["notes"].append("trajectory: loss before each step, gradient norm before clipping; late losses are near zero, where a "
                               "relative comparison measures rounding: compare |a - b| <= absolute + relative * b; key biases drift "
                               "freely under Adam (it scales up their rounding noise) without touching the loss")
        golden["trajectory"] = {
            "pooling": "mean", "lr": LR, "betas": list(BETAS), "eps": EPS, "weight_decay": DECAY,
            "decayed": "parameters of 2 or more dimensions", "clip": CLIP, "dropout": 0.0,
            "losses": digits(run, 9), "gradient_norms": digits(norms, 9),
            "losses_float64": digits(exact_run, 9), "gradient_norms_float64": digits(exact_norms, 9),
            "worst_float32_to_float64": {"loss_relative": digits(spread, 3), "loss_absolute": digits(absolute, 3),
                                         "gradient_norm_relative": digits(norm_spread, 3)},
        }
    write_json(out / "golden.json", golden)
    for f in out.rglob("*.safetensors"):
        f.chmod(0o644)
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    assert size < 600 * 1024, size
    print(out.name, f"{size / 1024:.0f} KiB", golden["loss"], golden["accuracy"],
          golden.get("sentence_transformers_max_difference"), golden.get("trajectory", {}).get("worst_float32_to_float64"))
    if "trajectory" in golden:
        t = golden["trajectory"]
        print("  losses", t["losses"][0], t["losses"][9], t["losses"][-1], "norms", t["gradient_norms"][0], t["gradient_norms"][-1])


if __name__ == "__main__":
    for kind, k in KINDS.items():
        one(kind, k)
