//! The terminal: taken once, given back exactly once, whatever happens.

use std::io::{Stdout, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

/// True while the screen is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The screen, in raw mode, until dropped.
pub struct Screen {
    pub terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal. A panic of this thread gives it back before its message is printed; a panic of another
    /// thread leaves it alone, because the screen lives on.
    pub fn take(has_mouse: bool) -> Result<Self> {
        let owner = std::thread::current().id();
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().id() == owner {
                give_back();
                former(info);
            }
        }));
        TAKEN.store(true, Ordering::SeqCst);
        let terminal = enter(has_mouse).and_then(|()| Ok(Terminal::new(CrosstermBackend::new(stdout()))?));
        match terminal {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error).context("cannot draw on this terminal")
            }
        }
    }

    /// Draws everything anew next time. Not `Terminal::clear`: that asks where the cursor is, and the answer would come
    /// to the thread that reads keys.
    pub fn clear(&mut self) -> Result<()> {
        let size = self.terminal.size().context("cannot ask for the terminal's size")?;
        let area = ratatui::layout::Rect::new(0, 0, size.width, size.height);
        self.terminal.resize(area).context("cannot draw on the terminal")
    }

    /// Gives the terminal back for a while (Ctrl-Z) and takes it again.
    #[cfg(unix)]
    pub fn suspend(&mut self, has_mouse: bool) -> Result<()> {
        give_back();
        // Emulates the default: SIGTSTP is what Ctrl-Z would have sent outside raw mode.
        signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGTSTP)?;
        TAKEN.store(true, Ordering::SeqCst);
        enter(has_mouse)?;
        self.clear()
    }
}

fn enter(has_mouse: bool) -> Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste)?;
    if has_mouse {
        execute!(stdout(), EnableMouseCapture)?;
    }
    Ok(())
}

/// Switches the mouse on, or leaves it to the terminal.
pub fn mouse(is_on: bool) -> Result<()> {
    if is_on { execute!(stdout(), EnableMouseCapture) } else { execute!(stdout(), DisableMouseCapture) }
        .context("cannot switch the mouse")
}

/// Restores the terminal, once.
pub fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // What cannot be restored cannot be helped here.
        let _ = execute!(
            stdout(),
            DisableMouseCapture,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            crossterm::cursor::Show
        );
        let _ = disable_raw_mode();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// A flag that SIGTERM, SIGHUP and SIGINT raise: the workbench then quits as with `q`, and training goes on.
pub fn termination() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).context("cannot watch signals")?;
    }
    Ok(flag)
}
