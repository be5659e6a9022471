//! Repositories of the hub: their names, and what is in them.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::address::{Address, encoded};
use super::checksum::Checksum;
use super::fault::refusal;
use super::http::{Client, Request};
use super::watch::Watch;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Model,
    Dataset,
}

/// A repository at a revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Repo {
    pub kind: Kind,
    /// `owner/name`.
    pub id: String,
    /// Branch, tag or commit; `main` where nothing was said.
    pub revision: String,
}

impl Repo {
    /// From `owner/name` or `owner/name@revision`.
    ///
    /// # Errors
    /// Says what such a name looks like.
    pub fn parse(kind: Kind, text: &str) -> Result<Self> {
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let is_name = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let is_id = id.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name));
        let is_revision = !revision.is_empty()
            && !revision.split('/').any(|part| part.is_empty() || part == ".." || part == ".")
            && revision.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        if !is_id || !is_revision {
            bail!(
                "'{text}': a repository is named owner/name or owner/name@revision, such as FacebookAI/xlm-roberta-base"
            );
        }
        let revision = if is_commit(revision) { revision.to_lowercase() } else { revision.to_owned() };
        Ok(Self { kind, id: id.to_owned(), revision })
    }

    /// True where the revision is a commit and cannot change.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }

    fn api(&self) -> &'static str {
        match self.kind {
            Kind::Model => "api/models",
            Kind::Dataset => "api/datasets",
        }
    }

    /// Address of a file at a commit.
    pub(super) fn address(&self, endpoint: &Address, commit: &str, path: &str) -> Address {
        let folder = if self.kind == Kind::Dataset { "datasets/" } else { "" };
        endpoint.with(&format!("/{folder}{}/resolve/{commit}/{}", self.id, encoded(path)))
    }
}

/// True for a whole commit hash.
#[must_use]
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        if self.revision == "main" { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

impl FromStr for Kind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "model" => Ok(Self::Model),
            "dataset" => Ok(Self::Dataset),
            _ => Err(format!("'{text}': must be model or dataset")),
        }
    }
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub path: String,
    pub size: Option<u64>,
    pub checksum: Option<Checksum>,
}

/// The commit of a revision and its files.
pub(super) fn listing(client: &Client, repo: &Repo, watch: &mut Watch<'_>) -> Result<(String, Vec<Remote>)> {
    let endpoint = &client.settings.endpoint;
    if let Err(reason) = endpoint.parsed() {
        bail!("HF_ENDPOINT={endpoint}: {reason}; set it to an address such as https://huggingface.co");
    }
    let revision = repo.revision.replace('/', "%2F");
    let url = endpoint.with(&format!("/{}/{}/revision/{revision}?blobs=true", repo.api(), repo.id));
    let value = match client.json(&url, watch)? {
        Ok(value) => value,
        Err(refused) if refused.status == 404 => bail!(
            "{repo}: no such {} or revision on {endpoint} (private repositories look the same without a token: HF_TOKEN)",
            if repo.kind == Kind::Model { "model" } else { "dataset" }
        ),
        Err(refused) => bail!("{repo}: {}", refusal(client, &url, &refused)),
    };
    let commit = value.get("sha").and_then(Value::as_str).filter(|c| is_commit(c)).map(str::to_lowercase);
    let commit = commit.with_context(|| format!("{repo}: {endpoint} names no commit; is it a hub?"))?;
    ensure!(
        !repo.is_pinned() || commit == repo.revision,
        "{repo}: {endpoint} answers with commit {commit}, which is not the one that was asked for: its files are not those \
         of that commit; is it a mirror that keeps only the newest? Name another with HF_ENDPOINT"
    );
    let files = value.get("siblings").and_then(Value::as_array);
    let files = files.with_context(|| format!("{repo}: {endpoint} lists no files; is it a hub?"))?;
    Ok((commit, files.iter().filter_map(remote).collect()))
}

/// A file of the listing; names that would leave the folder are left out.
fn remote(value: &Value) -> Option<Remote> {
    let path = value.get("rfilename")?.as_str()?.to_owned();
    if !super::archive::is_inside(&path) {
        return None;
    }
    let lfs = value.get("lfs").filter(|l| !l.is_null());
    let text = |value: Option<&Value>, key: &str| value?.get(key)?.as_str().and_then(Checksum::parse);
    let checksum = match lfs {
        Some(_) => text(lfs, "sha256").or_else(|| text(lfs, "oid")),
        None => text(Some(value), "blobId"),
    };
    let size = lfs.and_then(|l| l.get("size")).or_else(|| value.get("size")).and_then(Value::as_u64);
    Some(Remote { path, size, checksum })
}

/// Size and checksum from the headers of the file's own address, for hubs whose listing has none.
pub(super) fn head(
    client: &Client,
    url: &Address,
    name: &str,
    watch: &mut Watch<'_>,
) -> Result<(Option<u64>, Checksum)> {
    let answer = client.send(&Request::head(url), watch)?;
    ensure!(
        matches!(answer.status, 200 | 301 | 302 | 303 | 307 | 308),
        "{name}: {}",
        refusal(client, url, &answer.refused())
    );
    let etag = answer.header("x-linked-etag").or_else(|| answer.header("etag"));
    let etag = etag.map(|e| e.trim_start_matches("W/").trim_matches('"'));
    let checksum = etag.and_then(Checksum::parse);
    let checksum = checksum.with_context(|| {
        format!("{name}: {url}: the server states no checksum (X-Linked-Etag); is it a hub?")
    })?;
    let size = answer
        .header("x-linked-size")
        .or_else(|| answer.header("content-length").filter(|_| answer.status == 200));
    Ok((size.and_then(|s| s.parse().ok()), checksum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_owner_and_name() {
        let repo = Repo::parse(Kind::Model, "FacebookAI/xlm-roberta-base").expect("a name");
        assert_eq!(
            (repo.revision.as_str(), repo.to_string().as_str()),
            ("main", "FacebookAI/xlm-roberta-base")
        );
        let repo = Repo::parse(Kind::Dataset, "a/b@refs/pr/1").expect("a name");
        let address = repo.address(&Address::new("http://h"), "c", "x y.json");
        assert_eq!(&*address, "http://h/datasets/a/b/resolve/c/x%20y.json");
        for wrong in ["demo", "a/b/c", "../x", "a/..", "/a", "a/b@", "a/b@../..", "a b/c", "a/b@x;y"] {
            assert!(Repo::parse(Kind::Model, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn listings_give_sha256_for_large_files_and_git_for_small_ones() {
        let sha = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let large = serde_json::json!({"rfilename": "m", "size": 6, "blobId": git, "lfs": {"sha256": sha, "size": 6}});
        assert_eq!(remote(&large).expect("m").checksum, Some(Checksum::Sha256(sha.into())));
        let small = serde_json::json!({"rfilename": "c", "size": 6, "blobId": git});
        assert_eq!(remote(&small).expect("c").checksum, Some(Checksum::GitBlob(git.into())));
        assert_eq!(remote(&serde_json::json!({"rfilename": "../c"})), None);
    }
}
