//! Requests: redirects, waits and repeats, and the token for its own host only.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ureq::http::{HeaderMap, HeaderValue, Response};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::address::Address;
use super::fault::{Fault, Patience, Refused};
use super::page;
use super::proxy::Proxies;
use super::settings::Settings;
use super::watch::Watch;
use super::wire::{Piece, Wire};

/// Redirects that are followed.
const REDIRECTS: usize = 8;
/// Times a request is sent before its failure is believed.
pub(super) const TRIES: u32 = 5;
/// Longest wait that a server may ask for with `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Longest document that is taken for a listing, in bytes.
const LONGEST_LISTING: usize = 1 << 28;

/// Sends requests.
#[derive(Clone)]
pub struct Client {
    proxies: Arc<Proxies>,
    pub settings: Settings,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a server answered after all redirects, without the body.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    /// Who answered.
    pub url: Address,
    /// Headers of the first answer, before any redirect: the hub states checksums there.
    pub first: HeaderMap,
    pub headers: HeaderMap,
}

/// An answer whose body is still on its way.
#[derive(Debug)]
pub struct Answer {
    head: Head,
    pub body: Wire,
}

impl std::ops::Deref for Answer {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

impl Head {
    /// A header of the first answer, else of the last.
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.first.get(name).or_else(|| self.headers.get(name))?;
        value.to_str().ok()
    }

    /// As what it is no answer to the request.
    pub fn refused(&self) -> Refused {
        Refused { status: self.status, url: self.url.clone() }
    }
}

/// A request of ours.
#[derive(Clone, Debug)]
pub struct Request {
    pub url: Address,
    pub is_head: bool,
    pub headers: Vec<(&'static str, String)>,
}

impl Request {
    pub fn get(url: &Address) -> Self {
        Self { url: url.clone(), is_head: false, headers: Vec::new() }
    }

    pub fn head(url: &Address) -> Self {
        Self { is_head: true, ..Self::get(url) }
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
            let pem = std::fs::read(&path).map_err(|error| {
                anyhow!(
                    "{name}: {}: cannot read the certificates ({error}); correct {name} or unset it",
                    path.display()
                )
            })?;
            let found: Vec<Certificate<'static>> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            ensure!(
                !found.is_empty(),
                "{name}: {}: no PEM certificate in it; correct {name} or unset it",
                path.display()
            );
            tls = tls.root_certs(RootCerts::from(found));
        }
        let tls = tls.build();
        let agent = |proxy: Option<ureq::Proxy>| -> Agent {
            Agent::config_builder()
                .tls_config(tls.clone())
                .proxy(proxy)
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .timeout_connect(Some(settings.timeout))
                .timeout_recv_response(Some(settings.timeout))
                .timeout_per_read(Some(settings.timeout))
                .user_agent(format!("polymix/{}", crate::VERSION))
                .build()
                .new_agent()
        };
        let proxies = Proxies::read(|name| std::env::var(name).ok(), agent);
        Ok(Self { proxies: Arc::new(proxies), settings })
    }

    /// Sends a request until the server answers with something other than "later", and follows redirects.
    ///
    /// # Errors
    /// Where no server answers, or only with "later", or offline mode is on; a stop.
    pub fn send(&self, request: &Request, watch: &mut Watch<'_>) -> Result<Answer> {
        ensure!(!self.settings.is_offline, "{}: HF_HUB_OFFLINE is set; unset it to download", request.url);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.once(request, watch)? {
                Ok(answer) => return Ok(answer),
                Err(fault) => self.bear(&request.url, &fault, tries, watch)?,
            }
        }
    }

    /// Waits after a fault, or gives up.
    fn bear(&self, url: &Address, fault: &Fault, tries: u32, watch: &mut Watch<'_>) -> Result<()> {
        let Fault { reason, remedy, patience } = fault;
        let Patience::Later(asked) = patience else { bail!("{url}: {reason}; {remedy}") };
        let wait = asked.unwrap_or(self.settings.backoff * 2u32.pow(tries - 1));
        if wait > LONGEST_WAIT {
            bail!("{url}: {reason}, and wants a wait of {} s; {remedy}", wait.as_secs());
        }
        if tries >= TRIES {
            bail!("{url}: {reason} ({tries} tries); {remedy}");
        }
        watch.note(&format!("{reason}; again in {:.1} s", wait.as_secs_f64()));
        watch.sleep(wait)
    }

    /// The request once, on a thread of its own, so that a stop is heeded while nothing comes.
    fn once(&self, request: &Request, watch: &mut Watch<'_>) -> Result<Result<Answer, Fault>> {
        let (client, asked) = (self.clone(), request.clone());
        let mut body = Wire::open(&request.url, move || client.follow(&asked))?;
        Ok(match body.next(watch)? {
            Piece::Head(head) if is_later(head.status) => {
                let asked = head.headers.get("retry-after").and_then(|v| v.to_str().ok());
                let wait = asked.and_then(|v| v.trim().parse().ok()).map(Duration::from_secs);
                Err(Fault::busy(self, &head.refused(), wait))
            }
            Piece::Head(head) => Ok(Answer { head: *head, body }),
            Piece::Fault(fault) => Err(fault),
            Piece::Bytes(_) | Piece::End | Piece::Cut(_) => bail!("{}: a body without a head", request.url),
        })
    }

    /// Follows redirects until there is an answer; blocks.
    fn follow(&self, request: &Request) -> Result<(Head, Body), Fault> {
        let mut url = request.url.clone();
        let mut first: Option<HeaderMap> = None;
        for _ in 0..=REDIRECTS {
            let answer =
                self.call(&url, request).map_err(|fault| fault.after_redirect(&request.url, &url))?;
            let (parts, body) = answer.into_parts();
            let status = parts.status.as_u16();
            let headers = parts.headers;
            let location = headers.get("location").filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308));
            let next = match location {
                Some(to) => Some(redirected(&url, to)?),
                None => None,
            };
            let first = first.get_or_insert_with(|| headers.clone());
            match next {
                // A HEAD is asked for the first answer's headers; only a renamed repository is followed.
                Some(next) if !request.is_head || next.is_at(&url) => url = next,
                _ => return Ok((Head { status, url, first: first.clone(), headers }, body)),
            }
        }
        Err(Fault::lasting(
            format!("more than {REDIRECTS} redirects, the last to {url}"),
            if request.url.is_at(&self.settings.endpoint) {
                "the server sends us in a circle; is HF_ENDPOINT right?"
            } else {
                "the server sends us in a circle; is the address still right?"
            },
        ))
    }

    fn call(&self, url: &Address, request: &Request) -> Result<Response<Body>, Fault> {
        let parsed = url.parsed().map_err(|reason| Fault::lasting(reason, "is it spelt right?"))?;
        let (agent, proxy) = self.proxies.of(&parsed)?;
        let mut call = if request.is_head { agent.head(parsed) } else { agent.get(parsed) };
        call = call.header("Accept-Encoding", "identity");
        for (name, value) in &request.headers {
            call = call.header(*name, value);
        }
        // The token goes to the hub's own host, whatever redirects say.
        if url.is_at(&self.settings.endpoint)
            && let Some(header) = self.authorization()?
        {
            call = call.header("Authorization", header);
        }
        call.call().map_err(|error| Fault::of(&error, self, url, proxy))
    }

    /// The header that carries the token.
    fn authorization(&self) -> Result<Option<HeaderValue>, Fault> {
        let Some(token) = &self.settings.token else { return Ok(None) };
        let is_plain = token.reveal().bytes().all(|b| b.is_ascii_graphic());
        let value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok();
        value.filter(|_| is_plain).map(Some).ok_or_else(|| {
            Fault::lasting(
                format!(
                    "the token (from {}) has a character that no token has: a blank, a line break, or a letter beyond ASCII",
                    self.settings.token_origin
                ),
                "copy it again from the hub's settings, Access Tokens",
            )
        })
    }

    /// A JSON document.
    ///
    /// # Errors
    /// As [`Client::send`]; where the answer is no JSON. Inside: what was answered other than 200.
    pub fn json(&self, url: &Address, watch: &mut Watch<'_>) -> Result<Result<serde_json::Value, Refused>> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut answer = self.send(&Request::get(url), watch)?;
            if answer.status != 200 {
                return Ok(Err(answer.refused()));
            }
            let mut text = Vec::new();
            let reason = loop {
                match answer.body.next(watch)? {
                    Piece::Bytes(bytes) => text.extend(bytes),
                    Piece::Cut(reason) => break reason,
                    _ => {
                        let is_page = page::is_called_page(&answer, "") || page::is_page(&text, "");
                        let hint = if is_page { "a web page (a login page of the network?), " } else { "" };
                        return Ok(Ok(serde_json::from_slice(&text).with_context(|| {
                            format!("{url}: the answer is {hint}not the JSON of a hub; is the address right?")
                        })?));
                    }
                }
                ensure!(text.len() <= LONGEST_LISTING, "{url}: the answer has no end; is it a hub?");
            };
            let fault =
                Fault { reason, remedy: "fetch again later".to_owned(), patience: Patience::Later(None) };
            self.bear(url, &fault, tries, watch)?;
        }
    }
}

/// Where a redirect leads, if that can be asked.
fn redirected(from: &Address, to: &HeaderValue) -> Result<Address, Fault> {
    let to = String::from_utf8_lossy(to.as_bytes());
    let next = from.join(&to);
    next.as_ref().filter(|n| n.parsed().is_ok()).cloned().ok_or_else(|| {
        let shown = next.unwrap_or_else(|| Address::new(to));
        Fault::lasting(
            format!("the server sends us to {shown}, which is no http or https address"),
            "tell whoever runs the server; another mirror or a later version of the entry may help",
        )
    })
}

/// Answers after which the same request may succeed.
const fn is_later(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}
