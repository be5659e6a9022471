#!/usr/bin/env bash
# Checks and measures polymix on a GPU machine that has nothing but what is carried there (and python3 with torch, transformers
# and sentence-transformers for the comparison).
#
#   scripts/gpu-check.sh pack FOLDER    here: puts the CUDA binary (scripts/cuda-build.sh), the pretrained model and XQuAD-R into FOLDER
#   scripts/gpu-check.sh run FOLDER [OUT]   there: everything below, within 10 minutes; writes OUT/gpu-check.json, prints a table
#
# 1. every operation on the GPU against the CPU, f32 and bf16   2. loss and every gradient against PyTorch
# 3. fine-tuning on half of XQuAD-R's articles with X-X-mono, hybrid and X-Y, evaluated on the other half
# 4. speed at XLM-R base shape against tuned PyTorch and sentence-transformers, on equal token ids, with one seed
#
# DEVICE=cpu rehearses `run` without a GPU (small sizes); its numbers mean nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command=${1:-} folder=${2:-}
[ -n "$folder" ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 2; }

pack() {
  binary=${POLYMIX_BINARY:-${CARGO_TARGET_DIR:-$here/target}/cuda/release/polymix}
  model=${POLYMIX_PRETRAINED:-$HOME/.cache/polymix/pretrained}/xlm-roberta-xquadr
  data=${POLYMIX_XQUADR:-$here/../shared/data/xquad-r}
  [ -x "$binary" ] || { echo "no CUDA binary at $binary: run scripts/cuda-build.sh, or name it in POLYMIX_BINARY" >&2; exit 1; }
  [ -d "$model" ] || { echo "no model at $model: run scripts/pretrained.sh" >&2; exit 1; }
  [ -d "$data" ] || { echo "no XQuAD-R at $data: name its folder in POLYMIX_XQUADR" >&2; exit 1; }
  stage=$(mktemp -d)
  trap 'rm -rf "$stage"' EXIT
  mkdir -p "$folder" "$stage/data"
  strip -o "$stage/polymix" "$binary"
  cp -r "$model" "$stage/model"
  cp -r "$data" "$stage/data/xquad-r"
  cp "$here"/benches/pytorch/{gpu,gate}.py "$here/experiments/check-xquadr.toml" "$stage/"
  git -C "$here" rev-parse HEAD > "$stage/commit"
  tar -C "$stage" -c . | xz -T0 -6 > "$folder/gpu-check.tar.xz.part"
  mv "$folder/gpu-check.tar.xz.part" "$folder/gpu-check.tar.xz"
  cp "${BASH_SOURCE[0]}" "$folder/"
  echo "$folder: $(du -h "$folder/gpu-check.tar.xz" | cut -f1)"
}

run() {
  out=$(mkdir -p "${3:-$folder/out}" && cd "${3:-$folder/out}" && pwd)
  work=${SCRATCH:-/tmp/polymix-gpu-check}
  device=${DEVICE:-cuda}
  mkdir -p "$work" && tar -C "$work" -xJf "$folder/gpu-check.tar.xz"
  cd "$work"
  export POLYMIX_RUNS=$work/runs
  if [ "$device" = cpu ]; then steps=1 repeats=1 warmup=1 batch=8 shape=model train_steps=3 cached="--batch 16 --chunk 4 --steps 1" contenders=merged,buckets dtypes=f32
  else steps=60 repeats=5 warmup=20 batch=100 shape=xlm-roberta-base train_steps=200 cached="--batch 1024 --chunk 128 --steps 20" contenders=merged,compiled,split,buckets,sentence dtypes="f32 bf16"; fi
  say() { echo "[$SECONDS s] $*"; }
  say "machine"
  { ./polymix doctor --json; } > "$out/doctor.json" 2> "$out/doctor.err" || true
  nvidia-smi -q > "$out/nvidia-smi.txt" 2>&1 || true
  say "1. operations"
  ./polymix doctor --device "$device" --json > "$out/operations.json" 2> "$out/operations.err" || say "operations FAILED, see operations.err"
  say "2. parity with PyTorch"
  for dtype in $dtypes; do
    ./polymix bench train --model model --lengths xquad-r --batch 16 --batches 1 --dropout 0 --steps 1 --warmup 0 --device "$device" \
      --dtype "$dtype" --peak 1 --write-ids parity.json --write-gradients "gradients-$dtype.safetensors" --json > parity-bench.json
    loss=$(python3 -c 'import json; print(json.load(open("parity-bench.json"))["measured"]["first_loss"])')
    limits=(); [ "$dtype" = f32 ] || limits=(--loss 5e-3 --cosine 0.99)
    python3 gate.py model parity.json "gradients-$dtype.safetensors" "$loss" --device "$device" "${limits[@]}" \
      > "$out/parity-$dtype.json" 2> "$out/parity-$dtype.err" || say "parity in $dtype FAILED"
  done
  say "4. speed"
  peak=(); [ "$device" = cpu ] || peak=(--peak 989)
  bench() {
    ./polymix bench train --model "$shape" --lengths "$lengths" --warmup "$warmup" --device "$device" --dtype "${dtypes##* }" "${peak[@]}" "$@" --json
  }
  for lengths in 32/128 xquad-r; do
    name=${lengths//\//-}
    size="--batch $batch --steps $((steps * repeats))"
    bench $size --write-ids "$name.json" > "$out/speed-$name-before.json"
    python3 gpu.py "$shape" "$name.json" --device "$device" --dtype "${dtypes##* }" --steps "$steps" --repeats "$repeats" \
      --contenders "$contenders" > "$out/speed-$name-pytorch.json" 2> "$out/speed-$name-pytorch.err" || say "PyTorch FAILED on $lengths"
    bench $size > "$out/speed-$name-after.json"
    say "speed on $lengths done"
  done
  bench $cached > "$out/speed-cached.json" 2> "$out/speed-cached.err" || say "gradient caching FAILED"
  say "3. fine-tuning"
  for alpha in 1 0.5 0; do
    ./polymix train check-xquadr.toml --set "name=gpu-alpha-$alpha" --set "sampling.alpha=$alpha" --set model.base=model --set "train.steps=$train_steps" \
      --set "train.dtype=${dtypes##* }" --device "$device" --json > "$out/train-$alpha.jsonl" 2> "$out/train-$alpha.err" || say "fine-tuning at alpha $alpha FAILED"
    [ $SECONDS -lt 540 ] || { say "out of time"; break; }
  done
  ./polymix runs list --json > "$out/runs.json" 2>/dev/null || true
  python3 - "$out" "$(cat commit)" > "$out/gpu-check.txt" <<'PY'
import glob, json, os, sys
out, commit = sys.argv[1:]
def read(name):
    try: return json.load(open(os.path.join(out, name)))
    except (OSError, ValueError): return None
summary = {"commit": commit, "operations": read("operations.json"), "parity": {d: read(f"parity-{d}.json") for d in ("f32", "bf16")}, "speed": {}}
print(f"polymix {commit[:12]}")
operations = (summary["operations"] or {}).get("operations", [])
print(f"operations: {sum(o['passed'] for o in operations)} of {len(operations)} equal the CPU")
for dtype, parity in summary["parity"].items():
    if parity: print(f"parity {dtype}: loss off by {parity['loss_relative']:.1e}, lowest cosine {parity['lowest_cosine']:.6f} ({parity['of']}), {'passed' if parity['passed'] else 'FAILED'}")
for shape in ("32-128", "xquad-r"):
    runs = [r for r in (read(f"speed-{shape}-{when}.json") for when in ("before", "after")) if r]
    peers = (read(f"speed-{shape}-pytorch.json") or {}).get("contenders", {})
    ours = [r["measured"]["real_tokens_per_s"] for r in runs]
    summary["speed"][shape] = {"polymix": runs, "peers": peers}
    if ours: print(f"{shape}: polymix {min(ours):,.0f} to {max(ours):,.0f} real tokens/s, MFU {100 * max(r['mfu'] for r in runs):.1f}%, {max(r['device_bytes'] or 0 for r in runs) / 2**30:.2f} GiB")
    for name, peer in sorted(peers.items(), key=lambda p: -p[1].get("real_tokens_per_s", {}).get("median", 0)):
        if "error" in peer: print(f"  {name:10} {peer['error'][:100]}")
        else: print(f"  {name:10} {peer['real_tokens_per_s']['median']:,.0f} real tokens/s, polymix at {sum(ours) / max(len(ours), 1) / peer['real_tokens_per_s']['median']:.2f} times that, {(peer['peak_bytes'] or 0) / 2**30:.2f} GiB")
summary["cached"] = read("speed-cached.json")
for path in sorted(glob.glob(os.path.join(out, "train-*.jsonl"))):
    lines = [json.loads(l) for l in open(path) if l.strip().startswith("{")]
    results = [l for l in lines if l.get("event") == "evaluated" or "evaluated" in str(l.get("kind", ""))]
    summary.setdefault("training", {})[os.path.basename(path)[6:-6]] = results[-1:] or lines[-1:]
    print(f"fine-tuning {os.path.basename(path)[6:-6]}: {json.dumps((results or lines)[-1])[:300] if lines else 'nothing'}")
json.dump(summary, open(os.path.join(out, "gpu-check.json"), "w"), indent=1)
PY
  cat "$out/gpu-check.txt"
  say "done"
}

case $command in
  pack) pack "$@" ;;
  run) run "$@" ;;
  *) echo "usage: scripts/gpu-check.sh pack|run FOLDER" >&2; exit 2 ;;
esac
