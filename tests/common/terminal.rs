//! The real program on a pseudo-terminal, whose screen a parser reads.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, Pty};

use crate::common::Program;

/// True where this machine has pseudo-terminals; says so where it has none.
pub fn has_terminals(test: &str) -> bool {
    match pty_process::blocking::open() {
        Ok(_) => true,
        Err(error) => {
            eprintln!("SKIPPED {test}: no pseudo-terminal can be opened here ({error})");
            false
        }
    }
}

/// How long the program may take for anything, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// A terminal with the workbench in it.
pub struct Terminal {
    pub child: std::process::Child,
    pub pty: Arc<Pty>,
    pub screen: Arc<Mutex<vt100::Parser>>,
    pub first: Arc<Mutex<Option<Duration>>>,
    /// Reads until nobody holds the terminal's other side.
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    pub fn open(program: &Program, size: (u16, u16), args: &[&str]) -> Self {
        Self::open_with(program, size, args, &[])
    }

    pub fn open_with(program: &Program, size: (u16, u16), args: &[&str], variables: &[(&str, &str)]) -> Self {
        let (pty, pts) = pty_process::blocking::open().unwrap();
        pty.resize(Size::new(size.1, size.0)).unwrap();
        let start = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_polymix"))
            .args(args)
            .env("POLYMIX_RUNS", program.runs())
            .env("TERM", "xterm-256color")
            // Random keys must not fetch anything; a test with a hub of its own says otherwise.
            .env("HF_HUB_OFFLINE", "1")
            .envs(variables.iter().copied())
            .env_remove("NO_COLOR")
            .current_dir(program.dir.path())
            .spawn(pts)
            .unwrap();
        let pty = Arc::new(pty);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size.1, size.0, 0)));
        let first = Arc::new(Mutex::new(None));
        let (output, parser, time) = (Arc::clone(&pty), Arc::clone(&screen), Arc::clone(&first));
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0u8; 65536];
            while let Ok(count @ 1..) = (&*output).read(&mut bytes) {
                let mut parser = parser.lock().unwrap();
                parser.process(&bytes[..count]);
                if parser.screen().contents().contains("Setup") {
                    time.lock().unwrap().get_or_insert_with(|| start.elapsed());
                }
            }
        });
        Self { child, pty, screen, first, reader }
    }

    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until the screen is as it should be.
    fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(start.elapsed() < PATIENCE, "{what} on the screen:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until every part stands on the screen.
    pub fn wait(&self, parts: &[&str]) -> String {
        self.wait_until(&format!("no {parts:?}"), |text| parts.iter().all(|p| text.contains(p)))
    }

    /// Presses Esc and waits until what it closes is gone: a key that came together with Esc would be taken for Alt and
    /// that key, however long the pause between them, where the program has had no time to read.
    pub fn escape(&self, what: &str) {
        self.wait(&[what]);
        self.press("\x1b");
        self.wait_until(&format!("'{what}' is still"), |text| !text.contains(what));
    }

    pub fn press(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
        // A lone Esc must not run into what follows.
        std::thread::sleep(Duration::from_millis(60));
    }

    /// True while the terminal shows the alternate screen.
    pub fn is_taken(&self) -> bool {
        self.screen.lock().unwrap().screen().alternate_screen()
    }

    /// True once the program has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end, and until the screen shows the last that was written; true where it was a good end.
    pub fn ended(&mut self) -> bool {
        let start = Instant::now();
        loop {
            let status = self.child.try_wait().unwrap();
            // The system keeps what a process wrote for the reader beyond the process's end.
            if let Some(status) = status.filter(|_| self.reader.is_finished()) {
                return status.success();
            }
            assert!(start.elapsed() < PATIENCE, "still there ({status:?}):\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
