//! Sweeps and ratios on screen 6: the curve, the triangle, what keys make of them.

use crossterm::event::KeyCode;

use super::super::message::{Effect, Message, SweepRow};
use super::super::model::{Model, Overlay, Purpose, Screen};
use super::super::testing::{full, keys, press, row, text};
use super::super::theme::Name;
use super::super::update::update;
use super::tests::picture;
use crate::report::figure::{Kind, Measure};
use crate::run::sweep::Overall;
use crate::spec::SamplingSpec;

/// Screen 6 with a sweep of these runs beside another run; each mix is mono, cross and multi.
fn swept(mixes: &[[f64; 3]]) -> Model {
    let mut model = full(3);
    let mut rows: Vec<_> = mixes
        .iter()
        .enumerate()
        .map(|(index, [mono, cross, multi])| {
            let mut row = row(&format!("s-{:02}", index + 1), Some(0.5), 0.5);
            let spec = row.summary.spec.as_mut().expect("a spec");
            spec.sampling = SamplingSpec {
                alpha: (*multi == 0.0).then_some(*mono),
                mono: (*multi > 0.0).then_some(*mono),
                cross: (*multi > 0.0).then_some(*cross),
                multi: (*multi > 0.0).then_some(*multi),
                ..SamplingSpec::default()
            };
            for score in &mut row.scores {
                let level = 0.2 + 0.3 * cross + 0.5 * multi;
                score.value = if score.metric == "rank_distance" { 100.0 / level } else { level };
            }
            row
        })
        .collect();
    let runs = rows.iter().map(|r| r.summary.run.path.clone()).collect();
    rows.push(row("alone", Some(0.4), 1.0));
    update(&mut model, Message::Runs(1_000_100.0, rows));
    let overall = Overall {
        total: mixes.len() + 1,
        done: mixes.len(),
        running: 1,
        left: Some(130.0),
        ..Overall::default()
    };
    let share = mixes.len() as f64 / overall.total as f64;
    update(&mut model, Message::Sweeps(vec![SweepRow { id: "s".into(), runs, overall, share }]));
    model.screen = Screen::Runs;
    model
}

/// All mixes in parts of 1/3.
fn thirds() -> Vec<[f64; 3]> {
    let all = (0..=3).flat_map(|a| (0..=3 - a).map(move |b| [a, b, 3 - a - b]));
    all.map(|mix| mix.map(|w| f64::from(w) / 3.0)).collect()
}

/// Presses `e` and takes the sweep.
fn choose(model: &mut Model) {
    keys(model, "e");
    press(model, KeyCode::Down);
    press(model, KeyCode::Enter);
}

#[test]
fn pictures_of_ratios() {
    let mut model = swept(&[[0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]);
    // Two runs of one alpha: an interval.
    let again = model.runs.rows[2].scores.iter_mut();
    again.for_each(|s| s.value *= 1.05);
    choose(&mut model);
    picture("ratio-curve", &mut model);
    let mut model = swept(&thirds());
    choose(&mut model);
    picture("ratio-triangle", &mut model);
    model.theme = super::super::theme::Theme::of(Name::Mono);
    model.is_ascii = true;
    picture("ratio-triangle-mono", &mut model);
}

#[test]
fn a_sweep_narrows_the_list_and_shows_how_far_it_is() {
    let mut model = swept(&thirds());
    assert!(
        text(&model, (160, 50)).contains("sweep s 10 of 11 done, 1 running, 2m10s left (e)"),
        "{}",
        text(&model, (160, 50))
    );
    choose(&mut model);
    let shown = text(&model, (160, 50));
    assert!(
        shown.contains("Runs: 10 of sweep s: 10 of 11 done, 1 running") && shown.contains(" 91% "),
        "{shown}"
    );
    assert!(!shown.contains("alone") && shown.contains("ratio: multi mAP 1/4 (left, right)"), "{shown}");
    press(&mut model, KeyCode::Esc);
    assert!(text(&model, (160, 50)).contains("alone"));
    // A sweep that is gone takes its filter with it.
    choose(&mut model);
    update(&mut model, Message::Sweeps(Vec::new()));
    assert_eq!((model.runs.sweep.as_deref(), model.runs.visible().0.len()), (None, 11));
    keys(&mut model, "e");
    assert!(model.overlay.is_none() && text(&model, (160, 50)).contains("no sweeps yet"));
}

#[test]
fn arrows_change_the_measure_and_exports_follow_it() {
    let mut model = swept(&thirds());
    choose(&mut model);
    let best = text(&model, (160, 50));
    assert!(best.contains(".700*"), "all multi is best: {best}");
    // To the left of the first is the last: rank distance, where all multi is best again.
    press(&mut model, KeyCode::Left);
    let shown = text(&model, (160, 50));
    assert!(shown.contains("multi rank distance") && shown.contains("143*"), "{shown}");
    keys(&mut model, "F");
    let Some(Overlay::Prompt(prompt)) = &model.overlay else { panic!("a prompt") };
    let Purpose::Figure { kind, runs, measure } = &prompt.purpose else { panic!("{prompt:?}") };
    assert_eq!((*kind, runs.len(), measure), (Kind::Ternary, 10, &Measure::from("rank_distance")));
    press(&mut model, KeyCode::Esc);
    press(&mut model, KeyCode::Right);
    press(&mut model, KeyCode::Tab);
    keys(&mut model, "w");
    let effects = press(&mut model, KeyCode::Enter);
    let [Effect::Write { document, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert!(document.text.starts_with("X-X-mono,X-Y,multi,setting,metric,n,mean"), "{}", document.text);
    assert_eq!((document.text.lines().count(), document.evaluations.len()), (11, 10));
}

/// Two runs of one mix leave an interval from below nothing to above everything.
#[test]
fn an_interval_ends_where_the_metric_does() {
    let mut model = swept(&[[0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]);
    model.size = (120, 40);
    for score in &mut model.runs.rows[1].scores {
        score.value *= 1.5;
    }
    keys(&mut model, "6vv");
    let shown = text(&model, model.size);
    assert!(shown.contains("rank distance against alpha") && shown.contains("1.04"), "{shown}");
    assert!(!shown.contains("│-") && !shown.contains(" -0."), "{shown}");
}
