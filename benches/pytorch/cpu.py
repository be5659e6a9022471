#!/usr/bin/env python3
"""polymix and PyTorch training on the CPU, in rotation: python cpu.py --polymix PATH --model DIR [--data xquad-r=DIR] [--rounds N]

Each case draws its token ids once (`polymix bench train --write-ids`), then both programs train on them in turn, PyTorch as benches/pytorch/train.py
does, its threads not spinning while they wait. Every run's own JSON goes, as it is, into a line of --out, with `case`, `program`, `round` and the
`command`. Prints a table: real tokens a second of every round, and the medians' ratio. Nothing else should run on the machine.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# polymix's options for the ids, for its type; PyTorch's.
CASES = {
    "xquad-r, 32 pairs, f32": (["--batch", "32"], "f32", ["--layout", "buckets", "--buckets", "8"]),
    "128/128, 8 pairs, f32": (["--lengths", "128/128", "--batch", "8"], "f32", ["--layout", "merged"]),
    "xquad-r, 32 pairs, bf16": (["--batch", "32"], "bf16", ["--layout", "buckets", "--buckets", "8", "--autocast"]),
    "128/128, 8 pairs, bf16": (["--lengths", "128/128", "--batch", "8"], "bf16", ["--layout", "merged", "--autocast"]),
}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--polymix", required=True)
    ap.add_argument("--model", required=True)
    ap.add_argument("--data", help="as polymix takes it; without it tokens are random, in XQuAD-R's lengths")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--steps", type=int, default=3)
    ap.add_argument("--warmup", type=int, default=1)
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", KMP_BLOCKTIME="0")
    rates = {}

    def run(command):
        ended = subprocess.run(command, capture_output=True, text=True, env=environment)
        if ended.returncode != 0:
            sys.exit(f"{' '.join(command)}: {ended.stderr.strip()[-500:]}")
        return json.loads(ended.stdout.strip().splitlines()[-1])

    with tempfile.TemporaryDirectory() as scratch, open(a.out + ".part", "w") as out:
        for case, (drawn, dtype, layout) in CASES.items():
            ids = os.path.join(scratch, "ids.json")
            ours = [a.polymix, "bench", "train", "--model", a.model, "--device", "cpu", "--dtype", dtype, "--peak", "1", "--json"]
            source = ["--data", a.data] if a.data and "--lengths" not in drawn else []
            run(ours + drawn + source + ["--steps", "1", "--warmup", "0", "--write-ids", ids])
            counts = ["--steps", str(a.steps), "--warmup", str(a.warmup)]
            programs = {"polymix": ours + ["--ids", ids] + counts,
                        "PyTorch": [sys.executable, os.path.join(HERE, "train.py"), a.model, ids] + counts + layout}
            for round in range(a.rounds):
                for name in sorted(programs, reverse=round % 2 == 1):
                    found = run(programs[name])
                    # What is of this machine only stays out of the record.
                    shown = " ".join(os.path.basename(part) for part in programs[name])
                    found |= {"model": os.path.basename(a.model.rstrip("/"))}
                    out.write(json.dumps({"case": case, "program": name, "round": round, "command": shown} | found) + "\n")
                    rate = found["measured"]["real_tokens_per_s"] if name == "polymix" else found["real_tokens_per_s"]
                    rates.setdefault((case, name), []).append(rate)
                    print(f"{case}: {name} {rate:.0f} real tokens/s", file=sys.stderr, flush=True)
    os.replace(a.out + ".part", a.out)
    print("| | polymix | PyTorch | ratio of the medians |\n| --- | ---: | ---: | ---: |")
    for case in CASES:
        mine, theirs = rates[case, "polymix"], rates[case, "PyTorch"]
        shown = [", ".join(f"{rate:.0f}" for rate in all) for all in (mine, theirs)]
        print(f"| {case} | {shown[0]} | {shown[1]} | {statistics.median(mine) / statistics.median(theirs):.2f} |")


if __name__ == "__main__":
    main()
