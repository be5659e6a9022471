"""What the golden scripts share: loading, pooling, the loss, and rounding for JSON."""
import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import torch.nn.functional as F

torch.set_num_threads(1)

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
PRETRAINED = Path(os.environ.get("POLYMIX_PRETRAINED", Path.home() / ".cache" / "polymix" / "pretrained"))


def versions(*names):
    from importlib.metadata import version
    import platform
    return {"python": platform.python_version()} | {n: version(n) for n in ("torch", "transformers", *names)}


def load(cls, path, dtype=torch.float32):
    """A base model in eval mode, without a pooler; fails if any weight was not in the file."""
    model, info = cls.from_pretrained(str(path), add_pooling_layer=False, dtype=dtype, attn_implementation="eager",
                                      output_loading_info=True)
    assert not info["missing_keys"], info
    return model.eval()


def padded(sequences, pad):
    longest = max(map(len, sequences))
    ids = torch.tensor([s + [pad] * (longest - len(s)) for s in sequences])
    mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in sequences])
    return ids, mask


def embed(model, sequences, pad, pooling="mean", head=None):
    ids, mask = padded(sequences, pad)
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    if pooling == "mean":
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weight).sum(1) / weight.sum(1)
    else:
        pooled = hidden[:, 0]
    if head is not None:
        pooled = torch.tanh(head(pooled))
    return F.normalize(pooled, dim=-1)


def info_nce(queries, passages, tau):
    """Cross entropy of the cosine matrix over tau against the diagonal: question to passage only, nothing masked."""
    return F.cross_entropy(queries @ passages.T / tau, torch.arange(len(queries)))


def digits(x, n):
    """Numbers rounded to n significant digits, for JSON."""
    if isinstance(x, torch.Tensor):
        x = x.detach().double().tolist()
    if isinstance(x, list):
        return [digits(v, n) for v in x]
    return float(f"{x:.{n - 1}e}")


def relative(a, b):
    """|a - b| / |b| in the L2 norm (b is the float64 reference)."""
    a, b = a.double(), b.double()
    return ((a - b).norm() / b.norm().clamp_min(1e-300)).item()


def write_json(path, value):
    """JSON with one line an innermost list or short object, so that diffs stay readable."""
    def text(v, indent):
        flat = json.dumps(v, ensure_ascii=False)
        nested = isinstance(v, (list, dict)) and any(isinstance(x, (list, dict)) for x in (v.values() if isinstance(v, dict) else v))
        if not nested and (isinstance(v, list) or len(flat) + indent < 140 or not isinstance(v, dict)):
            return flat
        gap = " " * (indent + 1)
        if isinstance(v, dict):
            items = [f"{gap}{json.dumps(k, ensure_ascii=False)}: {text(x, indent + 1)}" for k, x in v.items()]
            return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
        return "[\n" + ",\n".join(gap + text(x, indent + 1) for x in v) + "\n" + " " * indent + "]"
    body = text(value, 0)
    assert json.loads(body) == value
    Path(path).write_text(body + "\n", encoding="utf-8")
    print(f"{path}: {len(body) / 1024:.0f} KiB")


def adamw_trajectory(model, loss_of, lr, betas, eps, decay, clip, steps):
    """Loss before each step and gradient norm before clipping, of AdamW on one batch; parameters of 2 or more dimensions decay."""
    parameters = list(model.parameters())
    groups = [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": decay},
              {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps)
    losses, norms = [], []
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(model)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, clip).item())
        losses.append(loss.item())
        optimiser.step()
    return losses, norms
