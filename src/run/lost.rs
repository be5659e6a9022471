//! What an event log lacks: lines that were damaged, and steps that no line tells of.

use crate::train::{Event, Record};

/// Runs of steps that a message names.
const NAMED: usize = 4;

/// What is lost of an event log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Lines that were damaged.
    pub damaged: usize,
    /// Steps that were done and that no line tells of, ascending.
    pub missing: Vec<usize>,
}

impl Lost {
    /// "1 damaged line was skipped", with the word for what became of it; `None` where there was none.
    #[must_use]
    pub fn damaged_lines(&self, became: &str) -> Option<String> {
        match self.damaged {
            0 => None,
            1 => Some(format!("1 damaged line was {became}")),
            n => Some(format!("{n} damaged lines were {became}")),
        }
    }

    /// "steps 3 and 7 to 9 are missing"; `None` where none is.
    #[must_use]
    pub fn gap(&self) -> Option<String> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for &step in &self.missing {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == step => *last = step,
                _ => runs.push((step, step)),
            }
        }
        let mut names: Vec<String> = runs
            .iter()
            .take(NAMED)
            .map(|(first, last)| match last - first {
                0 => first.to_string(),
                _ => format!("{first} to {last}"),
            })
            .collect();
        if let Some(rest) = runs.get(NAMED..).filter(|rest| !rest.is_empty()) {
            names.push(format!("{} more", rest.iter().map(|(first, last)| last - first + 1).sum::<usize>()));
        }
        let last = names.pop()?;
        let listed = if names.is_empty() { last } else { format!("{} and {last}", names.join(", ")) };
        Some(if self.missing.len() == 1 {
            format!("step {listed} is missing")
        } else {
            format!("steps {listed} are missing")
        })
    }
}

/// The steps from 1 to `last` that no record tells of.
#[must_use]
pub fn missing_steps(records: &[Record], last: usize) -> Vec<usize> {
    let mut is_there = vec![false; last];
    for record in records {
        if let Event::Step { step, .. } = record.event
            && let Some(found) = step.checked_sub(1).and_then(|index| is_there.get_mut(index))
        {
            *found = true;
        }
    }
    (1..).zip(is_there).filter(|(_, is_there)| !is_there).map(|(step, _)| step).collect()
}

/// The last step that the records speak of as done.
#[must_use]
pub fn last_step(records: &[Record]) -> usize {
    let done = records.iter().filter_map(|record| match record.event {
        Event::Step { step, .. } | Event::Checkpoint { step, .. } | Event::Finished { step, .. } => {
            Some(step)
        }
        _ => None,
    });
    done.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_said_in_the_right_number() {
        let gap = |missing: &[usize]| Lost { damaged: 0, missing: missing.to_vec() }.gap();
        assert_eq!(gap(&[]), None);
        assert_eq!(gap(&[5]).as_deref(), Some("step 5 is missing"));
        assert_eq!(gap(&[5, 6]).as_deref(), Some("steps 5 to 6 are missing"));
        assert_eq!(gap(&[2, 5, 6, 7]).as_deref(), Some("steps 2 and 5 to 7 are missing"));
        assert_eq!(gap(&[1, 3, 5, 7, 9, 10]).as_deref(), Some("steps 1, 3, 5, 7 and 2 more are missing"));
        let lines = |damaged| Lost { damaged, missing: Vec::new() }.damaged_lines("skipped");
        assert_eq!(lines(0), None);
        assert_eq!(lines(1).as_deref(), Some("1 damaged line was skipped"));
        assert_eq!(lines(2).as_deref(), Some("2 damaged lines were skipped"));
    }
}
