//! Addresses: the one place that parses, joins, compares and prints them.

use std::fmt;
use std::ops::Deref;

use ureq::http::Uri;

/// An address to ask. However it is printed, what opens doors is left out ([`redact`]); only its text as `&str`, for the
/// request itself, has all of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The address with more behind it.
    pub(super) fn with(&self, rest: &str) -> Self {
        Self(format!("{}{rest}", self.0))
    }

    /// Its parts; in path and query, what must be is percent-encoded.
    ///
    /// # Errors
    /// Says in words why nothing can be asked there.
    pub fn parsed(&self) -> Result<Uri, &'static str> {
        let path = self.0.find("://").map_or(0, |at| at + 3);
        let path = self.0[path..].find(['/', '?', '#']).map_or(self.0.len(), |at| path + at);
        let (front, back) = self.0.split_at(path);
        let back = back.split('#').next().unwrap_or_default();
        let uri = format!("{front}{}", tidied(back)).parse::<Uri>().map_err(|_| "that is no address")?;
        match uri.scheme_str() {
            Some("http" | "https") if uri.host().is_some_and(|h| !h.is_empty()) => Ok(uri),
            _ => Err("only http:// and https:// addresses can be asked"),
        }
    }

    /// True where scheme, host and port are those of the other address: where a token may be shown to both.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        let origin = |address: &Self| {
            let uri = address.parsed().ok()?;
            Some((uri.scheme_str()?.to_owned(), uri.host()?.to_lowercase(), port(&uri)))
        };
        origin(self).is_some_and(|mine| origin(other) == Some(mine))
    }

    /// Where a redirect from here leads (RFC 3986, section 5.2).
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        let base = self.parsed().ok()?;
        let (scheme, authority) = (base.scheme_str()?, base.authority()?);
        let location = location.split('#').next().unwrap_or_default();
        let has_scheme = location.split_once(':').is_some_and(|(scheme, _)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        });
        if has_scheme {
            return Some(Self::new(location));
        }
        if location.starts_with("//") {
            return Some(Self(format!("{scheme}:{location}")));
        }
        let (path, query) = location.find('?').map_or((location, ""), |at| location.split_at(at));
        let path = match path {
            "" if query.is_empty() => {
                return Some(Self(format!("{scheme}://{authority}{}", base.path_and_query()?)));
            }
            "" => base.path().to_owned(),
            absolute if absolute.starts_with('/') => without_dots(absolute),
            relative => {
                let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                without_dots(&format!("{folder}/{relative}"))
            }
        };
        Some(Self(format!("{scheme}://{authority}{path}{query}")))
    }
}

impl Deref for Address {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// An address without what opens doors: user and password, and the query (signed addresses carry keys there). It hides
/// rather too much where the text is no proper address.
#[must_use]
pub fn redact(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    let port = rest[..end].rsplit_once(':').map_or("", |(_, port)| port);
    // "me:pa/ss@host": a password that was not encoded goes on past the slash.
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) || rest[..end].ends_with(']');
    let last = if is_port { rest[..end].rfind('@') } else { rest.rfind('@') };
    let (secret, rest) = last.map_or(("", rest), |at| ("***@", &rest[at + 1..]));
    let (shown, query) = rest.find(['?', '#']).map_or((rest, ""), |query| (&rest[..query], "?..."));
    let mark = if url.contains("://") { "://" } else { "" };
    format!("{scheme}{mark}{secret}{shown}{query}")
}

/// The port that is asked.
pub(super) fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 })
}

/// An absolute path without `.` and `..`.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    for (index, part) in parts.iter().enumerate() {
        match *part {
            "." => {}
            ".." => drop(kept.pop()),
            name => kept.push(name),
        }
        if matches!(*part, "." | "..") && index + 1 == parts.len() {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// Path and query with `%XX` for what may not stand there: blanks, quotes, brackets, letters beyond ASCII.
fn tidied(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |tidy, byte| {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            tidy + char::from(byte).encode_utf8(&mut [0; 4])
        } else {
            tidy + &format!("%{byte:02X}")
        }
    })
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
        let base = Address::new("https://hub.co/a/b/c?x=1");
        for (location, to) in [
            ("https://cdn.co/x", "https://cdn.co/x"),
            ("//cdn.co/x", "https://cdn.co/x"),
            ("/x?y", "https://hub.co/x?y"),
            ("d", "https://hub.co/a/b/d"),
            ("../d", "https://hub.co/a/d"),
            ("?z=2", "https://hub.co/a/b/c?z=2"),
            ("/blob/x?next=https://x.y/z", "https://hub.co/blob/x?next=https://x.y/z"),
            ("/a/./b/../c/..", "https://hub.co/a/"),
            ("../../../d", "https://hub.co/d"),
            ("", "https://hub.co/a/b/c?x=1"),
            ("d:e", "d:e"),
            ("./d:e", "https://hub.co/a/b/d:e"),
            ("d#e", "https://hub.co/a/b/d"),
        ] {
            assert_eq!(base.join(location).as_deref(), Some(to), "{location}");
        }
        let blank = base.join("/a b/ü?c d").expect("an address").parsed().expect("an address");
        assert_eq!(blank.to_string(), "https://hub.co/a%20b/%C3%BC?c%20d");
    }

    #[test]
    fn a_host_is_the_same_only_with_scheme_and_port() {
        let is_at = |a: &str, b: &str| Address::new(a).is_at(&Address::new(b));
        assert!(is_at("https://Hub.co:443/a", "https://me:pw@hub.co"));
        assert!(!is_at("https://hub.co", "http://hub.co"));
        assert!(!is_at("http://127.0.0.1:1", "http://127.0.0.1:2"));
        assert!(!is_at("https://hub.co", "https://hub.co.evil.org"));
        assert!(!is_at("https://hub.co", "https://hub.co@evil.org"));
        assert!(!is_at("https://hub.co", "https://evil.org\\@hub.co"));
        assert!(!is_at("hub.co", "hub.co"), "no address is not at home anywhere");
    }

    #[test]
    fn addresses_lose_credentials_and_signatures_however_they_are_printed() {
        for (url, shown) in [
            ("https://me:pw@host:8/a/b?sig=1#x", "https://***@host:8/a/b?..."),
            ("http://host/a@b", "http://host/a@b"),
            ("http://host:80/a@b", "http://host:80/a@b"),
            ("http://[::1]/a@b", "http://[::1]/a@b"),
            ("http://host", "http://host"),
            ("http://host?sig=a@b", "http://host?..."),
            ("me:pw@host:8/a", "***@host:8/a"),
            ("http://me:p/w@host/a", "http://***@host/a"),
            ("http://me:p?w@host/a?sig", "http://***@host/a?..."),
            ("http://me:p@w@host/a", "http://***@host/a"),
        ] {
            assert_eq!(redact(url), shown);
            let address = Address::new(url);
            assert_eq!((address.to_string(), format!("{address:?}")), (shown.into(), shown.into()));
        }
    }

    #[test]
    fn what_cannot_be_asked_is_no_address() {
        for wrong in ["", "hub.co", "localhost:80", "me:pw@hub.co", "ftp://hub.co", "file:///etc", "http://"]
        {
            assert!(Address::new(wrong).parsed().is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_are_encoded() {
        assert_eq!(encoded("a b/ü.json"), "a%20b/%C3%BC.json");
    }
}
