//! Fewer questions, for a trial.

use super::{Answer, Dataset, Group, Parts, Question};

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
            inputs: self.inputs.clone(),
            ..Parts::default()
        };
        parts.notes.push(format!("{count} of {total} question ids, evenly spread"));
        let mut moved = vec![None; self.questions.len()];
        for place in 0..count {
            let at = place * total / count;
            let group = &self.groups[at];
            parts.negatives.extend(self.negatives.get(at).cloned());
            let index = parts.groups.len() as u32;
            let mut questions = vec![None; self.languages.len()];
            for (slot, question) in questions.iter_mut().zip(&group.questions) {
                *slot = question.map(|q| {
                    parts.questions.push(Question { group: index, ..self.questions[q as usize].clone() });
                    let new = parts.questions.len() as u32 - 1;
                    moved[q as usize] = Some(new);
                    new
                });
            }
            parts.take_labels(self, at as u32, index, Some);
            parts.groups.push(Group { questions, ..group.clone() });
        }
        let kept = |a: &Answer| Some(Answer { question: moved[a.question as usize]?, ..*a });
        parts.answers = self.answers.iter().filter_map(kept).collect();
        Self::assemble(self.name.clone(), parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Passage;

    #[test]
    fn negatives_grades_and_answers_stay_with_their_questions() {
        let question = |group: u32| Question { group, language: 0, text: format!("q{group}") };
        let group =
            |g: u32| Group { id: g.to_string(), domain: 0, questions: vec![Some(g)], relevant: vec![g] };
        let data = Dataset::assemble(
            "made".into(),
            Parts {
                languages: vec!["en".into()],
                domains: vec!["all".into()],
                groups: (0..4).map(group).collect(),
                questions: (0..4).map(question).collect(),
                passages: (0..4)
                    .map(|p| Passage { id: format!("p{p}"), language: 0, text: format!("t{p}") })
                    .collect(),
                negatives: vec![vec![1], vec![2], vec![3], vec![0]],
                grades: [((1, 1), 3), ((2, 2), 2)].into(),
                itself: [(0, vec![3]), (2, vec![0, 1])].into(),
                answers: (0..4).map(|q| Answer { question: q, passage: q, end: q }).collect(),
                ..Parts::default()
            },
        );
        let half = data.limit_questions(2);
        assert_eq!(half.questions.iter().map(|q| q.text.as_str()).collect::<Vec<_>>(), ["q0", "q2"]);
        assert_eq!(half.negatives, [vec![1], vec![3]]);
        let second = Answer { question: 1, passage: 2, end: 2 };
        assert_eq!(half.answers, [Answer { question: 0, passage: 0, end: 0 }, second]);
        assert_eq!(
            (half.grades, half.itself),
            ([((1, 2), 2)].into(), [(0, vec![3]), (1, vec![0, 1])].into())
        );
        assert_eq!(half.passages, data.passages);
    }
}
