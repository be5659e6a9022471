#!/usr/bin/env python3
"""What scripts/gpu-check.sh found, judged: python gpu_report.py RAW OUT COMMIT    writes OUT/gpu-check.json and OUT/gpu-check.txt
                                            python gpu_report.py --self-test

RAW holds what the parts wrote (parts.jsonl says how each ended). Each target is met, missed or not measured. Exits with 1 where a part
failed or had no time; a target that is missed is no failure of the check.

A speed is compared where
  polymix is in parity with PyTorch in the type of that speed (another type's parity does not matter),
  the peer's loss of the first batch, before any step, is polymix's own within the gate's limit (a compiled peer's loss is that of its first step),
  and of every group of peers that the target names one ran (NEEDED).
Repeats that were finished count although a later one failed; the failure is shown beside them.

--self-test (gpu_report_test.py) feeds the judgement what it must not overlook. It runs before every report.
"""
import json
import os
import sys

SHAPES = {"32-128": "32/128", "xquad-r": "the real length mix"}
ALPHAS = {"1": "X-X-mono", "0.5": "hybrid", "0": "X-Y"}
LEAST = {"32-128": 1.0, "xquad-r": 1.5}
PADDING_FREE = ("a peer without padding", {"flash", "packed", "packed+compiled"})
COMPILED = ("a compiled peer", {"merged+compiled", "split+compiled", "buckets+compiled", "packed+compiled"})
SENTENCE = ("sentence-transformers", {"sentence"})
# Of each group one must have run. Texts of 32 and 128 tokens padded apart have no padding.
NEEDED = {"32-128": [SENTENCE, ("a peer without padding", {"split", "split+compiled", *PADDING_FREE[1]}), COMPILED],
          "xquad-r": [SENTENCE, PADDING_FREE, COMPILED]}
# gate.py's limits of the loss, relative; for a loss in training, where everybody drops other elements, a tenth.
LOSS = {"f32": 1e-5, "bf16": 5e-3}
TRAINING_LOSS = 0.1


def number(value, form):
    """What is not finite stands in the files as null."""
    return "not finite" if value is None else format(value, form)


def memory(peak):
    return "memory n/a" if peak is None else f"{peak / 2**30:.2f} GiB"


def doubt(peer, ours, dtype):
    """Why a peer does not compute what polymix computes, or None. The first repeat of polymix speaks for all."""
    report = (ours.get("reports") or [{}])[0].get("measured") or {}
    pairs = [("first loss", peer.get("first_loss"), report.get("first_loss"),
              LOSS["bf16" if "bf16" in (dtype, peer.get("first_loss_dtype")) else "f32"])]
    if "first_loss" not in peer:
        pairs = [("loss of the first step", peer.get("first_train_loss"), (report.get("losses") or [None])[0], TRAINING_LOSS)]
    for called, theirs, own, limit in pairs:
        if theirs is None or own is None:
            return f"{called} is missing"
        # Written so that NaN is a fault.
        if not abs(theirs - own) <= limit * abs(own):
            return f"{called} {theirs:.6f}, polymix's {own:.6f}: off by more than {limit:g}"
    return None


class Judgement:
    def __init__(self, found, commit):
        self.found, self.lines, self.failures = found, [], []
        self.summary = {"v": 3, "commit": commit, "doctor": found.get("doctor"), "parts": found["parts"], "operations": found.get("operations"),
                        "parity": found.get("parity", {}), "speed": found.get("speed", {}), "cached": found.get("cached"), "training": {}, "targets": []}
        self.failures += [f"{p['part']}: {p['state']}" for p in found["parts"] if p["state"] != "done"]
        # The last line of the parts says that the check came to its end; the report is written after every part, so that a kill leaves one.
        if found["parts"] and found["parts"][-1]["part"] != "end":
            self.failures.append(f"cut off after {found['parts'][-1]['part']}: what follows it was not run")
        self.say(f"polymix {commit}\n")
        self.operations()
        self.parity()
        for shape, called in SHAPES.items():
            self.speed(shape, called)
        self.cached()
        self.training()
        self.say("\ntargets:")
        for t in self.summary["targets"]:
            self.say(f"  {t['verdict']:12} {t['target']}: {t['shown']}, wanted {t['wanted']}")
        self.summary["failures"] = self.failures
        for failure in self.failures:
            self.say(f"FAILED: {failure}")

    def say(self, line):
        self.lines.append(line)

    def target(self, name, found, wanted, meets, text, why=None):
        """`why`: what keeps a number from being judged; it is shown beside it."""
        verdict = "not measured" if found is None or why else "met" if meets(found) else "missed"
        shown = "-" if found is None else text(found)
        self.summary["targets"].append({"target": name, "wanted": wanted, "found": None if why else found, "verdict": verdict,
                                        "shown": f"{shown} ({why})" if why else shown})

    def operations(self):
        checked = (self.summary["operations"] or {}).get("operations", [])
        wrong = [o for o in checked if not o["passed"]]
        self.say(f"operations: {len(checked) - len(wrong)} of {len(checked)} equal the CPU's")
        for form in (self.summary["operations"] or {}).get("attention", []):
            (flash, tiles), (back, tiles_back) = form["forward"], form["backward"]
            self.say(f"attention in bf16, heads of {form['head']}: {form['used']} used; forward {number(flash, '.3f')} ms with flash, "
                     f"{number(tiles, '.3f')} with tiles; backward {number(back, '.3f')}, {number(tiles_back, '.3f')}; "
                     f"they differ by {number(form['difference'], '.1e')}")
        if wrong:
            self.failures.append(f"{len(wrong)} operations differ from the CPU's")
        self.target("every operation equals the CPU's", len(wrong) if checked else None, "0 differ", lambda n: n == 0, lambda n: f"{n} differ")

    def parity(self):
        parted = [p["part"].split()[1] for p in self.summary["parts"] if p["part"].startswith("parity ")]
        for dtype in dict.fromkeys(parted or ["f32"]):
            parity = self.summary["parity"].setdefault(dtype, None)
            if parity:
                self.say(f"parity {dtype}: loss {number(parity['loss'], '.6f')}, PyTorch {number(parity['loss_pytorch'], '.6f')}; {parity['compared']} of "
                         f"{parity['tensors']} gradients compared: lowest cosine {number(parity['lowest_cosine'], '.6f')} ({parity['of']}), "
                         f"largest relative difference {number(parity['largest_relative'], '.1e')} ({parity['relative_of']})")
                for fault in parity["faults"][:5]:
                    self.say(f"  {fault}")
                if len(parity["faults"]) > 5:
                    self.say(f"  and {len(parity['faults']) - 5} more, in parity-{dtype}.json")
            self.target(f"parity with PyTorch, {dtype}", parity and len(parity["faults"]), "loss and gradients in the gate's limits",
                        lambda _, parity=parity: parity["passed"],
                        lambda faults, parity=parity: f"loss off {number(parity['loss_relative'], '.1e')}, cosine {number(parity['lowest_cosine'], '.5f')}, "
                        f"relative {number(parity['largest_relative'], '.1e')}, {faults} faults")

    def contenders(self, measured, called):
        """Shows who ran and who did not, and returns those whose numbers may be compared with polymix's, polymix among them."""
        contenders, dtype = (measured or {}).get("contenders", {}), (measured or {}).get("dtype")
        for name in (measured or {}).get("asked", []):
            if name not in contenders:
                self.failures.append(f"{name} on {called}: was asked for and has no result")
                self.say(f"  {name:16} no result")
        ran = {name: c for name, c in contenders.items() if "real_tokens_per_s" in c}
        ours = ran.get("polymix")
        doubted = {name: doubt(c, ours, dtype) for name, c in ran.items() if ours and name != "polymix"}
        for name, c in sorted(ran.items(), key=lambda item: -item[1]["real_tokens_per_s"]["median"]):
            rate = c["real_tokens_per_s"]
            self.say(f"  {name:16} {rate['median']:>10,.0f} ({rate['lowest']:,.0f} to {rate['highest']:,.0f}), {c['repeats']} of {measured['repeats']} repeats, "
                     f"{c['ms_per_step']:.1f} ms a step, {c['pairs_per_s']:,.1f} pairs/s, {memory(c.get('peak_bytes'))}")
            for why in filter(None, (c.get("late_error"), c.get("short"), doubted.get(name) and f"not compared: {doubted[name]}")):
                self.failures.append(f"{name} on {called}: {why[:200]}")
                self.say(f"  {'':16} {why[:150]}")
        for name, c in contenders.items():
            if name in ran:
                continue
            if "absent" in c:
                # What a machine lacks is shown, and no fault; the targets say whether they need it.
                self.say(f"  {name:16} cannot run here: {c['absent'][:150]}")
            else:
                why = c.get("error") or c.get("short") or "no repeat done"
                self.failures.append(f"{name} on {called}: {why[:200]}")
                self.say(f"  {name:16} {why[:150]}")
        return {name: c for name, c in ran.items() if not doubted.get(name)}

    def speed(self, shape, called):
        measured = self.summary["speed"].setdefault(shape, None)
        about = measured or {}
        self.say(f"\n{called}, batch {about.get('batch', '-')}, {about.get('dtype', '-')}: real tokens/s as median (lowest to highest) of the repeats; "
                 "memory by which the GPU's use grew")
        ran = self.contenders(measured, called)
        if measured and "flash" not in ran:
            self.say("  no peer with the package flash-attn ran" + ("; packed attends without padding by PyTorch's own FlashAttention 2"
                                                                   if any(name in ran for name in ("packed", "packed+compiled")) else ", nor packed"))
        ours = ran.pop("polymix", None)
        best = max(ran, key=lambda name: ran[name]["real_tokens_per_s"]["median"], default=None)
        parity = self.summary["parity"].get(about.get("dtype"))
        missing = [group for group, names in NEEDED[shape] if not names & set(ran)]
        # Before the gate there is no ratio at all; beside peers that are too few there is one, which judges nothing.
        gate = None if not measured else "a rehearsal on the CPU" if about.get("device") == "cpu" else \
            None if parity and parity["passed"] else f"no parity in {about.get('dtype')}"
        why = gate or (f"did not run, or is not compared: {', '.join(missing)}" if measured and missing else None)
        ratio = ours["real_tokens_per_s"]["median"] / ran[best]["real_tokens_per_s"]["median"] if ours and best and not gate else None
        beside, least = f" ({best})" if best else "", LEAST[shape]
        self.target(f"speed on {called} against the best peer{beside}", ratio, f"{least:.1f} times", lambda r: r >= least, lambda r: f"{r:.2f} times", why)
        # polymix's own number needs no peer.
        self.target(f"model FLOP utilisation on {called}", ours["mfu"] if ours and not gate else None, "40%", lambda m: m >= 0.4, lambda m: f"{100 * m:.1f}%", gate)
        peaks = [c.get("peak_bytes") for c in (ours, ran.get(best)) if c]
        share = peaks[0] / peaks[1] if len(peaks) == 2 and all(peaks) and not gate else None
        self.target(f"memory on {called} against the best peer{beside}", share, "1.0 times at most", lambda r: r <= 1, lambda r: f"{r:.2f} times", why)

    def cached(self):
        measured = self.summary["cached"]
        self.say("\ngradient caching" + (f", batch {measured.get('batch', '-')}, {measured.get('chunk', '-')} texts a pass:" if measured else ": not run"))
        if measured:
            self.contenders(measured, "gradient caching")

    def training(self):
        self.say("\nfine-tuning on half of XQuAD-R's articles, mAP on the other half:")
        for alpha, called in ALPHAS.items():
            log = self.found.get("logs", {}).get(alpha, [])
            evaluations = [e for e in log if e.get("event") == "evaluation"]
            ended = next((e for e in log if e.get("event") == "finished"), None)
            steps = [e for e in log if e.get("event") == "step"]
            maps = {s["setting"]: s["value"] for s in (evaluations[-1]["scores"] if evaluations else []) if s["metric"] == "map"}
            self.summary["training"][alpha] = {"batches": called, "map": maps or None, "evaluation": evaluations[-1] if evaluations else None,
                                               "finished": ended, "first_loss": steps[0]["loss"] if steps else None,
                                               "last_loss": steps[-1]["loss"] if steps else None}
            shown = ", ".join(f"{setting} {value:.4f}" for setting, value in maps.items())
            self.say(f"  {called:9} {shown or 'no evaluation'}" + (f"; {ended['step']} steps in {ended['seconds']:.0f} s with evaluation" if ended else ""))
            if log and not maps and not any(f.startswith(f"fine-tuning alpha {alpha}:") for f in self.failures):
                self.failures.append(f"fine-tuning with {called} batches: its log has no mAP")


def gather(raw):
    """What the parts wrote; what is missing or broken is None."""
    def read(name):
        try:
            with open(os.path.join(raw, name)) as f:
                return json.load(f)
        except (OSError, ValueError):
            return None

    def lines(name):
        try:
            with open(os.path.join(raw, name)) as f:
                return [json.loads(line) for line in f if line.strip().startswith("{")]
        except (OSError, ValueError):
            return []
    return {"parts": lines("parts.jsonl"), "doctor": read("doctor.json"), "operations": read("operations.json"),
            "parity": {dtype: parity for dtype in LOSS if (parity := read(f"parity-{dtype}.json"))},
            "speed": {shape: read(f"speed-{shape}.json") for shape in SHAPES}, "cached": read("speed-cached.json"),
            "logs": {alpha: lines(f"train-{alpha}.jsonl") for alpha in ALPHAS}}


def replace(path, text):
    with open(path + ".part", "w") as f:
        f.write(text)
    os.replace(path + ".part", path)


def main():
    from gpu_report_test import self_test
    wrong, count = self_test()
    if sys.argv[1:] == ["--self-test"]:
        print(json.dumps({"passed": not wrong, "cases": count, "wrong": wrong}))
        sys.exit(1 if wrong else 0)
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    if wrong:
        sys.exit(f"the report itself is broken: {'; '.join(wrong)}")
    raw, out, commit = sys.argv[1:]
    judged = Judgement(gather(raw), commit)
    replace(os.path.join(out, "gpu-check.json"), json.dumps(judged.summary, indent=1))
    replace(os.path.join(out, "gpu-check.txt"), "\n".join(judged.lines) + "\n")
    sys.exit(1 if judged.failures or not judged.summary["parts"] else 0)


if __name__ == "__main__":
    main()
