#!/usr/bin/env bash
# Estimated against measured memory, then time: memory-table.sh POLYMIX RUNS_DIR XQUADR_DIR PRETRAINED_DIR, one line a configuration.
# For memory, trains two steps of each in a run directory of its own and reads the most that the worker told, evaluation included.
set -euo pipefail
polymix=$1 runs=$2 xquadr=$3 pretrained=$4
export POLYMIX_RUNS=$runs
row() {
    local name=$1; shift
    local sets=(--set train.steps=2 --set 'data.validation=[]' --set 'data.evaluation=[]'
        --set train.early_stopping.patience=0 --set train.device=cpu "$@")
    rm -rf "${runs:?}/$name"
    local told; told=$("$polymix" train demo --dry-run --json "${sets[@]}" | sed 's/.*"peak":\([0-9]*\).*/\1/')
    "$polymix" train demo --run-dir "$runs/$name" "${sets[@]}" >/dev/null 2>&1
    local most; most=$(grep -o '"peak_memory":[0-9]*' "$runs/$name/events.jsonl" | cut -d: -f2 | sort -n | tail -1)
    awk -v n="$name" -v e="$told" -v m="$most" \
        'BEGIN { printf "| %s | %.0f MiB | %.0f MiB | %+.0f%% |\n", n, e / 1048576, m / 1048576, 100 * (e / m - 1) }'
}
data=(--set "data.train=[\"xquad-r[0..40]=$xquadr\"]")
small=("${data[@]}" --set "model.base=$pretrained/xlm-roberta-xquadr")
for chunk in 0 512 256 64 16; do row "demo-1024-chunk-$chunk" --set train.batch=1024 --set train.chunk=$chunk; done
row demo-100 --set train.batch=100
row demo-accumulate-4 --set train.batch=100 --set train.accumulate=4
for chunk in 0 16 8 4; do row "xquadr-32-chunk-$chunk" "${small[@]}" --set train.batch=32 --set train.chunk=$chunk; done
row large-vocabulary-8 "${data[@]}" --set "model.base=$pretrained/xlm-roberta" --set train.batch=8
# With evaluation, which is the first one's height.
row demo-32-evaluated --set train.batch=32 --set "data.evaluation=[\"xquad-r=$xquadr\"]"
row xquadr-8-evaluated "${small[@]}" --set train.batch=8 --set "data.evaluation=[\"xquad-r[40..48]=$xquadr\"]"

# Estimated against measured seconds of the steps behind the first two, in which memory is touched for the first time.
pace() {
    local name=$1 steps=$2; shift 2
    local sets=(--set "train.steps=$steps" --set 'data.validation=[]' --set 'data.evaluation=[]'
        --set train.early_stopping.patience=0 --set train.device=cpu --set train.checkpoint_every=0 "$@")
    rm -rf "${runs:?}/$name"
    local told; told=$("$polymix" train demo --dry-run --json "${sets[@]}" | sed 's/.*"training_seconds":\([0-9.]*\).*/\1/')
    "$polymix" train demo --run-dir "$runs/$name" "${sets[@]}" >/dev/null 2>&1
    grep '"event":"step"' "$runs/$name/events.jsonl" | sed 's/.*"seconds":\([0-9.]*\).*/\1/' |
        awk -v n="$name" -v e="$told" 'NR > 2 { m += $1 }
            END { e *= (NR - 2) / NR; printf "| %s | %d | %.1f s | %.1f s | %+.0f%% |\n", n, NR - 2, e, m, 100 * (e / m - 1) }'
}
pace pace-demo-100 60 --set train.batch=100
pace pace-demo-1024-chunk-64 10 --set train.batch=1024 --set train.chunk=64
pace pace-xquadr-32 8 "${small[@]}" --set train.batch=32
pace pace-xquadr-32-chunk-8 5 "${small[@]}" --set train.batch=32 --set train.chunk=8
pace pace-large-vocabulary-8 20 "${data[@]}" --set "model.base=$pretrained/xlm-roberta" --set train.batch=8
