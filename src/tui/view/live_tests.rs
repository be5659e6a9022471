//! What the live screen promises to whoever watches it, and how things look that must not be overlooked.

use crossterm::event::KeyCode;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Modifier, Style};

use super::super::message::Message;
use super::super::model::Model;
use super::super::testing::{full, keys, press, record, started, step, text};
use super::super::theme::{Name, Theme};
use super::super::update::update;
use super::view;
use crate::train::{Event, Score};

/// A live screen with these records, drawn anew for the run in it.
fn live(records: Vec<crate::train::Record>) -> Model {
    let mut model = full(3);
    let run = model.active.clone().expect("a run").path;
    update(&mut model, Message::Records { run, reset: true, records, state: None, log: Vec::new() });
    keys(&mut model, "2");
    model
}

fn more(model: &mut Model, records: Vec<crate::train::Record>) {
    let run = model.active.clone().expect("a run").path;
    update(model, Message::Records { run, reset: false, records, state: None, log: Vec::new() });
}

/// The style of the first cell of a piece of text on the screen.
fn style_of(model: &Model, part: &str) -> Style {
    let mut terminal = Terminal::new(TestBackend::new(120, 40)).expect("a terminal");
    terminal.draw(|frame| view(model, frame)).expect("drawn");
    let shown = text(model, (120, 40));
    let (row, line) = shown.lines().enumerate().find(|(_, l)| l.contains(part)).expect(part);
    let column = super::super::text::width(&line[..line.find(part).expect(part)]);
    terminal.backend().buffer()[(column as u16, row as u16)].style()
}

#[test]
fn a_logarithmic_axis_needs_a_positive_loss() {
    let mut model = live(vec![started(&[]), step(1, Some(0.0)), step(2, Some(-1.0)), step(3, None)]);
    keys(&mut model, "y");
    assert!(!model.live.is_log_scale);
    assert!(text(&model, (120, 40)).contains("no logarithmic axis: there is no positive loss yet"));
    more(&mut model, vec![step(4, Some(0.5))]);
    keys(&mut model, "y");
    assert!(model.live.is_log_scale);
}

#[test]
fn freezing_stops_the_drawing_and_nothing_else() {
    let mut model = live(vec![started(&[]), step(1, Some(5.0))]);
    keys(&mut model, "f");
    more(&mut model, (2..40).map(|s| step(s, Some(1.0))).collect());
    let shown = text(&model, (120, 40));
    assert!(shown.contains("step 1/100") && shown.contains("frozen"), "{shown}");
    keys(&mut model, "f");
    let shown = text(&model, (120, 40));
    assert!(shown.contains("step 39/100") && !shown.contains("frozen"), "{shown}");
}

#[test]
fn the_best_validation_stays_in_sight() {
    let validation = |step, loss, best| record(Event::Validation { step, loss: Some(loss), best });
    let model = live(vec![
        started(&[]),
        step(1, Some(5.0)),
        validation(0, 5.0, true),
        validation(10, 1.25, true),
        validation(20, 3.0, false),
    ]);
    let shown = text(&model, (200, 60));
    assert!(shown.contains("best 1.2500 at step 10"), "{shown}");
}

#[test]
fn without_a_gpu_it_says_not_available() {
    let model = live(vec![started(&[]), step(1, Some(5.0))]);
    let shown = text(&model, (200, 60));
    assert!(shown.contains("n/a"), "{shown}");
}

/// Bold or reversed in every theme, so that it is seen without colours too.
#[test]
fn an_alarm_is_seen_without_colours() {
    for name in Name::ALL {
        let mut model = live(vec![started(&[]), step(1, Some(5.0)), step(2, None), step(3, Some(4.0))]);
        model.theme = Theme::of(name);
        let style = style_of(&model, "was not finite at step 2");
        let seen = Modifier::BOLD | Modifier::REVERSED;
        assert!(style.add_modifier.intersects(seen), "{name:?}: {style:?}");
    }
}

/// A row looks otherwise while the cursor is on it, by its ground or reversed, not by the colour of its letters alone.
#[test]
fn what_is_chosen_is_told_by_more_than_colour() {
    for name in Name::ALL {
        let mut model = full(3);
        model.theme = Theme::of(name);
        keys(&mut model, "6gg");
        let id = model.runs.visible().0[1].summary.id.clone();
        let before = style_of(&model, &id);
        press(&mut model, KeyCode::Down);
        assert_eq!(model.runs.under_cursor().expect("a run").summary.id, id);
        let chosen = style_of(&model, &id);
        let is_reversed = chosen.add_modifier.contains(Modifier::REVERSED);
        assert!(is_reversed || chosen.bg != before.bg, "{name:?}: {before:?} and {chosen:?}");
    }
}

/// The live screen of a run that takes three batches a step.
fn accumulating(records: Vec<crate::train::Record>) -> Model {
    let mut model = live(records);
    let run = model.active.clone().expect("a run").path;
    for row in &mut model.runs.rows {
        if let Some(spec) = row.summary.spec.as_mut().filter(|_| row.summary.run.path == run) {
            spec.train.accumulate = 3;
        }
    }
    model
}

#[test]
fn batches_of_a_step_are_told_shortly_and_count_for_epochs() {
    let mut model = accumulating(vec![started(&[]), step(1, Some(5.0)), step(40, Some(4.0))]);
    for size in [(80, 24), (200, 60)] {
        let shown = text(&model, size);
        assert!(shown.contains("batch 3 x 64, 63 negatives"), "{shown}");
        let line = shown.lines().find(|l| l.contains("63 negatives")).expect("the head");
        // Whole, or not at all.
        assert!(line.trim_end().ends_with("63 negatives") || line.contains("1.2M parameters"), "{line}");
    }
    keys(&mut model, "t");
    // 40 steps of 3 times 64 pairs, of 400 ids.
    let shown = text(&model, (120, 40));
    assert!(shown.contains("19.20 epochs"), "{shown}");
}

#[test]
fn a_chart_without_room_does_not_say_that_there_is_nothing() {
    let validation = |step, loss| record(Event::Validation { step, loss: Some(loss), best: true });
    let score = |setting: &str| Score { setting: setting.into(), metric: "map".into(), value: 0.5 };
    let scores = ["mono", "cross", "multi"].map(score).to_vec();
    let evaluation = record(Event::Evaluation { step: 1, dataset: "made".into(), scores, seconds: 1.0 });
    let records = vec![started(&[]), step(1, Some(5.0)), validation(0, 5.0), validation(1, 4.25), evaluation];
    let mut model = live(records);
    press(&mut model, KeyCode::Tab);
    for height in 12..=30 {
        let shown = text(&model, (80, height));
        assert!(!shown.contains("No validation yet") && !shown.contains("No step yet"), "{height}:\n{shown}");
    }
    let shown = text(&model, (80, 24));
    assert!(
        shown.contains("validation loss, best 4.2500 at step 1") && shown.contains("last 4.25"),
        "{shown}"
    );
}
