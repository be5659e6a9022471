//! What a dataset is like, without its texts: the numbers that a plan needs, how long each text is, and some of the texts.
//!
//! A large dataset is read once, as for its token cache, but nothing is tokenised or written: memory grows with the
//! number of texts (about what building the cache takes), never with their length. The last surveys are kept while the
//! program runs, so that a form can be changed and looked at again.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};

use super::digests::Stamp;
use super::prepare::{WAITING, paths};
use super::sink::{CacheSink, Kept};
use super::writer::Slice;
use crate::batch::Layout;
use crate::corpus::{self, Input};
use crate::spec::{Candidate, DatasetRef};
use crate::stream::Stream;

/// Texts of a side that are kept.
const SAMPLE: usize = 2048;
/// Surveys that are kept.
const KEPT: usize = 4;

/// The questions, or the passages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Bytes and characters of each text, each at most 65,535: a longer one is cut anyway.
    lengths: Vec<(u16, u16)>,
    /// Bytes of all.
    pub bytes: u64,
    /// Texts drawn evenly.
    pub sample: Vec<String>,
}

impl Side {
    /// How many texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Bytes of a text.
    #[must_use]
    pub fn bytes_of(&self, text: u32) -> usize {
        usize::from(self.lengths[text as usize].0)
    }

    /// Characters of a text.
    #[must_use]
    pub fn characters_of(&self, text: u32) -> usize {
        usize::from(self.lengths[text as usize].1)
    }

    /// Bytes of each text.
    pub fn each(&self) -> impl Iterator<Item = usize> + '_ {
        self.lengths.iter().map(|l| usize::from(l.0))
    }

    fn add(&mut self, text: String, draw: &mut Stream) {
        let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        self.lengths.push((short(text.len()), short(text.chars().count())));
        self.bytes += text.len() as u64;
        // Every text has the same chance to stay (Vitter's algorithm R).
        if self.sample.len() < SAMPLE {
            self.sample.push(text);
        } else if let Some(place) = self.sample.get_mut(draw.below(self.lengths.len())) {
            *place = text;
        }
    }
}

/// What was seen of a dataset.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    pub layout: Layout,
    pub questions: Side,
    pub passages: Side,
    /// Questions and passages by language, in the layout's order.
    pub by_language: Vec<(u64, u64)>,
    pub notes: Vec<String>,
}

/// What a survey is of: name with settings and path, candidates, and the files as they were.
type Key = (String, Candidate, Vec<(PathBuf, Stamp)>);

/// The last surveys, the newest last.
static LAST: Mutex<Vec<(Key, Arc<Survey>)>> = Mutex::new(Vec::new());

/// Reads a dataset from start to end, or gives the survey that was made of the same files before. `progress` hears (texts,
/// of about how many) and ends the reading with an error.
///
/// # Errors
/// What is wrong with the data, and what `progress` returns.
pub fn survey(
    dataset: &DatasetRef,
    candidate: Candidate,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Arc<Survey>> {
    let located = corpus::locate(dataset)?;
    let files: Vec<(PathBuf, Stamp)> =
        paths(&located)?.into_iter().map(|p| Ok((p.clone(), Stamp::of(&p)?))).collect::<Result<_>>()?;
    let key = (format!("{dataset} {located}"), candidate, files);
    let known = |last: &[(Key, Arc<Survey>)]| last.iter().find(|l| l.0 == key).map(|l| Arc::clone(&l.1));
    if let Some(survey) = known(&LAST.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(survey);
    }
    let inputs: Vec<Input> = key.2.iter().map(|(path, _)| unread(path)).collect();
    let size: u64 = inputs.iter().map(|i| i.bytes).sum();
    let survey = Arc::new(read(dataset, candidate, &inputs, size, progress)?);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.len() >= KEPT {
        last.remove(0);
    }
    last.push((key, Arc::clone(&survey)));
    Ok(survey)
}

/// A file that need not be hashed: nothing is filed under it.
fn unread(path: &Path) -> Input {
    let bytes = std::fs::metadata(path).map_or(0, |m| m.len());
    Input { path: path.display().to_string(), bytes, sha256: String::new() }
}

fn read(
    dataset: &DatasetRef,
    candidate: Candidate,
    inputs: &[Input],
    size: u64,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Survey> {
    let mut report = |texts: u64, bytes: u64| {
        let total = (texts as f64 * size as f64 / bytes.max(1) as f64) as u64;
        progress(texts as usize, total.max(texts + 1) as usize)
    };
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| measure(receiver));
        let mut sink = CacheSink::new(sender, inputs, &mut report);
        let read = corpus::stream(dataset, candidate, &mut sink);
        let kept = match read {
            Ok(()) => sink.finish(&dataset.label()),
            Err(error) => {
                drop(sink);
                Err(error)
            }
        };
        let [questions, passages] =
            measuring.join().map_err(|_| anyhow!("the measuring thread ended early"))?;
        let kept = kept?;
        let Kept { layout, by_language, notes, .. } = kept;
        Ok(Survey { layout, questions, passages, by_language, notes })
    })
}

fn measure(slices: Receiver<Slice>) -> [Side; 2] {
    let mut sides = [Side::default(), Side::default()];
    let mut draw = Stream::new(0, "survey", 0);
    for Slice { questions, texts } in slices {
        let side = &mut sides[usize::from(!questions)];
        for text in texts {
            side.add(text, &mut draw);
        }
    }
    sides
}
