//! A small hub on loopback: repositories as the hub and as GitHub show them, plain files, and faults on demand.
#![allow(dead_code)]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Files from this size on are "large": named by SHA-256 and served from another host.
const LARGE: usize = 1000;

/// What goes wrong with the next file that is asked for.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection is closed after so many bytes of the body.
    Cut(usize),
    /// Another status, with `Retry-After` in seconds where one is given.
    Status(u16, Option<u64>),
    /// Other bytes of the same length.
    Wrong,
    /// So many milliseconds between pieces of 16 KiB.
    Slow(u64),
    /// Nothing more after so many bytes of the body, until the other side hangs up.
    Hold(usize),
    /// Ranges are not understood: all bytes, status 200.
    NoRange,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub host: &'static str,
    pub line: String,
    pub headers: Vec<(String, String)>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

#[derive(Default)]
struct State {
    repos: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    plain: BTreeMap<String, Vec<u8>>,
    faults: VecDeque<Fault>,
    seen: Vec<Seen>,
    /// The token without which nothing is shown.
    gate: Option<String>,
    cdn: String,
}

/// The server; it ends with the test's process.
pub struct Hub {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let serve = |host: &'static str| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    std::thread::spawn(move || drop(answer(host, stream, &state)));
                }
            });
            url
        };
        let (url, cdn) = (serve("hub"), serve("cdn"));
        state.lock().unwrap().cdn = cdn;
        Self { url, state }
    }

    /// A file of a repository: `models/owner/name`, `datasets/owner/name` or `git/owner/name`.
    pub fn put(&self, repo: &str, path: &str, content: &[u8]) {
        let mut state = self.state.lock().unwrap();
        state.repos.entry(repo.to_owned()).or_default().insert(path.to_owned(), content.to_vec());
    }

    /// All files of a folder.
    pub fn put_dir(&self, repo: &str, under: &str, dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = format!("{under}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                self.put_dir(repo, &format!("{path}/"), &entry.path());
            } else {
                self.put(repo, &path, &std::fs::read(entry.path()).unwrap());
            }
        }
    }

    /// A file at `/plain/NAME`.
    pub fn put_plain(&self, name: &str, content: &[u8]) {
        self.state.lock().unwrap().plain.insert(name.to_owned(), content.to_vec());
    }

    pub fn fault(&self, fault: Fault) {
        self.state.lock().unwrap().faults.push_back(fault);
    }

    pub fn gate(&self, token: &str) {
        self.state.lock().unwrap().gate = Some(token.to_owned());
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Requests whose line holds this.
    pub fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|s| s.line.contains(part)).count()
    }

    pub fn forget(&self) {
        self.state.lock().unwrap().seen.clear();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

pub fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

pub fn git_blob(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hex(&hash.finalize())
}

fn answer(host: &'static str, stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            match header.trim_end().split_once(": ") {
                Some((key, value)) => headers.push((key.to_owned(), value.to_owned())),
                None => break,
            }
        }
        let seen = Seen { host, line: line.trim_end().to_owned(), headers };
        state.lock().unwrap().seen.push(seen.clone());
        if !respond(host, &seen, &mut out, state)? {
            let _ = out.shutdown(Shutdown::Both);
            return Ok(());
        }
    }
}

fn respond(host: &str, seen: &Seen, out: &mut TcpStream, state: &Mutex<State>) -> std::io::Result<bool> {
    let target = seen.line.split(' ').nth(1).unwrap_or_default().to_owned();
    let path = target.split('?').next().unwrap_or_default().trim_start_matches('/').to_owned();
    let mut lock = state.lock().unwrap();
    let is_known =
        lock.gate.as_ref().is_none_or(|t| seen.header("authorization") == Some(&format!("Bearer {t}")));
    if host == "hub" && !is_known {
        return text(out, 401, "", "{\"error\": \"gated\"}");
    }
    if let Some(rest) = path.strip_prefix("api/v3/repos/") {
        let parts: Vec<&str> = rest.splitn(3, '/').collect();
        let Some(repo) = lock.repos.get(&format!("git/{}/{}", parts[0], parts[1])) else {
            return text(out, 404, "", "{}");
        };
        let body = if parts[2].starts_with("commits/") {
            serde_json::json!({"sha": COMMIT})
        } else {
            let tree: Vec<_> = repo
                .iter()
                .map(|(p, c)| serde_json::json!({"path": p, "type": "blob", "sha": git_blob(c), "size": c.len()}))
                .collect();
            serde_json::json!({"tree": tree, "truncated": false})
        };
        return text(out, 200, "", &body.to_string());
    }
    if let Some((repo, revision)) = path.strip_prefix("api/").and_then(|p| p.split_once("/revision/")) {
        // A commit stands for itself.
        let is_commit = revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit());
        let commit = if is_commit { revision } else { COMMIT };
        let Some(files) = lock.repos.get(repo) else { return text(out, 404, "", "{}") };
        let siblings: Vec<_> = files
            .iter()
            .map(|(p, c)| match c.len() {
                LARGE.. => {
                    serde_json::json!({"rfilename": p, "size": c.len(), "blobId": git_blob(b"pointer"),
                    "lfs": {"sha256": sha256(c), "size": c.len(), "pointerSize": 1}})
                }
                _ => serde_json::json!({"rfilename": p, "size": c.len(), "blobId": git_blob(c)}),
            })
            .collect();
        return text(out, 200, "", &serde_json::json!({"sha": commit, "siblings": siblings}).to_string());
    }
    let content = if host == "cdn" {
        lock.repos.values().flat_map(|r| r.values()).find(|c| sha256(c) == path).cloned()
    } else if let Some((repo, rest)) = path.split_once("/resolve/") {
        let repo = if repo.starts_with("datasets/") { repo.to_owned() } else { format!("models/{repo}") };
        let file = rest.split_once('/').map_or("", |(_, f)| f);
        let content = lock.repos.get(&repo).and_then(|r| r.get(file)).cloned();
        if let Some(content) = content.as_ref().filter(|c| c.len() >= LARGE) {
            let sum = sha256(content);
            let more = format!(
                "Location: {}/{sum}?signature=secret-signature\r\nX-Linked-Etag: \"{sum}\"\r\n",
                lock.cdn
            );
            return text(out, 302, &more, "");
        }
        content
    } else if let Some((repo, rest)) = path.split_once("/raw/") {
        let file = rest.split_once('/').map_or("", |(_, f)| f);
        lock.repos.get(&format!("git/{repo}")).and_then(|r| r.get(file)).cloned()
    } else {
        path.strip_prefix("plain/").and_then(|name| lock.plain.get(name)).cloned()
    };
    let Some(mut content) = content else { return text(out, 404, "", "no such file") };
    let fault = lock.faults.pop_front();
    drop(lock);
    let etag = format!("ETag: \"{}\"\r\n", git_blob(&content));
    if let Some(Fault::Status(status, wait)) = fault {
        let more = wait.map(|s| format!("Retry-After: {s}\r\n")).unwrap_or_default();
        return text(out, status, &more, "later");
    }
    if matches!(fault, Some(Fault::Wrong)) {
        for byte in &mut content {
            *byte ^= 1;
        }
    }
    let total = content.len();
    let first = seen.header("range").filter(|_| !matches!(fault, Some(Fault::NoRange)));
    let first = first.and_then(|r| r.strip_prefix("bytes=")?.trim_end_matches('-').parse::<usize>().ok());
    // The beginning counts only while the file is the same.
    let is_same = seen.header("if-range").is_none_or(|v| etag.contains(v));
    let (head, body) = match first.filter(|_| is_same) {
        Some(first) if first < total => (
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{}/{total}\r\n{etag}Content-Length: {}\r\n\r\n",
                total - 1,
                total - first
            ),
            &content[first..],
        ),
        _ => (format!("HTTP/1.1 200 OK\r\n{etag}Content-Length: {total}\r\n\r\n"), &content[..]),
    };
    out.write_all(head.as_bytes())?;
    if seen.line.starts_with("HEAD") {
        return Ok(true);
    }
    match fault {
        Some(Fault::Cut(count)) => {
            out.write_all(&body[..count.min(body.len())])?;
            out.flush()?;
            return Ok(false);
        }
        Some(Fault::Hold(count)) => {
            out.write_all(&body[..count.min(body.len())])?;
            out.flush()?;
            // Whoever waits for the rest asks for nothing else.
            std::io::copy(out, &mut std::io::sink())?;
            return Ok(false);
        }
        Some(Fault::Slow(pause)) => {
            for piece in body.chunks(1 << 14) {
                out.write_all(piece)?;
                std::thread::sleep(Duration::from_millis(pause));
            }
        }
        _ => out.write_all(body)?,
    }
    Ok(true)
}

fn text(out: &mut TcpStream, status: u16, more: &str, body: &str) -> std::io::Result<bool> {
    write!(out, "HTTP/1.1 {status} Status\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len())?;
    Ok(true)
}
