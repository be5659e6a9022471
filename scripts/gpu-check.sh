#!/usr/bin/env bash
# Checks and measures polymix on a GPU machine that has nothing but what is carried there (and python3 with torch, transformers
# and sentence-transformers for the comparison).
#
#   scripts/gpu-check.sh pack FOLDER    here: puts the CUDA binary (scripts/cuda-build.sh), the pretrained model and XQuAD-R into FOLDER
#   scripts/gpu-check.sh run FOLDER [OUT]   there: everything below, within 10 minutes; writes OUT/gpu-check.json, prints a table
#
# 1. every operation on the GPU against the CPU, f32 and bf16   2. loss and every gradient against PyTorch
# 3. speed and memory at XLM-R base shape in rotation with tuned PyTorch and sentence-transformers, on equal token ids
# 4. fine-tuning on half of XQuAD-R's articles with X-X-mono, hybrid and X-Y, evaluated on the other half
# 5. gradient caching beside sentence-transformers'
#
# Every target is judged as met, missed or not measured (benches/pytorch/gpu_report.py). Exits with 1 where a part failed or had no time, the
# others having run all the same. DEVICE=cpu rehearses `run` without a GPU (small sizes); its numbers mean nothing. PYTHON names another python3,
# LIMIT other seconds.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command=${1:-} folder=${2:-}
[ -n "$folder" ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 2; }

pack() {
  binary=${POLYMIX_BINARY:-${CARGO_TARGET_DIR:-$here/target}/cuda/release/polymix}
  model=${POLYMIX_PRETRAINED:-$HOME/.cache/polymix/pretrained}/xlm-roberta-xquadr
  data=${POLYMIX_XQUADR:-$here/../shared/data/xquad-r}
  [ -x "$binary" ] || { echo "no CUDA binary at $binary: run scripts/cuda-build.sh, or name it in POLYMIX_BINARY" >&2; exit 1; }
  # What runs on a GPU holds kernels. DEVICE=cpu packs for a rehearsal, with any binary.
  [ "${DEVICE:-cuda}" = cpu ] || grep -aqF '.visible .entry' "$binary" || {
    echo "$binary was built without the feature cuda: run scripts/cuda-build.sh, or pack with DEVICE=cpu for a rehearsal" >&2; exit 1; }
  [ -d "$model" ] || { echo "no model at $model: run scripts/pretrained.sh" >&2; exit 1; }
  [ -d "$data" ] || { echo "no XQuAD-R at $data: name its folder in POLYMIX_XQUADR" >&2; exit 1; }
  stage=$(mktemp -d)
  trap 'rm -rf "$stage"' EXIT
  mkdir -p "$folder" "$stage/data"
  strip -o "$stage/polymix" "$binary"
  cp -r "$model" "$stage/model"
  cp -r "$data" "$stage/data/xquad-r"
  cp "$here"/benches/pytorch/{gpu,gpu_report,gate}.py "$here/experiments/check-xquadr.toml" "$stage/"
  # The binary by what it is; the commit is that of the tree beside it, which need not be what it was built from.
  tree=$(git -C "$here" rev-parse --short=12 HEAD)
  [ -z "$(git -C "$here" status --porcelain)" ] || tree="$tree with changes"
  sum=$(sha256sum "$stage/polymix" | cut -c1-16)
  echo "binary sha256 $sum${POLYMIX_BINARY:+ (given)}, packed at $tree" > "$stage/commit"
  tar -C "$stage" -c . | xz -T0 -1 > "$folder/gpu-check.tar.xz.part"
  mv "$folder/gpu-check.tar.xz.part" "$folder/gpu-check.tar.xz"
  cp "${BASH_SOURCE[0]}" "$folder/"
  echo "$folder: $(du -h "$folder/gpu-check.tar.xz" | cut -f1)"
}

run() {
  out=$(mkdir -p "${3:-$folder/out}" && cd "${3:-$folder/out}" && pwd)
  work=${SCRATCH:-/tmp/polymix-gpu-check}
  device=${DEVICE:-cuda}
  python=${PYTHON:-python3}
  limit=${LIMIT:-585}
  rm -f "$out"/{parts.jsonl,gpu-check.*,operations.*,parity-*,speed-*,train-*}
  mkdir -p "$work" && tar -C "$work" -xJf "$folder/gpu-check.tar.xz"
  cd "$work"
  rm -rf runs
  export POLYMIX_RUNS=$work/runs
  peak=()
  if [ "$device" = cpu ]; then
    steps=2 repeats=2 warmup=1 batch=8 batches=2 shape=model train_steps=3 contenders=merged,buckets,sentence dtypes=f32
    cached_batch=16 chunk=4 cached_steps=1 evaluated='["xquad-r[47..48]=data/xquad-r"]'
  else
    steps=64 repeats=5 warmup=16 batch=100 batches=8 shape=xlm-roberta-base train_steps=200 contenders=merged,compiled,split,buckets,flash,sentence
    dtypes="f32 bf16" cached_batch=4096 chunk=128 cached_steps=4 evaluated=
    # Dense bf16 of these, in 10^12 operations a second; another GPU's peak is measured.
    case $(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1) in *H100*|*H200*|*GH200*) peak=(--peak 989) ;; esac
  fi
  fast=${dtypes##* }
  exec 3>&1
  say() { echo "[$SECONDS s] $*" >&3; }
  record() { printf '{"part": "%s", "state": "%s", "seconds": %s}\n' "$1" "$2" "$3" >> "$out/parts.jsonl"; }
  # part NAME SECONDS FILE COMMAND...: runs it within SECONDS and what is left; its output goes to OUT/FILE, its errors beside it.
  part() {
    local name=$1 most=$2 file=$3 left=$((limit - SECONDS)) begin=$SECONDS state=done status=0
    shift 3
    [ "$most" -le "$left" ] || most=$left
    if [ "$most" -lt 5 ]; then state="not run, out of time"
    else
      timeout -k 5 "$most" "$@" > "$out/$file" 2> "$out/${file%.*}.err" || status=$?
      case $status in 0) ;; 124|137) state="stopped after $most s" ;; *) state="ended with $status, see ${file%.*}.err" ;; esac
    fi
    record "$name" "$state" $((SECONDS - begin))
    say "$name: $state"
    [ "$state" = done ]
  }
  { ./polymix doctor --json; } > "$out/doctor.json" 2> "$out/doctor.err" || true
  nvidia-smi -q > "$out/nvidia-smi.txt" 2>&1 || true
  part operations 90 operations.json ./polymix doctor --device "$device" --json || true
  for dtype in $dtypes; do
    part "gradients $dtype" 60 "parity-$dtype-bench.json" ./polymix bench train --model model --lengths xquad-r --batch 16 --batches 1 --dropout 0 \
      --steps 1 --warmup 0 --device "$device" --dtype "$dtype" --peak 1 --write-ids parity.json --write-gradients "gradients-$dtype.safetensors" --json || true
    part "parity $dtype" 60 "parity-$dtype.json" "$python" gate.py model parity.json "gradients-$dtype.safetensors" "$out/parity-$dtype-bench.json" \
      --device "$device" --dtype "$dtype" || true
  done
  # speed NAME LENGTHS SECONDS BATCH BATCHES STEPS WARMUP REPEATS CONTENDERS [OPTION...]: the ids once, then all contenders in rotation.
  speed() {
    local name=$1 lengths=$2 most=$3 size=$4 count=$5 each=$6 warm=$7 times=$8 who=$9
    shift 9
    local bench="./polymix bench train --model $shape --device $device --dtype $fast ${peak[*]}" left=$((limit - SECONDS))
    [ "$most" -le "$left" ] || most=$left
    part "ids $name" 60 "ids-$name.json" $bench --lengths "$lengths" --batch "$size" --batches "$count" --steps 1 --warmup 0 "$@" --write-ids "$name.json" --json || return 0
    part "speed $name" "$most" "speed-$name.log" "$python" gpu.py "$shape" "$name.json" --device "$device" --dtype "$fast" --steps "$each" --warmup "$warm" \
      --repeats "$times" --contenders "$who" --chunk "$chunk" --seconds $((most > 40 ? most - 25 : most)) --scratch "$work" --polymix "$bench $*" \
      --out "$out/speed-$name.json" || true
  }
  speed 32-128 32/128 170 "$batch" "$batches" "$steps" "$warmup" "$repeats" "$contenders"
  speed xquad-r xquad-r 170 "$batch" "$batches" "$steps" "$warmup" "$repeats" "$contenders"
  for alpha in 1 0.5 0; do
    part "fine-tuning alpha $alpha" 120 "train-$alpha.jsonl" ./polymix train check-xquadr.toml --set "name=gpu-alpha-$alpha" --set "sampling.alpha=$alpha" \
      --set model.base=model --set "train.steps=$train_steps" --set "train.dtype=$fast" ${evaluated:+--set "data.evaluation=$evaluated"} \
      --device "$device" --json || true
  done
  speed cached xquad-r 60 "$cached_batch" 1 "$cached_steps" 1 1 cached --chunk "$chunk"
  status=0
  "$python" gpu_report.py "$out" "$(cat commit)" > "$out/gpu-check.txt" || status=$?
  cat "$out/gpu-check.txt"
  say "done"
  exit "$status"
}

case $command in
  pack) pack "$@" ;;
  run) run "$@" ;;
  *) echo "usage: scripts/gpu-check.sh pack|run FOLDER" >&2; exit 2 ;;
esac
