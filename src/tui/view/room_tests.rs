//! What does not fit: told to be cut, and to be reached by scrolling.

use std::sync::Arc;

use crossterm::event::KeyCode;

use super::super::message::Message;
use super::super::model::{Model, Screen};
use super::super::testing::{full, keys, press, text};
use super::super::theme::Name;
use super::super::update::update;
use crate::evaluate::Friedman;

const SMALL: (u16, u16) = (80, 24);

/// A workbench of this size.
fn sized(mut model: Model, (columns, rows): (u16, u16)) -> Model {
    update(&mut model, Message::Resize(columns, rows));
    model
}

#[test]
fn a_list_that_goes_on_says_how_far() {
    let mut model = sized(Model::new(Name::Dark, false, true), SMALL);
    assert!(text(&model, SMALL).contains(" 1-17 of 36 "), "{}", text(&model, SMALL));
    press(&mut model, KeyCode::Char('G'));
    assert!(text(&model, SMALL).contains(" 20-36 of 36 "), "{}", text(&model, SMALL));
    let mut model = sized(full(11), SMALL);
    keys(&mut model, "5");
    let shown = text(&model, SMALL);
    assert!(shown.contains(" 1-19 of 132 ") && !shown.contains(" columns 1-"), "{shown}");
    let narrow = (40, 12);
    assert!(text(&sized(model.clone(), narrow), narrow).contains(" columns 1-5 of 8 "));
    assert!(!text(&sized(model, (200, 200)), (200, 200)).contains(" of 132 "), "all of it is there");
}

/// The list took all keys, and of a run's sixty settings the first eight were all that could be seen.
#[test]
fn a_configuration_can_be_read_to_its_end() {
    let mut model = sized(full(3), SMALL);
    keys(&mut model, "6vvv");
    let cursor = model.runs.cursor;
    assert!(text(&model, SMALL).contains("adapters.alpha") && !text(&model, SMALL).contains("train.steps"));
    press(&mut model, KeyCode::Tab);
    press(&mut model, KeyCode::Char('G'));
    let shown = text(&model, SMALL);
    assert!(shown.contains("train.warmup_ratio") && !shown.contains("adapters.alpha"), "{shown}");
    assert_eq!(model.runs.cursor, cursor, "the list stays");
}

#[test]
fn settings_take_the_room_there_is() {
    let wide = (160, 40);
    let mut model = sized(full(3), wide);
    for (row, name) in model.runs.rows.iter_mut().zip(["evaluation", "validation"]) {
        let spec = row.summary.spec.as_mut().expect("a spec");
        spec.data.evaluation = vec![format!("demo[{name}]").parse().expect("a dataset")];
    }
    keys(&mut model, "6vvv j ");
    let shown = text(&model, wide);
    assert!(shown.contains("[\"demo[evaluation]\"]"), "{shown}");
}

#[test]
fn the_tests_of_bias_are_read_whole_where_there_is_room() {
    let mut model = sized(full(3), SMALL);
    let scores = model.results.scores.as_mut().map(Arc::make_mut).expect("scores");
    scores.fairness.friedman = vec![Friedman {
        query_language: None,
        blocks: 1190,
        treatments: 3,
        chi_square: Some(5436.0),
        p: Some(0.0),
        kendall_w: Some(0.4568),
        mean_places: vec![2.0; 3],
        undefined: None,
    }];
    model.screen = Screen::Bias;
    let shown = text(&model, SMALL);
    assert!(
        shown.contains("p below 1e-300") && shown.contains("0.4568 (0: no order of languages)"),
        "{shown}"
    );
    let small = (40, 12);
    assert!(text(&sized(model, small), small).contains('…'));
}

#[test]
fn a_legend_says_its_order_on_a_small_screen() {
    let mut model = sized(full(3), SMALL);
    keys(&mut model, "3");
    assert!(text(&model, SMALL).contains("by code; bright is better"), "{}", text(&model, SMALL));
}

#[test]
fn keys_for_what_is_not_there_are_not_offered() {
    let footer = |model: &Model| text(model, (200, 40)).lines().last().unwrap_or_default().to_owned();
    let fresh = Model { screen: Screen::Runs, ..Model::new(Name::Dark, false, true) };
    assert!(!footer(&fresh).contains("export") && !footer(&fresh).contains("report"), "{}", footer(&fresh));
    let mut model = full(3);
    keys(&mut model, "5e");
    assert!(!footer(&model).contains("on/off"), "{}", footer(&model));
    press(&mut model, KeyCode::Esc);
    keys(&mut model, "c");
    assert!(footer(&model).contains("on/off"), "{}", footer(&model));
}
