#!/usr/bin/env bash
# Fuzzes every parser: scripts/fuzz.sh [RUNS] [LOADER ...]; scripts/fuzz.sh check: only whether the targets compile. What `cargo fuzz --sanitizer none` does, on stable Rust:
# libFuzzer with its coverage instrumentation for our own crates. Seeds lie in fuzz/seeds, crashes in fuzz/crashes.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-1000000}
shift || true
if [ "${1:-}" = parquet ]; then
  # polars would take a quarter of an hour to build with coverage: files are made at random instead, in the tests' build.
  POLYMIX_FUZZ_RUNS=$runs POLYMIX_FUZZ_SECONDS=${FUZZ_SECONDS:-360} \
    ${CARGO:-cargo} test --release --test parquet_hostile -- --nocapture 2>&1 | grep -E "^parquet:|panicked at tests|^file|error" | tail -5
  exit "${PIPESTATUS[0]}"
fi
if [ "$runs" = check ]; then
  RUSTFLAGS="--cfg fuzzing" ${CARGO:-cargo} check --release --locked --manifest-path fuzz/Cargo.toml
  exit
fi
export CARGO_TARGET_DIR=${FUZZ_TARGET:-/tmp/fuzz-target} RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
-C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
-C llvm-args=-sanitizer-coverage-trace-compares -C codegen-units=1"
${CARGO:-cargo} build --release --manifest-path fuzz/Cargo.toml --target "$(rustc -vV | sed -n 's/host: //p')"
binaries=$CARGO_TARGET_DIR/$(rustc -vV | sed -n 's/host: //p')/release
all="xquad-r squad squadshifts mmarco mmarco-dev miracl mfaq tevatron flag pairs pairs-json beir tatoeba mewsli-x xm3600 texts"
files="catalogue lexicon trec passages settings archive hub config sentence sentencepiece charsmap pickle torch safetensors weights adapters tokens shard index"
all="$all $files"
mkdir -p fuzz/crashes
for loader in ${*:-$all}; do
  target=loaders
  [ "$loader" = texts ] && target=texts
  case " $files " in *" $loader "*) target=files ;; esac
  work=$(mktemp -d)
  start=$(date +%s)
  log=$work/log
  FUZZ_LOADER=$loader "$binaries/$target" "$work" "fuzz/seeds/$loader" -runs="$runs" -max_len=2048 -timeout=10 -rss_limit_mb=1024 \
    -artifact_prefix=fuzz/crashes/ -print_final_stats=1 >"$log" 2>&1 || { tail -30 "$log"; echo "$loader: FAILED"; exit 1; }
  echo "$loader: $(sed -n 's/stat::number_of_executed_units: *//p' "$log") executions, $(ls "$work" | wc -l) inputs kept," \
    "$(grep -o 'cov: [0-9]*' "$log" | tail -1), $(($(date +%s) - start)) s"
  rm -rf "$work" /dev/shm/polymix-fuzz-"$loader"-[0-9]* /dev/shm/polymix-fuzz-file-*
done
