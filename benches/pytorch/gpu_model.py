#!/usr/bin/env python3
"""Writes a model of a published shape with random weights: python gpu_model.py SHAPE FOLDER [--seed N]

SHAPE: xlm-roberta-base, or tiny (for rehearsals and tests). polymix, transformers and sentence-transformers all read FOLDER, so that everybody
begins with the same weights, and nobody draws 278 million random numbers at every start. FOLDER is written whole or not at all; one that is there is
kept. The tokenizer has no words: the token ids of a measurement are given.
"""
import argparse
import os
import shutil

SHAPES = {"xlm-roberta-base": dict(vocab_size=250002, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072),
          "tiny": dict(vocab_size=2000, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)}
COMMON = dict(max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, hidden_act="gelu", initializer_range=0.02,
              pad_token_id=1, bos_token_id=0, eos_token_id=2, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
SPECIAL = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}


def write(shape, folder, seed):
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoModel, PreTrainedTokenizerFast, XLMRobertaConfig
    part = f"{folder.rstrip('/')}.part"
    shutil.rmtree(part, ignore_errors=True)
    torch.manual_seed(seed)
    model = AutoModel.from_config(XLMRobertaConfig(**SHAPES[shape], **COMMON), add_pooling_layer=False)
    model.save_pretrained(part)
    tokenizer = Tokenizer(WordLevel(SPECIAL, unk_token="<unk>"))
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>",
                            unk_token="<unk>", model_max_length=512).save_pretrained(part)
    os.rename(part, folder)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("shape", choices=list(SHAPES)); ap.add_argument("folder")
    ap.add_argument("--seed", type=int, default=0)
    a = ap.parse_args()
    if not os.path.isdir(a.folder):
        write(a.shape, a.folder, a.seed)


if __name__ == "__main__":
    main()
