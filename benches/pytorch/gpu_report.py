#!/usr/bin/env python3
"""What scripts/gpu-check.sh found, judged: python gpu_report.py OUT COMMIT. Prints a table and writes OUT/gpu-check.json.

OUT holds what the parts wrote (parts.jsonl says how each ended). Each target is met, missed or not measured. Exits with 1 where a part
failed or had no time; a target that is missed is no failure of the check.
"""
import json
import os
import sys

SHAPES = {"32-128": "32/128", "xquad-r": "the real length mix"}
ALPHAS = {"1": "X-X-mono", "0.5": "hybrid", "0": "X-Y"}


def lines(path):
    try:
        with open(path) as f:
            return [json.loads(line) for line in f if line.strip().startswith("{")]
    except (OSError, ValueError):
        return []


def number(value, form):
    """What is not finite stands in the files as null."""
    return "not finite" if value is None else format(value, form)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    out, commit = sys.argv[1:]

    def read(name):
        try:
            with open(os.path.join(out, name)) as f:
                return json.load(f)
        except (OSError, ValueError):
            return None

    parts = lines(os.path.join(out, "parts.jsonl"))
    summary = {"v": 2, "commit": commit, "doctor": read("doctor.json"), "parts": parts, "operations": read("operations.json"),
               "parity": {}, "speed": {}, "cached": read("speed-cached.json"), "training": {}, "targets": []}
    failures = [f"{p['part']}: {p['state']}" for p in parts if p["state"] != "done"]

    def target(name, found, wanted, meets, text):
        verdict = "not measured" if found is None else "met" if meets(found) else "missed"
        summary["targets"].append({"target": name, "wanted": wanted, "found": found, "verdict": verdict,
                                   "shown": "-" if found is None else text(found)})

    print(f"polymix {commit}\n")
    checked = (summary["operations"] or {}).get("operations", [])
    wrong = [o for o in checked if not o["passed"]]
    print(f"operations: {len(checked) - len(wrong)} of {len(checked)} equal the CPU's")
    if wrong:
        failures.append(f"{len(wrong)} operations differ from the CPU's")
    target("every operation equals the CPU's", len(wrong) if checked else None, "0 differ", lambda n: n == 0, lambda n: f"{n} differ")

    parted = [p["part"].split()[1] for p in parts if p["part"].startswith("parity ")]
    for dtype in dict.fromkeys(parted or ["f32"]):
        parity = summary["parity"][dtype] = read(f"parity-{dtype}.json")
        if parity:
            print(f"parity {dtype}: loss {number(parity['loss'], '.6f')}, PyTorch {number(parity['loss_pytorch'], '.6f')}; {parity['compared']} of "
                  f"{parity['tensors']} gradients compared: lowest cosine {number(parity['lowest_cosine'], '.6f')} ({parity['of']}), "
                  f"largest relative difference {number(parity['largest_relative'], '.1e')} ({parity['relative_of']})")
            for fault in parity["faults"][:5]:
                print(f"  {fault}")
            if len(parity["faults"]) > 5:
                print(f"  and {len(parity['faults']) - 5} more, in parity-{dtype}.json")
        target(f"parity with PyTorch, {dtype}", parity and len(parity["faults"]), "loss and gradients in the gate's limits",
               lambda _, parity=parity: parity["passed"],
               lambda faults, parity=parity: f"loss off {number(parity['loss_relative'], '.1e')}, cosine {number(parity['lowest_cosine'], '.5f')}, "
               f"relative {number(parity['largest_relative'], '.1e')}, {faults} faults")
    in_parity = all(p and p["passed"] for p in summary["parity"].values())

    for shape, called in SHAPES.items():
        speed = summary["speed"][shape] = read(f"speed-{shape}.json")
        contenders = dict((speed or {}).get("contenders", {}))
        for name, c in contenders.items():
            # A package that is not installed is shown below, and no fault.
            if "error" in c and not (name == "flash" and c["error"].startswith("ImportError")):
                failures.append(f"{name} on {called}: {c['error'][:200]}")
        ran = {name: c for name, c in contenders.items() if "real_tokens_per_s" in c and "error" not in c}
        print(f"\n{called}, batch {(speed or {}).get('batch', '-')}: real tokens/s as median (lowest to highest) of the repeats; memory by which the GPU's use grew")
        for name, c in sorted(ran.items(), key=lambda item: -item[1]["real_tokens_per_s"]["median"]):
            rate, peak = c["real_tokens_per_s"], c.get("peak_bytes")
            print(f"  {name:9} {rate['median']:>10,.0f} ({rate['lowest']:,.0f} to {rate['highest']:,.0f}), {c['repeats']} repeats, {c['ms_per_step']:.1f} ms a step, "
                  f"{'memory n/a' if peak is None else f'{peak / 2**30:.2f} GiB'}")
        for name, c in contenders.items():
            if name not in ran:
                print(f"  {name:9} {c.get('error', 'no repeat done')[:150]}")
        ours = ran.pop("polymix", None)
        best = max(ran, key=lambda name: ran[name]["real_tokens_per_s"]["median"], default=None)
        # Who does not compute the same is not compared, and a rehearsal on the CPU judges nothing.
        on_gpu = (speed or {}).get("device") not in (None, "cpu")
        ratio = ours["real_tokens_per_s"]["median"] / ran[best]["real_tokens_per_s"]["median"] if ours and best and in_parity and on_gpu else None
        least = 1.0 if shape == "32-128" else 1.5
        beside = f" ({best})" if best else ""
        target(f"speed on {called} against the best peer{beside}", ratio, f"{least:.1f} times", lambda r, least=least: r >= least, lambda r: f"{r:.2f} times")
        target(f"model FLOP utilisation on {called}", ours["mfu"] if ours and on_gpu else None, "40%", lambda m: m >= 0.4, lambda m: f"{100 * m:.1f}%")
        memory = [c.get("peak_bytes") for c in (ours, ran.get(best)) if c]
        share = memory[0] / memory[1] if len(memory) == 2 and all(memory) else None
        target(f"memory on {called} against the best peer{beside}", share, "1.0 times at most", lambda r: r <= 1, lambda r: f"{r:.2f} times")

    cached = summary["cached"]
    print("\ngradient caching:" + ("" if (cached or {}).get("contenders") else " not run"))
    for name, c in ((cached or {}).get("contenders") or {}).items():
        if "error" in c:
            failures.append(f"{name} with gradient caching: {c['error'][:200]}")
            print(f"  {name:9} {c['error'][:150]}")
        elif "pairs_per_s" in c:
            peak = c.get("peak_bytes")
            print(f"  {name:9} batch {cached.get('batch', '-')}: {c['pairs_per_s']:,.1f} pairs/s, {'memory n/a' if peak is None else f'{peak / 2**30:.2f} GiB'}")

    print("\nfine-tuning on half of XQuAD-R's articles, mAP on the other half:")
    for alpha, called in ALPHAS.items():
        log = lines(os.path.join(out, f"train-{alpha}.jsonl"))
        evaluations = [e for e in log if e.get("event") == "evaluation"]
        ended = next((e for e in log if e.get("event") == "finished"), None)
        steps = [e for e in log if e.get("event") == "step"]
        maps = {s["setting"]: s["value"] for s in (evaluations[-1]["scores"] if evaluations else []) if s["metric"] == "map"}
        summary["training"][alpha] = {"batches": called, "map": maps or None, "evaluation": evaluations[-1] if evaluations else None, "finished": ended,
                                      "first_loss": steps[0]["loss"] if steps else None, "last_loss": steps[-1]["loss"] if steps else None}
        shown = ", ".join(f"{setting} {value:.4f}" for setting, value in maps.items())
        print(f"  {called:9} {shown or 'no evaluation'}" + (f"; {ended['step']} steps in {ended['seconds']:.0f} s with evaluation" if ended else ""))
        if log and not maps and not any(f.startswith(f"fine-tuning alpha {alpha}:") for f in failures):
            failures.append(f"fine-tuning with {called} batches: its log has no mAP")

    print("\ntargets:")
    for t in summary["targets"]:
        print(f"  {t['verdict']:12} {t['target']}: {t['shown']}, wanted {t['wanted']}")
    summary["failures"] = failures
    for failure in failures:
        print(f"FAILED: {failure}")
    path = os.path.join(out, "gpu-check.json")
    with open(path + ".part", "w") as f:
        json.dump(summary, f, indent=1)
    os.replace(path + ".part", path)
    sys.exit(1 if failures or not parts else 0)


if __name__ == "__main__":
    main()
