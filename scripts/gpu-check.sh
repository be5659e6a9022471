#!/usr/bin/env bash
# Checks and measures polymix on a GPU machine that has nothing but what is carried there (and python3 with torch, transformers
# and sentence-transformers for the comparison).
#
#   scripts/gpu-check.sh pack FOLDER    here: puts the CUDA binary (scripts/cuda-build.sh), the pretrained model and XQuAD-R into FOLDER
#   scripts/gpu-check.sh run FOLDER [OUT]   there: everything below, within 10 minutes; prints a table
#
# OUT gets gpu-check.txt, gpu-check.json and gpu-check.tgz (everything that the parts wrote), all three anew after every part.
#
# 1. every operation on the GPU against the CPU, f32 and bf16, and the two forms of attention timed   2. loss and every gradient against PyTorch
# 3. speed and memory at XLM-R base shape with random weights, in rotation with tuned PyTorch and sentence-transformers, on equal token ids
# 4. fine-tuning on half of XQuAD-R's articles with X-X-mono, hybrid and X-Y, evaluated on the other half
# 5. gradient caching beside sentence-transformers'
#
# Every target is judged as met, missed or not measured (benches/pytorch/gpu_report.py). Exits with 1 where a part failed or had no time, the
# others having run all the same. DEVICE=cpu rehearses `run` without a GPU (small sizes, DTYPES="f32 bf16" for both types); its numbers mean
# nothing. PYTHON names another python3, LIMIT other seconds, SCRATCH another folder to work in.
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
  cp "$here"/benches/pytorch/{gpu,gpu_peers,gpu_model,gpu_report,gpu_report_test,gate}.py "$here/experiments/check-xquadr.toml" "$stage/"
  # What judges must be able to refuse (the gate says so itself before each judgement; it needs PyTorch).
  (cd "$stage" && python3 -B gpu_report.py --self-test >&2)
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
  rm -f "$out"/gpu-check.{json,txt,tgz}
  mkdir -p "$work" && tar -C "$work" -xJf "$folder/gpu-check.tar.xz"
  cd "$work"
  raw=$work/raw
  rm -rf runs "$raw"
  mkdir "$raw"
  # The driver compiles the kernels when they are first loaded, which takes seconds of a core; here it keeps what it made for the starts to come,
  # wherever HOME is and whether or not it may be written to.
  export POLYMIX_RUNS=$work/runs TORCHINDUCTOR_CACHE_DIR=$work/inductor CUDA_CACHE_PATH=$work/jit
  peak=()
  if [ "$device" = cpu ]; then
    steps=2 repeats=2 warmup=2 batch=8 batches=2 shape=tiny train_steps=3 dtypes=${DTYPES:-f32}
    padded=split,merged,sentence,flash,packed,split+compiled mixed=buckets,merged,sentence,flash,packed,buckets+compiled
    cached_batch=16 chunk=4 cached_steps=1 evaluated='["xquad-r[47..48]=data/xquad-r"]'
  else
    # All different batches once before the clock, then four rounds of them.
    steps=32 repeats=5 warmup=8 batch=100 batches=8 shape=xlm-roberta-base train_steps=200 dtypes="f32 bf16"
    # Who compiles comes last: what it takes is least certain.
    padded=split,merged,sentence,flash,packed,split+compiled,packed+compiled mixed=buckets,merged,sentence,flash,packed,buckets+compiled,packed+compiled
    cached_batch=4096 chunk=128 cached_steps=2 evaluated=
    # Dense bf16 of these, in 10^12 operations a second; another GPU's peak is measured.
    case $(timeout 10 nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1) in *H100*|*H200*|*GH200*) peak=(--peak 989) ;; esac
  fi
  fast=${dtypes##* }
  # Seconds that each part gets at least, in their order, and at most; they add up to LIMIT with 20 for what comes before and a few for the
  # reports. A part may use what the parts before it left over, but nothing that a later part has for sure.
  plan="operations:45:90"
  for dtype in $dtypes; do plan+=" gradients-$dtype:18:90 parity-$dtype:32:90"; done
  plan+=" model:30:90 ids-32-128:15:60 speed-32-128:117:300 ids-xquad-r:15:60 speed-xquad-r:117:300"
  plan+=" fine-tuning-1:20:120 fine-tuning-0.5:20:120 fine-tuning-0:20:120 ids-cached:15:60 speed-cached:45:150"
  declare -A least most
  later=0
  for entry in $plan; do
    IFS=: read -r name low high <<< "$entry"
    least[$name]=$low most[$name]=$high later=$((later + low))
  done
  [ $((later + 26)) -le "$limit" ] || echo "LIMIT=$limit: the parts need $((later + 26)) s at worst; late ones may have no time" >&2
  # cudarc opens CUDA's libraries by their bare names; PyTorch's wheels bring them where no loader looks. What is there comes first.
  local libraries
  libraries=$("$python" -c 'import glob, os, sys
print(":".join(dict.fromkeys(d for p in sys.path for d in sorted(glob.glob(os.path.join(os.path.abspath(p), "nvidia", "*", "lib"))))))')
  polymix=(env "LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH${libraries:+:}}$libraries" ./polymix)
  [ -n "${LD_LIBRARY_PATH:-}$libraries" ] || polymix=(./polymix)
  exec 3>&1
  say() { echo "[$SECONDS s] $*" >&3; }
  record() { printf '{"part": "%s", "state": "%s", "seconds": %s}\n' "$1" "$2" "$3" >> "$raw/parts.jsonl"; }
  # Report and archive of what there is; both whole at any moment, so that a kill leaves the last.
  refresh() {
    local status=0
    "$python" gpu_report.py "$raw" "$out" "$(cat commit)" 2> "$raw/report.err" || status=$?
    tar -C "$raw" -czf "$out/gpu-check.tgz.part" . && mv "$out/gpu-check.tgz.part" "$out/gpu-check.tgz"
    [ ! -s "$raw/report.err" ] || { say "report: $(tail -1 "$raw/report.err")"; }
    return "$status"
  }
  # allow KEY: what of the time it may take, into `allowed`.
  allow() {
    local left=$((limit - SECONDS))
    later=$((later - least[$1])) allowed=$((left - later))
    [ "$allowed" -ge "${least[$1]}" ] || allowed=${least[$1]}
    [ "$allowed" -le "${most[$1]}" ] || allowed=${most[$1]}
    [ "$allowed" -le "$left" ] || allowed=$left
  }
  # part NAME FILE COMMAND...: runs it within `allowed` seconds; its output goes to RAW/FILE, its errors beside it.
  part() {
    local name=$1 file=$2 begin=$SECONDS state=done status=0
    shift 2
    if [ "$allowed" -lt 5 ]; then state="not run, out of time"
    else
      timeout -k 5 "$allowed" "$@" > "$raw/$file" 2> "$raw/${file%.*}.err" || status=$?
      case $status in 0) ;; 124|137) state="stopped after $allowed s" ;; *) state="ended with $status, see ${file%.*}.err" ;; esac
    fi
    record "$name" "$state" $((SECONDS - begin))
    say "$name: $state"
    refresh || true
    [ "$state" = done ]
  }
  timeout 15 "${polymix[@]}" doctor --json > "$raw/doctor.json" 2> "$raw/doctor.err" || true
  timeout 10 nvidia-smi -q > "$raw/nvidia-smi.txt" 2>&1 || true
  allow operations
  doctor=("${polymix[@]}" doctor --device "$device" --json)
  if ! part operations operations.json "${doctor[@]}" && [ -z "${POLYMIX_ATTENTION:-}" ]; then
    # The newest kernels are the likeliest to fail, and one that does takes the GPU from its process: the rest without them.
    export POLYMIX_ATTENTION=tiles
    [ "$allowed" -le "${least[operations]}" ] || allowed=${least[operations]}
    touch "$raw"/operations.{json,err}
    for end in json err; do mv "$raw/operations.$end" "$raw/operations-flash.$end"; done
    part "operations, attention by tiles" operations.json "${doctor[@]}" || true
    cat "$raw/operations-flash.err" >> "$raw/operations.err"
  fi
  for dtype in $dtypes; do
    allow "gradients-$dtype"
    part "gradients $dtype" "parity-$dtype-bench.json" "${polymix[@]}" bench train --model model --lengths xquad-r --batch 16 --batches 1 --dropout 0 \
      --steps 1 --warmup 0 --device "$device" --dtype "$dtype" --peak 1 --write-ids parity.json --write-gradients "gradients-$dtype.safetensors" --json || true
    allow "parity-$dtype"
    part "parity $dtype" "parity-$dtype.json" "$python" gate.py model parity.json "gradients-$dtype.safetensors" "$raw/parity-$dtype-bench.json" \
      --device "$device" --dtype "$dtype" || true
  done
  allow model
  part "random model" model.log "$python" gpu_model.py "$shape" "random-$shape" || true
  # speed NAME LENGTHS BATCH BATCHES STEPS WARMUP REPEATS CONTENDERS [OPTION...]: the ids once, then all contenders in rotation.
  speed() {
    local name=$1 lengths=$2 size=$3 count=$4 each=$5 warm=$6 times=$7 who=$8
    shift 8
    local bench=("${polymix[@]}" bench train --model "random-$shape" --device "$device" --dtype "$fast" "${peak[@]}")
    allow "ids-$name"
    part "ids $name" "ids-$name.json" "${bench[@]}" --lengths "$lengths" --batch "$size" --batches "$count" --steps 1 --warmup 0 "$@" \
      --write-ids "$name.json" --json || true
    allow "speed-$name"
    # polymix counts the pairs of a pass, sentence-transformers its texts.
    part "speed $name" "speed-$name.log" "$python" gpu.py "random-$shape" "$name.json" --device "$device" --dtype "$fast" --steps "$each" --warmup "$warm" \
      --repeats "$times" --contenders "$who" --chunk $((2 * chunk)) --seconds $((allowed > 20 ? allowed - 8 : allowed)) \
      --polymix "$(printf '%q ' "${bench[@]}" "$@")" --out "$raw/speed-$name.json" || true
  }
  speed 32-128 32/128 "$batch" "$batches" "$steps" "$warmup" "$repeats" "$padded"
  speed xquad-r xquad-r "$batch" "$batches" "$steps" "$warmup" "$repeats" "$mixed"
  for alpha in 1 0.5 0; do
    allow "fine-tuning-$alpha"
    part "fine-tuning alpha $alpha" "train-$alpha.jsonl" "${polymix[@]}" train check-xquadr.toml --set "name=gpu-alpha-$alpha" --set "sampling.alpha=$alpha" \
      --set model.base=model --set "train.steps=$train_steps" --set "train.dtype=$fast" ${evaluated:+--set "data.evaluation=$evaluated"} \
      --device "$device" --json || true
  done
  speed cached xquad-r "$cached_batch" 1 "$cached_steps" 1 3 cached --chunk "$chunk"
  status=0
  record end done 0
  refresh || status=$?
  cat "$out/gpu-check.txt"
  say "done"
  exit "$status"
}

case $command in
  pack) pack "$@" ;;
  run) run "$@" ;;
  *) echo "usage: scripts/gpu-check.sh pack|run FOLDER" >&2; exit 2 ;;
esac
