//! What the batch plan promises, on data with gaps and conflicts.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

use std::collections::HashSet;

use polymix::batch::{Kind, Plan};
use polymix::corpus::{Dataset, Group, Passage, Question};
use polymix::spec::{ExperimentSpec, PlanSchedule, SamplingSpec};

/// `n` groups in four languages; every third lacks `de`, every fifth shares its passage with the one before.
fn dataset(n: usize) -> Dataset {
    let languages: Vec<String> = ["de", "en", "ru", "zh"].map(String::from).to_vec();
    let (mut groups, mut questions, mut passages) = (Vec::new(), Vec::new(), Vec::<Passage>::new());
    for g in 0..n {
        let (mut own, mut relevant) = (vec![None; 4], Vec::new());
        for language in 0..4u16 {
            if g % 3 == 0 && language == 0 {
                continue;
            }
            own[usize::from(language)] = Some(questions.len() as u32);
            questions.push(Question { group: g as u32, language, text: format!("q{g} {language}") });
            let about = if g % 5 == 4 { g - 1 } else { g };
            relevant.push(passages.len() as u32);
            passages.push(Passage {
                id: format!("p{g}_{language}"),
                language,
                text: format!("passage {about} in {language}"),
            });
        }
        groups.push(Group { id: format!("g{g}"), domain: 0, questions: own, relevant });
    }
    Dataset {
        name: "made".into(),
        languages,
        domains: vec!["one".into()],
        groups,
        questions,
        passages,
        hash: String::new(),
        notes: Vec::new(),
        ..Dataset::default()
    }
}

fn spec(sampling: SamplingSpec, batch: usize) -> ExperimentSpec {
    let mut spec = ExperimentSpec { sampling, ..ExperimentSpec::default() };
    spec.train.batch = batch;
    spec
}

fn weights(mono: f64, cross: f64, same: f64, multi: f64) -> SamplingSpec {
    SamplingSpec {
        mono: Some(mono),
        cross: Some(cross),
        same: Some(same),
        multi: Some(multi),
        ..SamplingSpec::default()
    }
}

#[test]
fn batches_hold_what_their_kind_says_and_no_conflicts() {
    let data = dataset(400);
    let plan = Plan::new(&spec(weights(1.0, 1.0, 1.0, 1.0), 60), std::slice::from_ref(&data)).unwrap();
    let mut kinds = HashSet::new();
    for step in 0..80 {
        let batch = plan.batch(step).unwrap();
        assert_eq!(batch.pairs.len(), 60);
        kinds.insert(batch.kind);
        let mut texts = HashSet::new();
        let mut mixed = HashSet::new();
        for pair in &batch.pairs {
            let (question, passage) =
                (&data.questions[pair.question as usize], &data.passages[pair.passage as usize]);
            assert_eq!(question.group, pair.group);
            assert_eq!((question.language, passage.language), (pair.query_language, pair.passage_language));
            assert!(data.groups[pair.group as usize].relevant.contains(&pair.passage));
            mixed.insert(question.language);
            match batch.kind {
                Kind::Mono => assert_eq!(Some(question.language), batch.language),
                Kind::Same => assert_eq!(question.language, passage.language),
                Kind::Cross => assert_ne!(question.language, passage.language),
                Kind::Multi => {}
            }
            // The passage's text without its language: translations of one passage must not meet either.
            let about = passage.text.rsplit_once(" in ").map(|(t, _)| t.to_owned()).unwrap();
            assert!(texts.insert(about), "step {step}: two pairs about {}", passage.text);
        }
        assert_eq!(mixed.len() == 1, batch.kind == Kind::Mono);
    }
    assert_eq!(kinds.len(), 4);
}

#[test]
fn alpha_zero_and_one_are_pure() {
    let data = dataset(300);
    for (alpha, kind) in [(0.0, Kind::Cross), (1.0, Kind::Mono)] {
        let plan = Plan::new(&spec(SamplingSpec::hybrid(alpha), 40), std::slice::from_ref(&data)).unwrap();
        assert!((0..50).all(|s| plan.batch(s).unwrap().kind == kind));
    }
}

#[test]
fn any_step_can_be_asked_first() {
    let data = dataset(300);
    for schedule in [PlanSchedule::Exact, PlanSchedule::Bernoulli] {
        let sampling = SamplingSpec { schedule, ..SamplingSpec::hybrid(0.4) };
        let walked = Plan::new(&spec(sampling.clone(), 40), std::slice::from_ref(&data)).unwrap();
        let all: Vec<_> = (0..60).map(|s| walked.batch(s).unwrap()).collect();
        let resumed = Plan::new(&spec(sampling, 40), std::slice::from_ref(&data)).unwrap();
        assert_eq!(resumed.batch(59).unwrap(), all[59]);
        assert_eq!(resumed.batch(17).unwrap(), all[17]);
    }
}

#[test]
fn languages_and_language_pairs_are_drawn_equally() {
    let mut data = dataset(300);
    // Fully parallel data: drop the groups with a gap.
    data.groups.retain(|g| g.questions.iter().all(Option::is_some));
    for (index, group) in data.groups.iter().enumerate() {
        for q in group.questions.iter().flatten() {
            data.questions[*q as usize].group = index as u32;
        }
    }
    let plan = Plan::new(&spec(SamplingSpec::hybrid(0.5), 24), &[data]).unwrap();
    let (mut mono, mut cross) = ([0usize; 4], [[0usize; 4]; 4]);
    for step in 0..240 {
        let batch = plan.batch(step).unwrap();
        if let Some(language) = batch.language {
            mono[usize::from(language)] += 1;
        } else {
            for p in batch.pairs {
                cross[usize::from(p.query_language)][usize::from(p.passage_language)] += 1;
            }
        }
    }
    assert_eq!(mono, [30; 4]);
    for (a, row) in cross.iter().enumerate() {
        for (b, &count) in row.iter().enumerate() {
            assert_eq!(count, if a == b { 0 } else { 240 });
        }
    }
}

#[test]
fn an_epoch_shows_every_group() {
    let data = dataset(400);
    let groups: Vec<u32> = (0..400).collect();
    let plan = Plan::new(&spec(weights(0.0, 0.0, 1.0, 0.0), 40), &[data]).unwrap();
    let mut seen: HashSet<u32> = HashSet::new();
    for step in 0..10 {
        seen.extend(plan.batch(step).unwrap().pairs.iter().map(|p| p.group));
    }
    // Conflicts push a few into a later epoch.
    assert!(seen.len() > groups.len() * 85 / 100, "{}", seen.len());
}

#[test]
fn data_too_small_for_the_batch_say_what_would_fit() {
    let error = Plan::new(&spec(SamplingSpec::hybrid(0.5), 100), &[dataset(50)]).unwrap_err().to_string();
    assert!(error.contains("train.batch") && error.contains("40"), "{error}");
}

/// `n` groups of which each has one language only, in turn.
fn apart(n: usize) -> Dataset {
    let mut data = dataset(n);
    data.name = "apart".into();
    for (index, group) in data.groups.iter_mut().enumerate() {
        let own = 1 + index % 3;
        for (language, question) in group.questions.iter_mut().enumerate() {
            if language != own {
                *question = None;
            }
        }
        group.relevant.retain(|p| usize::from(data.passages[*p as usize].language) == own);
    }
    data
}

#[test]
fn datasets_are_drawn_only_for_the_kinds_that_they_have() {
    let data = [dataset(300), apart(600)];
    let mut spec = spec(SamplingSpec::hybrid(0.5), 20);
    // One in ten draws is of the parallel data, by the mixture: X-Y batches all come from them nevertheless.
    spec.data.train = vec!["demo".parse().unwrap(), "demo[train]".parse().unwrap()];
    spec.data.mixture.weights = vec![1.0, 9.0];
    let plan = Plan::new(&spec, &data).unwrap();
    let mut drawn = [[0usize; 2]; 2];
    for step in 0..2000 {
        let batch = plan.batch(step).unwrap();
        drawn[usize::from(batch.kind == Kind::Cross)][batch.source] += 1;
    }
    assert_eq!(drawn[1], [1000, 0]);
    assert!((60..150).contains(&drawn[0][0]), "{drawn:?}");
    let notes = plan.notes().join("; ");
    assert!(
        notes.contains("'apart' is drawn for X-X-mono batches only: it has no 20 pairs of two languages"),
        "{notes}"
    );
    assert!(!notes.contains("'made'"), "{notes}");

    // Nothing to draw from it, or nothing to draw the kind from: before the first step, with a remedy.
    spec.sampling = SamplingSpec::hybrid(0.0);
    let error = Plan::new(&spec, &data).unwrap_err().to_string();
    assert!(error.contains("'apart'") && error.contains("alpha = 1"), "{error}");
    spec.data.mixture.weights = vec![1.0, 0.0];
    assert!(Plan::new(&spec, &data).is_ok(), "a dataset without a share need not have any");
    spec.sampling = SamplingSpec::hybrid(0.5);
    spec.data.mixture.weights = Vec::new();
    let error = Plan::new(&spec, &[apart(600), apart(300)]).unwrap_err().to_string();
    assert!(
        error.contains("no dataset of data.train has 20 pairs of two languages") && error.contains("X-Y"),
        "{error}"
    );
    assert!(error.contains("alpha = 1"), "{error}");
}

/// What `languages` leaves out gives a dataset no larger share of the batches.
#[test]
fn a_share_goes_by_what_can_be_drawn() {
    let data = [dataset(300), apart(3000)];
    let mut spec = spec(SamplingSpec::hybrid(1.0), 20);
    // One language of three of the second: 1,000 groups beside 300.
    spec.languages = vec!["de".into(), "en".into()];
    let plan = Plan::new(&spec, &data).unwrap();
    assert_eq!(plan.groups(), 1300);
    let own = (0..3000).filter(|step| plan.batch(*step).unwrap().source == 0).count();
    assert!((600..790).contains(&own), "{own} of 3000 where 300 of 1300 are due");
    spec.languages = vec!["de".into()];
    spec.sampling = SamplingSpec::hybrid(1.0);
    let error = Plan::new(&spec, &data).unwrap_err().to_string();
    assert!(error.contains("'apart'") && error.contains("leave it out of data.train"), "{error}");
}

/// Where just one batch of pairs is there, among many groups that have none, every step finds it.
#[test]
fn a_batch_is_found_wherever_there_is_one() {
    let (mut data, batch) = (apart(3000), 10);
    let parallel = dataset(3000);
    for group in (1..3000).step_by(300) {
        data.groups[group] = parallel.groups[group].clone();
    }
    let plan = |batch: usize| Plan::new(&spec(SamplingSpec::hybrid(0.0), batch), std::slice::from_ref(&data));
    let plan_of_ten = plan(batch).unwrap();
    for step in 0..300 {
        assert_eq!(plan_of_ten.batch(step).unwrap().pairs.len(), batch, "step {step}");
    }
    let error = plan(batch + 1).unwrap_err().to_string();
    assert!(error.contains("at most 10 fit: set train.batch to at most 10"), "{error}");
}

#[test]
fn a_language_absent_from_the_data_is_named() {
    let mut spec = spec(SamplingSpec::hybrid(0.5), 10);
    spec.languages = vec!["en".into(), "fr".into()];
    let error = Plan::new(&spec, &[dataset(50)]).unwrap_err().to_string();
    assert!(error.contains("'fr'") && error.contains("de, en, ru, zh"), "{error}");
}

/// What batches hold, as one number.
fn digest(plan: &Plan, steps: usize) -> u64 {
    (0..steps).fold(0u64, |sum, step| {
        let batch = plan.batch(step).unwrap();
        batch.pairs.iter().fold(sum ^ batch.source as u64, |sum, p| {
            let languages = u64::from(p.query_language) << 16 | u64::from(p.passage_language);
            let pair = u64::from(p.question) << 40 ^ u64::from(p.passage) << 20 ^ languages;
            polymix::stream::mix(sum ^ pair)
        })
    })
}

/// Runs that an earlier version began go on with the batches that they would have had.
#[test]
fn the_batches_are_those_of_earlier_versions() {
    let data = [dataset(400), apart(3000)];
    let all = weights(1.0, 1.0, 1.0, 1.0);
    let found = [
        digest(&Plan::new(&spec(all.clone(), 60), &data[..1]).unwrap(), 60),
        digest(&Plan::new(&spec(all, 20), &data).unwrap(), 60),
        digest(&Plan::new(&spec(weights(1.0, 0.0, 1.0, 0.0), 20), &data[1..]).unwrap(), 60),
    ];
    assert_eq!(found, [10_407_283_894_303_470_237, 11_971_479_958_520_063_136, 7_147_097_973_477_182_428]);
    let mut spec = spec(SamplingSpec::hybrid(0.5), 20);
    spec.languages = vec!["de".into(), "ru".into()];
    assert_eq!(digest(&Plan::new(&spec, &data).unwrap(), 60), 18439754180877587287);
}

/// All languages that the data have, named or not.
#[test]
fn naming_all_languages_changes_no_batch() {
    // Of the second, most groups cannot be drawn for X-Y batches.
    let mut data = [dataset(300), dataset(300)];
    for group in data[1].groups.iter_mut().skip(60) {
        group.relevant.clear();
    }
    let mut spec = spec(SamplingSpec::hybrid(0.5), 20);
    let unnamed = digest(&Plan::new(&spec, &data).unwrap(), 100);
    spec.languages = ["de", "en", "ru", "zh"].map(String::from).to_vec();
    assert_eq!(digest(&Plan::new(&spec, &data).unwrap(), 100), unnamed);
}

/// A dataset of weight 0, and languages without a batch of their own, are not trained on.
#[test]
fn what_is_never_drawn_counts_nowhere() {
    let mut data = [dataset(300), apart(600)];
    for code in &mut data[1].languages {
        *code = format!("{code}-other");
    }
    let mut made = spec(SamplingSpec::hybrid(1.0), 20);
    made.data.train = vec!["demo".parse().unwrap(), "demo[train]".parse().unwrap()];
    made.data.mixture.weights = vec![1.0, 0.0];
    let plan = Plan::new(&made, &data).unwrap();
    assert_eq!((plan.groups(), plan.trained(1)), (300, (Vec::new(), 0)));
    assert_eq!(plan.trained(0), (data[0].languages.clone(), 300));
    assert_eq!(plan.undrawn(), data[1].languages);
    assert!(
        plan.without_mono().iter().all(|l| l.ends_with("-other")) && plan.is_drawn(0) && !plan.is_drawn(1)
    );
    // Too few in one language for a batch of their own.
    let few = &mut data[0];
    for group in few.groups.iter_mut().skip(10) {
        group.questions[3] = None;
    }
    let plan = |alpha| Plan::new(&spec(SamplingSpec::hybrid(alpha), 20), &data[..1]).unwrap();
    assert_eq!((plan(1.0).undrawn(), plan(1.0).trained(0).0.len()), (vec!["zh".to_owned()], 3));
    assert_eq!((plan(0.5).undrawn(), plan(0.5).trained(0).0.len()), (Vec::new(), 4));
}

/// Forty of a million and a half: a batch of them is there at once, and each batch has others.
#[test]
fn a_language_with_few_groups_has_its_batches_at_once() {
    use polymix::batch::{Layout, NONE};
    let (groups, few) = (1_500_040usize, 40);
    let column = |of_few: bool| {
        let is_one = |g: usize| (g % 37_501 == 7) == of_few;
        (0..groups).map(|g| if is_one(g) { g as u32 } else { NONE }).collect::<Vec<u32>>()
    };
    let columns = || [column(false), column(true)].map(Into::into).into();
    let layout = Layout {
        name: "few".into(),
        languages: ["en", "sw"].map(String::from).to_vec(),
        groups,
        questions: columns(),
        passages: columns(),
        clusters: (0..groups as u32).collect::<Vec<_>>().into(),
        distinct: groups,
        negatives: None,
    };
    assert_eq!(column(true).iter().filter(|g| **g != NONE).count(), few);
    let plan = Plan::from_layouts(&spec(SamplingSpec::hybrid(1.0), 32), vec![layout]).unwrap();
    let start = std::time::Instant::now();
    let mut seen = HashSet::new();
    for step in 0..400 {
        let batch = plan.batch(step).unwrap();
        if batch.language == Some(1) {
            assert!(batch.pairs.iter().all(|p| p.question as usize % 37_501 == 7));
            seen.insert(batch.pairs.iter().map(|p| p.question).collect::<Vec<_>>());
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(seen.len(), 200, "each batch in an order of its own");
    // Drawn from all groups, each of half of them took milliseconds.
    assert!(seconds < 1.0, "{seconds} s for 400 batches");
}
