//! Tests of language fairness against `SciPy` (`scripts/golden/fairness.py`), and PEER where it has a value.
#![allow(clippy::unwrap_used)]

#[path = "common/made.rs"]
mod made;

use polymix::evaluate::{chi_square_above, friedman, peer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    chi_square: Vec<Tail>,
    friedman: Vec<FriedmanCase>,
    peer: Vec<PeerCase>,
}

#[derive(Deserialize)]
struct Tail {
    x: f64,
    freedom: usize,
    above: f64,
}

#[derive(Deserialize)]
struct FriedmanCase {
    blocks: Vec<Vec<f64>>,
    chi_square: f64,
    p: f64,
    w: f64,
}

#[derive(Deserialize)]
struct PeerCase {
    groups: Vec<Vec<u32>>,
    cutoff: u32,
    reference: f64,
    reranked: f64,
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-290 + 1e-9 * expected, "{found:e}, SciPy says {expected:e}");
}

#[test]
fn chi_square_friedman_and_peer_equal_scipy() {
    let golden: Golden = serde_json::from_str(include_str!("golden/fairness.json")).unwrap();
    assert_eq!((golden.chi_square.len(), golden.friedman.len(), golden.peer.len()), (84, 40, 60));
    for tail in golden.chi_square {
        close(chi_square_above(tail.x, tail.freedom), tail.above);
    }
    for case in golden.friedman {
        let found = friedman(&case.blocks).unwrap();
        close(found.chi_square, case.chi_square);
        close(found.p, case.p);
        close(found.kendall_w, case.w);
    }
    for case in golden.peer {
        let (reference, reranked) = peer(&case.groups, Some(case.cutoff)).unwrap();
        close(reference, case.reference);
        close(reranked, case.reranked);
    }
}

/// Two relevant passages a language: one language's come first, or the two take turns.
#[test]
fn an_unfair_pool_has_a_lower_peer_than_a_fair_one() {
    let mut dataset = made::parallel(&["aa", "bb"], 4);
    for group in &mut dataset.groups {
        group.relevant = (0..8).collect();
    }
    let value = |scores: [f32; 8]| {
        let found = made::evaluate("m", &dataset, &vec![scores.to_vec(); 8]);
        let peer = found.fairness.peer.iter().find(|p| p.name == "peer_reranked" && p.cutoff.is_none());
        let peer = peer.unwrap().clone();
        assert_eq!((peer.questions, peer.undefined), (8, None));
        peer.value.unwrap()
    };
    let turns = value([8.0, 5.0, 4.0, 1.0, 7.0, 6.0, 3.0, 2.0]);
    let first = value([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
    assert!((turns - 1.0).abs() < 1e-12, "equal rank sums: {turns}");
    // Rank sums 10 and 26 of eight: H = 5.333.
    assert!((first - chi_square_above(16.0 / 3.0, 1)).abs() < 1e-12, "{first}");
}

/// Ids that lack a language have no complete block; the record says so instead of giving a number.
#[test]
fn friedman_without_a_complete_question_is_undefined() {
    let mut dataset = made::parallel(&["aa", "bb", "cc"], 2);
    for (index, group) in dataset.groups.iter_mut().enumerate() {
        group.relevant.remove(index);
    }
    let found = made::evaluate("m", &dataset, &vec![vec![1.0; 6]; 6]);
    for test in &found.fairness.friedman {
        assert_eq!((test.blocks, test.p), (0, None));
        assert!(test.undefined.as_ref().unwrap().contains("in every language"), "{test:?}");
    }
    assert_eq!(found.fairness.strata.iter().map(|s| (s.relevant, s.questions)).collect::<Vec<_>>(), [(2, 6)]);
}
