//! XM3600 (Thapliyal et al. 2022) as a text task: from a caption to another caption of the same image, within a
//! language and across languages. The first caption of a language asks, its others are candidates.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::open::Request;
use super::read::{self, json_lines};
use super::{Sink, language};

/// Reads `captions.jsonl`.
pub fn read(request: &Request<'_>, sink: &mut dyn Sink) -> Result<()> {
    let options = request.options;
    let _ = options.languages();
    options.finish(false)?;
    let found = read::find(request.path)?;
    let file =
        read::one(&found, request.path, "captions.jsonl", "", |f| f.says("captions") && f.ends(&[".jsonl"]))?;
    sink.input(&file.path)?;
    let mut alone = 0;
    json_lines(&file.path, |_, record| {
        let key = record.id(&["image/key", "image_key", "image_id"])?;
        ensure!(sink.find_group(&key).is_none(), "image '{key}': comes twice; remove one of its lines");
        let mut any = false;
        for (field, value) in &record.0 {
            let Value::Object(captions) = value else { continue };
            let Some(list) = captions.get("caption") else { continue };
            any = true;
            let code = language::normalise(field);
            if !options.wants(&code) {
                continue;
            }
            let Value::Array(list) = list else { bail!("field '{field}.caption': must be a list of texts") };
            let language = sink.language(&code)?;
            // The first caption that is not blank asks.
            let mut asked = None;
            let mut others = 0;
            for (position, caption) in list.iter().enumerate() {
                let Some(text) = caption.as_str() else {
                    bail!("field '{field}.caption': must be a list of texts")
                };
                if let Some((group, _)) = asked {
                    let id = || format!("{code}_{key}_{position}");
                    let passage = sink.new_passage(&id, language, text)?;
                    sink.relevant(group, passage);
                    others += usize::from(!text.trim().is_empty());
                } else {
                    asked = sink.ask(&key, "all", language, text)?;
                }
            }
            alone += usize::from(asked.is_some() && others == 0);
        }
        ensure!(any, "image '{key}': no field with captions, such as \"en\": {{\"caption\": [...]}}");
        Ok(())
    })?;
    sink.note(
        "the first caption of an image in a language asks; its other captions are the candidates".into(),
    );
    if alone > 0 {
        sink.note(format!(
            "{alone} captions are the only ones of their image and language: they ask, but are no candidates"
        ));
    }
    Ok(())
}
