//! A server on loopback that answers each request as a test says, to the byte; it is a hub, a storage host or a proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::hub::{COMMIT, sha256};

/// What the server does with a request.
pub enum Reply {
    /// These bytes, and the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, and then nothing more.
    Stall(Vec<u8>),
    /// As a proxy: the connection leads to the host that was named.
    Tunnel,
}

pub struct Script {
    pub url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Script {
    /// Starts a server; `reply` is given the whole head of a request, in small letters.
    pub fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, reply) = (Arc::new(Mutex::new(Vec::new())), Arc::new(reply));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, reply) = (Arc::clone(&log), Arc::clone(&reply));
                std::thread::spawn(move || drop(serve(stream, &log, &*reply)));
            }
        });
        Self { url, seen }
    }

    /// The heads of all requests so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests whose head holds this.
    pub fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|s| s.contains(part)).count()
    }

    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// A hub with one dataset of these files, me/made; `reply` answers whatever is no listing.
    pub fn hub(files: &[(&str, &[u8])], reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let siblings: Vec<_> = files
            .iter()
            .map(|(name, c)| {
                serde_json::json!({"rfilename": name, "size": c.len(), "lfs": {"sha256": sha256(c), "size": c.len()}})
            })
            .collect();
        let listing = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
        Self::start(move |head| {
            if head.starts_with("get /api/") {
                return Reply::Bytes(answer(200, "Content-Type: application/json\r\n", listing.as_bytes()));
            }
            reply(head)
        })
    }
}

/// An answer with its length.
pub fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// An answer in one chunk, whole.
pub fn chunked(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 X\r\n{headers}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        body.len()
    );
    [head.as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
}

/// The file, or what a range asks of it.
pub fn file(head: &str, content: &[u8]) -> Vec<u8> {
    let first = head.split("range: bytes=").nth(1).and_then(|r| r.split('-').next()?.parse::<usize>().ok());
    match first {
        Some(first) => {
            let range = format!("Content-Range: bytes {first}-{}/{}\r\n", content.len() - 1, content.len());
            answer(206, &range, &content[first..])
        }
        None => answer(200, "", content),
    }
}

fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<String>>,
    reply: &dyn Fn(&str) -> Reply,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
        // The beginning of TLS, which is not spoken here: web servers say so at once.
        if head == [0x16] {
            return stream.write_all(&answer(400, "", b"plain HTTP only"));
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    log.lock().unwrap().push(head.clone());
    match reply(&head) {
        Reply::Bytes(bytes) => stream.write_all(&bytes)?,
        Reply::Stall(bytes) => {
            stream.write_all(&bytes)?;
            std::thread::sleep(Duration::from_secs(120));
        }
        Reply::Tunnel => {
            let host = head.split(' ').nth(1).unwrap_or_default();
            let far = TcpStream::connect(host)?;
            stream.write_all(b"HTTP/1.1 200 X\r\n\r\n")?;
            let (mut from, mut to) = (far.try_clone()?, stream.try_clone()?);
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let mut far = far;
            std::io::copy(&mut stream, &mut far)?;
        }
    }
    stream.shutdown(Shutdown::Both)
}
