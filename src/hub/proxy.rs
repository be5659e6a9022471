//! Proxies: which of the environment's variables speaks for an address, and which hosts are reached without one.

use std::fmt;
use std::net::IpAddr;

use ureq::http::Uri;
use ureq::{Agent, ProxyProtocol};

use super::address::{port, redact};
use super::fault::Fault;

/// The ways out of this machine.
pub(super) struct Proxies {
    direct: Agent,
    http: Option<Way>,
    https: Option<Way>,
    exempt: Vec<Exempt>,
}

/// A proxy of a variable.
struct Way {
    name: Named,
    /// `Err`: why it cannot be used.
    agent: Result<Agent, &'static str>,
}

/// A proxy as a user knows it; printed without its password.
pub(super) struct Named {
    address: String,
    variable: &'static str,
    /// True where the variable names a user.
    pub has_user: bool,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {} (from {})", self.address, self.variable)
    }
}

impl Proxies {
    /// Of these variables; `agent` builds what sends requests through a proxy or (`None`) without one.
    pub fn read(
        variable: impl Fn(&str) -> Option<String>,
        agent: impl Fn(Option<ureq::Proxy>) -> Agent,
    ) -> Self {
        let way = |names: [&'static str; 4]| {
            // As in Python: small letters win, even where they are empty.
            let of = |pair: &[&'static str]| {
                pair.iter().find_map(|name| Some((*name, variable(name)?.trim().to_owned())))
            };
            let set = |found: &(&str, String)| !found.1.is_empty();
            let (variable, value) = of(&names[..2]).filter(set).or_else(|| of(&names[2..]).filter(set))?;
            let agent = match ureq::Proxy::new(&value) {
                Ok(proxy) if matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) => {
                    Ok(agent(Some(proxy)))
                }
                Ok(_) => Err("polymix knows no SOCKS; only HTTP proxies can be used"),
                Err(_) => Err("that is no address of a proxy"),
            };
            let has_user = value.split_once("://").map_or(value.as_str(), |(_, rest)| rest).contains('@');
            Some(Way { name: Named { address: redact(&value), variable, has_user }, agent })
        };
        let exempt = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        Self {
            direct: agent(None),
            http: way(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            https: way(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            exempt: exempt.split(',').filter_map(|text| Exempt::parse(text.trim())).collect(),
        }
    }

    /// What sends a request to this address, and through whom.
    pub fn of(&self, url: &Uri) -> Result<(&Agent, Option<&Named>), Fault> {
        let way = if url.scheme_str() == Some("http") { &self.http } else { &self.https };
        match way.as_ref().filter(|_| !self.exempt.iter().any(|e| e.covers(url))) {
            None => Ok((&self.direct, None)),
            Some(Way { name, agent: Ok(agent) }) => Ok((agent, Some(name))),
            Some(Way { name, agent: Err(reason) }) => Err(Fault::lasting(
                format!("{name}: {reason}"),
                format!(
                    "set {} to http://HOST:PORT, or exempt the host with NO_PROXY={}",
                    name.variable,
                    url.host().unwrap_or_default()
                ),
            )),
        }
    }
}

/// An entry of `NO_PROXY`.
#[derive(Debug, PartialEq, Eq)]
enum Exempt {
    All,
    /// A network, by its leading bits.
    Net(IpAddr, u32),
    /// A host with all hosts below it, at one port or at any.
    Domain(String, Option<u16>),
}

impl Exempt {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        let (address, bits) = text.split_once('/').unwrap_or((text, ""));
        if let Ok(address) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
            let all = if address.is_ipv4() { 32 } else { 128 };
            let bits = if bits.is_empty() { all } else { bits.parse().ok().filter(|b| *b <= all)? };
            return Some(Self::Net(address, bits));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text, None),
        };
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some(Self::Domain(address.to_string(), port));
        }
        let host = host.trim_start_matches('*').trim_start_matches('.').to_lowercase();
        (!host.is_empty()).then_some(Self::Domain(host, port))
    }

    fn covers(&self, url: &Uri) -> bool {
        let host = url.host().unwrap_or_default().trim_end_matches('.').to_lowercase();
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        match (self, address) {
            (Self::All, _) => true,
            (Self::Net(IpAddr::V4(net), bits), Some(IpAddr::V4(a))) => {
                (net.to_bits() ^ a.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
            }
            (Self::Net(IpAddr::V6(net), bits), Some(IpAddr::V6(a))) => {
                (net.to_bits() ^ a.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
            }
            (Self::Net(..), _) => false,
            (Self::Domain(domain, at), address) => {
                let host = address.map_or(host, |a| a.to_string());
                let is_below = host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'));
                at.is_none_or(|at| port(url) == at) && (host == *domain || (address.is_none() && is_below))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(pairs: &[(&str, &str)]) -> Proxies {
        let value = |name: &str| pairs.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned());
        Proxies::read(value, |proxy| Agent::config_builder().proxy(proxy).build().new_agent())
    }

    /// The proxy for an address; "direct", or "refused".
    fn way(pairs: &[(&str, &str)], url: &str) -> String {
        let found = proxies(pairs);
        match found.of(&url.parse().expect("an address")) {
            Ok((_, None)) => "direct".into(),
            Ok((_, Some(name))) => name.to_string(),
            Err(fault) => format!("refused: {}; {}", fault.reason, fault.remedy),
        }
    }

    #[test]
    fn each_scheme_has_its_own_proxy() {
        let both = [("HTTP_PROXY", "http://a:1"), ("HTTPS_PROXY", "http://b:2")];
        assert_eq!(way(&both, "http://hub.co/x"), "the proxy http://a:1 (from HTTP_PROXY)");
        assert_eq!(way(&both, "https://hub.co/x"), "the proxy http://b:2 (from HTTPS_PROXY)");
        assert_eq!(way(&both[1..], "http://hub.co/x"), "direct");
        assert_eq!(
            way(&[("ALL_PROXY", "me:pw@c:3")], "http://hub.co/x"),
            "the proxy ***@c:3 (from ALL_PROXY)"
        );
        let small = [("http_proxy", "http://s:1"), ("HTTP_PROXY", "http://a:1")];
        assert_eq!(way(&small, "http://hub.co"), "the proxy http://s:1 (from http_proxy)");
        assert_eq!(way(&[("http_proxy", ""), ("HTTP_PROXY", "http://a:1")], "http://hub.co"), "direct");
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_and_not_passed_by() {
        for wrong in ["socks5://me:pw@a:1", "socks4://a", "http://", "::::", "ftp://a:1"] {
            let found = way(&[("HTTP_PROXY", wrong)], "http://hub.co/x");
            assert!(found.starts_with("refused") && found.contains("HTTP_PROXY"), "{wrong}: {found}");
            assert!(!found.contains("pw"), "{found}");
            assert_eq!(way(&[("HTTP_PROXY", wrong), ("NO_PROXY", "hub.co")], "http://hub.co/x"), "direct");
        }
    }

    #[test]
    fn exempt_hosts_are_reached_directly() {
        for (exempt, url, is_exempt) in [
            ("127.0.0.0/8", "http://127.1.2.3:80/", true),
            ("127.0.0.0/8", "http://128.0.0.1/", false),
            ("10.0.0.1", "http://10.0.0.1/", true),
            ("10.0.0.1", "http://10.0.0.11/", false),
            ("0.0.0.0/0", "http://9.9.9.9/", true),
            ("fd00::/8", "http://[fd12::1]/", true),
            ("[::1]", "http://[::1]:8/", true),
            ("hub.co", "http://hub.co/", true),
            ("hub.co", "http://cdn.HUB.co/", true),
            (".hub.co", "http://cdn.hub.co/", true),
            ("*.hub.co", "http://cdn.hub.co/", true),
            ("hub.co", "http://evilhub.co/", false),
            ("hub.co:81", "http://hub.co/", false),
            ("hub.co:81", "http://hub.co:81/", true),
            ("127.0.0.1:81", "http://127.0.0.1:81/", true),
            ("127.0.0.1:81", "http://127.0.0.1:82/", false),
            ("a.b, *", "http://hub.co/", true),
            ("10.0.0.0/99", "http://10.0.0.1/", false),
            ("", "http://hub.co/", false),
        ] {
            let found = way(&[("HTTP_PROXY", "http://a:1"), ("NO_PROXY", exempt)], url);
            assert_eq!(found == "direct", is_exempt, "{exempt} {url}");
        }
    }
}
