//! Requests: redirects, waits and repeats, and the token for its own host only.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ureq::http::{HeaderMap, Response};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::download::Watch;
use super::settings::{Settings, redact};

/// Redirects that are followed.
const REDIRECTS: usize = 8;
/// Times a request is sent before its failure is believed.
pub(super) const TRIES: u32 = 5;
/// Longest wait that a server may ask for with `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Sends requests.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    pub settings: Settings,
}

/// What a server answered after all redirects.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Headers of the first answer, before any redirect: the hub states checksums there.
    pub first: HeaderMap,
    pub headers: HeaderMap,
    pub body: Body,
}

impl Answer {
    /// A header of the first answer, else of the last.
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.first.get(name).or_else(|| self.headers.get(name))?;
        value.to_str().ok()
    }
}

/// A request of ours.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub url: &'a str,
    pub is_head: bool,
    pub headers: &'a [(&'a str, String)],
}

impl<'a> Request<'a> {
    pub const fn get(url: &'a str) -> Self {
        Self { url, is_head: false, headers: &[] }
    }
}

impl Client {
    /// A client with these settings; proxies come from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`,
    /// certificates beside the built-in ones' place from `SSL_CERT_FILE` or `REQUESTS_CA_BUNDLE`.
    ///
    /// # Errors
    /// Where the certificate file that a variable names cannot be read.
    pub fn new(settings: Settings) -> Result<Self> {
        let mut tls = TlsConfig::builder();
        let named = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]
            .into_iter()
            .find_map(|name| Some((name, std::env::var_os(name).filter(|v| !v.is_empty())?)));
        if let Some((name, path)) = named {
            let path = std::path::PathBuf::from(path);
            let pem = std::fs::read(&path)
                .with_context(|| format!("{name}: {}: cannot read the certificates", path.display()))?;
            let found: Vec<Certificate<'static>> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            ensure!(!found.is_empty(), "{name}: {}: no PEM certificate in it", path.display());
            tls = tls.root_certs(RootCerts::from(found));
        }
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(settings.timeout))
            .timeout_recv_response(Some(settings.timeout))
            .timeout_per_read(Some(settings.timeout))
            .user_agent(format!("polymix/{}", crate::VERSION))
            .build()
            .new_agent();
        Ok(Self { agent, settings })
    }

    /// Sends a request until the server answers with something other than "later", and follows redirects.
    ///
    /// # Errors
    /// Where no server answers, or only with "later", or offline mode is on.
    pub fn send(&self, request: Request<'_>, watch: &mut Watch<'_>) -> Result<Answer> {
        ensure!(
            !self.settings.is_offline,
            "{}: HF_HUB_OFFLINE is set; unset it to download",
            redact(request.url)
        );
        let mut tries = 0;
        loop {
            tries += 1;
            let (reason, wait) = match self.once(request) {
                Ok(answer) if is_later(answer.status) => {
                    let asked = answer.headers.get("retry-after").and_then(|v| v.to_str().ok());
                    let asked = asked.and_then(|v| v.trim().parse().ok()).map(Duration::from_secs);
                    (format!("the server answered {}", answer.status), asked)
                }
                Ok(answer) => return Ok(answer),
                Err(error) => (format!("{error:#}"), None),
            };
            let wait = wait.unwrap_or(self.settings.backoff * 2u32.pow(tries - 1));
            if tries >= TRIES || wait > LONGEST_WAIT {
                bail!(
                    "{}: {reason} ({tries} tries); is the network up? HF_ENDPOINT names a mirror, HTTPS_PROXY a proxy",
                    redact(request.url)
                );
            }
            watch.note(&format!("{reason}; again in {:.1} s", wait.as_secs_f64()));
            watch.sleep(wait)?;
        }
    }

    fn once(&self, request: Request<'_>) -> Result<Answer> {
        let mut url = request.url.to_owned();
        let mut first: Option<HeaderMap> = None;
        for _ in 0..=REDIRECTS {
            let response = self.call(&url, request)?;
            let status = response.status().as_u16();
            let (parts, body) = response.into_parts();
            let location = parts.headers.get("location").and_then(|v| v.to_str().ok());
            let next = location.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308));
            let next = next.map(|to| join(&url, to));
            let headers = parts.headers;
            let first_headers = first.get_or_insert_with(|| headers.clone());
            match next {
                // A HEAD is asked for the first answer's headers; only a renamed repository is followed.
                Some(next) if !(request.is_head && origin(&next) != origin(&url)) => url = next,
                _ => return Ok(Answer { status, first: first_headers.clone(), headers, body }),
            }
        }
        bail!("more than {REDIRECTS} redirects")
    }

    fn call(&self, url: &str, request: Request<'_>) -> Result<Response<Body>> {
        let mut call = if request.is_head { self.agent.head(url) } else { self.agent.get(url) };
        call = call.header("Accept-Encoding", "identity");
        for (name, value) in request.headers {
            call = call.header(*name, value);
        }
        // The token goes to the hub's own host, whatever redirects say.
        if let Some(token) =
            self.settings.token.as_ref().filter(|_| origin(url) == origin(&self.settings.endpoint))
        {
            call = call.header("Authorization", format!("Bearer {}", token.reveal()));
        }
        // The library's own texts may repeat the address, with what it carries.
        call.call().map_err(|e| anyhow!("{}", e.to_string().replace(url, &redact(url))))
    }

    /// A JSON document.
    ///
    /// # Errors
    /// As [`Client::send`]; where the answer is no JSON; `Err(status)` inside for other answers than 200.
    pub fn json(&self, url: &str, watch: &mut Watch<'_>) -> Result<Result<serde_json::Value, u16>> {
        let mut answer = self.send(Request::get(url), watch)?;
        if answer.status != 200 {
            return Ok(Err(answer.status));
        }
        let mut reader = answer.body.with_config().limit(1 << 30).reader();
        let value = serde_json::from_reader(&mut reader)
            .with_context(|| format!("{}: the answer is not the JSON of a hub", redact(url)))?;
        Ok(Ok(value))
    }
}

/// Answers after which the same request may succeed.
const fn is_later(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// Scheme, host and port in small letters, without credentials.
pub(super) fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let port = match scheme {
        "https" => ":443",
        _ => ":80",
    };
    format!("{scheme}://{}", host.strip_suffix(port).unwrap_or(host)).to_lowercase()
}

/// Where a redirect leads.
fn join(base: &str, location: &str) -> String {
    let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else {
        let path = rest[host.len()..].split(['?', '#']).next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{host}{folder}/{location}")
    }
}

/// A path for an address: everything but letters, digits, `-._~/` as `%XX`.
pub(super) fn encoded(path: &str) -> String {
    path.bytes().fold(String::with_capacity(path.len()), |text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text + char::from(byte).encode_utf8(&mut [0; 4])
        } else {
            text + &format!("%{byte:02X}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_say() {
        let base = "https://hub.co/a/b/c?x=1";
        for (location, to) in [
            ("https://cdn.co/x", "https://cdn.co/x"),
            ("//cdn.co/x", "https://cdn.co/x"),
            ("/x?y", "https://hub.co/x?y"),
            ("d", "https://hub.co/a/b/d"),
        ] {
            assert_eq!(join(base, location), to);
        }
    }

    #[test]
    fn a_host_is_the_same_only_with_scheme_and_port() {
        assert_eq!(origin("https://Hub.co:443/a"), origin("https://me:pw@hub.co"));
        assert_ne!(origin("https://hub.co"), origin("http://hub.co"));
        assert_ne!(origin("http://127.0.0.1:1"), origin("http://127.0.0.1:2"));
        assert_ne!(origin("https://hub.co"), origin("https://hub.co.evil.org"));
        assert_ne!(origin("https://hub.co"), origin("https://hub.co@evil.org"));
    }

    #[test]
    fn paths_are_encoded() {
        assert_eq!(encoded("a b/ü.json"), "a%20b/%C3%BC.json");
    }
}
