//! The event log: append-only JSON lines, safe to read while it is written.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::train::{Event, Record};

/// Writes records; each is one `write` of one whole line.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: File,
}

impl EventLog {
    /// Opens the log for appending. A torn last line of a killed worker is ended, so that it spoils no other.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub fn append(path: &Path) -> Result<Self> {
        let context = || format!("{}: cannot open the event log", path.display());
        let mut file =
            OpenOptions::new().create(true).append(true).read(true).open(path).with_context(context)?;
        let length = file.metadata().with_context(context)?.len();
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(length - 1)).with_context(context)?;
            file.read_exact(&mut last).with_context(context)?;
            if last != *b"\n" {
                file.write_all(b"\n").with_context(context)?;
            }
        }
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends one event.
    ///
    /// # Errors
    /// Where the disk is full.
    pub fn write(&mut self, event: Event) -> Result<()> {
        let mut line = serde_json::to_vec(&Record::now(event))?;
        line.push(b'\n');
        self.file.write_all(&line).with_context(|| {
            format!("{}: cannot append to the event log (is the disk full?)", self.path.display())
        })
    }

    /// Drops the records of steps after `step`: a resumed run writes them again, equal.
    ///
    /// # Errors
    /// Where the log cannot be read or replaced.
    pub fn rewind(path: &Path, step: usize) -> Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let text = std::fs::read(path).with_context(|| format!("{}: cannot read", path.display()))?;
        let kept: Vec<u8> = text
            .split_inclusive(|&b| b == b'\n')
            .filter(|line| serde_json::from_slice::<Record>(line).is_ok_and(|r| !is_after(&r.event, step)))
            .flatten()
            .copied()
            .collect();
        crate::files::replace(path, &kept)
    }
}

/// True where the event belongs to a step after `step`, or ends the run.
fn is_after(event: &Event, step: usize) -> bool {
    match event {
        Event::Step { step: at, .. }
        | Event::Validation { step: at, .. }
        | Event::Evaluation { step: at, .. }
        | Event::Checkpoint { step: at, .. } => *at > step,
        Event::Drawn(drawn) => drawn.step > step,
        Event::Sample(sample) => sample.step > step,
        Event::Finished { .. } | Event::Failed { .. } | Event::Stopped { .. } | Event::Progress { .. } => {
            true
        }
        Event::Started { .. } | Event::Note { .. } => false,
    }
}

/// Reads what was appended since the last look.
#[derive(Clone, Debug)]
pub struct Tail {
    path: PathBuf,
    position: u64,
    rest: Vec<u8>,
}

impl Tail {
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, position: 0, rest: Vec::new() }
    }

    /// The records since the last call; starts over where the file has shrunk. A line that is not yet whole
    /// waits; a whole line that is no record is skipped.
    ///
    /// # Errors
    /// Where the file exists and cannot be read.
    pub fn poll(&mut self) -> Result<Vec<Record>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).with_context(|| format!("{}: cannot read", self.path.display())),
        };
        let context = || format!("{}: cannot read", self.path.display());
        if file.metadata().with_context(context)?.len() < self.position {
            self.position = 0;
            self.rest.clear();
        }
        file.seek(SeekFrom::Start(self.position)).with_context(context)?;
        let read = file.read_to_end(&mut self.rest).with_context(context)?;
        self.position += read as u64;
        let end = self.rest.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        let records = self.rest[..end]
            .split(|&b| b == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        self.rest.drain(..end);
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Event {
        Event::Note { message: text.into() }
    }

    #[test]
    fn a_torn_line_waits_and_spoils_no_other() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("events.jsonl");
        let mut tail = Tail::new(path.clone());
        assert!(tail.poll().expect("no file yet").is_empty());
        EventLog::append(&path).expect("open").write(note("one")).expect("write");
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .expect("open")
            .write_all(b"{\"v\":1,\"ti")
            .expect("torn");
        assert_eq!(tail.poll().expect("poll").len(), 1);
        assert!(tail.poll().expect("poll").is_empty());
        EventLog::append(&path).expect("open").write(note("two")).expect("write");
        let records = tail.poll().expect("poll");
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].event, note("two"));
    }

    #[test]
    fn rewind_keeps_what_the_checkpoint_knew() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("events.jsonl");
        let mut log = EventLog::append(&path).expect("open");
        for step in 1..=4 {
            log.write(Event::Validation { step, loss: Some(1.0), best: false }).expect("write");
        }
        log.write(Event::Stopped { step: 4 }).expect("write");
        EventLog::rewind(&path, 2).expect("rewind");
        let kept = Tail::new(path).poll().expect("poll");
        assert_eq!(kept.len(), 2);
    }
}
