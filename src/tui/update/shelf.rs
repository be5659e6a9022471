//! The list of data and models: opening it, fetching, pausing, going on, and taking an entry into the form.

use super::super::message::Effect;
use super::super::model::{Model, Overlay};
use super::super::shelf::{Ended, Row, Transfer};
use super::setup;
use crate::corpus::catalogue::{Form, Role};
use crate::hub::bytes;
use crate::spec::DatasetRef;

/// From here on the languages must be chosen: bytes.
const LARGE: u64 = 5_000_000_000;

pub fn open(model: &mut Model) -> Vec<Effect> {
    model.shelf.is_open = true;
    vec![Effect::LoadShelf]
}

pub fn arrived(model: &mut Model, rows: Result<Vec<Row>, String>) {
    let count = rows.as_ref().map_or(0, Vec::len);
    model.shelf.rows = Some(rows);
    model.shelf.cursor = model.shelf.cursor.min(count.saturating_sub(1));
}

/// Enter: fetches what is missing, pauses what is being fetched.
pub fn fetch(model: &mut Model) -> Vec<Effect> {
    let Some(row) = model.shelf.under_cursor().cloned() else { return Vec::new() };
    if model.shelf.is_fetching(&row) {
        if let Some(transfer) = &mut model.shelf.transfer {
            transfer.is_pausing = true;
        }
        return vec![Effect::PauseFetch];
    }
    if let Some(transfer) = &model.shelf.transfer {
        let text = format!("{} is being fetched; pause it first, or wait", transfer.name);
        model.complain(text);
        return Vec::new();
    }
    if row.held.is_whole && !row.held.is_unsure() {
        model.say(format!("{} is on disk; u takes it into the form", row.entry.name));
        return Vec::new();
    }
    let entry = &row.entry;
    let languages: Vec<String> =
        entry.languages.iter().filter(|l| model.setup.spec.languages.contains(l)).cloned().collect();
    let languages = if entry.is_by_language() { languages } else { Vec::new() };
    let size = entry.expected(&languages).unwrap_or(0);
    if size > LARGE && entry.is_by_language() && languages.is_empty() {
        model.complain(format!(
            "{}: about {}; name languages in the form first, then only theirs are fetched",
            entry.name,
            bytes(size)
        ));
        return Vec::new();
    }
    let (form, name) = (entry.form, entry.name.clone());
    model.shelf.ended.retain(|e| (e.form, &e.name) != (form, &name));
    model.shelf.transfer = Some(Transfer {
        form,
        name: name.clone(),
        file: String::new(),
        done: 0,
        total: 0,
        note: None,
        is_pausing: false,
    });
    vec![Effect::Fetch { form, name, languages }]
}

/// How far it is.
pub fn progress(model: &mut Model, file: String, done: u64, total: u64, note: Option<String>) {
    if let Some(transfer) = &mut model.shelf.transfer {
        if note.is_none() {
            (transfer.file, transfer.done, transfer.total) = (file, done, total);
        }
        transfer.note = note;
    }
}

/// It is done, was paused, or failed.
pub fn ended(model: &mut Model, result: Result<String, String>) -> Vec<Effect> {
    let Some(transfer) = model.shelf.transfer.take() else { return Vec::new() };
    // Nothing is left to be paused: the question whether to leave all the same is over.
    if matches!(&model.overlay, Some(Overlay::Confirm(asked)) if asked.is_about_download()) {
        model.overlay = None;
    }
    match result {
        Ok(text) => model.say(text),
        Err(_) if transfer.is_pausing => {
            let share = format!("paused at {:.0}%", 100.0 * transfer.share());
            model.say(format!("{}: {share}; Enter goes on", transfer.name));
            let Transfer { form, name, .. } = transfer;
            model.shelf.ended.push(Ended { form, name, state: share, why: String::new() });
        }
        Err(error) => {
            let Transfer { form, name, .. } = transfer;
            let state = "failed; Enter goes on".into();
            model.shelf.ended.push(Ended { form, name, state, why: error.clone() });
            model.complain(error);
        }
    }
    // What was missing may be there now, for the list and for the plan.
    vec![setup::again(model), Effect::LoadShelf]
}

/// Takes the entry into the form: a model as the base, data where their role says.
pub fn take(model: &mut Model) -> Vec<Effect> {
    let Some(row) = model.shelf.under_cursor().cloned() else { return Vec::new() };
    let entry = &row.entry;
    let mut spec = model.setup.spec.clone();
    let place = match entry.form {
        Form::Model => {
            spec.model.base.clone_from(&entry.name);
            "model"
        }
        Form::Data => {
            let dataset = DatasetRef { name: entry.name.clone(), part: None, path: None };
            let (list, place) = match entry.roles.first() {
                Some(Role::Train) => (&mut spec.data.train, "train"),
                Some(Role::Validation) => (&mut spec.data.validation, "validation"),
                _ => (&mut spec.data.evaluation, "evaluation"),
            };
            if !list.contains(&dataset) {
                list.push(dataset);
            }
            place
        }
    };
    model.shelf.is_open = false;
    model.say(format!("{} is in the field {place}", entry.name));
    setup::set(model, spec)
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyCode;

    use super::super::super::message::Message;
    use super::super::super::testing::{full, keys, press, text};
    use super::super::update;
    use super::*;
    use crate::corpus::catalogue::{Entries, Held};

    fn opened() -> Model {
        let mut model = full(3);
        assert_eq!(keys(&mut model, "1d"), [Effect::LoadShelf]);
        let rows = |e: &crate::corpus::catalogue::Entry| Row { entry: e.clone(), held: Held::default() };
        let entries = Entries::built_in().expect("entries");
        let list = entries.iter().map(rows).collect();
        update(&mut model, Message::Shelf(Ok(list)));
        model
    }

    fn go_to(model: &mut Model, name: &str) {
        model.shelf.cursor = model.shelf.rows().iter().position(|r| r.entry.name == name).expect(name);
    }

    #[test]
    fn a_download_is_begun_paused_and_taken_up_again() {
        let mut model = opened();
        go_to(&mut model, "xquad-r");
        let begun = press(&mut model, KeyCode::Enter);
        let expected = Effect::Fetch { form: Form::Data, name: "xquad-r".into(), languages: Vec::new() };
        assert_eq!(begun, std::slice::from_ref(&expected));
        let file = "en.json".to_owned();
        update(&mut model, Message::Fetching { file, done: 9_000_000, total: 18_000_000, note: None });
        // With the list closed, the form says how far it is.
        keys(&mut model, "d");
        press(&mut model, KeyCode::Esc);
        assert!(text(&model, (80, 24)).contains("fetching xquad-r 50%"), "{}", text(&model, (80, 24)));
        keys(&mut model, "d");
        // Leaving asks, and says how it goes on.
        assert!(keys(&mut model, "q").is_empty());
        let asked = text(&model, (120, 40));
        assert!(
            asked.contains("xquad-r is at 50%") && asked.contains("data fetch xquad-r, or Enter"),
            "{asked}"
        );
        press(&mut model, KeyCode::Esc);
        keys(&mut model, "q");
        assert_eq!(keys(&mut model, "y"), [Effect::PauseFetch, Effect::Quit]);
        let shown = text(&model, (120, 40));
        assert!(
            shown.contains("50%") && shown.contains("en.json") && shown.contains("9.0 MB of 18.0 MB"),
            "{shown}"
        );
        // The question goes when the download ends by itself.
        keys(&mut model, "q");
        let mut done = model.clone();
        update(&mut done, Message::FetchEnded(Ok("xquad-r is on disk".into())));
        assert_eq!(done.overlay, None, "nothing is left to be paused");
        press(&mut model, KeyCode::Esc);
        // Another one has to wait.
        go_to(&mut model, "tatoeba");
        assert!(press(&mut model, KeyCode::Enter).is_empty());
        assert!(
            model.status.as_ref().is_some_and(|s| s.is_error && s.text.contains("xquad-r is being fetched"))
        );
        go_to(&mut model, "xquad-r");
        assert_eq!(press(&mut model, KeyCode::Enter), [Effect::PauseFetch]);
        let effects = update(&mut model, Message::FetchEnded(Err("paused".into())));
        assert!(effects.contains(&Effect::LoadShelf));
        assert!(effects.iter().any(|e| matches!(e, Effect::Preview { .. })), "the plan is made anew");
        assert!(text(&model, (120, 40)).contains("paused at 50%"));
        assert_eq!(press(&mut model, KeyCode::Enter), [expected]);
        update(&mut model, Message::FetchEnded(Ok("xquad-r is on disk".into())));
        assert!(model.shelf.transfer.is_none() && model.shelf.ended.is_empty());
    }

    #[test]
    fn why_a_download_failed_stays_on_the_screen() {
        let mut model = opened();
        go_to(&mut model, "xquad-r");
        press(&mut model, KeyCode::Enter);
        let why = "xquad-r: https://github.com/google-research-datasets/lareqa: the server answers 503 (service \
                   unavailable) since six minutes; try again later, or fetch it elsewhere and name the END";
        update(&mut model, Message::FetchEnded(Err(why.into())));
        for size in [(80, 24), (120, 40)] {
            // Other words come into the status line, and the reason stays where the entry is.
            model.say("something else");
            let shown = text(&model, size);
            assert!(
                shown.contains("failed; Enter") && shown.contains("503") && shown.contains("END"),
                "{shown}"
            );
        }
        go_to(&mut model, "tatoeba");
        assert!(!text(&model, (80, 24)).contains("503"), "it is of another entry");
    }

    #[test]
    fn large_data_want_languages_and_get_those_of_the_form() {
        let mut model = opened();
        go_to(&mut model, "miracl");
        assert!(press(&mut model, KeyCode::Enter).is_empty());
        assert!(model.status.as_ref().is_some_and(|s| s.text.contains("name languages")));
        model.setup.spec.languages = ["de", "sw", "te"].map(String::from).to_vec();
        let effects = press(&mut model, KeyCode::Enter);
        assert!(
            matches!(&effects[..], [Effect::Fetch { languages, .. }] if *languages == ["sw", "te"]),
            "{effects:?}"
        );
    }

    #[test]
    fn entries_go_where_their_role_says() {
        let mut model = opened();
        go_to(&mut model, "FacebookAI/xlm-roberta-base");
        keys(&mut model, "u");
        assert_eq!(model.setup.spec.model.base, "FacebookAI/xlm-roberta-base");
        assert!(!model.shelf.is_open);
        for (name, key) in [("squad", "train"), ("xquad-r", "evaluation"), ("squadshifts", "validation")] {
            keys(&mut model, "d");
            go_to(&mut model, name);
            keys(&mut model, "u");
            let data = &model.setup.spec.data;
            let list =
                [("train", &data.train), ("validation", &data.validation), ("evaluation", &data.evaluation)];
            let list = list.into_iter().find(|(k, _)| *k == key).expect("a list").1;
            assert!(list.iter().any(|d| d.name == name), "{name}");
        }
    }

    #[test]
    fn the_list_takes_any_size_and_tells_errors() {
        let mut model = opened();
        go_to(&mut model, "xquad-r");
        let shown = text(&model, (120, 40));
        assert!(shown.contains("Roy et al. 2020") && shown.contains("files {language}.json"), "{shown}");
        go_to(&mut model, "sentence-transformers/LaBSE");
        let shown = text(&model, (120, 40));
        assert!(shown.contains("for retrieval as it is") && shown.contains("109 languages"), "{shown}");
        go_to(&mut model, "xquad-r");
        for size in [(40, 12), (80, 24), (200, 60)] {
            assert!(text(&model, size).contains("xquad-r"), "{size:?}");
        }
        update(&mut model, Message::Shelf(Err("catalogue.toml: line 2".into())));
        assert!(text(&model, (80, 24)).contains("catalogue.toml: line 2"));
        press(&mut model, KeyCode::Esc);
        assert!(!model.shelf.is_open);
    }
}
