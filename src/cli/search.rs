//! `polymix search`: the first passages of an index for questions, as a TREC run.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::encoder::{self, EncoderArgs, QuestionArgs};
use super::progress::Progress;
use super::table::thousands;
use super::{print, print_bytes};
use crate::corpus;
use crate::encoder::Route;
use crate::evaluate::Embeddings;
use crate::evaluate::search::{Hit, Index, Texts, top_k_without};
use crate::files::replace_with;
use crate::run::{self, Progressing, Store};
use crate::spec::{Candidate, DatasetRef, Dtype};
use crate::train::{Event, Stage, device};

/// Arguments of `polymix search`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub struct Args {
    /// Directory that `polymix encode` has made
    #[arg(long, value_name = "DIR")]
    index: PathBuf,
    /// Model directory, run or model of the hub; must be the one that made the index [default: the one named there]
    #[arg(long, value_name = "DIR|RUN|NAME")]
    model: Option<String>,
    /// Questions one a line: ID<TAB>TEXT, or JSON with "_id" and "text"; .gz is unpacked
    #[arg(long, value_name = "FILE", group = "source")]
    queries: Option<PathBuf>,
    /// Questions of a dataset: NAME, NAME[PART], NAME=PATH; their ids are LANGUAGE:ID
    #[arg(long, value_name = "NAME[=PATH]", group = "source")]
    data: Option<String>,
    /// A question (repeatable); their ids are 1, 2, ...
    #[arg(long, value_name = "TEXT", group = "source")]
    query: Vec<String>,
    /// Language of the questions, for a model with language adapters [default: with --data each question's own, else the base
    /// alone]
    #[arg(long, value_name = "CODE", value_parser = encoder::language)]
    language: Option<String>,
    /// Passages a question
    #[arg(long, short, default_value_t = 100, value_name = "N")]
    k: usize,
    /// File of the run, packed where the name ends in .gz [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    questions: QuestionArgs,
    #[command(flatten)]
    encoder: EncoderArgs,
}

/// Runs the command: lines `question Q0 passage rank score polymix`.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    let start = Instant::now();
    ensure!(args.k > 0, "--k 0: must be at least 1");
    let index = Index::open(&args.index)?;
    index.check_complete()?;
    let manifest = &index.manifest;
    let Questions { texts: questions, without, notes } = questions(args)?;
    let model = args.model.as_ref().unwrap_or(&manifest.model);
    let mut spec = encoder::spec(model, &args.encoder, Some(&args.questions), None, store)
        .with_context(|| format!("the model of {}; name it with --model", args.index.display()))?;
    spec.model.passage_prefix = Some(manifest.passage_prefix.clone());
    let device = device::open(&args.encoder.device)?;
    let mut progress = Progress::new();
    for note in &notes {
        progress.line(&format!("note: {note}"));
    }
    progress.event(&Event::Progress { stage: Stage::Loading, done: 0, total: 1 });
    let encoder = run::open_model(&spec.model, spec.seed, &device, Dtype::F32)?;
    encoder::tell_prefixes(&encoder, &mut progress);
    let made = [&manifest.model_hash, &manifest.pooling];
    let here = [&encoder.fingerprint()?, &encoder.pooling().to_owned()];
    ensure!(
        made == here,
        "{}: was made by another model than {model}: its hash is {:.12}... with pooling {}, this one's {:.12}... with \
         pooling {}",
        args.index.display(),
        made[0],
        made[1],
        here[0],
        here[1]
    );
    let languages: Vec<String> = match (&args.language, &args.data) {
        (None, Some(_)) => {
            let mut known: Vec<String> =
                questions.iter().filter_map(|(id, _)| Some(id.split(':').next()?.to_owned())).collect();
            known.sort();
            known.dedup();
            known
        }
        (stated, _) => stated.iter().cloned().collect(),
    };
    for note in encoder::adapter_notes(&encoder, &languages) {
        progress.line(&format!("note: {note}"));
    }
    let vectors = {
        let mut stage = Progressing::new(Stage::EncodingQuestions, |event: Event| {
            progress.event(&event);
            Ok(())
        });
        let texts: Vec<&str> = questions.iter().map(|(_, text)| text.as_str()).collect();
        let routes: Vec<Route> = match (&args.language, &args.data) {
            (Some(language), _) => vec![encoder.route(language); texts.len()],
            // Their ids are LANGUAGE:ID.
            (None, Some(_)) => questions.iter().map(|(id, _)| encoder.route(id.split(':').next()?)).collect(),
            (None, None) => Vec::new(),
        };
        let longest = spec.model.max_query_tokens.min(encoder.config.longest());
        let tokens = encoder.tokenizer.encode(&encoder.query_prefix, &texts, longest)?;
        let mut at = |done| stage.at(done, texts.len());
        let data = encoder.encode_routed(&tokens.ids, &routes, spec.evaluate.batch_tokens, &mut at)?;
        Embeddings { width: encoder.width(), data }
    };
    let encoded = start.elapsed().as_secs_f64();
    let hits = {
        let mut stage = Progressing::new(Stage::Ranking, |event: Event| {
            progress.event(&event);
            Ok(())
        });
        top_k_without(&index, &vectors, &without, args.k, &device, &mut |done, total| stage.at(done, total))?
    };
    progress.line(&format!(
        "{} questions, {} passages: {:.1} s, of it {:.1} s for the search",
        thousands(questions.len()),
        thousands(manifest.rows as usize),
        start.elapsed().as_secs_f64(),
        start.elapsed().as_secs_f64() - encoded
    ));
    let lines = || questions.iter().zip(&hits).map(|((id, _), hits)| lines(id, hits));
    match &args.out {
        None => lines().try_for_each(|lines| print_bytes(lines.as_bytes())),
        Some(out) => {
            replace_with(out, |file| {
                if out.extension().is_some_and(|e| e == "gz") {
                    let mut file = GzEncoder::new(file, Compression::fast());
                    lines().try_for_each(|lines| file.write_all(lines.as_bytes()))?;
                    file.finish()?;
                } else {
                    lines().try_for_each(|lines| file.write_all(lines.as_bytes()))?;
                }
                Ok(())
            })?;
            print(&out.display().to_string())
        }
    }
}

/// What is asked.
struct Questions {
    /// Ids and texts.
    texts: Vec<(String, String)>,
    /// Ids of passages that are a question itself, and no candidates for it: by question, or nothing.
    without: Vec<Vec<String>>,
    notes: Vec<String>,
}

fn questions(args: &Args) -> Result<Questions> {
    let (mut without, mut notes) = (Vec::new(), Vec::new());
    let texts: Vec<(String, String)> = match (&args.queries, &args.data) {
        (Some(path), _) => {
            Texts::summarise(path)?;
            Texts::open(path)?.collect::<Result<_>>()?
        }
        (None, Some(name)) => {
            let name: DatasetRef = name.parse().map_err(|e| anyhow::anyhow!("--data {name}: {e}"))?;
            let dataset = corpus::open(&name, Candidate::Sentence)?;
            let id = |question: &corpus::Question| {
                let group = dataset.groups[question.group as usize].id.replace(char::is_whitespace, "_");
                format!("{}:{group}", dataset.languages[usize::from(question.language)])
            };
            let count = dataset.without_itself();
            if count > 0 {
                let ids = |passages: &Vec<u32>| {
                    passages.iter().map(|p| dataset.passages[*p as usize].id.clone()).collect()
                };
                let itself = |q: &corpus::Question| dataset.itself.get(&q.group).map_or_else(Vec::new, ids);
                without = dataset.questions.iter().map(itself).collect();
                notes.push(format!(
                    "{count} questions are documents too and are not ranked against themselves (self=keep does)"
                ));
            }
            dataset.questions.iter().map(|q| (id(q), q.text.clone())).collect()
        }
        (None, None) => {
            args.query.iter().enumerate().map(|(i, text)| ((i + 1).to_string(), text.clone())).collect()
        }
    };
    if texts.is_empty() {
        bail!("there is no question");
    }
    Ok(Questions { texts, without, notes })
}

fn lines(id: &str, hits: &[Hit]) -> String {
    hits.iter().enumerate().fold(String::new(), |mut lines, (rank, hit)| {
        // Writing into a String cannot fail.
        let _ = writeln!(lines, "{id} Q0 {} {} {} polymix", hit.id, rank + 1, hit.score);
        lines
    })
}
