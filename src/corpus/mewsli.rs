//! Mewsli-X (Ruder et al. 2021): a mention in a news article asks for the entity that it means.
//!
//! `candidate_set_entities.jsonl` and `wikinews_mentions-{dev,test}.jsonl`. A question is the mention, then the sentence
//! it stands in; a candidate is the entity's title, then its description, in the language of the description. One
//! entity is relevant. Articles come without their text, which the dataset's own script puts back.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::open::Request;
use super::read::{self, Record, json_lines};
use super::{Sink, language};

/// Reads candidates and mentions.
pub fn read(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let part = options.part(request.default_part, &["dev", "test"])?;
    let _ = options.languages();
    options.finish(true)?;
    let found = read::find(request.path)?;
    let entities = read::one(&found, request.path, "candidate_set_entities.jsonl", "", |f| {
        f.says("candidate_set_entities") && f.ends(&[".jsonl"])
    })?;
    let mentions = read::one(&found, request.path, &format!("wikinews_mentions-{part}.jsonl"), part, |f| {
        f.says("wikinews_mentions") && !f.says("no_text") && f.says(part) && f.ends(&[".jsonl"])
    })
    .context("articles come without text; the dataset's get-mewsli-x.sh makes wikinews_mentions-*.jsonl")?;
    sink.input(&entities.path)?;
    sink.input(&mentions.path)?;
    json_lines(&entities.path, |_, record| {
        let id = record.id(&["entity_id"])?;
        let language = sink.language(&language::normalise(record.text(&["description_language"])?))?;
        let (title, description) = (record.text(&["title"])?, record.text(&["description"])?);
        sink.passage(&id, language, &format!("{title} {description}"))?;
        Ok(())
    })?;
    let mut missing = super::triples::Missing::default();
    let (mut lost, mut asked) = (0, 0);
    json_lines(&mentions.path, |line, record| {
        let Some((_, Value::Object(context))) = record.get(&["context"]) else {
            bail!("field 'context': is missing, or no object")
        };
        let context = Record(context.clone());
        let code = language::normalise(context.text(&["language"])?);
        if !options.wants(&code) {
            return Ok(());
        }
        let text = context.text_if(&["text"])?.unwrap_or_default();
        ensure!(
            !text.is_empty(),
            "field 'context.text': is empty; the dataset's get-mewsli-x.sh puts the articles' text back"
        );
        let mut bytes: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        bytes.push(text.len());
        let sentences = context
            .list(&["sentence_spans"])
            .iter()
            .map(|s| span(s, &bytes).context("field 'context.sentence_spans'"))
            .collect::<Result<Vec<_>>>()?;
        let language = sink.language(&code)?;
        for mention in record.list(&["mentions"]) {
            let Value::Object(mention) = mention else {
                bail!("field 'mentions': must be a list of objects")
            };
            let mention = Record(mention.clone());
            let id = mention.id(&["example_id"])?;
            let (_, place) = mention
                .get(&["mention_span"])
                .with_context(|| format!("mention '{id}': no 'mention_span'"))?;
            let said = place.get("text").and_then(Value::as_str);
            let place = span(place, &bytes).with_context(|| format!("mention '{id}': mention_span"))?;
            let sentence =
                sentences.iter().find(|s| s.contains(&place.start)).cloned().unwrap_or(0..text.len());
            let (mention_text, sentence) = (&text[place], text[sentence].trim());
            // A span that lies elsewhere asks about something else.
            if said.is_some_and(|said| said != mention_text) {
                lost += 1;
                continue;
            }
            asked += 1;
            let entity = mention.id(&["entity_id"])?;
            let question = format!("{mention_text}: {sentence}");
            let Some((group, _)) = sink.ask(&id, "all", language, &question)? else { continue };
            match sink.find_passage(&entity) {
                Some(passage) => sink.relevant(group, passage),
                None => missing.add(&entity, &mentions.path, line),
            }
        }
        Ok(())
    })?;
    if lost > 0 {
        let what = format!(
            "{lost} mentions were left out: their article has another text where mention_span says; get-mewsli-x.sh \
             fetches the articles anew"
        );
        ensure!(asked > 0, "{}: {what}", mentions.path.display());
        sink.note(what);
    }
    sink.note("a question is the mention, then its sentence; a candidate is title and description".into());
    missing.refuse("the whole candidate_set_entities.jsonl")
}

/// `{"start": a, "end": b}` or `[a, b]` in code points, as bytes.
fn span(value: &Value, bytes: &[usize]) -> Result<std::ops::Range<usize>> {
    let (start, end) = match value {
        Value::Object(span) => (span.get("start"), span.get("end")),
        Value::Array(span) => (span.first(), span.get(1)),
        _ => (None, None),
    };
    let at = |v: Option<&Value>| v.and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let (Some(start), Some(end)) = (at(start), at(end)) else { bail!("must have a start and an end") };
    ensure!(
        start <= end && end < bytes.len(),
        "[{start}, {end}] lies outside the text's {} characters",
        bytes.len() - 1
    );
    Ok(bytes[start]..bytes[end])
}
