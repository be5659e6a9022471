//! Where the hub is, where its cache lies, and who asks: the environment variables that Python's client knows.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::Address;

/// A token. It cannot be printed: every way to show it says `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The token's text, for the one header that carries it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How the hub is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `HF_ENDPOINT`, else `https://huggingface.co`; without a slash at the end.
    pub endpoint: Address,
    /// `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else `HF_HOME/token`.
    pub token: Option<Secret>,
    /// Where the token came from, in words.
    pub token_origin: &'static str,
    /// Why there is none, where a place for one is named or there.
    pub token_trouble: Option<String>,
    /// `HF_HUB_OFFLINE`: nothing is asked of any network.
    pub is_offline: bool,
    /// Longest silence of a server.
    pub timeout: Duration,
    /// The first wait before a repeated request; it doubles each time.
    pub backoff: Duration,
}

impl Settings {
    /// The settings of this process.
    #[must_use]
    pub fn from_env() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    /// The same from any source of variables.
    #[must_use]
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let given = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let user = given("HOME").or_else(|| given("USERPROFILE")).map(PathBuf::from);
        let expanded = |text: String| match (text.strip_prefix("~/"), &user) {
            (Some(rest), Some(user)) => user.join(rest),
            _ => PathBuf::from(text),
        };
        let default_home = || {
            let caches = given("XDG_CACHE_HOME").map(expanded);
            let caches = caches.or_else(|| user.as_ref().map(|u| u.join(".cache")));
            caches.unwrap_or_else(std::env::temp_dir).join("huggingface")
        };
        let home = given("HF_HOME").map_or_else(default_home, expanded);
        let cache = given("HF_HUB_CACHE").or_else(|| given("HUGGINGFACE_HUB_CACHE")).map(expanded);
        let (token, token_origin, token_trouble) = token(&given, &expanded, &home);
        let seconds = given("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|v| v.parse::<u64>().ok()).filter(|s| *s > 0);
        // More than a day would overflow clocks in the end.
        let seconds = seconds.map(|s| s.min(86_400));
        Self {
            endpoint: Address::new(
                given("HF_ENDPOINT").as_deref().unwrap_or("https://huggingface.co").trim_end_matches('/'),
            ),
            cache: cache.unwrap_or_else(|| home.join("hub")),
            token,
            token_origin,
            token_trouble,
            is_offline: given("HF_HUB_OFFLINE")
                .or_else(|| given("TRANSFORMERS_OFFLINE"))
                .is_some_and(|v| on(&v)),
            timeout: Duration::from_secs(seconds.unwrap_or(30)),
            backoff: Duration::from_millis(500),
        }
    }

    /// True where `text` would tell the token.
    #[must_use]
    pub fn hides(&self, text: &str) -> bool {
        self.token.as_ref().is_some_and(|t| text.contains(&t.0))
    }
}

fn on(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

fn token(
    given: &impl Fn(&str) -> Option<String>,
    expanded: &impl Fn(String) -> PathBuf,
    home: &Path,
) -> (Option<Secret>, &'static str, Option<String>) {
    if let Some(token) = given("HF_TOKEN").or_else(|| given("HUGGING_FACE_HUB_TOKEN")) {
        return (Some(Secret(token)), "HF_TOKEN", None);
    }
    let (path, origin) = match given("HF_TOKEN_PATH") {
        Some(path) => (expanded(path), "the file HF_TOKEN_PATH"),
        None => (home.join("token"), "the file HF_HOME/token"),
    };
    let is_named = given("HF_TOKEN_PATH").is_some();
    let trouble = match std::fs::read_to_string(&path) {
        Err(error) if is_named || error.kind() != ErrorKind::NotFound => {
            Some(format!("cannot be read ({error})"))
        }
        Err(_) => None,
        Ok(text) => match text.trim() {
            "" => Some("is empty".to_owned()),
            // Something with a line break inside is no token, and would break the header that carries it.
            token if !token.chars().all(|c| c.is_ascii_graphic()) => Some(
                "has a character that no token has: a blank, a line break, or a letter beyond ASCII"
                    .to_owned(),
            ),
            token => return (Some(Secret(token.to_owned())), origin, None),
        },
    };
    (None, "none", trouble.map(|why| format!("{origin}, {}, {why}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::read(|name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
    }

    #[test]
    fn places_follow_pythons_client() {
        let found = settings(&[("HOME", "/u")]);
        assert_eq!(found.cache, Path::new("/u/.cache/huggingface/hub"));
        assert_eq!((&*found.endpoint, found.is_offline), ("https://huggingface.co", false));
        assert_eq!(settings(&[("HOME", "/u"), ("HF_HOME", "~/hf")]).cache, Path::new("/u/hf/hub"));
        assert_eq!(settings(&[("HF_HOME", "/x"), ("HF_HUB_CACHE", "/y")]).cache, Path::new("/y"));
        assert_eq!(settings(&[("XDG_CACHE_HOME", "/c")]).cache, Path::new("/c/huggingface/hub"));
        let found = settings(&[("HF_ENDPOINT", "http://mirror/"), ("HF_HUB_OFFLINE", "True")]);
        assert_eq!((&*found.endpoint, found.is_offline), ("http://mirror", true));
        let timeout = |text: &str| settings(&[("HF_HUB_DOWNLOAD_TIMEOUT", text)]).timeout.as_secs();
        assert_eq!([timeout("7"), timeout("0"), timeout("x")], [7, 30, 30]);
        assert_eq!(timeout("18446744073709551615"), 86_400, "no overflow of a clock");
    }

    #[test]
    fn a_token_comes_from_the_variable_then_the_file_and_is_never_shown() {
        let dir = tempfile::tempdir().expect("dir");
        let home = dir.path().display().to_string();
        std::fs::write(dir.path().join("token"), "hf_home\n").expect("write");
        std::fs::write(dir.path().join("own"), "hf_own").expect("write");
        let own = dir.path().join("own").display().to_string();
        let token = |s: &Settings| s.token.as_ref().map(|t| t.reveal().to_owned());
        let all = [("HF_HOME", home.as_str()), ("HF_TOKEN_PATH", own.as_str()), ("HF_TOKEN", "hf_env")];
        assert_eq!(token(&settings(&all)).as_deref(), Some("hf_env"));
        assert_eq!(token(&settings(&all[..2])).as_deref(), Some("hf_own"));
        assert_eq!(token(&settings(&all[..1])).as_deref(), Some("hf_home"));
        let found = settings(&all);
        assert!(!format!("{found:?} {found:#?}").contains("hf_env"));
        std::fs::write(dir.path().join("token"), "two\nlines").expect("write");
        let found = settings(&all[..1]);
        assert_eq!(token(&found), None);
        assert!(
            found.token_trouble.as_ref().is_some_and(|t| t.contains("a line break") && !t.contains("two"))
        );
        for (path, why) in [("/nowhere/token", "No such file"), (home.as_str(), "directory")] {
            let trouble = settings(&[("HF_TOKEN_PATH", path)]).token_trouble.expect("a trouble");
            assert!(trouble.contains(path) && trouble.contains(why), "{trouble}");
        }
        assert_eq!(settings(&[("HF_HOME", "/nowhere")]).token_trouble, None, "none is needed");
    }
}
