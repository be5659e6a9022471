//! The workbench: a model, a pure `update`, a `view` without I/O, and threads that do the rest.
//!
//! Key presses, files and processes reach [`update`](update::update) as messages; it changes the model and answers
//! with effects, which the [effect runner](effects::Runner) carries out. The screen is drawn when something changed, at
//! most [`FRAMES`] times a second.

mod curve;
mod effects;
mod filter;
mod history;
mod keys;
mod line;
mod marks;
mod message;
mod model;
mod ratio;
mod results;
mod runs;
mod scores;
mod setup;
mod shelf;
mod sweeps;
mod table;
mod terminal;
#[cfg(test)]
mod testing;
mod text;
mod theme;
mod update;
mod view;
mod watch;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use crossterm::event::Event;
use crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use crossterm::{execute, queue};

use crate::corpus::language;
use crate::run::{Store, now};
use effects::Runner;
use message::{Effect, Message};
use model::{Model, Screen};
use theme::{Depth, Name};

/// Most frames a second while records stream in; what the user does is drawn at once.
const FRAMES: u32 = 20;
/// Frames after key presses are at least this far apart, so that a held key cannot outrun the terminal.
const KEY_FRAME: Duration = Duration::from_millis(8);
/// While a run goes on, elapsed times move even when nothing else does.
const TICK: Duration = Duration::from_secs(1);

/// How the workbench is opened.
#[derive(Clone, Debug)]
pub struct Options {
    pub store: Store,
    /// Directory whose `*.toml` files the setup screen offers beside the bundled presets.
    pub specs: Option<PathBuf>,
    pub is_ascii: bool,
    /// `dark`, `light`, `colour-blind` or `mono`; dark where nothing is given.
    pub theme: Option<String>,
    pub has_mouse: bool,
}

/// Opens the workbench and returns when the user leaves it.
///
/// # Errors
/// Where input or output is no terminal, the theme is unknown, or the terminal cannot be drawn on.
pub fn run(options: &Options) -> Result<()> {
    let name = match &options.theme {
        Some(word) => Name::parse(word)
            .with_context(|| format!("--theme {word}: must be dark, light, colour-blind or mono"))?,
        None => Name::Dark,
    };
    ensure!(
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        "the workbench needs a terminal for input and output; \
         without one use the subcommands (polymix --help lists them: train, evaluate, runs, export, ...)"
    );
    let depth = Depth::detect(|variable| std::env::var(variable).ok());
    let stop = terminal::termination()?;
    let mut screen = terminal::Screen::take(options.has_mouse)?;
    let mut model = Model::new(name, options.is_ascii, options.has_mouse);
    model.now = now();
    let size = screen.terminal.size().context("cannot ask for the terminal's size")?;
    model.size = (size.width, size.height);

    // The first frame comes before anything is read.
    draw(&mut screen, &model, depth)?;
    let (send, messages) = channel();
    let runner = Runner::start(&options.store, options.specs.clone(), &send);
    runner.run(Effect::LoadPresets);
    std::thread::spawn(move || read_events(&send));

    let mut is_dirty = false;
    let mut is_touched = false;
    let mut drawn = Instant::now();
    let mut told = Instant::now();
    'screen: loop {
        let frame = Duration::from_secs(1) / FRAMES;
        let frame = if is_touched { KEY_FRAME } else { frame };
        let wait = if is_dirty { frame.saturating_sub(drawn.elapsed()) } else { Duration::from_millis(250) };
        let first = match messages.recv_timeout(wait) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let ended = stop.load(Ordering::Relaxed).then_some(Message::Terminate);
        let moves = model.screen != Screen::Setup && model.runs.rows.iter().any(message::RunRow::is_active);
        let tick = (moves && told.elapsed() >= TICK).then(|| {
            told = Instant::now();
            Message::Tick(now())
        });
        for message in first.into_iter().chain(messages.try_iter().take(256)).chain(ended).chain(tick) {
            is_dirty = true;
            is_touched |= matches!(
                message,
                Message::Key(_) | Message::Mouse(_) | Message::Paste(_) | Message::Resize(..)
            );
            for effect in update::update(&mut model, message) {
                match effect {
                    Effect::Quit => break 'screen,
                    Effect::Mouse(on) => terminal::mouse(on)?,
                    Effect::Redraw => screen.clear()?,
                    #[cfg(unix)]
                    Effect::Suspend => screen.suspend(model.has_mouse)?,
                    other => runner.run(other),
                }
            }
        }
        let frame = if is_touched { KEY_FRAME } else { frame };
        if is_dirty && drawn.elapsed() >= frame {
            fault("screen");
            ensure!(std::env::var_os("POLYMIX_FAULT").is_none_or(|p| p != "error"), "error asked for");
            draw(&mut screen, &model, depth)?;
            drawn = Instant::now();
            (is_dirty, is_touched) = (false, false);
        }
    }
    drop(screen);
    runner.finish();
    Ok(())
}

/// For tests of the terminal's restoration: panics where `POLYMIX_FAULT` names this place.
fn fault(place: &str) {
    assert!(std::env::var_os("POLYMIX_FAULT").is_none_or(|p| p != place), "fault asked for in the {place}");
}

fn draw(screen: &mut terminal::Screen, model: &Model, depth: Depth) -> Result<()> {
    // The terminal shows the frame whole, not line by line.
    queue!(std::io::stdout(), BeginSynchronizedUpdate).context("cannot draw on the terminal")?;
    let drawn = screen.terminal.draw(|frame| {
        view::view(model, frame);
        theme::adapt(frame.buffer_mut(), depth);
    });
    execute!(std::io::stdout(), EndSynchronizedUpdate).context("cannot draw on the terminal")?;
    drawn.context("cannot draw on the terminal")?;
    Ok(())
}

/// Hands what the terminal says to the loop, until either is gone.
fn read_events(send: &Sender<Message>) {
    while let Ok(event) = crossterm::event::read() {
        let message = match event {
            Event::Key(key) => Message::Key(key),
            Event::Mouse(mouse) => Message::Mouse(mouse),
            Event::Paste(text) => Message::Paste(text),
            Event::Resize(columns, rows) => Message::Resize(columns, rows),
            Event::FocusGained | Event::FocusLost => continue,
        };
        if send.send(message).is_err() {
            return;
        }
    }
    let _ = send.send(Message::Terminate);
}
