//! Which facts are held out.

use std::collections::HashMap;

use anyhow::{Result, bail};

use crate::stream::key;

/// A part of the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Train,
    Validation,
    Evaluation,
}

impl Part {
    pub fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "train" => Self::Train,
            "validation" => Self::Validation,
            "evaluation" => Self::Evaluation,
            other => bail!("part '{other}': unknown; the demo corpus has train, validation and evaluation"),
        })
    }
}

/// Of every relation one fact in eight is held out for evaluation and one in twenty-five for validation, if its subject
/// keeps a trained fact and its relation keeps at least half of its facts.
pub fn split(facts: &[(&str, &str)]) -> Vec<Part> {
    let mut parts = vec![Part::Train; facts.len()];
    let mut trained_of_subject: HashMap<&str, usize> = HashMap::new();
    let mut by_relation: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut relations: Vec<&str> = Vec::new();
    for (index, (subject, relation)) in facts.iter().enumerate() {
        *trained_of_subject.entry(subject).or_default() += 1;
        let of = by_relation.entry(relation).or_default();
        if of.is_empty() {
            relations.push(relation);
        }
        of.push(index);
    }
    for relation in relations {
        let mut order = by_relation[relation].clone();
        order.sort_by_key(|i| key(0, facts[*i].0, key(0, relation, 0)));
        let held = |share: f64| (order.len() as f64 * share).round() as usize;
        let (evaluation, validation) = (held(0.125), held(0.04));
        let mut taken = 0;
        for index in order {
            if taken == evaluation + validation {
                break;
            }
            let Some(left) = trained_of_subject.get_mut(facts[index].0).filter(|left| **left > 1) else {
                continue;
            };
            *left -= 1;
            parts[index] = if taken < evaluation { Part::Evaluation } else { Part::Validation };
            taken += 1;
        }
    }
    parts
}
