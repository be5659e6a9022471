#!/usr/bin/env bash
# Estimated against measured memory: memory-table.sh POLYMIX RUNS_DIR XQUADR_DIR PRETRAINED_DIR [PART], one line a configuration
# whose name has PART in it. Trains two steps of each in a run directory of its own and reads the most that the worker told,
# evaluation included.
set -euo pipefail
polymix=$1 runs=$2 xquadr=$3 pretrained=$4 part=${5:-}
export POLYMIX_RUNS=$runs
row() {
    local name=$1; shift
    [[ $name == *"$part"* ]] || return 0
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
lora=(--set adapters.kind=lora --set adapters.rank=16)
row demo-lora-64 "${lora[@]}" --set train.batch=64
row demo-lora-192 "${lora[@]}" --set train.batch=192
row demo-lora-256-chunk-32 "${lora[@]}" --set train.batch=256 --set train.chunk=32 --set sampling.alpha=1
row demo-bottleneck-accumulate-3 --set adapters.kind=bottleneck --set adapters.reduction=8 --set adapters.invertible=true \
    --set train.batch=64 --set train.accumulate=3
row demo-words-replaced-300-chunk-100 --set 'robust.lexicons=["demo"]' --set robust.code_switch=0.5 --set train.batch=300 --set train.chunk=100
for chunk in 0 16 8 4; do row "xquadr-32-chunk-$chunk" "${small[@]}" --set train.batch=32 --set train.chunk=$chunk; done
row large-vocabulary-8 "${data[@]}" --set "model.base=$pretrained/xlm-roberta" --set train.batch=8
# With evaluation, whose height is the first's; then in bf16, and in large passes.
half=(--set train.dtype=bf16)
all=(--set train.batch=32 --set "data.evaluation=[\"xquad-r=$xquadr\"]")
held=("${small[@]}" --set train.batch=8 --set "data.evaluation=[\"xquad-r[40..48]=$xquadr\"]")
row demo-32-evaluated "${all[@]}"
row xquadr-8-evaluated "${held[@]}"
row demo-400-bf16 "${half[@]}" --set train.batch=400
row xquadr-32-bf16 "${small[@]}" "${half[@]}" --set train.batch=32
row demo-32-bf16-evaluated "${all[@]}" "${half[@]}"
row xquadr-8-bf16-evaluated "${held[@]}" "${half[@]}"
for tokens in 16384 65536; do
    large=(--set evaluate.batch_tokens=$tokens)
    row demo-32-evaluated-$tokens "${all[@]}" "${large[@]}"
    row demo-32-bf16-evaluated-$tokens "${all[@]}" "${half[@]}" "${large[@]}"
    row xquadr-8-evaluated-$tokens "${held[@]}" "${large[@]}"
    row xquadr-8-bf16-evaluated-$tokens "${held[@]}" "${half[@]}" "${large[@]}"
done
