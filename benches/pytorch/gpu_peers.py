"""The contenders of gpu.py that are PyTorch's.

One step: forward, mean pooling, cosine InfoNCE, backward, clipping at 1.0, fused AdamW (biases and LayerNorm not decayed), in bf16 autocast
with f32 weights, TF32 elsewhere. Texts of

  merged     one padded forward of all texts, SDPA
  split      questions and passages padded apart, one forward each
  buckets    all texts of a batch sorted by length, four forwards
  packed     all tokens in a row without padding; attention within each text by the FlashAttention 2 that PyTorch brings (aten's
             _flash_attention_forward, as its nested tensors call it: the public varlen_attn has no dropout). On the CPU a loop over texts stands in.
  flash      the same tokens through transformers' flash_attention_2; needs the package flash-attn
  sentence   sentence-transformers' MultipleNegativesRankingLoss on its own model classes
  cached     its CachedMultipleNegativesRankingLoss with --chunk texts a pass (its mini_batch_size counts texts of one side)

NAME+compiled: with each layer through torch.compile, which compiles one for all of them (in seconds, where the whole model takes a minute).

Lists become padded and pinned tensors once for each batch, before the clock, as a data loader's workers would do it; copying them to the GPU is
part of the step, as for polymix. Nothing in a step waits for the GPU: masks are given to transformers in four dimensions, as it asks the GPU
whether a mask of two has any padding; sentence-transformers' features are its own, with a mask of two. On a GPU padded lengths are multiples
of 8, as tensor cores and SDPA's mask like them.
"""
import os
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AutoConfig, AutoModel

LAYOUTS = ("merged", "split", "buckets", "packed", "flash")


class CannotRun(Exception):
    """What this machine lacks; no fault of the contender."""


def synchronise(a):
    if a.device == "cuda":
        torch.cuda.synchronize()


def packed_attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, cu_seq_lens_q=None, max_length_q=None, **_):
    """transformers' interface: heads first, in and out 1 x heads x tokens x size and 1 x tokens x heads x size."""
    query, key, value = (t[0].transpose(0, 1) for t in (query, key, value))
    return attend(query, key, value, cu_seq_lens_q, max_length_q, dropout, scaling).unsqueeze(0), None


def attend(query, key, value, bounds, longest, dropout, scaling):
    """Attention within each text; tokens x heads x size."""
    if query.is_cuda:
        return torch.ops.aten._flash_attention_forward(query, key, value, bounds, bounds, longest, longest, dropout, False, False, scale=scaling)[0]
    texts = bounds.tolist()
    parts = [F.scaled_dot_product_attention(*(t[b:e].transpose(0, 1)[None] for t in (query, key, value)), dropout_p=dropout, scale=scaling)[0].transpose(0, 1)
             for b, e in zip(texts, texts[1:])]
    return torch.cat(parts)


AttentionInterface.register("polymix_packed", packed_attention)


def probe(device):
    """Whether PyTorch's own FlashAttention runs here, and gives what SDPA gives, forward and back."""
    make = torch.Generator(device).manual_seed(1)
    lengths = [3, 17, 64]
    bounds = torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32, device=device)
    inputs = [torch.randn(sum(lengths), 2, 32, generator=make, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    by = torch.randn(sum(lengths), 2, 32, generator=make, device=device)
    try:
        out = attend(*inputs, bounds, max(lengths), 0.0, None)
        found = [out, *torch.autograd.grad((out.float() * by).sum(), inputs)]
        # Errors of a kernel come with the next wait.
        found = [t.float().cpu() for t in found]
    except (RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
        raise CannotRun(f"PyTorch's _flash_attention_forward: {type(error).__name__}: {error}") from error
    plain = [t.detach().float().cpu().requires_grad_() for t in inputs]
    wanted = attend(*plain, bounds.cpu(), max(lengths), 0.0, None)
    wanted = [wanted, *torch.autograd.grad((wanted * by.cpu()).sum(), plain)]
    for f, w in zip(found, wanted):
        off = float((f - w).norm() / w.norm())
        if not off < 0.02:
            raise ArithmeticError(f"PyTorch's _flash_attention_forward is off by {off:.3g} from SDPA in f32")


class Contender:
    def __init__(self, name, a, batches):
        self.name, self.a = name, a
        self.layout, _, compiled = name.partition("+")
        self.is_sentence = name in ("sentence", "cached")
        if (not self.is_sentence and self.layout not in LAYOUTS) or compiled not in ("", "compiled"):
            raise ValueError(f"no contender {name}: {', '.join(LAYOUTS)}, each with +compiled, sentence, cached")
        self.is_packed = self.layout in ("packed", "flash")
        self.has_first_loss = name != "cached" and not compiled
        # FlashAttention knows no f32; the stand-in does.
        self.first_loss_dtype = "bf16" if self.is_packed and a.device == "cuda" else "f32"
        if self.layout == "packed" and a.device == "cuda":
            probe(a.device)
        torch.manual_seed(a.seed)
        rates = dict(hidden_dropout_prob=a.dropout, attention_probs_dropout_prob=a.dropout)
        config = AutoConfig.from_pretrained(a.model)
        self.pad = config.pad_token_id
        # The first position after padding's, where positions count from there.
        self.first_position = config.pad_token_id + 1 if config.model_type in ("xlm-roberta", "roberta") else 0
        if self.is_sentence:
            self.load_sentence(rates, config.hidden_size)
        else:
            self.load(rates, compiled, batches)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        groups = [{"params": [p for p in self.parameters if p.dim() >= 2], "weight_decay": 0.01},
                  {"params": [p for p in self.parameters if p.dim() < 2], "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=3e-5, betas=(0.9, 0.999), eps=1e-8, fused=True)
        self.batches = [self.prepare(*batch) for batch in batches]
        self.longest = max(len(text) for batch in batches for side in batch for text in side)
        self.at, self.losses = 0, []

    def load(self, rates, compiled, batches):
        kind = {"packed": "polymix_packed", "flash": "flash_attention_2"}.get(self.layout, "sdpa")
        try:
            self.model = AutoModel.from_pretrained(self.a.model, add_pooling_layer=False, dtype=torch.float32, attn_implementation=kind, **rates)
        except ImportError as error:
            # transformers 5 says so where neither flash-attn nor the package kernels with its files is there; other import errors are faults.
            if self.layout == "flash" and "doesn't seem to be installed" in str(error):
                raise CannotRun(str(error)) from error
            raise
        self.model.to(self.a.device)
        if compiled:
            # Past its limit of graphs PyTorch would quietly run uncompiled.
            torch._dynamo.config.fail_on_recompile_limit_hit = True
            # One shape of all batches is compiled as it is.
            sizes = {tuple(len(text) for side in batch for text in side) for batch in batches}
            is_fixed = len(sizes) == 1 and self.layout in ("merged", "packed", "flash")
            for layer in self.model.encoder.layer:
                layer.compile(dynamic=not is_fixed)

    def load_sentence(self, rates, width):
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss, MultipleNegativesRankingLoss
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
        transformer = Transformer(self.a.model, config_kwargs=rates, model_kwargs={"attn_implementation": "sdpa", "dtype": torch.float32})
        self.model = SentenceTransformer(modules=[transformer, Pooling(width, "mean")], device=self.a.device)
        self.loss = (MultipleNegativesRankingLoss(self.model, scale=1 / self.a.tau) if self.name == "sentence" else
                     CachedMultipleNegativesRankingLoss(self.model, scale=1 / self.a.tau, mini_batch_size=self.a.chunk))

    def pinned(self, tensor):
        return tensor.pin_memory() if self.a.device == "cuda" else tensor

    def move(self, tensor):
        return tensor.to(self.a.device, non_blocking=True)

    def padded(self, rows):
        longest = max(map(len, rows))
        if self.a.device == "cuda" and not self.is_sentence:
            longest = -(-longest // 8) * 8
        ids = torch.tensor([r + [self.pad] * (longest - len(r)) for r in rows])
        mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows])
        return self.pinned(ids), self.pinned(mask)

    def prepare(self, queries, passages):
        """A batch as a data loader would hand it over."""
        if self.is_sentence:
            return [dict(zip(("input_ids", "attention_mask"), self.padded(rows))) for rows in (queries, passages)]
        rows = queries + passages
        lengths = [len(row) for row in rows]
        if self.is_packed:
            bounds = torch.tensor([0, *lengths]).cumsum(0).int()
            positions = torch.cat([torch.arange(n) for n in lengths]) + self.first_position
            texts = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(lengths))
            tensors = {"ids": torch.tensor([sum(rows, [])]), "positions": positions[None], "bounds": bounds, "texts": texts,
                       "lengths": torch.tensor(lengths, dtype=torch.float32)}
            return {"pairs": len(queries), "longest": max(lengths), **{k: self.pinned(t) for k, t in tensors.items()}}
        if self.layout == "split":
            split = [range(len(queries)), range(len(queries), len(rows))]
        elif self.layout == "buckets":
            order = sorted(range(len(rows)), key=lengths.__getitem__)
            size = -(-len(order) // 4)
            split = [order[i:i + size] for i in range(0, len(order), size)]
        else:
            split = [range(len(rows))]
        parts = []
        for part in split:
            ids, mask = self.padded([rows[i] for i in part])
            parts.append((ids, None if bool(mask.all()) else mask))
        order = torch.tensor([i for part in split for i in part])
        return {"pairs": len(queries), "parts": parts, "back": self.pinned(torch.argsort(order)) if self.layout == "buckets" else None}

    def compute_dtype(self):
        return torch.get_autocast_dtype(self.a.device) if torch.is_autocast_enabled(self.a.device) else torch.float32

    def vectors_packed(self, batch):
        ids, bounds, longest = self.move(batch["ids"]), self.move(batch["bounds"]), batch["longest"]
        # One length for all batches, where a new one would be compiled anew.
        longest = self.longest if self.name.endswith("+compiled") else longest
        hidden = self.model(input_ids=ids, position_ids=self.move(batch["positions"]), token_type_ids=torch.zeros_like(ids), attention_mask=None,
                            cu_seq_lens_q=bounds, cu_seq_lens_k=bounds, max_length_q=longest, max_length_k=longest).last_hidden_state[0].float()
        sums = hidden.new_zeros(len(batch["lengths"]), hidden.shape[-1]).index_add(0, self.move(batch["texts"]), hidden)
        return F.normalize(sums / self.move(batch["lengths"]).unsqueeze(-1), dim=-1)

    def vectors_padded(self, batch):
        vectors = []
        for ids, mask in batch["parts"]:
            ids = self.move(ids)
            if mask is None:
                pooled = self.model(input_ids=ids).last_hidden_state.float().mean(1)
            else:
                mask = self.move(mask)
                bias = torch.zeros(mask.shape, dtype=self.compute_dtype(), device=self.a.device).masked_fill(mask == 0, -torch.inf)[:, None, None, :]
                hidden = self.model(input_ids=ids, attention_mask=bias.expand(-1, 1, ids.shape[1], -1)).last_hidden_state.float()
                weight = mask.unsqueeze(-1).float()
                pooled = (hidden * weight).sum(1) / weight.sum(1)
            vectors.append(F.normalize(pooled, dim=-1))
        vectors = torch.cat(vectors)
        return vectors if batch["back"] is None else vectors.index_select(0, self.move(batch["back"]))

    def loss_of(self, batch):
        if self.is_sentence:
            return self.loss([{key: self.move(tensor) for key, tensor in side.items()} for side in batch], None)
        vectors = self.vectors_packed(batch) if self.is_packed else self.vectors_padded(batch)
        n = batch["pairs"]
        with torch.autocast(self.a.device, enabled=False):
            return F.cross_entropy(vectors[:n] @ vectors[n:].T / self.a.tau, torch.arange(n, device=self.a.device))

    def first_loss(self):
        """Of the first batch without dropout, before any step; no TF32."""
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        self.model.eval()
        try:
            with torch.no_grad(), torch.autocast(self.a.device, dtype=torch.bfloat16, enabled=self.first_loss_dtype == "bf16"):
                return self.loss_of(self.batches[0]).item()
        finally:
            torch.set_float32_matmul_precision(precision)

    def step(self, batch):
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.a.device, dtype=torch.bfloat16, enabled=self.a.dtype == "bf16"):
            loss = self.loss_of(batch)
            if self.name == "cached":  # computes its texts again on the way back, which must be in bf16 too
                loss.backward()
        if self.name != "cached":
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        return loss.detach()

    def run(self, steps):
        """Seconds of `steps` steps."""
        self.model.train()
        synchronise(self.a)
        begin = time.perf_counter()
        for _ in range(steps):
            loss = self.step(self.batches[self.at % len(self.batches)])
            self.at += 1
        synchronise(self.a)
        seconds = time.perf_counter() - begin
        if steps:
            self.losses.append(loss.item())
        return seconds
