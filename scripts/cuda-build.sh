#!/usr/bin/env bash
# Builds polymix with CUDA on a machine that has neither a GPU nor a CUDA toolkit.
#
# nvcc and headers come from PyPI wheels; the CUDA libraries are opened at run time, so that the same binary starts
# where there is none and uses the CPU. With a CUDA toolkit installed none of this is needed:
# `cargo build --release --features cuda`.
#
# usage: scripts/cuda-build.sh [check] [cargo arguments ...]
#   check: only whether it compiles. Exit status 75: nvcc's packages could not be had.
#
# CUDA_COMPUTE_CAP=80 (Ampere) unless set: the kernels are PTX, which the driver compiles for the GPU that is there, so that one binary runs
# on 8.0 and everything newer. With 90 and above candle's builder asks for sm_90a and the like, which run on that one capability
# alone, and nothing is gained: our kernels' PTX for sm_80 and sm_90a differ in how bf16 is widened to f32, and in nothing else.
set -euo pipefail
verb=build
if [ "${1:-}" = check ]; then verb=check; shift; fi
cd "$(dirname "$0")/.."
CANDLE=0.11.1
NVCC=13.0.88
TARGET=${CARGO_TARGET_DIR:-$PWD/target}
ROOT=${CUDA_BUILD_ROOT:-$TARGET/cuda-toolchain}
TOOLKIT=$ROOT/home
mkdir -p "$ROOT"

if [ ! -x "$TOOLKIT/bin/nvcc" ]; then
  python3 -m pip download -q --no-deps --only-binary=:all: -d "$ROOT/wheels" \
    "nvidia-cuda-nvcc==$NVCC" "nvidia-cuda-crt==$NVCC" "nvidia-nvvm==$NVCC" \
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 || exit 75
  for wheel in "$ROOT"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$ROOT/raw"; done
  unpacked=$ROOT/raw/nvidia/cu13
  chmod +x "$unpacked"/bin/* "$unpacked"/nvvm/bin/* # zipfile drops the mode bits
  mkdir -p "$TOOLKIT"
  for dir in bin nvvm include lib; do ln -sfn "$unpacked/$dir" "$TOOLKIT/$dir"; done
  ln -sfn lib "$TOOLKIT/lib64"
  # candle-kernels asks for -lcudart: with the static library under that name the program needs no libcudart.so.
  ln -sfn libcudart_static.a "$unpacked/lib/libcudart.a"
fi

# candle-core asks cudarc to link the CUDA libraries; this copy asks it to open them at run time. One word differs.
PATCHED=$ROOT/candle-core-$CANDLE
if [ ! -d "$PATCHED" ]; then
  cargo fetch -q
  source=$(find "${CARGO_HOME:-$HOME/.cargo}"/registry/src -maxdepth 2 -name "candle-core-$CANDLE" | head -1)
  mkdir -p "$PATCHED"
  cp -r "$source/src" "$source/Cargo.toml" "$PATCHED/"
  python3 - "$PATCHED/Cargo.toml" <<'PY'
import re, sys
path = sys.argv[1]
text = open(path).read().replace('"dynamic-linking"', '"dynamic-loading"')
open(path, "w").write(re.sub(r"\n\[\[(example|test|bench)\]\](?:\n(?!\[).*)*", "", text))
PY
fi

export CUDA_HOME=$TOOLKIT CUDA_PATH=$TOOLKIT PATH=$TOOLKIT/bin:$PATH
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}
export CUDARC_CUDA_VERSION=${CUDARC_CUDA_VERSION:-13000}
export RUSTFLAGS="${RUSTFLAGS:-} -L native=$TOOLKIT/lib -l dylib=stdc++ -C link-arg=-ldl -C link-arg=-lrt -C link-arg=-lpthread"
# Cargo would write the patch into Cargo.lock.
cp Cargo.lock "$ROOT/Cargo.lock.before"
trap 'mv -f "$ROOT/Cargo.lock.before" Cargo.lock' EXIT
# A target folder of its own: other flags, other artifacts.
export CARGO_TARGET_DIR=$TARGET/cuda
cargo "$verb" --release --features cuda --config "patch.crates-io.candle-core.path=\"$PATCHED\"" "$@"
[ "$verb" = check ] || echo "built $CARGO_TARGET_DIR/release/polymix"

# NVIDIA's assembler makes of the kernels what the driver will make of them: they must fit each generation, and no thread may have to
# keep registers in memory.
kernels=$(ls -t "$CARGO_TARGET_DIR"/release/build/polymix-*/out/kernels.ptx | head -1)
# Attention writes its results sixteen bytes at a time; nvcc has made two of them before.
narrow=$(awk '/\.entry (attention|flash)_(forward|queries|keys)/ { name = $0; sub(/.*\.entry /, "", name); sub(/\(.*/, "", name); entries[name] = 0 }
  /^}/ { name = "" } name && /st\.global(\.wb)?\.v4/ { entries[name]++ }
  END { for (name in entries) { all++; if (!entries[name]) print name } if (!all) print "no attention at all" }' "$kernels")
[ -z "$narrow" ] || { echo "kernels without stores of sixteen bytes:" $narrow >&2; exit 1; }
for generation in 80 89 90 100 120; do
  [ "$generation" -ge "${CUDA_COMPUTE_CAP//[a-z]/}" ] || continue
  told=$("$TOOLKIT/bin/ptxas" -v -arch="sm_$generation" -o /dev/null "$kernels" 2>&1) ||
    { echo "the kernels do not assemble for compute capability $generation: $told" >&2; exit 1; }
  if spilled=$(grep -E '[1-9][0-9]* bytes (stack frame|spill)' <<< "$told"); then
    echo "kernels keep registers in memory on compute capability $generation: $spilled" >&2
    exit 1
  fi
  echo "kernels assembled for sm_$generation: $(grep -c 'Compiling entry' <<< "$told"), at most $(grep -oE 'Used [0-9]+' <<< "$told" |
    sort -k2n | tail -1 | cut -d' ' -f2) registers a thread, none in memory"
done
