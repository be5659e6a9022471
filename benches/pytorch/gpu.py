#!/usr/bin/env python3
"""Training speed of PyTorch and of polymix on a GPU: python gpu.py MODEL_DIR BATCHES.json --out RESULT.json [--contenders NAMES]
    [--polymix "polymix bench train ..."]

MODEL_DIR: everybody's first weights (gpu_model.py writes a random model of a published shape). BATCHES.json as `polymix bench train --write-ids`
writes it. The contenders stand in gpu_peers.py. Every contender runs --repeats times in rotation (A B C, B C A, ...), those of PyTorch in this
process after a warm-up; one synchronisation at each end of a repeat. polymix takes part by the command of --polymix, started anew for each of its
repeats: it warms up itself, and times its steps alone, as its JSON says.

`first_loss` is that of the first batch before any step, without dropout, in f32 without TF32 (`first_loss_dtype`: bf16 for those that know no other).
The compiled contenders and `cached` have none, which would be another graph or a pass of seconds: `first_train_loss`, of the first step, with dropout.

Memory: by how much the use of the whole GPU (NVML) grew through the contender, CUDA's context included. For PyTorch, whose allocator keeps what
it once had, read after the warm-up, with the allocator's cache emptied before it and after the first loss; for polymix the most of a reading every
20 ms. Nothing else may run on the GPU. `allocated_bytes` is what PyTorch's tensors took at most, for comparison: without context, workspaces and
fragments.

The file is written whole after every repeat. --seconds bound it: contenders are made in the first part of them (SETUP), and a repeat begins only
where the last one of its contender would still fit. Of a contender:

  error        it failed before a repeat was finished
  late_error   it failed later; its finished repeats count
  short        the time ended before its last repeat
  absent       this machine lacks what it needs (gpu_peers.CannotRun)
"""
import argparse
import ctypes
import importlib.metadata
import json
import os
import shlex
import signal
import statistics
import subprocess
import threading
import time

# Importing torch is part of --seconds: it can take half a minute where nothing is cached.
BEGIN = time.monotonic()
import torch

from gpu_peers import CannotRun, Contender, synchronise

# Share of --seconds in which contenders are made and warmed up; who is slower, as a compiler may be, is left out.
SETUP = 0.55


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


def version_of(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


class Polymix:
    """The contender that is a command of its own."""

    name = "polymix"

    def __init__(self, command, a, watch):
        self.a, self.watch, self.reports, self.peak = a, watch, [], None
        # Its steps are timed by itself, so that its start does not count.
        self.command = [*shlex.split(command), "--ids", a.batches, "--steps", str(a.steps), "--warmup", str(a.warmup), "--json"]

    def run(self, _steps):
        before, most, done = self.watch.used(), [], threading.Event()

        def look():
            while not done.wait(0.02):
                most.append(self.watch.used())
        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            # A little more than there is, for what is nearly done.
            ended = subprocess.run(self.command, capture_output=True, text=True, timeout=max(5, BEGIN + self.a.seconds - time.monotonic() + 3))
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


class Race:
    """Who runs, what was measured, and the file that says so."""

    def __init__(self, a, batches):
        self.a, self.batches, self.watch = a, batches, Watch()
        self.running, self.seconds, self.wall = [], {}, {}
        self.asked = (["polymix"] if a.polymix else []) + [name for name in a.contenders.split(",") if name]
        version = {name: version_of(name) for name in ("transformers", "sentence-transformers")}
        self.result = {"torch": torch.__version__, **version, "device": torch.cuda.get_device_name() if a.device == "cuda" else "cpu",
                       "model": a.model, "dtype": a.dtype, "steps": a.steps, "warmup": a.warmup, "repeats": a.repeats, "chunk": a.chunk,
                       "batch": len(batches[0][0]), "distinct_batches": len(batches), "asked": self.asked, "contenders": {}}
        self.context = None
        if a.device == "cuda":
            bare = self.watch.used()
            torch.zeros(1, device="cuda")
            synchronise(a)
            self.context = growth(bare, self.watch.used())
        self.result["context_bytes"] = self.context

    def left(self, share=1.0):
        return BEGIN + share * self.a.seconds - time.monotonic()

    def of(self, name):
        return self.result["contenders"].setdefault(name, {})

    def failed(self, name, error):
        text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        if isinstance(error, CannotRun):
            self.of(name)["absent"] = str(error)[:500]
        else:
            self.of(name)["late_error" if self.seconds.get(name) else "error"] = text

    def write(self):
        taken = [self.batches[i % len(self.batches)] for i in range(self.a.steps)]
        pairs = sum(len(q) for q, _ in taken)
        real = sum(len(s) for q, p in taken for s in q + p)
        for name, seconds in self.seconds.items():
            rate = sorted(real / s for s in seconds)
            self.of(name).update({"repeats": len(rate), "real_tokens_per_s": {"median": statistics.median(rate), "lowest": rate[0], "highest": rate[-1]},
                                  "pairs_per_s": pairs / statistics.median(seconds), "ms_per_step": 1e3 * statistics.median(seconds) / self.a.steps,
                                  "wall_seconds": self.wall[name]})
        for contender in self.running:
            if isinstance(contender, Polymix):
                if not contender.reports:
                    continue
                mfu = statistics.median(r["mfu"] for r in contender.reports)
                self.of("polymix").update({"peak_bytes": contender.peak, "mfu": mfu, "reports": contender.reports})
            elif contender.name in self.seconds:
                self.of(contender.name)["last_losses"] = contender.losses
        with open(self.a.out + ".part", "w") as f:
            json.dump(self.result, f, indent=1)
        os.replace(self.a.out + ".part", self.a.out)

    def make(self, name):
        """A contender of PyTorch, warmed up; what it took is noted."""
        a, on_gpu = self.a, self.a.device == "cuda"
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        before, tensors = self.watch.used() if on_gpu else None, torch.cuda.memory_allocated() if on_gpu else 0
        contender = Contender(name, a, self.batches)
        found = {}
        if contender.has_first_loss:
            found = {"first_loss": contender.first_loss(), "first_loss_dtype": contender.first_loss_dtype}
            if on_gpu:
                # What f32 took is not what training takes.
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
        begin = time.monotonic()
        contender.run(1)
        found["first_train_loss"] = contender.losses[0]
        found["first_step_seconds"] = time.monotonic() - begin
        begin, others = time.monotonic(), max(a.warmup - 1, 0)
        contender.run(others)
        # A first guess of how long a repeat takes.
        guess = (time.monotonic() - begin) / others * a.steps if others else found["first_step_seconds"] * a.steps
        contender.losses.clear()
        grown = growth(before, self.watch.used()) if on_gpu else None
        self.of(name).update(found, peak_bytes=None if grown is None or self.context is None else grown + self.context,
                             allocated_bytes=torch.cuda.max_memory_allocated() - tensors if on_gpu else None)
        self.wall[name] = [guess]
        self.running.append(contender)

    def refill(self):
        """Where several of PyTorch's were made, each emptied the cache of the ones before: fills it again, outside the clock. Returns who failed."""
        ours, out = [c for c in self.running if not isinstance(c, Polymix)], set()
        for contender in ours if len(ours) > 1 else []:
            try:
                if self.left(SETUP + 0.1) > 0:
                    contender.run(min(self.a.warmup, len(self.batches)))
            except Exception as error:
                self.failed(contender.name, error)
                out.add(contender.name)
        return out

    def repeat(self, contender, turn):
        """Whether the contender may go on."""
        a, name = self.a, contender.name
        last = self.wall.get(name, [0.0])[-1]
        if self.left() < 1.1 * last or self.left() <= 0:
            self.of(name)["short"] = f"no time for repeat {turn + 1} of {a.repeats}"
            return False
        begin = time.monotonic()
        try:
            contender.at = 0
            seconds = contender.run(a.steps)
        except Exception as error:
            self.failed(name, error)
            return False
        # The first entry of PyTorch's is the guess.
        walls = self.wall.setdefault(name, [])
        if name not in self.seconds:
            walls.clear()
        walls.append(time.monotonic() - begin)
        self.seconds.setdefault(name, []).append(seconds)
        return True

    def run(self):
        a = self.a
        if a.polymix:
            self.running.append(Polymix(a.polymix, a, self.watch))
        for name in self.asked[1 if a.polymix else 0:]:
            try:
                if self.left(SETUP) < 1:
                    raise TimeoutError("no time left to make it")
                with bounded(self.left(SETUP), f"not ready {SETUP * a.seconds:.0f} s after the start, when the repeats began"):
                    self.make(name)
            except Exception as error:  # a peer that cannot run is reported, and the others go on
                self.failed(name, error)
            self.write()
        order = list(self.running)
        out = self.refill()
        for turn in range(a.repeats):
            first = turn % len(order) if order else 0
            for contender in order[first:] + order[:first]:
                if contender.name not in out and not self.repeat(contender, turn):
                    out.add(contender.name)
                self.write()
        self.write()


class bounded:
    """Raises TimeoutError in the block after these seconds."""

    def __init__(self, seconds, message):
        self.seconds, self.message = seconds, message

    def __enter__(self):
        def late(_signal, _frame):
            raise TimeoutError(self.message)
        self.before = signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, min(self.seconds, 1e6))

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model"); ap.add_argument("batches")
    ap.add_argument("--contenders", default="packed,split,buckets,merged,sentence", help="see gpu_peers.py")
    ap.add_argument("--repeats", type=int, default=5)
    ap.add_argument("--warmup", type=int, default=8)
    ap.add_argument("--steps", type=int, default=32, help="a repeat")
    ap.add_argument("--dtype", default="bf16", choices=["bf16", "f32"])
    ap.add_argument("--dropout", type=float, default=0.1)
    ap.add_argument("--tau", type=float, default=0.05)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--device", default="cuda")
    ap.add_argument("--chunk", type=int, default=128, help="texts a pass of `cached`")
    ap.add_argument("--polymix", metavar="COMMAND", help="polymix bench train with its options, but for ids, steps and warm-up")
    ap.add_argument("--seconds", type=float, default=1e9, help="everything ends within these")
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    torch.set_float32_matmul_precision("high")
    with open(a.batches) as f:
        batches = [(b["queries"], b["passages"]) for b in json.load(f)["batches"]]
    Race(a, batches).run()


if __name__ == "__main__":
    main()
