#!/usr/bin/env python3
"""Estimated against measured time, in rounds: what `polymix train --dry-run` says before, and what the run's events say after.

    scripts/time-table.py POLYMIX XQUADR_DIR PRETRAINED_DIR [--rounds N] [--only NAME]... [--json FILE]

Each round estimates anew and trains anew, one configuration after the other, in run directories of its own. Steps are held against
`training_seconds` of as many steps, without the first two, in which memory is touched for the first time; what comes between the
last checkpoint and the scores against `evaluation_seconds`. The table gives medians and ranges, and how far the medians lie apart."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def configurations(xquadr, pretrained):
    """Name, steps, and what is set besides."""
    data, small = f'data.train=["xquad-r[0..40]={xquadr}"]', f"model.base={pretrained}/xlm-roberta-xquadr"
    held = f'data.evaluation=["xquad-r[40..48]={xquadr}"]'
    lora = ["adapters.kind=lora", "adapters.rank=8"]
    return [
        ("demo, 192 pairs", 100, [f'data.evaluation=["xquad-r={xquadr}"]']),
        ("demo, 192 pairs, 1,000 passages a question", 30, [f'data.evaluation=["xquad-r={xquadr}"]', "evaluate.trec_depth=1000"]),
        ("demo, LoRA, 192 pairs", 100, ["data.evaluation=[]", *lora]),
        ("demo, words replaced, 192 pairs", 60,
         ["data.evaluation=[]", 'robust.lexicons=["demo"]', "robust.code_switch=0.5"]),
        ("demo, 100 pairs", 150, ["data.evaluation=[]", "train.batch=100"]),
        ("demo, 1,024 in chunks of 64", 15, ["data.evaluation=[]", "train.batch=1024", "train.chunk=64"]),
        ("12 layers, 32 pairs", 8, [data, small, held, "train.batch=32"]),
        ("12 layers, LoRA, 32 pairs", 8, [data, small, "data.evaluation=[]", "train.batch=32", *lora]),
        ("12 layers, 32 in chunks of 8", 6, [data, small, "data.evaluation=[]", "train.batch=32", "train.chunk=8"]),
        ("12 layers, bf16, 32 pairs", 6, [data, small, "data.evaluation=[]", "train.batch=32", "train.dtype=bf16"]),
        ("12 layers, large vocabulary, 8 pairs", 20,
         [data, f"model.base={pretrained}/xlm-roberta", "data.evaluation=[]", "train.batch=8"]),
    ]


def polymix(program, arguments):
    done = subprocess.run([program, "train", "demo", *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"polymix train demo {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def once(program, steps, sets):
    """Seconds estimated and measured: of the steps, and of the evaluation where there is one."""
    arguments = [f"train.steps={steps}", "data.validation=[]", "train.early_stopping.patience=0", "train.device=cpu",
                 "train.checkpoint_every=0", *sets]
    arguments = [part for setting in arguments for part in ("--set", setting)]
    estimate = json.loads(polymix(program, [*arguments, "--dry-run", "--json"]))["estimate"]
    with tempfile.TemporaryDirectory() as folder:
        polymix(program, [*arguments, "--run-dir", f"{folder}/run"])
        events = [json.loads(line) for line in Path(folder, "run/events.jsonl").read_text().splitlines()]
    taken = [event["seconds"] for event in events if event["event"] == "step"][2:]
    pairs = [(estimate["training_seconds"] * len(taken) / steps, sum(taken))]
    trained = [event["time"] for event in events if event["event"] in ("step", "checkpoint")]
    finished = [event["time"] for event in events if event["event"] == "evaluation"]
    if finished:
        pairs.append((estimate["evaluation_seconds"], finished[-1] - trained[-1]))
    return pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("polymix")
    parser.add_argument("xquadr")
    parser.add_argument("pretrained")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", help="part of a configuration's name")
    parser.add_argument("--json", help="write every round there")
    asked = parser.parse_args()
    chosen = [c for c in configurations(asked.xquadr, asked.pretrained) if not asked.only or any(o in c[0] for o in asked.only)]
    found = {}
    for turn in range(asked.rounds):
        for name, steps, sets in chosen:
            for part, (told, taken) in zip(("steps", "evaluation"), once(asked.polymix, steps, sets)):
                found.setdefault(f"{name}: {steps - 2} steps" if part == "steps" else f"{name}: evaluation", []).append((told, taken))
                print(f"round {turn + 1}, {name}, {part}: {told:.2f} s estimated, {taken:.2f} s measured", file=sys.stderr)
    if asked.json:
        Path(asked.json).write_text(json.dumps(found, indent=1) + "\n")
    print("| configuration | estimated | measured | medians | rounds |\n| --- | --- | --- | ---: | --- |")
    for name, rounds in found.items():
        told, taken = zip(*rounds)
        middle = statistics.median(told), statistics.median(taken)
        shown = [f"{m:.1f} s ({min(of):.1f} to {max(of):.1f})" for m, of in zip(middle, (told, taken))]
        each = ", ".join(f"{100 * (t / m - 1):+.0f}" for t, m in rounds)
        print(f"| {name} | {shown[0]} | {shown[1]} | {100 * (middle[0] / middle[1] - 1):+.0f}% | {each}% |")


if __name__ == "__main__":
    main()
