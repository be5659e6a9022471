"""Hashes of the token ids of every XQuAD-R text: tests/golden/xquadr-token-ids.json. No text goes into the file.

Needs XQuAD-R (POLYMIX_XQUADR, default ../shared/data/xquad-r) and the pretrained tokenizer (scripts/pretrained.sh).
A hash is SHA-256 over all texts of a language, in file order: for each the number of its ids, then the ids, as
little-endian 32-bit numbers. No prefix, no truncation, special tokens included.
"""

import hashlib
import json
import os
import struct
from pathlib import Path

import tokenizers

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("POLYMIX_XQUADR", ROOT / "../shared/data/xquad-r"))
MODELS = Path(os.environ.get("POLYMIX_PRETRAINED", Path.home() / ".cache/polymix/pretrained"))


def texts(file):
    """Questions and sentences of a file, in order; a sentence is the slice of the context that its break gives."""
    questions, sentences = [], []
    for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            sentences += [paragraph["context"][a:b] for a, b in paragraph["sentence_breaks"]]
            questions += [qa["question"] for qa in paragraph["qas"]]
    return questions, sentences


def digest(tokenizer, side):
    hash_, total = hashlib.sha256(), 0
    for encoding in tokenizer.encode_batch(side):
        hash_.update(struct.pack(f"<{len(encoding.ids) + 1}I", len(encoding.ids), *encoding.ids))
        total += len(encoding.ids)
    return {"texts": len(side), "tokens": total, "sha256": hash_.hexdigest()}


def main():
    layout = "xlm-roberta"
    file = MODELS / layout / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    languages = {}
    for path in sorted(DATA.glob("*.json")):
        questions, sentences = texts(path)
        languages[path.stem] = {"questions": digest(tokenizer, questions), "sentences": digest(tokenizer, sentences)}
    record = {
        "tokenizers": tokenizers.__version__,
        "layout": layout,
        "tokenizer_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "languages": languages,
    }
    out = ROOT / "tests/golden/xquadr-token-ids.json"
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


main()
