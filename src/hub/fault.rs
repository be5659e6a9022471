//! Why a request came to nothing, whether it may go better later, and what to do about it.

use std::io::ErrorKind;
use std::time::Duration;

use super::address::Address;
use super::http::Client;
use super::proxy::Named;

/// A request that came to nothing.
#[derive(Debug)]
pub(super) struct Fault {
    pub reason: String,
    /// What a user can do.
    pub remedy: String,
    pub patience: Patience,
}

/// Whether the same request may go better later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Never: it is not sent again.
    Hopeless,
    /// Soon, or after the time that the server named.
    Later(Option<Duration>),
}

/// An answer that is not what was asked for.
#[derive(Clone, Debug)]
pub struct Refused {
    pub status: u16,
    /// Who answered so, after all redirects.
    pub url: Address,
}

impl Fault {
    pub fn lasting(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: remedy.into(), patience: Patience::Hopeless }
    }

    /// Of what the library reports. Its texts repeat addresses, so none of those is passed on.
    pub fn of(error: &ureq::Error, client: &Client, url: &Address, proxy: Option<&Named>) -> Self {
        let network = || network(client, url, proxy);
        let later = |reason: String| Self {
            reason: proxy.map_or_else(|| reason.clone(), |p| format!("through {p}: {reason}")),
            remedy: network(),
            patience: Patience::Later(None),
        };
        match error {
            // The TLS library's own errors arrive in this wrapping.
            ureq::Error::Io(e) if e.kind() == ErrorKind::InvalidData => insecure(&e.to_string()),
            ureq::Error::Rustls(e) => insecure(&e.to_string()),
            ureq::Error::Tls(e) => insecure(e),
            ureq::Error::Io(e) => later(e.to_string()),
            ureq::Error::Timeout(_) => {
                later(format!("no answer for {} s", client.settings.timeout.as_secs()))
            }
            ureq::Error::HostNotFound if proxy.is_some() => later("no such host".to_owned()),
            ureq::Error::HostNotFound => later(format!(
                "no host {}",
                url.parsed().ok().and_then(|u| u.host().map(str::to_owned)).unwrap_or_default()
            )),
            ureq::Error::ConnectProxyFailed(text) => {
                let status = text.rsplit(' ').next().and_then(|s| s.split('/').next()?.parse::<u16>().ok());
                let name = proxy.map_or_else(|| "the proxy".to_owned(), ToString::to_string);
                match status {
                    Some(407) if proxy.is_some_and(|p| p.has_user) => Self::lasting(
                        format!("{name} answered 407"),
                        "it refuses the user and the password that stand there; are they right?",
                    ),
                    Some(407) => Self::lasting(
                        format!("{name} answered 407"),
                        "it wants a user and a password: write http://USER:PASSWORD@HOST:PORT there",
                    ),
                    Some(status @ 400..500) => Self::lasting(
                        format!("{name} answered {status}"),
                        "it does not let this address through; ask whoever runs it, or exempt the host with NO_PROXY",
                    ),
                    Some(status) => Self {
                        reason: format!("{name} answered {status}"),
                        remedy: "it cannot reach the host, or has a fault of its own; ask whoever runs it, or exempt the host \
                                 with NO_PROXY"
                            .to_owned(),
                        patience: Patience::Later(None),
                    },
                    None => later(text.clone()),
                }
            }
            ureq::Error::LargeResponseHeader(..) | ureq::Error::Protocol(_) if proxy.is_some() => Self {
                remedy: "is that the address of a proxy? NO_PROXY names hosts that are reached without one"
                    .to_owned(),
                ..later("the answer is not HTTP, or none of a proxy".to_owned())
            },
            ureq::Error::LargeResponseHeader(..) | ureq::Error::Protocol(_) => Self {
                reason: "the answer is not HTTP".to_owned(),
                remedy: "does a web server listen there?".to_owned(),
                patience: Patience::Later(None),
            },
            ureq::Error::Http(_) | ureq::Error::BadUri(_) => {
                Self::lasting("such an address cannot be asked", "is it spelt right?")
            }
            other => later(other.to_string().replace(&**url, &url.to_string())),
        }
    }

    /// With the host that failed, where it is not the one that was asked first: networks often let the hub through, and
    /// not the hosts that its files lie on.
    pub fn after_redirect(self, asked: &Address, at: &Address) -> Self {
        let authority = |url: &Address| {
            url.parsed().ok().and_then(|u| u.authority().map(|a| a.host().to_owned() + &port(a.port_u16())))
        };
        match authority(at).filter(|_| !at.is_at(asked)) {
            None => self,
            Some(host) if self.patience == Patience::Hopeless => {
                Self { reason: format!("it sends us on to {host}: {}", self.reason), ..self }
            }
            Some(host) => Self {
                reason: format!("it sends us on to {host}, and there: {}", self.reason),
                remedy: format!("{}; a firewall may let the first host through, and {host} not", self.remedy),
                ..self
            },
        }
    }

    /// Of an answer after which the same request may succeed.
    pub fn busy(client: &Client, refused: &Refused, wait: Option<Duration>) -> Self {
        Self {
            reason: format!("the server answered {}", refused.status),
            remedy: remedy(client, &refused.url, refused),
            patience: Patience::Later(wait),
        }
    }
}

/// A port behind a host.
fn port(port: Option<u16>) -> String {
    port.map_or(String::new(), |port| format!(":{port}"))
}

/// True where a server refused a request, so that a copy on disk is not what a user should go on with unawares: not what
/// it may answer otherwise later.
#[must_use]
pub fn is_refusal(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    let mut answers = text.split("the server answered ").skip(1);
    answers.any(|rest| rest.starts_with("40") && !rest.starts_with("408"))
}

fn insecure(text: &str) -> Fault {
    Fault::lasting(
        format!("no secure connection ({text})"),
        "is it http:// in truth? Where your network has certificates of its own, SSL_CERT_FILE names them",
    )
}

/// True where the hub is asked, and not another host.
fn is_hub(client: &Client, url: &Address) -> bool {
    url.is_at(&client.settings.endpoint)
}

/// What to do where nobody answers.
fn network(client: &Client, url: &Address, proxy: Option<&Named>) -> String {
    if proxy.is_some() {
        return "is the proxy right? NO_PROXY names hosts that are reached without it".to_owned();
    }
    let variable = if url.starts_with("http:") { "HTTP_PROXY" } else { "HTTPS_PROXY" };
    if is_hub(client, url) {
        return format!("is the network up? HF_ENDPOINT names a mirror, {variable} a proxy");
    }
    format!("is the network up, and that host? {variable} names a proxy")
}

/// What a refusal means to a user: who refused, with which status, and the remedy. `asked` is the address before redirects.
pub(super) fn refusal(client: &Client, asked: &Address, refused: &Refused) -> String {
    format!("{}: the server answered {}: {}", refused.url, refused.status, remedy(client, asked, refused))
}

fn remedy(client: &Client, asked: &Address, refused: &Refused) -> String {
    let settings = &client.settings;
    let is_hub = is_hub(client, &refused.url);
    match refused.status {
        401 | 403 if is_hub && settings.token.is_some() => format!(
            "the token (from {}) has no access; accept the repository's terms on {} with that account, or use another token",
            settings.token_origin, settings.endpoint
        ),
        401 | 403 if is_hub && settings.token_trouble.is_some() => format!(
            "no token was sent, as {}; correct that, or set HF_TOKEN",
            settings.token_trouble.as_deref().unwrap_or_default()
        ),
        401 | 403 if is_hub => format!(
            "private or gated, or no such repository; accept its terms on {}, make a token there \
             (Settings, Access Tokens) and set HF_TOKEN, or write it to the file HF_HOME/token",
            settings.endpoint
        ),
        401 | 403 if !asked.is_at(&refused.url) => "the storage host does not take the address it was sent to (run out, or \
             stopped by a firewall?); the same command asks for a new one"
            .to_owned(),
        401 | 403 => "access is refused there; the address needs a user, a password or a key".to_owned(),
        404 | 410 if is_hub => "there is no such file or repository".to_owned(),
        404 | 410 => "there is no such file; is the address still right?".to_owned(),
        407 => "a proxy wants a user and a password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT".to_owned(),
        408 => "it waited in vain for the request: the connection is slow, or the server overloaded; fetch again later".to_owned(),
        416 => "it has no such part of the file, which it should send from the first byte; fetch again, and if that does \
                not help its file is broken"
            .to_owned(),
        429 if is_hub && settings.token.is_none() => {
            "too many requests; fetch again in some minutes, or set HF_TOKEN, with which the hub allows more".to_owned()
        }
        429 => "too many requests; fetch again in some minutes".to_owned(),
        500.. if is_hub => {
            "the hub has a fault or is overloaded; fetch again later, or name a mirror with HF_ENDPOINT".to_owned()
        }
        500.. => "the server has a fault or is overloaded; fetch again later".to_owned(),
        _ => "it does not take this request; is the address right?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Settings;
    use super::*;

    #[test]
    fn a_mirror_of_the_hub_is_advised_for_the_hub_alone() {
        let client = Client::new(Settings::read(|_| None)).expect("a client");
        let remedy = |url: &str| {
            let fault = Fault::of(&ureq::Error::HostNotFound, &client, &Address::new(url), None);
            format!("{}; {}", fault.reason, fault.remedy)
        };
        assert!(remedy("https://huggingface.co/api/models/a/b").contains("HF_ENDPOINT"));
        let other = remedy("https://api.github.com/repos/a/b");
        assert!(!other.contains("HF_ENDPOINT") && other.contains("no host api.github.com"), "{other}");
        assert!(other.contains("HTTPS_PROXY"), "{other}");
        assert!(remedy("http://hub.co/x").contains("HTTP_PROXY"));
    }
}
