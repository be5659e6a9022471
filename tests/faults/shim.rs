//! The library that makes single operations fail (`shim.c`), compiled here.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Output, Program};

/// Compiles it; says loudly that `test` is skipped where that is not possible.
pub fn compiled(dir: &Path, test: &str) -> Option<PathBuf> {
    let (source, library) = (dir.join("shim.c"), dir.join("shim.so"));
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        eprintln!("SKIPPED {test}: LD_PRELOAD is tried on Linux with glibc only");
        return None;
    }
    std::fs::write(&source, include_str!("shim.c")).unwrap();
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-w", "-o"]).arg(&library).arg(&source).output();
    match made {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(library)
        }
        Err(error) => {
            eprintln!("SKIPPED {test}: no C compiler ({error}); install one as `cc`");
            None
        }
    }
}

/// Runs the program with faults: `variables` without their `SHIM_`.
pub fn faulty(program: &Program, library: &Path, variables: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = program.command(args);
    command.env("LD_PRELOAD", library);
    command.envs(variables.iter().map(|(key, value)| (format!("SHIM_{key}"), *value)));
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Output { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// How many operations below `under` a command takes.
pub fn operations(program: &Program, library: &Path, under: &str, ops: &str, args: &[&str]) -> usize {
    let file = program.dir.path().join("operations");
    let counted = [("UNDER", under), ("OPS", ops), ("COUNT", file.to_str().unwrap())];
    let output = faulty(program, library, &counted, args);
    assert_eq!(output.code, Some(0), "{output:?}");
    std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

/// Numbers that look random and are the same in every run of a test (`SplitMix64`).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}
