//! Fewer questions, for a trial.

use super::{Dataset, Group, Parts, Question};

impl Dataset {
    /// The same dataset with at most `count` question ids, evenly spread over it. All passages stay: the pools are as they
    /// were.
    #[must_use]
    pub fn limit_questions(&self, count: usize) -> Self {
        let total = self.groups.len();
        if count >= total {
            return self.clone();
        }
        let mut parts = Parts {
            languages: self.languages.clone(),
            domains: self.domains.clone(),
            passages: self.passages.clone(),
            notes: self.notes.clone(),
            ..Parts::default()
        };
        parts.notes.push(format!("{count} of {total} question ids, evenly spread"));
        for place in 0..count {
            let group = &self.groups[place * total / count];
            let index = parts.groups.len() as u32;
            let mut questions = vec![None; self.languages.len()];
            for (slot, question) in questions.iter_mut().zip(&group.questions) {
                *slot = question.map(|q| {
                    parts.questions.push(Question { group: index, ..self.questions[q as usize].clone() });
                    parts.questions.len() as u32 - 1
                });
            }
            parts.groups.push(Group { questions, ..group.clone() });
        }
        Self::assemble(self.name.clone(), parts)
    }
}
