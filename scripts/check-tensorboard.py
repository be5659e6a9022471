#!/usr/bin/env python3
"""Prints the scalars that TensorBoard reads from a directory of event files, as one JSON object.

    polymix export RUN --format tensorboard --out LOGS
    scripts/check-tensorboard.py LOGS

{"tag": [[step, value], ...], ...}. Needs tensorboard: pip install tensorboard. Exit status 3: it is not installed.
"""

import json
import sys


def main() -> int:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        print(f"tensorboard is not installed: {error}", file=sys.stderr)
        return 3
    found = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    tags = found.Tags()["scalars"]
    print(json.dumps({tag: [[event.step, event.value] for event in found.Scalars(tag)] for tag in tags}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
