//! Small datasets whose scores are chosen freely: question i is the i-th unit vector, so that component i of a passage's
//! vector is its score for question i, exactly.
#![allow(dead_code)]

use polymix::corpus::{Dataset, Group, Passage, Question};
use polymix::evaluate::{Embeddings, Evaluation, Protocol, RankOptions, measure};

pub fn protocol(model: &str, dataset: &Dataset) -> Protocol {
    Protocol {
        version: 1,
        polymix: polymix::VERSION.into(),
        model: model.into(),
        dataset: dataset.name.clone(),
        dataset_hash: dataset.hash.clone(),
        questions: dataset.questions.len(),
        passages: dataset.passages.len(),
        candidate: "sentence".into(),
        pooling: "mean".into(),
        query_prefix: "Query: ".into(),
        passage_prefix: "Passage: ".into(),
        max_query_tokens: 64,
        max_passage_tokens: 192,
        truncated_questions: 0,
        truncated_passages: 0,
        lost_answers: 0,
        tie_rule: "score descending, then passage id descending (trec_eval)".into(),
        missing: polymix::spec::Missing::Zero,
        graded_labels: 0,
        without_itself: 0,
    }
}

/// A dataset without groups, questions and passages.
pub fn empty(languages: &[&str]) -> Dataset {
    Dataset {
        name: "made".into(),
        languages: languages.iter().map(|&l| l.to_owned()).collect(),
        domains: vec!["all".into()],
        groups: Vec::new(),
        questions: Vec::new(),
        passages: Vec::new(),
        hash: "a".repeat(64),
        notes: Vec::new(),
        ..Dataset::default()
    }
}

/// Each language has `groups` questions and as many passages, one relevant for each.
pub fn parallel(languages: &[&str], groups: usize) -> Dataset {
    let mut dataset = empty(languages);
    for (language, code) in languages.iter().enumerate() {
        for group in 0..groups {
            let text = format!("question {group} in {code}");
            dataset.questions.push(Question { group: group as u32, language: language as u16, text });
            let (id, text) =
                (format!("{code}_{group}"), format!("passage {group}, \"{code}\"\n& 100% | done"));
            dataset.passages.push(Passage { id, language: language as u16, text });
        }
    }
    for group in 0..groups {
        let all: Vec<u32> = (0..languages.len()).map(|l| (l * groups + group) as u32).collect();
        let questions = all.iter().copied().map(Some).collect();
        dataset.groups.push(Group { id: format!("q{group}"), domain: 0, questions, relevant: all });
    }
    dataset
}

/// Embeddings of questions and passages with these scores `[questions][passages]`.
pub fn embeddings(dataset: &Dataset, scores: &[Vec<f32>]) -> (Embeddings, Embeddings) {
    let width = scores.len();
    let mut questions = Embeddings { width, data: vec![0.0; width * width] };
    for index in 0..width {
        questions.data[index * width + index] = 1.0;
    }
    let data = (0..dataset.passages.len()).flat_map(|p| scores.iter().map(move |row| row[p])).collect();
    (questions, Embeddings { width, data })
}

/// Measures a dataset by these scores `[questions][passages]`.
pub fn evaluate(model: &str, dataset: &Dataset, scores: &[Vec<f32>]) -> Evaluation {
    let (questions, passages) = embeddings(dataset, scores);
    let protocol = protocol(model, dataset);
    measure(dataset, &questions, &passages, protocol, &RankOptions::default(), &mut |_, _| Ok(())).unwrap()
}

/// Scores where the relevant passage of the question's own language is first and that of language `l` has rank
/// `rank` of its own pool.
pub fn scores(dataset: &Dataset, rank: usize) -> Vec<Vec<f32>> {
    let groups = dataset.groups.len();
    dataset
        .questions
        .iter()
        .map(|question| {
            let mut row = vec![0.0; dataset.passages.len()];
            for (index, passage) in dataset.passages.iter().enumerate() {
                let own = passage.language == question.language;
                let relevant = index % groups == question.group as usize;
                // Wrong passages have scores 1, 2, ...; a relevant one stands half a point above the rank-th best.
                let wrong = (index + groups - question.group as usize) % groups;
                row[index] = match (own, relevant) {
                    (true, true) => 100.0,
                    (false, true) => (groups - rank) as f32 + 0.5,
                    _ => wrong as f32,
                };
            }
            row
        })
        .collect()
}
