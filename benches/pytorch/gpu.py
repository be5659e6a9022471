#!/usr/bin/env python3
"""Training speed of PyTorch and of polymix on a GPU: python gpu.py MODEL BATCHES.json --out RESULT.json [--contenders NAMES]
    [--polymix "polymix bench train ..."]

MODEL: a model directory, or xlm-roberta-base for that shape with random weights. BATCHES.json as `polymix bench train
--write-ids` writes it. One step: forward, mean pooling, cosine InfoNCE, backward, clipping at 1.0, fused AdamW (biases and LayerNorm not
decayed), in bf16 autocast with f32 weights, TF32 elsewhere. Contenders:

  merged     one padded forward of all texts, SDPA
  compiled   the same through torch.compile with dynamic shapes
  split      questions and passages padded apart, one forward each
  buckets    all texts of a batch sorted by length, four forwards
  flash      merged with FlashAttention 2, whose attention leaves the padding out; needs the package flash-attn
  sentence   sentence-transformers' MultipleNegativesRankingLoss on its own model classes
  cached     its CachedMultipleNegativesRankingLoss with --chunk texts a pass

Every contender runs --repeats times in rotation (A B C, B C A, ...), those of PyTorch in this process after a warm-up; one synchronisation at
each end of a repeat. polymix takes part by the command of --polymix, started anew for each of its repeats: it warms up itself, and times its
steps alone, as its JSON says. `first_loss` is that of the first batch before any step, without dropout, in f32 without TF32 (flash: bf16, as it knows
no other).

Memory: by how much the use of the whole GPU (NVML) grew through the contender, CUDA's context included. For PyTorch, whose allocator keeps what
it once had, read after the warm-up, with the allocator's cache emptied before; for polymix the most of a reading every 20 ms. Nothing else may
run on the GPU. `allocated_bytes` is what PyTorch's tensors took at most, for comparison: without context, workspaces and fragments.

The file is written whole after every repeat; --seconds ends it with the repeats done by then.
"""
import argparse
import ctypes
import json
import os
import shlex
import statistics
import subprocess
import threading
import time

# Importing torch is part of --seconds: it can take half a minute where nothing is cached.
BEGIN = time.monotonic()
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModel, XLMRobertaConfig

BASE = dict(vocab_size=250002, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
            max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1, bos_token_id=0, eos_token_id=2)


class Watch:
    """Bytes in use on the whole GPU, by NVML; None where it does not answer."""

    class Memory(ctypes.Structure):
        _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]

    def __init__(self):
        self.nvml, self.handle = None, ctypes.c_void_p()
        # CUDA's first visible GPU; a UUID where it is given as one.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
        try:
            nvml = ctypes.CDLL("libnvidia-ml.so.1")
            if nvml.nvmlInit_v2() == 0:
                found = (nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(visible)), ctypes.byref(self.handle)) if visible.isdigit()
                         else nvml.nvmlDeviceGetHandleByUUID(visible.encode(), ctypes.byref(self.handle)))
                self.nvml = nvml if found == 0 else None
        except (OSError, AttributeError):
            pass

    def used(self):
        memory = self.Memory()
        if self.nvml is None or self.nvml.nvmlDeviceGetMemoryInfo(self.handle, ctypes.byref(memory)) != 0:
            return None
        return memory.used


def growth(before, after):
    return None if before is None or after is None else after - before


class Polymix:
    """The contender that is a command of its own."""

    name = "polymix"

    def __init__(self, command, a, watch, steps):
        self.a, self.watch, self.seconds, self.reports, self.peak = a, watch, [], [], None
        # Its steps are timed by itself, so that its start does not count.
        self.command = [*shlex.split(command), "--ids", a.batches, "--steps", str(steps), "--warmup", str(a.warmup), "--json"]

    def run(self, _batches, _steps):
        before, most, done = self.watch.used(), [], threading.Event()

        def look():
            while not done.wait(0.02):
                most.append(self.watch.used())
        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            ended = subprocess.run(self.command, capture_output=True, text=True, timeout=max(10, self.a.seconds - (time.monotonic() - self.a.begin) + 10))
        finally:
            done.set()
            thread.join()
        if ended.returncode != 0:
            raise RuntimeError(f"polymix ended with {ended.returncode}: {ended.stderr.strip()[-400:]}")
        report = json.loads(ended.stdout)
        self.reports.append(report)
        grown = growth(before, max((m for m in most if m is not None), default=None))
        self.peak = grown if self.peak is None or grown is None else max(self.peak, grown)
        measured = report["measured"]
        return measured["steps"] * report["batch"] / measured["pairs_per_s"]


class Contender:
    def __init__(self, name, a):
        self.name, self.a = name, a
        torch.manual_seed(a.seed)
        rates = dict(hidden_dropout_prob=a.dropout, attention_probs_dropout_prob=a.dropout)
        self.is_sentence = name in ("sentence", "cached")
        if self.is_sentence:
            from sentence_transformers import SentenceTransformer, models
            from sentence_transformers.losses import CachedMultipleNegativesRankingLoss, MultipleNegativesRankingLoss
            folder = a.model
            if a.model == "xlm-roberta-base":
                folder = self.random_folder(a, rates)
            transformer = models.Transformer(folder, config_args=rates)
            pooling = models.Pooling(transformer.get_word_embedding_dimension(), "mean")
            self.model = SentenceTransformer(modules=[transformer, pooling], device=a.device)
            self.loss = (MultipleNegativesRankingLoss(self.model, scale=1 / a.tau) if name == "sentence" else
                         CachedMultipleNegativesRankingLoss(self.model, scale=1 / a.tau, mini_batch_size=a.chunk))
        else:
            kind = {"attn_implementation": "flash_attention_2"} if name == "flash" else {}
            if a.model == "xlm-roberta-base":
                self.model = AutoModel.from_config(XLMRobertaConfig(**BASE, **rates), add_pooling_layer=False, **kind)
            else:
                self.model = AutoModel.from_pretrained(a.model, add_pooling_layer=False, dtype=torch.float32, **rates, **kind)
            self.model.to(a.device)
            self.network = torch.compile(self.model, dynamic=True) if name == "compiled" else self.model
        self.pad = 1 if a.model == "xlm-roberta-base" else AutoConfig.from_pretrained(a.model).pad_token_id
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        groups = [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.01},
                  {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]
        self.parameters = parameters
        self.optimiser = torch.optim.AdamW(groups, lr=3e-5, betas=(0.9, 0.999), eps=1e-8, fused=True)
        self.at = 0
        self.seconds, self.losses = [], []

    @staticmethod
    def random_folder(a, rates):
        """sentence-transformers reads folders only; its tokenizer is never used."""
        folder = os.path.join(a.scratch, "xlm-roberta-base")
        if not os.path.isdir(folder):
            from transformers import PreTrainedTokenizerFast
            from tokenizers import Tokenizer
            from tokenizers.models import WordLevel
            AutoModel.from_config(XLMRobertaConfig(**BASE, **rates)).save_pretrained(folder)
            PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>")),
                                    pad_token="<unk>").save_pretrained(folder)
        return folder

    def padded(self, rows):
        longest = max(map(len, rows))
        ids = torch.tensor([r + [self.pad] * (longest - len(r)) for r in rows])
        mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows])
        if self.a.device == "cuda":
            ids, mask = ids.pin_memory(), mask.pin_memory()
        return ids.to(self.a.device, non_blocking=True), mask.to(self.a.device, non_blocking=True)

    def loss_of(self, queries, passages):
        if self.is_sentence:
            features = [dict(zip(("input_ids", "attention_mask"), self.padded(rows))) for rows in (queries, passages)]
            return self.loss(features, None)
        rows = queries + passages
        if self.name == "split":
            split = [range(len(queries)), range(len(queries), len(rows))]
        elif self.name == "buckets":
            order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
            size = -(-len(order) // 4)
            split = [order[i:i + size] for i in range(0, len(order), size)]
        else:
            split = [range(len(rows))]
        vectors = []
        for part in split:
            ids, mask = self.padded([rows[i] for i in part])
            full = len({len(rows[i]) for i in part}) == 1
            hidden = self.network(input_ids=ids, attention_mask=None if full else mask).last_hidden_state.float()
            weight = mask.unsqueeze(-1).float()
            vectors.append(F.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1))
        order = torch.tensor([i for part in split for i in part], device=self.a.device)
        pooled = torch.cat(vectors)[torch.argsort(order)]
        n = len(queries)
        with torch.autocast(self.a.device, enabled=False):
            return F.cross_entropy(pooled[:n] @ pooled[n:].T / self.a.tau, torch.arange(n, device=self.a.device))

    def step(self, queries, passages):
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.a.device, dtype=torch.bfloat16, enabled=self.a.dtype == "bf16"):
            loss = self.loss_of(queries, passages)
            if self.name == "cached":  # computes its texts again on the way back, which must be in bf16 too
                loss.backward()
        if self.name != "cached":
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        return loss.detach()

    def run(self, batches, steps):
        """Seconds of `steps` steps."""
        self.model.train()
        synchronise(self.a)
        begin = time.perf_counter()
        for _ in range(steps):
            loss = self.step(*batches[self.at % len(batches)])
            self.at += 1
        synchronise(self.a)
        self.losses.append(loss.item())
        return time.perf_counter() - begin


def synchronise(a):
    if a.device == "cuda":
        torch.cuda.synchronize()


def first_loss(contender, batch):
    """Without dropout, in f32 (flash: bf16, its only type), before any step."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    contender.model.eval()
    with torch.no_grad(), torch.autocast(contender.a.device, dtype=torch.bfloat16, enabled=contender.name == "flash"):
        loss = contender.loss_of(*batch).item()
    torch.set_float32_matmul_precision(precision)
    return loss


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model"); ap.add_argument("batches")
    ap.add_argument("--contenders", default="merged,compiled,split,buckets,sentence")
    ap.add_argument("--repeats", type=int, default=5)
    ap.add_argument("--warmup", type=int, default=20)
    ap.add_argument("--steps", type=int, default=60, help="a repeat")
    ap.add_argument("--dtype", default="bf16", choices=["bf16", "f32"])
    ap.add_argument("--dropout", type=float, default=0.1)
    ap.add_argument("--tau", type=float, default=0.05)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--device", default="cuda")
    ap.add_argument("--chunk", type=int, default=128, help="texts a pass of `cached`")
    ap.add_argument("--polymix", metavar="COMMAND", help="polymix bench train with its options, but for ids, steps and warm-up")
    ap.add_argument("--seconds", type=float, default=1e9, help="no repeat begins after these")
    ap.add_argument("--out", required=True)
    ap.add_argument("--scratch", default="/tmp/polymix-gpu-check")
    a = ap.parse_args()
    a.begin = begin = BEGIN
    torch.set_float32_matmul_precision("high")
    with open(a.batches) as f:
        batches = [(b["queries"], b["passages"]) for b in json.load(f)["batches"]]
    result = {"torch": torch.__version__, "device": torch.cuda.get_device_name() if a.device == "cuda" else "cpu",
              "model": a.model, "dtype": a.dtype, "steps": a.steps,
              "batch": len(batches[0][0]), "contenders": {}}
    running = []
    watch = Watch()
    bare = watch.used() if a.device == "cuda" else None
    if a.device == "cuda":
        torch.zeros(1, device="cuda")
        synchronise(a)
    context = growth(bare, watch.used())
    result["context_bytes"] = context

    def failed(name, error):
        result["contenders"][name] = {"error": f"{type(error).__name__}: {error}"[:500]}

    def write():
        taken = [batches[i % len(batches)] for i in range(a.steps)]
        pairs = sum(len(q) for q, _ in taken)
        real = sum(len(s) for q, p in taken for s in q + p)
        for contender in running:
            if not contender.seconds:
                continue
            rate = sorted(real / s for s in contender.seconds)
            mine = result["contenders"].setdefault(contender.name, {})
            mine |= {"repeats": len(rate), "real_tokens_per_s": {"median": statistics.median(rate), "lowest": rate[0], "highest": rate[-1]},
                     "pairs_per_s": pairs / statistics.median(contender.seconds),
                     "ms_per_step": 1e3 * statistics.median(contender.seconds) / a.steps}
            if contender.name == "polymix":
                mine |= {"peak_bytes": contender.peak, "mfu": statistics.median(r["mfu"] for r in contender.reports), "reports": contender.reports}
            else:
                mine["last_losses"] = contender.losses
        with open(a.out + ".part", "w") as f:
            json.dump(result, f, indent=1)
        os.replace(a.out + ".part", a.out)

    if a.polymix:
        running.append(Polymix(a.polymix, a, watch, a.steps))
    for name in filter(None, a.contenders.split(",")):
        if time.monotonic() - begin > 0.5 * a.seconds:
            failed(name, TimeoutError("no time left to start it"))
            continue
        contender = None
        try:
            if a.device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            before, tensors = watch.used() if a.device == "cuda" else None, torch.cuda.memory_allocated() if a.device == "cuda" else 0
            contender = Contender(name, a)
            loss = first_loss(contender, batches[0])
            contender.run(batches, a.warmup)
            contender.losses.clear()
            grown = growth(before, watch.used()) if before is not None else None
            result["contenders"][name] = {
                "first_loss": loss, "peak_bytes": None if grown is None or context is None else grown + context,
                "allocated_bytes": torch.cuda.max_memory_allocated() - tensors if a.device == "cuda" else None}
            running.append(contender)
        except Exception as error:  # a peer that cannot run is reported, and the others go on
            failed(name, error)
        write()
    for repeat in range(a.repeats):
        for contender in running[repeat % len(running):] + running[:repeat % len(running)] if running else []:
            if time.monotonic() - begin > a.seconds:
                break
            contender.at = 0
            try:
                contender.seconds.append(contender.run(batches, a.steps))
            except Exception as error:
                failed(contender.name, error)
                running.remove(contender)
            write()
    write()


if __name__ == "__main__":
    main()
