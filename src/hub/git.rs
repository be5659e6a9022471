//! Files of a repository on GitHub, or on a server with the same interface, at one commit.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::address::{Address, encoded, redact};
use super::checksum::Checksum;
use super::fault::refusal;
use super::http::Client;
use super::repo::{Remote, is_commit};
use super::watch::Watch;

/// A git repository on the web.
#[derive(Clone, Debug)]
pub struct Host {
    api: Address,
    raw: Address,
}

impl Host {
    /// From `https://github.com/owner/name`. Other hosts are asked as GitHub Enterprise is.
    ///
    /// # Errors
    /// Says what the address looks like.
    pub fn parse(url: &str) -> Result<Self> {
        let url = url.trim_end_matches('/').trim_end_matches(".git");
        let parts = url.split_once("://").map(|(scheme, rest)| (scheme, rest.split('/').collect::<Vec<_>>()));
        let Some(("https" | "http", parts)) = &parts else { bail!("{}: {EXPECTED}", redact(url)) };
        let [host, owner, name] = parts[..] else { bail!("{}: {EXPECTED}", redact(url)) };
        ensure!(!host.is_empty() && !owner.is_empty() && !name.is_empty(), "{}: {EXPECTED}", redact(url));
        Ok(if host == "github.com" {
            Self {
                api: Address::new(format!("https://api.github.com/repos/{owner}/{name}")),
                raw: Address::new(format!("https://raw.githubusercontent.com/{owner}/{name}")),
            }
        } else {
            let scheme = url.split("://").next().unwrap_or("https");
            Self {
                api: Address::new(format!("{scheme}://{host}/api/v3/repos/{owner}/{name}")),
                raw: Address::new(format!("{url}/raw")),
            }
        })
    }

    /// Address of a file.
    pub(super) fn address(&self, commit: &str, path: &str) -> Address {
        self.raw.with(&format!("/{commit}/{}", encoded(path)))
    }

    /// The commit of a revision, and its files with git's own checksums.
    pub(super) fn listing(
        &self,
        client: &Client,
        revision: &str,
        watch: &mut Watch<'_>,
    ) -> Result<(String, Vec<Remote>)> {
        let mut ask = |url: Address| -> Result<Value> {
            match client.json(&url, watch)? {
                Ok(value) => Ok(value),
                Err(refused) if refused.status == 403 => bail!(
                    "{url}: the host answered 403: it answers no more for now (GitHub allows 60 questions an hour from one \
                     address; wait an hour), or the repository is not public"
                ),
                Err(refused) => bail!("{}", refusal(client, &url, &refused)),
            }
        };
        let commit = if is_commit(revision) {
            revision.to_owned()
        } else {
            let found = ask(self.api.with(&format!("/commits/{}", encoded(revision))))?;
            let sha = found.get("sha").and_then(Value::as_str).filter(|c| is_commit(c));
            sha.with_context(|| format!("{}: no commit for '{revision}'", self.api))?.to_owned()
        };
        let tree = ask(self.api.with(&format!("/git/trees/{commit}?recursive=1")))?;
        ensure!(
            tree.get("truncated").and_then(Value::as_bool) != Some(true),
            "{}: the repository is too large to be listed",
            self.api
        );
        let items = tree.get("tree").and_then(Value::as_array);
        let items = items.with_context(|| {
            format!("{}: the answer lists no files; is it GitHub, or a server like it?", self.api)
        })?;
        let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
        let files = items
            .iter()
            .filter(|i| text(i, "type").as_deref() == Some("blob"))
            .filter_map(|i| {
                let checksum = text(i, "sha").as_deref().and_then(Checksum::parse);
                let size = i.get("size").and_then(Value::as_u64);
                Some(Remote {
                    path: text(i, "path").filter(|p| super::archive::is_inside(p))?,
                    size,
                    checksum,
                })
            })
            .collect();
        Ok((commit, files))
    }
}

const EXPECTED: &str = "a git source is https://HOST/OWNER/NAME";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_files() {
        let host = Host::parse("https://github.com/google-research-datasets/lareqa.git").expect("a host");
        assert_eq!(
            &*host.address("abc", "xquad-r/en.json"),
            "https://raw.githubusercontent.com/google-research-datasets/lareqa/abc/xquad-r/en.json"
        );
        let host = Host::parse("http://localhost:1/o/n").expect("a host");
        assert_eq!(&*host.address("abc", "x"), "http://localhost:1/o/n/raw/abc/x");
        for wrong in ["github.com/a/b", "https://github.com/a", "ftp://x/a/b", "https://github.com//b"] {
            assert!(Host::parse(wrong).is_err(), "{wrong}");
        }
    }
}
