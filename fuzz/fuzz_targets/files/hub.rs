//! Answers of hubs, git hosts and plain servers, given by two servers on the loopback interface: the hub's own, and another
//! to which redirects lead. Nothing else is ever asked: addresses of the input are replaced in what is sent as headers.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use polymix_fuzz::hub::{
    Client, Kind, Repo, Settings, Trust, Wanted, Watch, fetch_git, fetch_repo, fetch_url,
};

use super::{form, told};

const TOKEN: &str = "hf_secretsecret";

/// What is answered, one after another; then 404.
static ANSWERS: Mutex<VecDeque<Vec<u8>>> = Mutex::new(VecDeque::new());
/// True once the other server saw the token.
static IS_TOLD: AtomicBool = AtomicBool::new(false);

struct Servers {
    hub: SocketAddr,
    other: SocketAddr,
    client: Client,
}

fn servers(dir: &Path) -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let [hub, other] = [false, true].map(|is_other| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback interface");
            let address = listener.local_addr().expect("an address");
            std::thread::spawn(move || listener.incoming().flatten().for_each(|c| drop(answer(c, is_other))));
            address
        });
        let cache = dir.join("a/b/hub").display().to_string();
        let mut settings = Settings::read(|name| match name {
            "HF_ENDPOINT" => Some(format!("http://{hub}")),
            "HF_HUB_CACHE" => Some(cache.clone()),
            "HF_TOKEN" => Some(TOKEN.into()),
            _ => None,
        });
        settings.timeout = Duration::from_secs(1);
        settings.backoff = Duration::ZERO;
        Servers { hub, other, client: Client::new(settings).expect("a client") }
    })
}

fn answer(mut connection: TcpStream, is_other: bool) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    let (mut asked, mut buffer) = (Vec::new(), [0; 4096]);
    while !asked.ends_with(b"\r\n\r\n") {
        match connection.read(&mut buffer)? {
            0 => return Ok(()),
            count => asked.extend_from_slice(&buffer[..count]),
        }
    }
    if is_other && asked.windows(TOKEN.len()).any(|w| w == TOKEN.as_bytes()) {
        IS_TOLD.store(true, Ordering::SeqCst);
    }
    let next = ANSWERS.lock().expect("no panic").pop_front();
    let none = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    connection.write_all(next.as_deref().unwrap_or(none))
}

/// An answer as it is sent: a whole one where it begins with `HTTP/`, else the body of a good one.
fn whole(part: &[u8], other: SocketAddr) -> Vec<u8> {
    if !part.starts_with(b"HTTP/") {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", part.len());
        return [head.as_bytes(), part].concat();
    }
    let end = part.windows(4).position(|w| w == b"\r\n\r\n").map_or(part.len(), |at| at + 2);
    let (head, body) = part.split_at(end);
    let mut out = Vec::new();
    for line in head.split_inclusive(|b| *b == b'\n') {
        let name = line.split(|b| *b == b':').next().unwrap_or_default().trim_ascii();
        let is_address = [&b"location"[..], b"link", b"refresh"].iter().any(|n| name.eq_ignore_ascii_case(n));
        if !is_address || out.is_empty() {
            out.extend_from_slice(line);
            continue;
        }
        // Only a path may be given, or our other server's name.
        let plain = |b: &&u8| b.is_ascii_alphanumeric() || b"/?=&%._-".contains(b);
        let value = line.iter().position(|b| *b == b':').map_or(&[][..], |at| &line[at + 1..]);
        let path: Vec<u8> = value.trim_ascii().iter().copied().filter(|b| plain(&b)).collect();
        let path = String::from_utf8_lossy(&path).into_owned();
        let is_path = !path.contains("//") && !value.contains(&b'@');
        let address = if is_path { path } else { format!("http://{other}/{}", path.replace("//", "/")) };
        out.extend(format!("location: {address}\r\n").into_bytes());
    }
    out.extend_from_slice(body);
    out
}

/// How files are fetched, then the answers, which 0xff separates.
pub fn hub(data: &[u8], dir: &Path) {
    let Servers { hub, other, client } = servers(dir);
    let (kind, rest) = form(data);
    let inner = dir.join("a/b/hub");
    let _ = std::fs::remove_dir_all(&inner);
    std::fs::create_dir_all(&inner).expect("/dev/shm");
    *ANSWERS.lock().expect("no panic") = rest.split(|b| *b == 0xff).map(|p| whole(p, *other)).collect();
    let stop = AtomicBool::new(false);
    let mut remark = |text: &str| {
        // Nobody waits here for what a server asks.
        let seconds = text.rsplit(" in ").next().and_then(|t| t.strip_suffix(" s")?.parse::<f64>().ok());
        if seconds.is_some_and(|s| s > 0.0) {
            stop.store(true, Ordering::SeqCst);
        }
    };
    let mut watch = Watch { stop: &stop, tell: &mut |_, _, _| {}, remark: &mut remark, before: 0, total: 0 };
    let (required, optional) = (["config.json".to_owned()], ["*/*.json".to_owned(), "README.md".to_owned()]);
    let folder = inner.join("data");
    let url = |name: &str| format!("http://{hub}/files/{name}");
    let result = match kind % 6 {
        0 | 1 => {
            let kind = if kind % 6 == 0 { Kind::Model } else { Kind::Dataset };
            let repo = Repo::parse(kind, "me/mine@refs/pr/1").expect("a name");
            let trust = if data.len().is_multiple_of(2) { Trust::Present } else { Trust::Nothing };
            fetch_repo(client, &repo, (&required, &optional), trust, &mut watch)
        }
        2 => {
            let from = format!("http://{hub}/me/mine");
            fetch_git(client, &from, "main", ("d", &["*.json".to_owned()]), &folder, &mut watch)
        }
        3 => {
            fetch_url(client, &url("a.json"), (None, Trust::Present), Wanted::default(), &folder, &mut watch)
        }
        4 => fetch_url(client, &url("a.zip"), (None, Trust::Present), Wanted::default(), &folder, &mut watch),
        _ => {
            let wanted = Wanted { under: "d", required: &["*".to_owned()], optional: &["e/*".to_owned()] };
            fetch_url(client, &url("a.tar.gz"), (None, Trust::Nothing), wanted, &folder, &mut watch)
        }
    };
    ANSWERS.lock().expect("no panic").clear();
    assert!(!IS_TOLD.load(Ordering::SeqCst), "the token was sent to another server");
    if let Err(error) = &result {
        assert!(!format!("{error:#}").contains(TOKEN), "{error:#}");
    }
    let Some(fetched) = told(result) else { return inside(dir, &inner) };
    assert!(fetched.folder.starts_with(&inner));
    for file in &fetched.files {
        let path = fetched.folder.join(&file.path);
        assert_eq!(std::fs::metadata(&path).expect("a file").len(), file.size, "{}", path.display());
        if let Some(checksum) = &file.checksum {
            checksum.check(&path).expect("as published");
        }
    }
    inside(dir, &inner);
}

/// Nothing lies beside the folder, and no link in it leads out.
fn inside(dir: &Path, inner: &Path) {
    for (folder, only) in [(dir.to_owned(), "a"), (dir.join("a"), "b"), (dir.join("a/b"), "hub")] {
        let names: Vec<_> =
            std::fs::read_dir(folder).expect("a folder").flatten().map(|e| e.file_name()).collect();
        assert_eq!(names, [only]);
    }
    let mut folders = vec![inner.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let kind = entry.file_type().expect("a type");
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_symlink() {
                let end = std::fs::canonicalize(entry.path()).expect("a link to a file");
                assert!(end.starts_with(inner), "{} leads to {}", entry.path().display(), end.display());
            }
        }
    }
}
