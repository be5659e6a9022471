"""What gpu_report.py must take and refuse: reports of made-up measurements. `python gpu_report.py --self-test` runs it."""
import copy
import json

import gpu_report

PEERS = {"32-128": ["split", "merged", "sentence", "flash", "split+compiled"],
         "xquad-r": ["packed", "buckets", "sentence", "flash", "packed+compiled"]}


def contender(tokens, **more):
    return {"first_loss": 4.6, "first_loss_dtype": "f32", "first_train_loss": 4.7, "repeats": 5, "ms_per_step": 10.0, "pairs_per_s": tokens / 100,
            "real_tokens_per_s": {"median": tokens, "lowest": tokens - 1, "highest": tokens + 1}, "peak_bytes": 8 << 30, **more}


def speed(names, dtype="bf16"):
    report = {"measured": {"first_loss": 4.601, "losses": [4.69]}}
    contenders = {"polymix": contender(200000.0, peak_bytes=4 << 30, mfu=0.45, reports=[report])}
    for place, name in enumerate(names):
        contenders[name] = contender(100000.0 - place)
        if name.endswith("+compiled"):
            del contenders[name]["first_loss"]
    contenders["flash"] = {"absent": "the package for FlashAttention2 doesn't seem to be installed."}
    return {"device": "NVIDIA H200", "dtype": dtype, "batch": 100, "repeats": 5, "asked": ["polymix", *names], "contenders": contenders}


def good():
    parity = {"passed": True, "loss": 1.0, "loss_pytorch": 1.0, "loss_relative": 0.0, "compared": 3, "tensors": 3, "lowest_cosine": 1.0, "of": "a",
              "largest_relative": 0.0, "relative_of": "a", "faults": []}
    log = [{"event": "step", "loss": 1.0}, {"event": "evaluation", "scores": [{"metric": "map", "setting": "mono", "value": 0.5}]},
           {"event": "finished", "step": 200, "seconds": 9.0}]
    cached = speed(["cached"])
    del cached["contenders"]["flash"], cached["contenders"]["cached"]["first_loss"]
    return {"parts": [{"part": part, "state": "done"} for part in ("operations", "parity f32", "parity bf16", "end")],
            "operations": {"operations": [{"passed": True}] * 3}, "parity": {"f32": parity, "bf16": copy.deepcopy(parity)},
            "speed": {shape: speed(names) for shape, names in PEERS.items()}, "cached": cached, "logs": {alpha: log for alpha in gpu_report.ALPHAS}}


def change(at, *path, **values):
    """The good measurements with one thing changed; `gone` removes it."""
    found = good()
    place = found
    for key in (at, *path)[:-1]:
        place = place[key]
    last = (at, *path)[-1]
    if values.get("gone"):
        del place[last]
    elif "be" in values:
        place[last] = values["be"]
    else:
        place[last].update(values)
    return found


def fails_parity(dtype):
    return change("parity", dtype, passed=False, faults=["layer.0: cosine 0.1, limit 0.99"])


# What, the measurements, how many failures are told, {part of a target's name: its verdict}, what the text says.
CASES = [
    ("all well", good(), 0, {"speed on 32/128": "met", "speed on the real": "met", "utilisation on 32": "met", "memory on 32": "met", "parity with PyTorch, bf16": "met"},
     ["flash            cannot run here", "no peer with the package flash-attn ran; packed attends"]),
    ("a slow polymix", change("speed", "xquad-r", "contenders", "polymix", be=contender(120000.0, peak_bytes=9 << 30, mfu=0.3, reports=[
        {"measured": {"first_loss": 4.6, "losses": [4.7]}}])), 0,
     {"speed on 32/128": "met", "speed on the real": "missed", "utilisation on the real": "missed", "memory on the real": "missed"}, []),
    ("a late error of polymix", change("speed", "32-128", "contenders", "polymix", repeats=3, late_error="TimeoutExpired: 9 s"), 1,
     {"speed on 32/128": "met"}, ["3 of 5 repeats", "TimeoutExpired: 9 s"]),
    ("a late error of a peer", change("speed", "32-128", "contenders", "split", repeats=2, late_error="OutOfMemoryError: x"), 1,
     {"speed on 32/128 against the best peer (split)": "met"}, ["2 of 5 repeats", "OutOfMemoryError"]),
    ("repeats without time", change("speed", "32-128", "contenders", "sentence", repeats=4, short="no time for repeat 5 of 5"), 1,
     {"speed on 32/128": "met"}, ["4 of 5 repeats", "no time for repeat 5"]),
    ("an early error of polymix", change("speed", "32-128", "contenders", "polymix", be={"error": "RuntimeError: x"}), 1,
     {"speed on 32/128": "not measured", "utilisation on 32": "not measured", "memory on 32": "not measured", "speed on the real": "met"}, ["RuntimeError: x"]),
    ("no compiled peer", change("speed", "xquad-r", "contenders", "packed+compiled", be={"error": "TimeoutError: late"}), 1,
     {"speed on the real": "not measured", "memory on the real": "not measured", "utilisation on the real": "met", "speed on 32/128": "met"},
     ["did not run, or is not compared: a compiled peer"]),
    ("no sentence-transformers", change("speed", "32-128", "contenders", "sentence", be={"error": "ImportError: no module"}), 1,
     {"speed on 32/128": "not measured", "speed on the real": "met"}, ["or is not compared: sentence-transformers"]),
    ("an import error that is not flash's absence", change("speed", "32-128", "contenders", "flash", be={"error": "ImportError: undefined symbol"}), 1,
     {"speed on 32/128": "met"}, ["undefined symbol"]),
    ("a peer that was asked for and is not there", change("speed", "xquad-r", "contenders", "buckets", gone=True), 1, {"speed on the real": "met"}, ["no result"]),
    ("no repeat", change("cached", "contenders", "cached", be={"first_train_loss": 4.7, "peak_bytes": 1}), 1, {}, ["no repeat done"]),
    ("no time for a repeat", change("cached", "contenders", "cached", be={"short": "no time for repeat 1 of 3"}), 1, {}, ["no time for repeat 1 of 3"]),
    ("bf16 without parity", fails_parity("bf16"), 0, {"parity with PyTorch, bf16": "missed", "parity with PyTorch, f32": "met", "speed on 32/128": "not measured",
                                                      "utilisation on 32": "not measured"}, ["no parity in bf16"]),
    ("f32 without parity", fails_parity("f32"), 0, {"parity with PyTorch, f32": "missed", "parity with PyTorch, bf16": "met", "speed on 32/128": "met",
                                                    "speed on the real": "met"}, []),
    ("parity that was not measured", change("parity", "bf16", gone=True), 0, {"parity with PyTorch, bf16": "not measured", "speed on 32/128": "not measured"}, []),
    ("a peer with another loss", change("speed", "32-128", "contenders", "split", first_loss=4.7), 1,
     {"speed on 32/128 against the best peer (merged)": "met"}, ["not compared: first loss 4.700000"]),
    ("a peer with a loss that is NaN", change("speed", "32-128", "contenders", "split", first_loss=float("nan")), 1,
     {"speed on 32/128 against the best peer (merged)": "met"}, ["not compared"]),
    ("a compiled peer with another loss", change("speed", "xquad-r", "contenders", "packed+compiled", first_train_loss=9.0), 1,
     {"speed on the real": "not measured"}, ["loss of the first step 9.0"]),
    ("a peer without any loss", change("speed", "xquad-r", "contenders", "packed+compiled", be={k: v for k, v in contender(1.0).items() if "loss" not in k}), 1,
     {"speed on the real": "not measured"}, ["is missing"]),
    ("another loss of polymix", change("speed", "32-128", "contenders", "polymix", reports=[{"measured": {"first_loss": 5.0, "losses": [5.6]}}]), 4,
     {"speed on 32/128": "not measured"}, []),
    ("a rehearsal", change("speed", "32-128", device="cpu"), 0, {"speed on 32/128": "not measured", "utilisation on 32": "not measured"}, ["a rehearsal on the CPU"]),
    ("no speed", change("speed", "32-128", be=None), 0, {"speed on 32/128": "not measured", "memory on 32": "not measured"}, []),
    ("a part that was stopped", change("parts", 0, state="stopped after 50 s"), 1, {}, ["FAILED: operations: stopped after 50 s"]),
    ("a check that was cut off", change("parts", 3, gone=True), 1, {"speed on 32/128": "met"}, ["FAILED: cut off after parity bf16"]),
    ("an operation that differs", change("operations", operations=[{"passed": True}, {"passed": False}]), 1, {"every operation": "missed"}, []),
    ("attention in two forms", change("operations", attention=[{"head": 64, "used": "tiles", "difference": None, "forward": [0.1, 0.25], "backward": [0.5, 1]}]), 0, {},
     ["heads of 64: tiles used; forward 0.100 ms with flash, 0.250 with tiles; backward 0.500, 1.000; they differ by not finite"]),
    ("a log without mAP", change("logs", "1", be=[{"event": "step", "loss": 1.0}]), 1, {}, ["its log has no mAP"]),
]


def packed_absent():
    found = good()
    for name in ("packed", "packed+compiled"):
        found["speed"]["xquad-r"]["contenders"][name] = {"absent": "PyTorch's _flash_attention_forward: RuntimeError: no kernel"}
    return found


CASES.append(("nobody without padding", packed_absent(), 0, {"speed on the real": "not measured", "speed on 32/128": "met"},
              ["packed           cannot run here", "nor packed", "a peer without padding, a compiled peer"]))


def self_test():
    """The cases that the report gets wrong, and how many there are."""
    wrong = []
    for what, found, failures, verdicts, texts in CASES:
        judged = gpu_report.Judgement(copy.deepcopy(found), "commit")
        text = "\n".join(judged.lines)
        json.dumps(judged.summary)
        if len(judged.failures) != failures:
            wrong.append(f"{what}: {len(judged.failures)} failures, not {failures}: {'; '.join(judged.failures)}")
        for name, verdict in verdicts.items():
            given = [t["verdict"] for t in judged.summary["targets"] if name in t["target"]]
            if given != [verdict]:
                wrong.append(f"{what}: {name}: {given}, not {verdict}")
        wrong += [f"{what}: the text lacks {part!r}" for part in texts if part not in text]
        # A target that is not measured has no number that somebody might take for one.
        wrong += [f"{what}: {t['target']}: not measured, yet {t['found']}" for t in judged.summary["targets"]
                  if t["verdict"] == "not measured" and t["found"] is not None]
        # Before the gate there is no ratio.
        wrong += [f"{what}: {t['target']}: shows {t['shown']}" for t in judged.summary["targets"]
                  if any(why in t["shown"] for why in ("no parity", "a rehearsal")) and not t["shown"].startswith("- (")]
    return wrong, len(CASES)
