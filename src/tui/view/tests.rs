//! Every screen at every size, with nothing, little, broken and much to show; random keys; colours.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::keys::{BINDINGS, Context, Press, of};
use super::super::message::{Document, Effect, Message};
use super::super::model::{Model, Overlay, Screen};
use super::super::testing::{full, keys, press, row, scores, started, step, tested, text};
use super::super::theme::Name;
use super::super::update::update;
use super::view;
use crate::evaluate::significance::Significance;
use crate::spec::ExperimentSpec;
use crate::stream::Stream;

const SIZES: [(u16, u16); 9] =
    [(80, 24), (120, 40), (200, 60), (40, 12), (41, 13), (100, 14), (39, 11), (10, 3), (1, 1)];

#[test]
fn every_screen_draws_at_every_size() {
    let fresh = Model::new(Name::Dark, false, true);
    let mut one = full(1);
    let run = one.active.clone().expect("a run").path;
    update(
        &mut one,
        Message::Records { run, reset: true, records: vec![step(1, None)], state: None, log: Vec::new() },
    );
    for base in [fresh, one, full(3), full(11)] {
        for screen in Screen::ALL {
            for size in SIZES {
                for is_ascii in [false, true] {
                    let mut model = base.clone();
                    (model.screen, model.size, model.is_ascii) = (screen, size, is_ascii);
                    for pane in 0..screen.panes() {
                        model.pane = [pane; 6];
                        for is_maximised in [false, true] {
                            model.is_maximised = is_maximised;
                            text(&model, size);
                        }
                    }
                    for key in ['?', ':', 'o', 'c', 'w', 'x', 'D'] {
                        let mut model = model.clone();
                        press(&mut model, KeyCode::Char(key));
                        text(&model, size);
                    }
                }
            }
        }
    }
}

/// What a person would see, kept to be looked at: every screen with every kind of data at four sizes.
#[test]
fn pictures() {
    let fresh = Model::new(Name::Dark, false, true);
    let mut one = full(1);
    let run = one.active.clone().expect("a run").path;
    let records = vec![started(&["ar".to_owned()]), step(1, Some(2.5))];
    update(
        &mut one,
        Message::Records { run: run.clone(), reset: true, records, state: None, log: Vec::new() },
    );
    let mut broken = full(3);
    let records = vec![started(&["ar".to_owned()]), step(1, None), step(2, None)];
    update(&mut broken, Message::Records { run, reset: true, records, state: None, log: Vec::new() });
    let dir = broken.results.dir.clone().expect("an evaluation");
    let result = Err("pairs.parquet: cannot read".to_owned());
    update(&mut broken, Message::Scores { dir, result });
    let mut huge = full(11);
    let run = huge.active.clone().expect("a run").path;
    let records = (61..=20_000).map(|s| step(s, Some(1e9 / f64::from(s as u32)))).collect();
    update(&mut huge, Message::Records { run, reset: false, records, state: None, log: Vec::new() });
    let rows =
        (0..300).map(|i| row(&format!("run-with-a-rather-long-name-{i:03}"), Some(0.5), 0.5)).collect();
    update(&mut huge, Message::Runs(1_000_100.0, rows));
    for (data, base) in [("empty", &fresh), ("one-point", &one), ("broken", &broken), ("huge", &huge)] {
        for screen in Screen::ALL {
            let mut model = base.clone();
            model.screen = screen;
            picture(&format!("{data}-{}", screen.title().to_lowercase()), &mut model);
        }
    }
    let mut scripts = full(3);
    keys(&mut scripts, "3");
    press(&mut scripts, KeyCode::Enter);
    picture("scripts-questions", &mut scripts);
    keys(&mut scripts, "?");
    picture("help", &mut scripts);
}

/// A workbench on the heatmap that subtracts another run, with the tests of this outcome.
fn subtracting(languages: usize, result: Result<Significance, String>) -> Model {
    let mut model = full(languages);
    keys(&mut model, "3d");
    let effects = press(&mut model, KeyCode::Enter);
    let [Effect::LoadScores(dir)] = &effects[..] else { panic!("{effects:?}") };
    let other = Ok(Arc::new(scores(languages, 0.3)));
    let effects = update(&mut model, Message::Scores { dir: dir.clone(), result: other });
    let [Effect::Test { pair, .. }] = &effects[..] else { panic!("{effects:?}") };
    let (pair, metric) = (pair.clone(), "map".to_owned());
    update(&mut model, Message::Tested { pair, metric, result: result.map(Arc::new) });
    model
}

#[test]
fn pictures_of_significance() {
    let mut model = subtracting(11, Ok(tested(11)));
    picture("difference-heatmap", &mut model);
    model.screen = Screen::Tables;
    picture("difference-tables", &mut model);
    model.results.table.kind = 2;
    picture("difference-means", &mut model);
    let mut refused =
        subtracting(3, Err("not measured alike: candidate sentence and sentence+context".into()));
    picture("difference-refused", &mut refused);
}

#[test]
fn significance_is_never_told_by_colour_alone() {
    for name in Name::ALL {
        let mut model = subtracting(3, Ok(tested(3)));
        model.theme = super::super::theme::Theme::of(name);
        model.is_ascii = name == Name::Mono;
        let mut terminal = Terminal::new(TestBackend::new(120, 40)).expect("a terminal");
        // The cursor's own cell looks otherwise.
        model.results.cursor = (0, 0);
        terminal.draw(|frame| view(&model, frame)).expect("drawn");
        let shown = text(&model, (120, 40));
        let is_row = |l: &&str| {
            ["ar  ", "de  ", "en  "]
                .iter()
                .any(|code| l.chars().skip(1).collect::<String>().starts_with(code))
        };
        let rows: Vec<&str> = shown.lines().filter(is_row).collect();
        assert_eq!(rows.len(), 3, "{shown}");
        for row in &rows {
            assert_eq!(row.matches("+0.1000*").count(), 1, "passages in the first language only: {shown}");
        }
        for part in
            ["* p<.05", "Holm over 12 cells", "Paired sign-flip test", "40 question ids", "(+0.1000*)"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(shown.contains("p 0.0010, Holm 0.0100"), "{shown}");
        let buffer = terminal.backend().buffer();
        let line = shown.lines().position(|l| l == rows[1]).expect("a row") as u16;
        let at = |nth: usize| {
            let byte = rows[1].match_indices("+0.1000").nth(nth).expect("a cell").0;
            let column = super::super::text::width(&rows[1][..byte]) as u16;
            buffer[(column, line)].style()
        };
        let dim = model.theme.dim;
        assert_eq!(at(1).fg, dim.fg.or(Some(ratatui::style::Color::Reset)), "{name:?}");
        assert!(at(1).add_modifier.contains(dim.add_modifier), "{name:?}");
        assert_ne!(at(0), at(1), "{name:?}: what is not significant goes dim");
    }
}

#[test]
fn while_tests_are_made_the_screen_says_so_and_nothing_is_dim() {
    let mut model = full(3);
    keys(&mut model, "3d");
    let effects = press(&mut model, KeyCode::Enter);
    let [Effect::LoadScores(dir)] = &effects[..] else { panic!("{effects:?}") };
    update(&mut model, Message::Scores { dir: dir.clone(), result: Ok(Arc::new(scores(3, 0.3))) });
    let shown = text(&model, (80, 24));
    assert!(shown.contains("testing by question id") && !shown.contains("+0.1000*"), "{shown}");
}

#[test]
fn exported_marks_leave_numbers_numbers() {
    let mut model = subtracting(3, Ok(tested(3)));
    keys(&mut model, "5w");
    let effects = press(&mut model, KeyCode::Enter);
    let [Effect::Write { document, .. }] = &effects[..] else { panic!("{effects:?}") };
    let lines: Vec<&str> = document.text.lines().collect();
    assert!(lines[0].starts_with("setting,query,passage,n,map,map mark,recall@1,recall@10,"), "{}", lines[0]);
    assert!(lines[1].starts_with("mono,ar,ar,40,0.4000,*,0.4000,"), "{}", lines[1]);
    assert!(lines[2].starts_with("mono,de,de,40,0.4110,,0.4110,"), "{}", lines[2]);
}

pub fn picture(name: &str, model: &mut Model) {
    let sizes = [(40, 12), (80, 24), (120, 40), (200, 60)];
    let shown: Vec<String> = sizes
        .into_iter()
        .map(|size| {
            model.size = size;
            let text = text(model, size);
            let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
            format!("{}x{}\n{}", size.0, size.1, lines.join("\n"))
        })
        .collect();
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, shown.join("\n\n"));
    });
}

#[test]
fn screens_show_what_they_are_for() {
    let mut model = full(11);
    for (key, parts) in [
        ('1', &["preset", "alpha", "temperature", "ready to start"][..]),
        ('2', &["step 60/100", "Loss", "X-X-mono", "X-Y", "not finite at step 30"]),
        ('3', &["mAP: question language", "multi", "ar (Arabic)", "macro means", "bright is better"]),
        ('4', &["rank distance", "Arabic", "mean"]),
        ('5', &["language pairs: 132 rows", "setting", "recall@10"]),
        ('6', &["Runs: 3", "a-001", "c-003", "done"]),
    ] {
        keys(&mut model, &key.to_string());
        for size in [(80, 24), (120, 40), (200, 60)] {
            let shown = text(&model, size);
            for part in parts {
                assert!(shown.contains(part), "screen {key} at {size:?} lacks '{part}':\n{shown}");
            }
        }
    }
    assert!(text(&model, (39, 11)).contains("40x12"));
}

#[test]
fn ascii_leaves_no_drawing_characters() {
    let mut model = full(11);
    model.is_ascii = true;
    for screen in Screen::ALL {
        model.screen = screen;
        let shown = text(&model, (120, 40));
        let odd: String = shown.chars().filter(|c| !c.is_ascii()).collect();
        // Names of languages in their own scripts stay.
        assert!(odd.chars().all(char::is_alphabetic), "{screen:?}: {odd}");
    }
}

#[test]
fn help_lists_every_key_of_the_screen() {
    let mut model = full(3);
    for (key, context) in [
        ('1', Context::Setup),
        ('2', Context::Live),
        ('3', Context::Heatmap),
        ('4', Context::Bias),
        ('6', Context::Runs),
    ] {
        keys(&mut model, &format!("{key}?"));
        let shown = text(&model, (200, 90));
        for binding in of(context).chain(of(Context::Global)) {
            assert!(shown.contains(binding.description), "{key}: {}", binding.description);
        }
        keys(&mut model, "theme");
        let narrowed = text(&model, (200, 90));
        assert!(narrowed.contains("Theme: dark") && !narrowed.contains("Next pane"), "{narrowed}");
        press(&mut model, KeyCode::Esc);
        assert!(model.overlay.is_none());
    }
}

#[test]
fn the_footer_offers_only_what_works_now() {
    let footer = |model: &Model| text(model, (200, 40)).lines().last().unwrap_or_default().to_owned();
    let mut model = full(3);
    keys(&mut model, "2");
    assert!(!footer(&model).contains("x stop") && !footer(&model).contains("r resume"), "{}", footer(&model));
    let mut rows = model.runs.rows.clone();
    rows[0].summary.phase = crate::run::Phase::Running;
    update(&mut model, Message::Runs(0.0, rows.clone()));
    assert!(footer(&model).contains("x stop"), "{}", footer(&model));
    rows[0].summary.phase = crate::run::Phase::Stopped;
    update(&mut model, Message::Runs(0.0, rows));
    assert!(footer(&model).contains("r resume") && !footer(&model).contains("x stop"), "{}", footer(&model));
    let fresh = Model { screen: Screen::Heatmap, ..Model::new(Name::Dark, false, true) };
    assert!(!footer(&fresh).contains("questions"), "{}", footer(&fresh));
}

#[test]
fn random_keys_never_panic_and_never_quit_by_themselves() {
    let mut stream = Stream::new(1, "keys", 0);
    let mut all: Vec<Press> = BINDINGS.iter().flat_map(|b| b.presses.iter().copied()).collect();
    all.extend("abc019 .,/-=あé".chars().map(Press::Char));
    for languages in [1, 3, 11] {
        let mut model = full(languages);
        for _ in 0..1500 {
            let (code, modifiers) = match all[stream.below(all.len())] {
                Press::Char(c) | Press::Twice(c) => (KeyCode::Char(c), KeyModifiers::NONE),
                Press::Ctrl(c) => (KeyCode::Char(c), KeyModifiers::CONTROL),
                Press::Code(code) => (code, KeyModifiers::NONE),
            };
            let effects = update(&mut model, Message::Key(KeyEvent::new(code, modifiers)));
            if stream.below(8) == 0 {
                let size = SIZES[stream.below(SIZES.len())];
                update(&mut model, Message::Resize(size.0, size.1));
                text(&model, size);
            }
            for effect in effects {
                if let Effect::LoadScores(dir) = effect {
                    let result =
                        if stream.below(5) == 0 { Err("gone".into()) } else { Ok(Arc::new(scores(3, 0.2))) };
                    update(&mut model, Message::Scores { dir, result });
                }
            }
        }
    }
}

#[test]
fn quitting_asks_while_an_own_run_goes_on() {
    let mut model = full(3);
    assert_eq!(keys(&mut model, "q"), [Effect::Quit]);
    let mut rows = model.runs.rows.clone();
    rows[0].summary.phase = crate::run::Phase::Running;
    model.own.push(rows[0].summary.run.path.clone());
    update(&mut model, Message::Runs(0.0, rows));
    assert!(keys(&mut model, "q").is_empty());
    assert!(text(&model, (80, 24)).contains("leave it running"));
    assert!(keys(&mut model, "z").is_empty(), "a stray key is no answer");
    assert!(matches!(&keys(&mut model, "s")[..], [Effect::Stop(_), Effect::Quit]));
    assert!(model.overlay.is_none());
}

#[test]
fn the_form_refuses_what_the_spec_refuses() {
    let mut model = full(3);
    let steps = super::super::setup::FIELDS.iter().position(|f| f.key == "train.steps").expect("steps");
    model.setup.row = steps;
    press(&mut model, KeyCode::Enter);
    for _ in 0..8 {
        press(&mut model, KeyCode::Backspace);
    }
    keys(&mut model, "many");
    assert!(press(&mut model, KeyCode::Enter).is_empty());
    assert!(text(&model, (80, 24)).contains("train.steps"), "{}", text(&model, (80, 24)));
    for _ in 0..4 {
        press(&mut model, KeyCode::Backspace);
    }
    keys(&mut model, "77");
    assert!(matches!(&press(&mut model, KeyCode::Enter)[..], [Effect::Preview { .. }]));
    assert_eq!(model.setup.spec.train.steps, 77);
}

#[test]
fn starting_opens_the_live_screen() {
    let mut model = full(3);
    let effects = keys(&mut model, "1s");
    let [Effect::Start(spec)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(**spec, ExperimentSpec::default());
    let run = crate::run::RunDir::new("/runs/new-001");
    let effects = update(&mut model, Message::Begun(run.clone()));
    assert!(effects.contains(&Effect::Follow(Some(run))));
    assert_eq!(model.screen, Screen::Live);
    assert!(model.live.history.points.is_empty(), "nothing of the run before stays");
}

#[test]
fn differences_and_questions_open_from_the_heatmap() {
    let mut model = full(3);
    keys(&mut model, "3d");
    assert!(matches!(model.overlay, Some(Overlay::Pick(_))));
    let effects = press(&mut model, KeyCode::Enter);
    let [Effect::LoadScores(dir)] = &effects[..] else { panic!("{effects:?}") };
    update(&mut model, Message::Scores { dir: dir.clone(), result: Ok(Arc::new(scores(3, 0.3))) });
    assert!(text(&model, (80, 24)).contains("+0.1000"), "{}", text(&model, (80, 24)));
    keys(&mut model, "d");
    press(&mut model, KeyCode::Enter);
    let shown = text(&model, (120, 40));
    assert!(shown.contains("worst first") && shown.contains("ranks in the pool"), "{shown}");
    press(&mut model, KeyCode::Esc);
    assert!(text(&model, (120, 40)).contains("macro means"));
}

#[test]
fn exports_hold_what_is_shown() {
    let mut model = full(3);
    keys(&mut model, "5/");
    for c in "cross".chars() {
        press(&mut model, KeyCode::Char(c));
    }
    press(&mut model, KeyCode::Enter);
    keys(&mut model, "w");
    let effects = press(&mut model, KeyCode::Enter);
    let [Effect::Write { path, document, overwrite: false }] = &effects[..] else { panic!("{effects:?}") };
    let Document { text, evaluations } = document;
    assert_eq!(evaluations.iter().map(|e| Some(&e.dir)).collect::<Vec<_>>(), [model.results.dir.as_ref()]);
    assert_eq!(path.to_str(), Some("a-001-language-pairs.csv"));
    assert_eq!(text.lines().count(), 1 + 6);
    assert!(text.lines().skip(1).all(|l| l.starts_with("cross,")));
}

#[test]
fn double_presses_and_filters_do_not_leak() {
    let mut model = full(3);
    keys(&mut model, "6G");
    assert_eq!(model.runs.cursor, 2);
    keys(&mut model, "g");
    assert_eq!(model.runs.cursor, 2);
    keys(&mut model, "g");
    assert_eq!(model.runs.cursor, 0);
    keys(&mut model, "/q");
    assert!(matches!(model.overlay, Some(Overlay::Prompt(_))), "q is text here");
    press(&mut model, KeyCode::Esc);
    assert!(model.runs.filter.is_empty());
}

/// Prints milliseconds a frame at 200x60; see `benches/results/workbench.md`.
#[test]
#[ignore = "a measurement: --ignored --nocapture"]
fn frame_times() {
    let mut model = full(11);
    model.size = (200, 60);
    let points = 100_000;
    let run = model.active.clone().expect("a run").path;
    let records = (1..=points).map(|s| step(s, Some(5.0 / (1.0 + s as f64).ln()))).collect();
    update(&mut model, Message::Records { run, reset: true, records, state: None, log: Vec::new() });
    let whole: Vec<(f64, f64)> =
        model.live.history.points.iter().map(|p| (p.step as f64, p.smooth)).collect();
    let rows: Vec<_> = (0..8)
        .map(|i| {
            let mut row = row(&format!("run-{i:03}"), Some(0.5), 0.5);
            row.curve = Arc::new(super::thin(&whole, 200));
            row
        })
        .collect();
    model.runs.marked = rows.iter().map(|r| r.summary.run.path.clone()).collect();
    model.runs.rows = rows;
    let mut terminal = Terminal::new(TestBackend::new(200, 60)).expect("a terminal");
    for screen in Screen::ALL {
        model.screen = screen;
        let mut times: Vec<f64> = (0..40)
            .map(|_| {
                let start = std::time::Instant::now();
                terminal.draw(|frame| view(&model, frame)).expect("drawn");
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        eprintln!("{:8} median {:.2} ms, most {:.2} ms", screen.title(), times[20], times[39]);
        assert!(times[20] < 50.0, "{screen:?}: {} ms", times[20]);
    }
}

#[test]
fn clicks_choose_what_is_drawn_there() {
    use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
    let mut model = full(11);
    let click = |model: &mut Model, column, row| {
        let kind = MouseEventKind::Down(MouseButton::Left);
        update(model, Message::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }))
    };
    // Where a text stands on the screen, as cells.
    let find = |model: &Model, what: &str| {
        let shown = text(model, model.size);
        let (row, line) = shown
            .lines()
            .enumerate()
            .find(|(row, l)| l.contains(what) && (*row > 0 || what == "3 He"))
            .unwrap_or_else(|| panic!("{what}:\n{shown}"));
        let before = &line[..line.find(what).expect("found")];
        (super::super::text::width(before) as u16, row as u16)
    };
    for size in [(80, 24), (120, 40), (200, 60), (40, 12)] {
        update(&mut model, Message::Resize(size.0, size.1));
        model.screen = Screen::Setup;
        model.setup.row = 0;
        let (column, row) = find(&model, "schedule");
        click(&mut model, column, row);
        assert_eq!(super::super::setup::FIELDS[model.setup.row].label, "schedule", "{size:?}");
        let (column, row) = find(&model, "3 He");
        click(&mut model, column, row);
        assert_eq!(model.screen, Screen::Heatmap);
        model.results.cursor = (0, 0);
        // The fixture's cell of the third question and the third passage language.
        let value = if size.0 >= 120 { "0.4220" } else { ".422" };
        let (column, row) = find(&model, value);
        click(&mut model, column, row);
        assert_eq!(model.results.cursor, (2, 2), "{size:?}");
        keys(&mut model, "6");
        model.runs.cursor = 0;
        let (column, row) = find(&model, "c-003");
        click(&mut model, column, row);
        let shown = text(&model, size);
        assert_eq!((model.runs.cursor, model.screen), (2, Screen::Runs), "{size:?} {column} {row}\n{shown}");
        click(&mut model, column, row);
        assert_eq!(model.screen, Screen::Heatmap, "a second click opens");
    }
}
