#!/usr/bin/env python3
"""Trains a sentencepiece model and says how it cuts texts: check-sentencepiece.py TEXTS.json MODEL_PREFIX IDS.json

A test holds our reading of MODEL_PREFIX.model to the ids, which are fairseq's: one higher than the model's own, with
<s> and </s> around and <unk> at 3.
"""
import json
import sys

import sentencepiece

texts = json.load(open(sys.argv[1], encoding="utf-8"))
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(t for t in texts if t.strip()),
    model_prefix=sys.argv[2],
    model_type="unigram",
    vocab_size=3000,
    character_coverage=0.9995,
    normalization_rule_name="nmt_nfkc",
    minloglevel=2,
)
model = sentencepiece.SentencePieceProcessor(model_file=sys.argv[2] + ".model")
ids = [[0] + [3 if i == model.unk_id() else i + 1 for i in own] + [2] for own in model.encode(texts)]
json.dump({"pieces": len(model), "ids": ids}, open(sys.argv[3], "w", encoding="utf-8"))
