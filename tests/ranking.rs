//! Ranking and metrics against an oracle that sorts everything, on data full of ties, and against hand-computed values.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

#[path = "common/made.rs"]
mod made;

use polymix::corpus::{Dataset, Group, Passage, Question};
use polymix::evaluate::{
    Embeddings, Evaluation, Judged, METRICS, Metric, Protocol, RankOptions, Setting, average_precision,
    measure, of_ranks, rank,
};
use polymix::spec::Missing;
use polymix::stream::Stream;

fn protocol() -> Protocol {
    Protocol {
        version: 1,
        polymix: polymix::VERSION.into(),
        model: "made".into(),
        dataset: "made".into(),
        dataset_hash: String::new(),
        questions: 0,
        passages: 0,
        candidate: "sentence".into(),
        pooling: "mean".into(),
        query_prefix: String::new(),
        passage_prefix: String::new(),
        max_query_tokens: 8,
        max_passage_tokens: 8,
        truncated_questions: 0,
        truncated_passages: 0,
        lost_answers: 0,
        tie_rule: "id descending".into(),
        missing: polymix::spec::Missing::Zero,
        graded_labels: 0,
        without_itself: 0,
    }
}

fn run(data: &Dataset, questions: &Embeddings, passages: &Embeddings) -> anyhow::Result<Evaluation> {
    let options = RankOptions { top: 20, block: 7 };
    measure(data, questions, passages, protocol(), &options, &mut |_, _| Ok(()))
}

/// Three languages; some questions and some relevant passages are missing; extra passages answer nothing.
fn random_data(stream: &mut Stream) -> (Dataset, Embeddings, Embeddings) {
    let languages: Vec<String> = ["aa", "bb", "cc"].map(String::from).to_vec();
    let (mut groups, mut questions, mut passages) = (Vec::new(), Vec::new(), Vec::new());
    for g in 0..30u32 {
        let (mut own, mut relevant) = (vec![None; 3], Vec::new());
        for language in 0..3u16 {
            if stream.below(5) > 0 {
                own[usize::from(language)] = Some(questions.len() as u32);
                questions.push(Question { group: g, language, text: format!("q{g}") });
            }
            for copy in 0..stream.below(3) {
                relevant.push(passages.len() as u32);
                let id = format!("{}{g}{copy}", stream.below(1000));
                passages.push(Passage { id: format!("{id}-{}", passages.len()), language, text: id });
            }
        }
        let id = format!("x{}-{g}", stream.below(100));
        passages.push(Passage { id, language: stream.below(3) as u16, text: String::new() });
        groups.push(Group { id: format!("g{g}"), domain: 0, questions: own, relevant });
    }
    // Few distinct vectors with whole numbers: exact ties everywhere.
    let mut vectors =
        |n: usize| Embeddings { width: 2, data: (0..2 * n).map(|_| stream.below(3) as f32).collect() };
    let (q, p) = (vectors(questions.len()), vectors(passages.len()));
    let data = Dataset {
        name: "made".into(),
        languages,
        domains: vec!["d".into()],
        groups,
        questions,
        passages,
        hash: String::new(),
        notes: Vec::new(),
        ..Dataset::default()
    };
    (data, q, p)
}

/// Ranks of the relevant passages within the pool of these languages, by sorting it.
fn oracle(data: &Dataset, q: &Embeddings, p: &Embeddings, question: usize, pool: &[u16]) -> Vec<u32> {
    let score =
        |passage: usize| -> f32 { q.row(question).iter().zip(p.row(passage)).map(|(a, b)| a * b).sum() };
    let mut order: Vec<usize> =
        (0..data.passages.len()).filter(|i| pool.contains(&data.passages[*i].language)).collect();
    order.sort_by(|a, b| {
        score(*b).total_cmp(&score(*a)).then(data.passages[*b].id.cmp(&data.passages[*a].id))
    });
    let relevant = &data.groups[data.questions[question].group as usize].relevant;
    let ranked = order.iter().enumerate().filter(|(_, p)| relevant.contains(&(**p as u32)));
    ranked.map(|(rank, _)| rank as u32 + 1).collect()
}

#[test]
fn every_cell_equals_the_oracle() {
    let mut stream = Stream::new(4, "ranking", 0);
    for round in 0..20 {
        let (data, q, p) = random_data(&mut stream);
        let missing = if round % 2 == 0 { Missing::Zero } else { Missing::Skip };
        let options = RankOptions { top: 20, block: 7 };
        let protocol = Protocol { missing, ..protocol() };
        let found = measure(&data, &q, &p, protocol, &options, &mut |_, _| Ok(())).unwrap();
        let exists = |question: usize, language: u16| {
            let group = &data.groups[data.questions[question].group as usize];
            let own = |p: &u32| data.passages[*p as usize].language == language;
            group.questions[usize::from(language)].is_some() || group.relevant.iter().any(own)
        };
        // Questions of `a` that exist in one of `other`, or all; ranked in `pool`.
        let check = |setting, a: u16, pool: &[u16], other: &[u16], passage: Option<usize>| {
            let asked =
                data.questions_in(a).filter(|i| other.is_empty() || other.iter().any(|b| exists(*i, *b)));
            let ranks: Vec<Vec<u32>> = asked.map(|i| oracle(&data, &q, &p, i, pool)).collect();
            let nothing = (missing == Missing::Zero).then_some([0.0; METRICS.len()]);
            let values: Vec<[f64; METRICS.len()]> =
                ranks.iter().filter_map(|r| of_ranks(r).or(nothing)).collect();
            for (index, metric) in METRICS.iter().enumerate() {
                let cell = found.cell(setting, metric, usize::from(a), passage);
                if values.is_empty() {
                    assert!(cell.is_none());
                    continue;
                }
                let mean = values.iter().map(|v| v[index]).sum::<f64>() / values.len() as f64;
                let cell = cell.unwrap();
                assert_eq!(cell.n, values.len());
                assert!((cell.value - mean).abs() < 1e-12, "{setting:?} {metric}: {} {mean}", cell.value);
            }
            let distances: Vec<f64> =
                ranks.iter().filter(|r| r.len() > 1).map(|r| f64::from(r[r.len() - 1] - r[0])).collect();
            if let (Setting::Multi, false) = (setting, distances.is_empty()) {
                let mean = distances.iter().sum::<f64>() / distances.len() as f64;
                let cell = found.cell(setting, "rank_distance", usize::from(a), None).unwrap();
                assert!((cell.value - mean).abs() < 1e-9);
            }
        };
        for a in 0..3u16 {
            let others: Vec<u16> = (0..3).filter(|b| *b != a).collect();
            check(Setting::Mono, a, &[a], &[], Some(usize::from(a)));
            for b in &others {
                check(Setting::Cross, a, &[*b], &[*b], Some(usize::from(*b)));
            }
            check(Setting::Multi, a, &[0, 1, 2], &[], None);
            check(Setting::Strict, a, &others, &others, None);
        }
        for row in &found.queries {
            let order: Vec<f32> = row.top_scores.clone();
            assert!(order.windows(2).all(|w| w[0] >= w[1]), "the first passages are in order");
            let relevant = &data.groups[data.questions[row.question as usize].group as usize].relevant;
            let ranks = oracle(&data, &q, &p, row.question as usize, &[0, 1, 2]);
            let shown: Vec<u32> = (1..=row.top.len() as u32)
                .filter(|rank| relevant.contains(&row.top[*rank as usize - 1]))
                .collect();
            assert_eq!(shown, ranks.into_iter().filter(|r| *r <= 20).collect::<Vec<_>>());
        }
        assert!(found.notes.iter().any(|n| n.contains("equal scores")), "such ties must be remarked on");
    }
}

/// Grades weigh nDCG's gain and nothing else; the question itself is neither ranked nor shown.
#[test]
fn grades_and_questions_among_the_passages_count_as_sorting_says() {
    let mut stream = Stream::new(4, "ranking", 5);
    for _ in 0..10 {
        let (mut data, q, p) = random_data(&mut stream);
        let plain = run(&data, &q, &p).unwrap();
        let mut without = data.clone();
        for (number, group) in (0u32..).zip(&data.groups) {
            for passage in group.relevant.iter().filter(|p| **p % 2 == 0) {
                data.grades.insert((number, *passage), 2 + passage % 3);
            }
            let own = (0..data.passages.len() as u32).filter(|p| p % 11 == number % 11);
            without.itself.insert(number, own.collect());
        }
        let graded = run(&data, &q, &p).unwrap();
        let value = |question: usize, pool: &[u16], metric: &str| {
            let group = data.questions[question].group;
            let mut one = data.clone();
            let mut found = Vec::new();
            for passage in &data.groups[group as usize].relevant {
                one.groups[group as usize].relevant = vec![*passage];
                let rank = oracle(&one, &q, &p, question, pool);
                found.extend(rank.first().map(|rank| (*rank, data.grade(group, *passage))));
            }
            found.sort_unstable();
            let mut grades: Vec<u32> = found.iter().map(|f| f.1).collect();
            grades.sort_unstable_by(|a, b| b.cmp(a));
            let judged = Judged { found: &found, grades: &grades };
            if found.is_empty() { 0.0 } else { Metric::parse(metric).unwrap().of(&judged) }
        };
        let mut differing = 0;
        for (before, after) in plain.cells.iter().zip(&graded.cells) {
            let a = after.query_language as u16;
            let is_in = |l: &u16| match after.passage_language {
                Some(b) => usize::from(*l) == b,
                None => after.setting != Setting::Strict || *l != a,
            };
            let pool: Vec<u16> = (0..3).filter(is_in).collect();
            if !after.metric.starts_with("ndcg@") {
                assert_eq!(before, after);
                continue;
            }
            differing += usize::from(before != after);
            let sum: f64 = data.questions_in(a).map(|i| value(i, &pool, &after.metric)).sum();
            assert!((after.value * after.n as f64 - sum).abs() < 1e-9, "{after:?} {sum}");
        }
        assert!(differing > 10, "{differing}");
        assert_eq!(graded.protocol.graded_labels, data.grades.len());
        assert_ne!(plain.protocol.id(), graded.protocol.id());
        assert!(!plain.protocol.stated().to_string().contains("graded"), "as it was");
        // What is tested is what the table shows.
        let place = tempfile::tempdir().unwrap();
        for (name, data, evaluation) in [("plain", &without, &plain), ("graded", &data, &graded)] {
            let dir = place.path().join(name);
            polymix::evaluate::write(&dir, data, evaluation, 5).unwrap();
            polymix::evaluate::significance::Outcomes::read(&dir, "ndcg@10").unwrap();
        }

        // The same as with a pool that never had these passages, question by question.
        let found = rank(&without, &q, &p, &RankOptions { top: 20, block: 7 }, &mut |_, _| Ok(())).unwrap();
        for (index, row) in found.rows.iter().enumerate() {
            let group = without.questions[index].group;
            let relevant = &without.groups[group as usize].relevant;
            let is_out = |p: u32| p % 11 == group % 11 && !relevant.contains(&p);
            assert!(row.top.iter().all(|p| !is_out(*p)));
            for (pool, ranks) in [(vec![0, 1, 2], &found.pool[index]), (vec![1], &found.own[index][1])] {
                let mut data = without.clone();
                let kept: Vec<u32> = (0..data.passages.len() as u32).filter(|p| !is_out(*p)).collect();
                data.passages = kept.iter().map(|p| without.passages[*p as usize].clone()).collect();
                let moved = |p: &u32| kept.iter().position(|k| k == p).unwrap() as u32;
                data.groups[group as usize].relevant = relevant.iter().map(moved).collect();
                let rows = kept.iter().flat_map(|at| p.row(*at as usize).to_vec()).collect();
                let vectors = Embeddings { width: p.width, data: rows };
                assert_eq!(&oracle(&data, &q, &vectors, index, &pool), ranks);
            }
        }
        let without = run(&without, &q, &p).unwrap().protocol;
        assert!(without.without_itself == data.questions.len() && without.id() != plain.protocol.id());
    }
}

/// The band is what the friendliest and the unfriendliest order of equal scores would give.
#[test]
fn the_tie_band_equals_the_oracle() {
    let mut stream = Stream::new(4, "ranking", 3);
    for _ in 0..20 {
        let (data, q, p) = random_data(&mut stream);
        let found = rank(&data, &q, &p, &RankOptions { top: 1, block: 7 }, &mut |_, _| Ok(())).unwrap();
        let mut band = 0.0;
        for question in 0..data.questions.len() {
            let relevant = &data.groups[data.questions[question].group as usize].relevant;
            let score = |passage: u32| -> f32 {
                q.row(question).iter().zip(p.row(passage as usize)).map(|(a, b)| a * b).sum()
            };
            let ap = |friendly: bool| {
                let mut order: Vec<u32> = (0..data.passages.len() as u32).collect();
                let late = |p: &u32| relevant.contains(p) != friendly;
                order.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then(late(a).cmp(&late(b))));
                let ranked = (1u32..).zip(&order).filter(|(_, p)| relevant.contains(p));
                average_precision(&ranked.map(|(rank, _)| rank).collect::<Vec<_>>())
            };
            if !relevant.is_empty() {
                band += ap(true) - ap(false);
            }
        }
        let mean = band / data.questions.len() as f64;
        assert!((found.tie_band - mean).abs() < 1e-12 && mean > 1e-4, "{} {mean}", found.tie_band);
    }
}

/// The same whatever the order of the passages in the file, and after a monotone change of all scores.
#[test]
fn only_order_and_ids_matter() {
    let mut stream = Stream::new(4, "ranking", 4);
    let (data, q, p) = random_data(&mut stream);
    let before = run(&data, &q, &p).unwrap();
    let doubled = Embeddings { width: q.width, data: q.data.iter().map(|x| x * 2.0).collect() };
    assert_eq!(before.cells, run(&data, &doubled, &p).unwrap().cells);

    let mut order: Vec<usize> = (0..data.passages.len()).collect();
    stream.shuffle(&mut order);
    let mut moved = data.clone();
    moved.passages = order.iter().map(|&i| data.passages[i].clone()).collect();
    for group in &mut moved.groups {
        for passage in &mut group.relevant {
            *passage = order.iter().position(|o| *o == *passage as usize).unwrap() as u32;
        }
    }
    let p = Embeddings { width: p.width, data: order.iter().flat_map(|&i| p.row(i)).copied().collect() };
    assert_eq!(before.cells, run(&moved, &q, &p).unwrap().cells);
}

/// `cargo test --release --test ranking -- --ignored --nocapture` prints the time.
#[test]
#[ignore = "XQuAD-R's size: some seconds"]
fn eleven_languages_rank_within_seconds() {
    let (languages, groups, width) = (11u32, 1190u32, 384);
    let codes: Vec<String> = (0..languages).map(|l| format!("l{l:02}")).collect();
    let mut stream = Stream::new(4, "ranking", 5);
    let mut vectors = || {
        let mut data: Vec<f32> =
            (0..(languages * groups) as usize * width).map(|_| stream.normal() as f32).collect();
        for row in data.chunks_mut(width) {
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            for x in row {
                *x /= norm;
            }
        }
        Embeddings { width, data }
    };
    let (q, p) = (vectors(), vectors());
    let each = || (0..languages).flat_map(|l| (0..groups).map(move |g| (l as u16, g)));
    let all = |g: u32| (0..languages).map(move |l| l * groups + g);
    let data = Dataset {
        name: "made".into(),
        languages: codes,
        domains: vec!["d".into()],
        groups: (0..groups)
            .map(|g| Group {
                id: format!("g{g}"),
                domain: 0,
                questions: all(g).map(Some).collect(),
                relevant: all(g).collect(),
            })
            .collect(),
        questions: each()
            .map(|(language, group)| Question { group, language, text: String::new() })
            .collect(),
        passages: each()
            .map(|(language, g)| Passage { id: format!("{language}_{g}"), language, text: String::new() })
            .collect(),
        hash: String::new(),
        notes: Vec::new(),
        ..Dataset::default()
    };
    let start = std::time::Instant::now();
    let found = measure(&data, &q, &p, protocol(), &RankOptions::default(), &mut |_, _| Ok(())).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    println!("{} questions, {} passages: {seconds:.2} s", data.questions.len(), data.passages.len());
    assert_eq!(found.queries.len(), 13_090);
    assert!(seconds < 60.0, "{seconds}");
}

/// A group without any passage, asked once: it counts 0 or not at all, and the note says which.
#[test]
fn a_question_without_an_answer_counts_as_the_policy_says() {
    let mut data = made::parallel(&["aa", "bb"], 2);
    data.groups[1].relevant.clear();
    let scores = vec![vec![4.0, 3.0, 2.0, 1.0]; 4];
    let zero = made::evaluate("m", &data, &scores);
    let cell = |found: &polymix::evaluate::Evaluation| {
        let cell = found.cell(Setting::Mono, "map", 0, Some(0)).unwrap();
        (cell.n, cell.value)
    };
    assert_eq!(cell(&zero), (2, 0.5));
    assert!(
        zero.notes.iter().any(|n| n.starts_with("2 questions have no relevant passage")),
        "{:?}",
        zero.notes
    );
    let protocol = Protocol { missing: Missing::Skip, ..zero.protocol.clone() };
    assert_ne!(protocol.id(), zero.protocol.id(), "another protocol");
    let (q, p) = made::embeddings(&data, &scores);
    let skip = measure(&data, &q, &p, protocol, &RankOptions::default(), &mut |_, _| Ok(())).unwrap();
    assert_eq!(cell(&skip), (1, 1.0));
}

/// Two languages, two question ids; scores by hand.
#[test]
fn hand_computed_fixture() {
    let languages = vec!["aa".to_owned(), "bb".into()];
    let question = |group, language| Question { group, language, text: String::new() };
    let passage = |id: &str, language| Passage { id: id.into(), language, text: String::new() };
    let data = Dataset {
        name: "hand".into(),
        languages,
        domains: vec!["d".into()],
        groups: vec![
            Group { id: "g0".into(), domain: 0, questions: vec![Some(0), Some(1)], relevant: vec![0, 2] },
            Group { id: "g1".into(), domain: 0, questions: vec![Some(2), None], relevant: vec![1, 3] },
        ],
        questions: vec![question(0, 0), question(0, 1), question(1, 0)],
        passages: vec![passage("a0", 0), passage("a1", 0), passage("b0", 1), passage("b1", 1)],
        hash: String::new(),
        notes: Vec::new(),
        ..Dataset::default()
    };
    // Scores: question 0: a0 4, a1 3, b0 2, b1 1; question 1: 1, 3, 2, 4; question 2: all 0, a tie of four.
    let passages = Embeddings {
        width: 4,
        data: [[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.], [0., 0., 0., 1.]].concat(),
    };
    let questions =
        Embeddings { width: 4, data: [[4., 3., 2., 1.], [1., 3., 2., 4.], [0., 0., 0., 0.]].concat() };
    let found = run(&data, &questions, &passages).unwrap();
    let value = |setting, metric: &str, a, b| found.cell(setting, metric, a, b).unwrap().value;
    // aa, mono: question 0 has a0 first; question 2 ties, the greater id a1 comes first: both rank 1.
    assert_eq!(value(Setting::Mono, "map", 0, Some(0)), 1.0);
    // bb question in aa: a1 3 before a0 1.
    assert_eq!(value(Setting::Cross, "map", 1, Some(0)), 0.5);
    // aa in bb: question 0 has b0 first; question 2's b1 stands first of the tie.
    assert_eq!(value(Setting::Cross, "success@1", 0, Some(1)), 1.0);
    // Pool: question 0: ranks 1 and 3; question 2: order b1 b0 a1 a0, so ranks 1 and 3.
    assert_eq!(value(Setting::Multi, "map", 0, None), f64::midpoint(1.0, 2.0 / 3.0));
    assert_eq!(value(Setting::Multi, "rank_distance", 0, None), 2.0);
    // bb: b1 4, a1 3, b0 2, a0 1: ranks 3 and 4.
    assert_eq!(value(Setting::Multi, "map", 1, None), f64::midpoint(1.0 / 3.0, 2.0 / 4.0));
    assert_eq!(value(Setting::Multi, "recall@1", 0, None), 0.5);
    // Strict: aa's questions have b0 and b1 first in bb; bb's question has a1 3 before a0 1.
    assert_eq!(value(Setting::Strict, "map", 0, None), 1.0);
    assert_eq!(value(Setting::Strict, "map", 1, None), 0.5);
    // Question 2's tie of four with two relevant: at best places 1 and 2, at worst 3 and 4.
    assert_eq!(value(Setting::Multi, "map_best", 0, None), f64::midpoint(f64::midpoint(1.0, 2.0 / 3.0), 1.0));
    let worst = f64::midpoint(1.0 / 3.0, 2.0 / 4.0);
    assert_eq!(
        value(Setting::Multi, "map_worst", 0, None),
        f64::midpoint(f64::midpoint(1.0, 2.0 / 3.0), worst)
    );
    assert!(found.notes.iter().any(|n| n.contains("multi map lies between")), "{:?}", found.notes);
    let bias = &found.bias[0];
    assert_eq!((bias.pool_share, bias.rank_distance_median), (0.5, 2.0));
    // Two relevant in a pool of four: the least distance is 1, the largest 3. Both are first places of aa's questions.
    assert_eq!((bias.questions, bias.rank_distance_excess, bias.rank_difference), (2, 1.0, 2.0));
    assert_eq!((bias.rank_distance_share, bias.wrong_top1), (2.0 / 3.0, 0));
    // bb's question has b1 first, which is wrong and in its own language, which is half of the pool.
    let other = &found.bias[1];
    assert_eq!((other.wrong_top1, other.wrong_top1_own, other.own_preference), (1, 1.0, 2.0));
    let stratum = &found.fairness.strata[0];
    assert_eq!((found.fairness.strata.len(), stratum.relevant, stratum.questions), (1, 2, 3));
    assert!((stratum.mean - 5.0 / 3.0).abs() < 1e-12 && (stratum.excess - 2.0 / 3.0).abs() < 1e-12);
    // Ids: g0's mean ranks are (1 + 4) / 2 in aa and (3 + 3) / 2 in bb; g1's 3 and 1: the two disagree.
    let friedman = &found.fairness.friedman[0];
    assert_eq!((friedman.blocks, friedman.chi_square, friedman.kendall_w), (2, Some(0.0), Some(0.0)));
    assert!(found.fairness.peer.iter().all(|p| p.value.is_none() && p.undefined.is_some()));
    // One passage is kept first of each: aa's two questions have a0 and b1.
    let share = |passage: usize| {
        let row =
            found.histogram.iter().find(|s| (s.k, s.query_language, s.passage_language) == (1, 0, passage));
        row.map(|s| (s.count, s.share))
    };
    assert_eq!((share(0), share(1)), (Some((1, 0.5)), Some((1, 0.5))));
}

#[test]
fn an_embedding_that_is_not_finite_is_named() {
    let mut stream = Stream::new(4, "ranking", 1);
    let (data, mut q, mut p) = random_data(&mut stream);
    p.data[2 * 5] = f32::NAN;
    let error = run(&data, &q, &p).unwrap_err().to_string();
    assert!(error.contains(&data.passages[5].id) && error.contains("not finite"), "{error}");
    q.data[3] = f32::INFINITY;
    assert!(run(&data, &q, &p).unwrap_err().to_string().contains("question"));
}

#[test]
fn evaluations_are_read_back_as_written() {
    let mut stream = Stream::new(4, "ranking", 2);
    let (data, q, p) = random_data(&mut stream);
    let found = run(&data, &q, &p).unwrap();
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("an evaluation");
    polymix::evaluate::write(&dir, &data, &found, 5).unwrap();
    let again = polymix::evaluate::read(&dir).unwrap();
    assert_eq!((&again.cells, &again.protocol, &again.notes), (&found.cells, &found.protocol, &found.notes));
    assert_eq!(format!("{:?}", again.bias), format!("{:?}", found.bias));
    // JSON may lose the last digit.
    assert_eq!(format!("{:.12?}", again.fairness), format!("{:.12?}", found.fairness));
    assert_eq!(again.histogram, found.histogram);
    let queries = polymix::evaluate::read_queries(&dir).unwrap();
    assert_eq!(queries.len(), data.questions.len());
    for (view, row) in queries.iter().zip(&found.queries) {
        assert_eq!((&view.ranks, &view.pool_ranks), (&row.rank_by_language, &row.multi_rank_by_language));
        assert_eq!(view.top[0].id, data.passages[row.top[0] as usize].id);
    }
    let mut run_file = String::new();
    let gz = std::fs::File::open(dir.join("run.trec.gz")).unwrap();
    let mut gz = flate2::read::GzDecoder::new(gz);
    std::io::Read::read_to_string(&mut gz, &mut run_file).unwrap();
    let named: Protocol = serde_json::from_slice(gz.header().unwrap().comment().unwrap()).unwrap();
    assert_eq!(named, found.protocol, "a copied run file still names its protocol");
    assert_eq!(run_file.lines().count(), 5 * data.questions.len());
    assert!(
        polymix::evaluate::write(&dir, &data, &found, 5).unwrap_err().to_string().contains("exists already")
    );

    std::fs::write(dir.join("pairs.parquet"), b"garbage").unwrap();
    assert!(format!("{:#}", polymix::evaluate::read(&dir).unwrap_err()).contains("pairs.parquet"));
    let mut summary: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("summary.json")).unwrap()).unwrap();
    summary["v"] = 99.into();
    summary.as_object_mut().unwrap().remove("crc32");
    std::fs::write(dir.join("summary.json"), summary.to_string()).unwrap();
    assert!(format!("{:#}", polymix::evaluate::read(&dir).unwrap_err()).contains("newer polymix"));
    std::fs::remove_file(dir.join("summary.json")).unwrap();
    assert!(format!("{:#}", polymix::evaluate::read(&dir).unwrap_err()).contains("no evaluation directory"));
}
