"""The products of `cargo bench --bench matmul` in NumPy (OpenBLAS) and PyTorch, 2 threads: GFLOP/s, best (median)."""
import sys, time

import numpy as np
import torch

SHAPES = [(384, 384), (1536, 384), (384, 1536), (768, 768), (3072, 768), (768, 3072)]
tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 2832
times = int(sys.argv[2]) if len(sys.argv) > 2 else 15
torch.set_num_threads(2)


def rates(product, flops):
    product()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        product()
        found.append(1e-9 * flops / (time.perf_counter() - start))
    found.sort()
    return f"{found[-1]:6.1f} ({found[times // 2]:6.1f})"


random = np.random.default_rng(1)
print(f"{tokens} tokens, {times} times; GFLOP/s best (median); torch {torch.__version__}, numpy {np.__version__}")
for out, width in SHAPES:
    x, w, dy = (random.standard_normal(shape, dtype=np.float32) for shape in ((tokens, width), (out, width), (tokens, out)))
    flops = 2 * tokens * out * width
    for name, (a, b, c) in {"numpy": (x, w, dy), "torch": tuple(map(torch.from_numpy, (x, w, dy)))}.items():
        products = {"x W^T": lambda: a @ b.T, "dy W": lambda: c @ b, "dy^T x": lambda: c.T @ a}
        print(f"{out:>5} x {width:<5} {name}  " + "  ".join(f"{n} {rates(p, flops)}" for n, p in products.items()))
