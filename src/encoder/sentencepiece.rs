//! `sentencepiece.bpe.model` (despite its name a Unigram model) as the `tokenizer.json` that it stands for, for XLM-R.
//!
//! The file is a protocol buffer: pieces with scores and types, how they were trained, and how texts are normalised
//! (sentencepiece's `sentencepiece_model.proto`). XLM-R's ids are fairseq's: `<s>`, `<pad>`, `</s>`, `<unk>`, then the
//! model's own pieces from its fourth on, so that its ids are one higher; `<mask>` comes last.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use serde_json::{Value, json};

/// Pieces that the model itself has in front, and those that fairseq puts there instead.
const OWN: [&str; 3] = ["<unk>", "<s>", "</s>"];
const FRONT: [&str; 4] = ["<s>", "<pad>", "</s>", "<unk>"];

/// What a piece is.
const NORMAL: u64 = 1;
const USER_DEFINED: u64 = 4;
const UNUSED: u64 = 5;
const BYTE: u64 = 6;

/// One piece.
struct Piece {
    text: String,
    score: f32,
    kind: u64,
}

/// The parts of a model that count.
#[allow(clippy::struct_excessive_bools, reason = "the file's own settings")]
struct Model {
    pieces: Vec<Piece>,
    is_unigram: bool,
    byte_fallback: bool,
    charsmap: Vec<u8>,
    dummy_prefix: bool,
    single_spaces: bool,
    escapes_spaces: bool,
}

/// A field of a message: its number and value.
enum Field<'a> {
    Number(u64),
    Word(u32),
    Bytes(&'a [u8]),
}

/// The fields of a message, one after another.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8]> {
        let count = usize::try_from(count).ok().filter(|n| *n <= self.0.len()).context("cut off")?;
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(taken)
    }

    /// A number of seven bits a byte, lowest first.
    fn number(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        bail!("a number has more than ten bytes")
    }

    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.number()?;
        let field = match key & 7 {
            0 => Field::Number(self.number()?),
            1 => Field::Bytes(self.take(8)?),
            2 => {
                let length = self.number()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Word(u32::from_le_bytes(self.take(4)?.try_into().unwrap_or_default())),
            other => bail!("a field of the unknown wire type {other}"),
        };
        Ok(Some((key >> 3, field)))
    }
}

fn piece(bytes: &[u8]) -> Result<Piece> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: NORMAL };
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(text)) => piece.text = String::from_utf8(text.to_vec()).context("not UTF-8")?,
            (2, Field::Word(bits)) => piece.score = f32::from_bits(bits),
            (3, Field::Number(kind)) => piece.kind = kind,
            _ => {}
        }
    }
    ensure!(!piece.text.is_empty(), "has no text");
    ensure!(piece.score.is_finite(), "'{}' has no finite score", piece.text);
    Ok(piece)
}

fn model(bytes: &[u8]) -> Result<Model> {
    let mut model = Model {
        pieces: Vec::new(),
        is_unigram: true,
        byte_fallback: false,
        charsmap: Vec::new(),
        dummy_prefix: true,
        single_spaces: true,
        escapes_spaces: true,
    };
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(own)) => {
                let number = model.pieces.len();
                model.pieces.push(piece(own).with_context(|| format!("piece {number}"))?);
            }
            (2, Field::Bytes(own)) => {
                let mut trainer = Fields(own);
                while let Some(field) = trainer.next().context("the trainer's settings")? {
                    match field {
                        (3, Field::Number(kind)) => model.is_unigram = kind == 1,
                        (35, Field::Number(is_on)) => model.byte_fallback = is_on != 0,
                        _ => {}
                    }
                }
            }
            (3, Field::Bytes(own)) => {
                let mut normaliser = Fields(own);
                while let Some(field) = normaliser.next().context("the normaliser's settings")? {
                    match field {
                        (2, Field::Bytes(map)) => model.charsmap = map.to_vec(),
                        (3, Field::Number(is_on)) => model.dummy_prefix = is_on != 0,
                        (4, Field::Number(is_on)) => model.single_spaces = is_on != 0,
                        (5, Field::Number(is_on)) => model.escapes_spaces = is_on != 0,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(model)
}

/// The contents of the `tokenizer.json` that XLM-R's `sentencepiece.bpe.model` stands for.
///
/// # Errors
/// Where the file is cut off or no such model, or has what XLM-R's has not (another algorithm, other special pieces).
pub fn tokenizer_json(bytes: &[u8]) -> Result<Vec<u8>> {
    let model = model(bytes).context("not a sentencepiece model, or damaged")?;
    let Model { pieces, .. } = &model;
    ensure!(
        pieces.len() > OWN.len() && pieces.iter().zip(OWN).all(|(p, own)| p.text == own),
        "not XLM-R's layout: the first pieces are not {}",
        OWN.join(", ")
    );
    ensure!(model.is_unigram, "not a Unigram model, which XLM-R's is");
    ensure!(model.escapes_spaces, "spaces are not written as '▁', as XLM-R's are");
    if let Some(piece) = pieces.iter().find(|p| matches!(p.kind, UNUSED | BYTE)) {
        bail!("piece '{}' is unused or a byte, which XLM-R's model has not", piece.text);
    }
    let own = &pieces[OWN.len()..];
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) = pieces.iter().find(|p| !seen.insert(p.text.as_str())) {
        bail!("piece '{}' comes twice", twice.text);
    }
    if let Some(taken) = own.iter().find(|p| p.text == "<pad>" || p.text == "<mask>") {
        bail!("piece '{}' is fairseq's own, which XLM-R's model has not", taken.text);
    }
    let mask = FRONT.len() + own.len();
    let mut vocabulary: Vec<Value> = FRONT.iter().map(|token| json!([token, 0.0])).collect();
    vocabulary.extend(own.iter().map(|p| json!([p.text, f64::from(p.score)])));
    vocabulary.push(json!(["<mask>", 0.0]));
    let added = |id: usize, token: &str, lstrip: bool, special: bool| {
        json!({"id": id, "content": token, "single_word": false, "lstrip": lstrip, "rstrip": false,
            "normalized": false, "special": special})
    };
    let mut tokens: Vec<Value> =
        FRONT.iter().enumerate().map(|(id, token)| added(id, token, false, true)).collect();
    let defined = own.iter().enumerate().filter(|(_, p)| p.kind == USER_DEFINED);
    tokens.extend(defined.map(|(at, p)| added(FRONT.len() + at, &p.text, false, false)));
    tokens.push(added(mask, "<mask>", true, true));
    let mut normalisers = Vec::new();
    if !model.charsmap.is_empty() {
        let map = base64::engine::general_purpose::STANDARD.encode(&model.charsmap);
        normalisers.push(json!({"type": "Precompiled", "precompiled_charsmap": map}));
    }
    if model.single_spaces {
        normalisers.push(json!({"type": "Strip", "strip_left": true, "strip_right": true}));
        normalisers.push(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}));
    }
    let prepend = if model.dummy_prefix { "always" } else { "never" };
    let space = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": prepend, "split": true});
    let special = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let named = |token: &str, id: u32| json!({"id": token, "ids": [id], "tokens": [token]});
    let (first, last) = (special("<s>"), special("</s>"));
    let json = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": tokens,
        "normalizer": {"type": "Sequence", "normalizers": normalisers}, "pre_tokenizer": space,
        "post_processor": {"type": "TemplateProcessing", "single": [first, text("A"), last],
            "pair": [first, text("A"), last, last, text("B"), last],
            "special_tokens": {"<s>": named("<s>", 0), "</s>": named("</s>", 2)}},
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocabulary, "byte_fallback": model.byte_fallback}});
    Ok(serde_json::to_vec(&json)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::TextTokenizer;

    /// A field: key, then its bytes with their length before them.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
        out
    }

    fn one(text: &str, score: f32, kind: u8) -> Vec<u8> {
        let mut own = field(1, text.as_bytes());
        own.push(2 << 3 | 5);
        own.extend_from_slice(&score.to_le_bytes());
        own.extend_from_slice(&[3 << 3, kind]);
        field(1, &own)
    }

    fn made(pieces: &[(&str, f32, u8)], kind: u8) -> Vec<u8> {
        let mut all: Vec<u8> = [("<unk>", 2), ("<s>", 3), ("</s>", 3)]
            .iter()
            .flat_map(|(text, kind)| one(text, 0.0, *kind))
            .collect();
        all.extend(pieces.iter().flat_map(|(text, score, kind)| one(text, *score, *kind)));
        all.extend(field(2, &[3 << 3, kind]));
        all.extend(field(3, &field(1, b"identity")));
        all
    }

    const PIECES: [(&str, f32, u8); 6] = [
        ("\u{2581}", -2.0, 1),
        ("\u{2581}river", -1.5, 1),
        ("s", -2.5, 1),
        ("ri", -3.0, 1),
        ("ver", -3.0, 1),
        ("\u{2581}the", -1.0, 1),
    ];

    fn ids(text: &str) -> Vec<u32> {
        let json = tokenizer_json(&made(&PIECES, 1)).expect("a model");
        let tokenizer = TextTokenizer::from_bytes(&json).expect("a tokenizer");
        assert_eq!(tokenizer.vocabulary(), 4 + PIECES.len() + 1);
        tokenizer.encode("", &[text], 64).expect("tokens").ids.remove(0)
    }

    #[test]
    fn ids_are_one_higher_than_the_models_own_and_fairseqs_in_front() {
        // Of the model's own ids 3 is the space, 4 the river, 8 the article.
        assert_eq!(ids("the rivers"), [0, 9, 5, 6, 2]);
        assert_eq!(ids("  the   river "), [0, 9, 5, 2], "spaces count once, and not at the ends");
        assert_eq!(ids("river!"), [0, 5, 3, 2], "what no piece covers");
        assert_eq!(ids("the <mask>"), [0, 9, 10, 2]);
        assert_eq!(ids(""), [0, 2]);
    }

    #[test]
    fn other_models_and_damaged_ones_are_refused() {
        let error = |bytes: &[u8]| format!("{:#}", tokenizer_json(bytes).expect_err("refused"));
        let good = made(&PIECES, 1);
        for length in 0..good.len() {
            let _ = tokenizer_json(&good[..length]);
        }
        assert!(error(&good[..good.len() / 2]).contains("damaged"));
        assert!(error(b"").contains("first pieces"));
        assert!(error(&made(&PIECES, 2)).contains("Unigram"));
        assert!(error(&made(&[("a", -1.0, 5)], 1)).contains("'a'"));
        assert!(error(&made(&[("a", f32::NAN, 1)], 1)).contains("finite"));
        assert!(error(&made(&[("a", -1.0, 1), ("a", -2.0, 1)], 1)).contains("twice"));
        assert!(error(&made(&[("<mask>", -1.0, 4)], 1)).contains("<mask>"));
        assert!(error(&field(1, &field(1, &[0xff]))).contains("piece 0"));
        assert!(
            error(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).contains("ten bytes")
        );
    }
}
