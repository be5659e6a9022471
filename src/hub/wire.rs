//! One request on a thread of its own. Reading from a network blocks, for as long as a server is silent; who waits here
//! looks up twenty times a second, and leaves as soon as a stop is asked for.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ureq::Body;

use super::address::{Address, redact};
use super::fault::Fault;
use super::http::Head;
use super::watch::Watch;

/// Between two looks at the stop.
const LOOK: Duration = Duration::from_millis(50);
/// Silence after which a user is told what is waited for.
const PATIENT: Duration = Duration::from_secs(5);
/// Bytes of a piece, and pieces that may lie ready.
const PIECE: usize = 1 << 17;
const READY: usize = 4;

/// What comes over the wire: a head or a fault, then bytes, then an end or a cut.
#[derive(Debug)]
pub(super) enum Piece {
    Head(Box<Head>),
    Fault(Fault),
    Bytes(Vec<u8>),
    /// The body is whole as far as the protocol can tell.
    End,
    Cut(String),
}

/// The receiving end. Where it is dropped, the thread ends with its next piece.
#[derive(Debug)]
pub struct Wire {
    pieces: Receiver<Piece>,
    url: String,
}

impl Wire {
    /// Starts a request.
    pub(super) fn open(
        url: &Address,
        request: impl FnOnce() -> Result<(Head, Body), Fault> + Send + 'static,
    ) -> Result<Self> {
        let (send, pieces) = sync_channel(READY);
        let run = move || match request() {
            Err(fault) => drop(send.send(Piece::Fault(fault))),
            Ok((head, body)) => {
                if send.send(Piece::Head(Box::new(head))).is_ok() {
                    pass(body, &send);
                }
            }
        };
        std::thread::Builder::new().name("fetch".into()).spawn(run).context("cannot start a thread")?;
        Ok(Self { pieces, url: redact(url) })
    }

    /// The next piece.
    ///
    /// # Errors
    /// A stop.
    pub(super) fn next(&mut self, watch: &mut Watch<'_>) -> Result<Piece> {
        let begin = Instant::now();
        let mut is_told = false;
        loop {
            watch.check()?;
            match self.pieces.recv_timeout(LOOK) {
                Ok(piece) => return Ok(piece),
                Err(RecvTimeoutError::Disconnected) => bail!("{}: the request ended early", self.url),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if begin.elapsed() > PATIENT && !is_told {
                watch.note(&format!("{}: silent for {} s; waiting", self.url, PATIENT.as_secs()));
                is_told = true;
            }
        }
    }
}

/// Hands the body on, until its end or until nobody listens.
fn pass(body: Body, send: &SyncSender<Piece>) {
    let mut reader = body.into_with_config().limit(u64::MAX).reader();
    loop {
        let mut bytes = vec![0; PIECE];
        let piece = match reader.read(&mut bytes) {
            Ok(0) => Piece::End,
            Ok(count) => {
                bytes.truncate(count);
                Piece::Bytes(bytes)
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => Piece::Cut(format!("the connection was cut ({error})")),
        };
        let is_last = !matches!(piece, Piece::Bytes(_));
        if send.send(piece).is_err() || is_last {
            return;
        }
    }
}
