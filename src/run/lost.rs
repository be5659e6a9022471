//! What an event log lacks: lines that were damaged, and steps that no line tells of.

use std::collections::BTreeSet;

use crate::train::{Event, Record};

/// Runs of steps that a message names.
const NAMED: usize = 4;

/// What is lost of an event log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Lines that were damaged.
    pub damaged: usize,
    /// Steps that were done and that no line tells of: the first and the last of each run of them, ascending.
    pub missing: Vec<(usize, usize)>,
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
        let runs = &self.missing;
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
        Some(match runs.as_slice() {
            [(first, last)] if first == last => format!("step {listed} is missing"),
            _ => format!("steps {listed} are missing"),
        })
    }
}

/// The steps from 1 to `last` that no record tells of, as runs of them. However large a number a file gives, no more is kept
/// than there are records.
#[must_use]
pub fn missing_steps(records: &[Record], last: usize) -> Vec<(usize, usize)> {
    let told: BTreeSet<usize> = (records.iter())
        .filter_map(|record| match record.event {
            Event::Step { step, .. } if (1..=last).contains(&step) => Some(step),
            _ => None,
        })
        .collect();
    let told_last = told.last().copied();
    let mut runs = Vec::new();
    let mut next = 1;
    for step in told {
        if next < step {
            runs.push((next, step - 1));
        }
        next = step.saturating_add(1);
    }
    if next <= last && told_last != Some(last) {
        runs.push((next, last));
    }
    runs
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
        let gap = |missing: &[(usize, usize)]| Lost { damaged: 0, missing: missing.to_vec() }.gap();
        assert_eq!(gap(&[]), None);
        assert_eq!(gap(&[(5, 5)]).as_deref(), Some("step 5 is missing"));
        assert_eq!(gap(&[(5, 6)]).as_deref(), Some("steps 5 to 6 are missing"));
        assert_eq!(gap(&[(2, 2), (5, 7)]).as_deref(), Some("steps 2 and 5 to 7 are missing"));
        let many = [(1, 1), (3, 3), (5, 5), (7, 7), (9, 10)];
        assert_eq!(gap(&many).as_deref(), Some("steps 1, 3, 5, 7 and 2 more are missing"));
        let lines = |damaged| Lost { damaged, missing: Vec::new() }.damaged_lines("skipped");
        assert_eq!(lines(0), None);
        assert_eq!(lines(1).as_deref(), Some("1 damaged line was skipped"));
        assert_eq!(lines(2).as_deref(), Some("2 damaged lines were skipped"));
    }

    #[test]
    fn a_step_number_that_no_machine_can_count_to_takes_no_memory() {
        let step = |step| {
            Record::now(Event::Step {
                step,
                kind: String::new(),
                language: None,
                loss: None,
                learning_rate: 0.0,
                grad_norm: None,
                pairs: 0,
                tokens: 0,
                seconds: 0.0,
            })
        };
        let records = [step(2), step(3), step(6), step(3), step(0)];
        assert_eq!(missing_steps(&records, 6), [(1, 1), (4, 5)]);
        assert_eq!(missing_steps(&records, usize::MAX), [(1, 1), (4, 5), (7, usize::MAX)]);
        assert_eq!(missing_steps(&records[..2], 2), [(1, 1)], "what comes later is not asked for");
        assert!(missing_steps(&[], 0).is_empty());
        let all = Lost { damaged: 0, missing: missing_steps(&[step(usize::MAX)], usize::MAX) };
        assert!(all.gap().expect("a gap").starts_with("steps 1 to "));
    }
}
