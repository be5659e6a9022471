#!/usr/bin/env python3
"""Reads an MTEB result that polymix exported with the package mteb, and prints what it finds there.

    polymix export RUN --table pairs --format mteb --out result.json
    scripts/check-mteb.py result.json

Needs mteb (and with it torch): pip install mteb
Prints one line; exit status 0: read, with every subset and main score as in the file, 1: not, 3: mteb is not installed.
"""

import json
import sys
from pathlib import Path


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        import mteb
        from mteb.results import TaskResult
    except ImportError as error:
        print(f"{error}; pip install mteb", file=sys.stderr)
        return 3
    path = Path(sys.argv[1])
    result = TaskResult.from_disk(path, load_historic_data=False)
    written = {s["hf_subset"]: s["main_score"] for s in json.loads(path.read_text())["scores"]["test"]}
    found = {s["hf_subset"]: s["main_score"] for s in result.scores["test"]}
    if found != written:
        print(f"{path}: the package reads other subsets or scores", file=sys.stderr)
        return 1
    print(f"mteb {mteb.__version__}: {result.task_name}, {len(found)} subsets, score {result.get_score():.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
