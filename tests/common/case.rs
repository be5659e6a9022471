//! The real program with a hub on loopback, and a cache and a catalogue of its own.

use std::path::{Path, PathBuf};

use crate::common::{Output, Program, tiny_model};
use crate::hub::{COMMIT, Hub};

pub const TOKEN: &str = "hf_tokenThatMustNeverBeSeen";

/// A program with a hub, a cache and a catalogue of its own.
pub struct Case {
    pub program: Program,
    pub hub: Hub,
}

impl Case {
    pub fn new() -> Self {
        let case = Self { program: Program::new(), hub: Hub::start() };
        case.hub.put_dir("models/me/tiny", "", tiny_model().path());
        case.own("");
        case
    }

    pub fn dir(&self) -> &Path {
        self.program.dir.path()
    }

    pub fn command(&self, args: &[&str], more: &[(&str, &str)]) -> std::process::Command {
        let mut command = self.program.command(args);
        for name in [
            "HF_TOKEN",
            "HF_TOKEN_PATH",
            "HF_HUB_CACHE",
            "HF_HUB_OFFLINE",
            "HTTPS_PROXY",
            "HTTP_PROXY",
            "http_proxy",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
        ] {
            command.env_remove(name);
        }
        command
            .env("HF_ENDPOINT", &self.hub.url)
            .env("HF_HOME", self.dir().join("hf"))
            .env("POLYMIX_DATA", self.dir().join("data"))
            .env("POLYMIX_CATALOGUE", self.dir().join("catalogue.toml"))
            .envs(more.iter().copied());
        command
    }

    pub fn run_with(&self, args: &[&str], more: &[(&str, &str)]) -> Output {
        let output = self.command(args, more).output().unwrap();
        Output {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn ok(&self, args: &[&str]) -> Output {
        let output = self.run_with(args, &[]);
        assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
        output
    }

    pub fn fails(&self, args: &[&str], more: &[(&str, &str)], parts: &[&str]) -> Output {
        let output = self.run_with(args, more);
        assert_eq!(output.code, Some(1), "{args:?}: {output:?}");
        for part in parts {
            assert!(output.err.contains(part), "{args:?}: no '{part}' in {}", output.err);
        }
        output
    }

    pub fn repo(&self) -> PathBuf {
        self.dir().join("hf/hub/models--me--tiny")
    }

    pub fn weights(&self) -> PathBuf {
        self.repo().join("snapshots").join(COMMIT).join("model.safetensors")
    }

    pub fn published() -> Vec<u8> {
        std::fs::read(tiny_model().path().join("model.safetensors")).unwrap()
    }

    pub fn own(&self, text: &str) {
        std::fs::write(self.dir().join("catalogue.toml"), text).unwrap();
    }
}
