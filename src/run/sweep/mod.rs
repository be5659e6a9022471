//! A sweep: the same experiment at every point of a grid, with several seeds.
//!
//! ```text
//! <runs>/../sweeps/<id>/
//!   sweep.toml      the spec, the grid, the number of seeds, where the runs are; sealed by its first line
//!   results.csv     the table by cell, when the sweep has ended
//!   queue.lock      locked while a process chooses a cell and starts its worker
//!   process.lock    locked by the process that leads the sweep, as long as it lives
//! ```
//!
//! Each cell is a run like any other, in `<runs>`, and its `state.json` is the only record of how far it is. So a
//! sweep that was killed goes on from what its runs say, and several processes can work on one sweep: whoever has
//! `queue.lock` may start a cell, and keeps the lock until the worker has said that it runs.

mod board;
mod place;
mod queue;
mod work;

pub use board::{Board, Overall, Standing, TRIES};
pub use work::{Change, What, Workers, work};

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{RunDir, Source, Sources, Store, now, shown};
use crate::batch::Layout;
use crate::spec::{Axis, Cell, ExperimentSpec, cells, file_name};
use crate::{files, seal, tokens};

/// Version of `sweep.toml`.
const VERSION: u32 = 1;

/// What stands behind the checksum in its first line.
const REMARK: &str = "of the lines below; they belong to this sweep's runs";

/// What `sweep.toml` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    v: u32,
    id: String,
    /// Seconds since 1970.
    created: f64,
    /// Version of the program that made it.
    polymix: String,
    /// The directory of its runs.
    runs: PathBuf,
    seeds: usize,
    #[serde(default)]
    grid: Vec<Axis>,
    spec: ExperimentSpec,
}

/// What to run: a spec, the keys that vary, and how many seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub spec: ExperimentSpec,
    pub grid: Vec<Axis>,
    pub seeds: usize,
}

/// A sweep's directory with its cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    pub path: PathBuf,
    pub id: String,
    /// Seconds since 1970.
    pub created: f64,
    pub plan: Plan,
    pub cells: Vec<Cell>,
    /// Where its runs are.
    pub runs: Store,
}

/// The directory of all sweeps that belong to these runs: `sweeps` beside them.
#[must_use]
pub fn root(store: &Store) -> PathBuf {
    store.root.parent().unwrap_or(Path::new("")).join("sweeps")
}

impl Sweep {
    /// Checks every cell, then creates the sweep's directory. Without a name the id is the spec's name and a number;
    /// without a directory it lies in [`root`].
    ///
    /// # Errors
    /// The first cell that is no valid spec; a name or directory that is taken; a directory that cannot be written.
    pub fn create(store: &Store, plan: Plan, name: Option<&str>, dir: Option<&Path>) -> Result<Self> {
        let runs = Store { root: std::path::absolute(&store.root)? };
        let root = root(&runs);
        let id = match (name, dir) {
            (Some(name), _) => checked(name)?.to_owned(),
            (None, Some(dir)) => {
                let name = dir.file_name().context("--dir: the directory has no name")?;
                file_name(&name.to_string_lossy())
            }
            (None, None) => {
                let stem = file_name(&plan.spec.name);
                let mut free = (1..100_000).map(|n| format!("{stem}-sweep-{n:03}"));
                let taken = |id: &String| root.join(id).exists();
                free.find(|id| !taken(id)).context("100,000 sweeps have this name; give --name")?
            }
        };
        let path = dir.map_or_else(|| root.join(&id), Path::to_path_buf);
        let cells = cells(&plan.spec, &plan.grid, plan.seeds, &id)?;
        ensure!(
            !path.exists(),
            "{}: exists already; go on with it (--resume), or choose another --name or --dir",
            shown(&path)
        );
        if let Some(cell) = cells.iter().find(|cell| runs.root.join(&cell.id).exists()) {
            bail!(
                "{}: the run exists already, from another sweep of this name; choose another --name",
                shown(&runs.root.join(&cell.id))
            );
        }
        let record = Record {
            v: VERSION,
            id: id.clone(),
            created: now(),
            polymix: crate::VERSION.into(),
            runs: runs.root.clone(),
            seeds: plan.seeds,
            grid: plan.grid.clone(),
            spec: plan.spec.clone(),
        };
        let text = toml::to_string_pretty(&record).context("writing the sweep as TOML")?;
        files::whole_dir(&path, |dir| {
            files::replace(&dir.join("sweep.toml"), seal::headed(&text, REMARK).as_bytes())
        })?;
        Ok(Self { path, id, created: record.created, plan, cells, runs })
    }

    /// Reads the sweep in this directory. Its runs are where `sweep.toml` says, or among `store` if they were moved.
    ///
    /// # Errors
    /// Where `sweep.toml` is missing, damaged, or of a later version.
    pub fn open(path: &Path, store: &Store) -> Result<Self> {
        let file = path.join("sweep.toml");
        let shown = file.display().to_string();
        let text = std::fs::read(&file).with_context(|| format!("{shown}: cannot read"))?;
        let text = String::from_utf8(text).map_err(|_| seal::damaged(&shown, "no text"))?;
        let is_end = |line: &str| line.trim() == "[spec.evaluate]";
        match seal::is_whole(&text) {
            Some(false) => {
                return Err(seal::damaged(
                    &shown,
                    "its checksum is wrong, and its runs would not be those of this sweep; put back what it held. If you \
                     changed it on purpose, remove its first line",
                ));
            }
            // Every version writes all sections out, this one last.
            None if !text.lines().any(is_end) => {
                return Err(seal::damaged(&shown, "its end is missing; put back what it held"));
            }
            Some(true) | None => {}
        }
        // The version first: a later one may hold keys that are unknown here.
        let version = text.parse::<toml::Table>().ok().and_then(|t| t.get("v")?.as_integer());
        if let Some(v) = version.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > u64::from(VERSION)) {
            return Err(seal::newer(&shown, v, VERSION));
        }
        let record: Record = toml::from_str(&text)
            .map_err(|e| files::toml_error(&text, &e))
            .with_context(|| format!("{}: not a sweep of this polymix", file.display()))?;
        let plan = Plan { spec: record.spec, grid: record.grid, seeds: record.seeds };
        let cells = cells(&plan.spec, &plan.grid, plan.seeds, &record.id)
            .with_context(|| format!("{}", file.display()))?;
        let moved = !record.runs.is_dir() && cells.iter().any(|c| store.root.join(&c.id).is_dir());
        let runs = if moved { store.clone() } else { Store { root: record.runs } };
        Ok(Self { path: path.to_owned(), id: record.id, created: record.created, plan, cells, runs })
    }

    /// A sweep by directory, by id, by the unique beginning of an id, or `last`.
    ///
    /// # Errors
    /// Where none or several fit, and as [`Self::open`].
    pub fn find(name: &str, store: &Store) -> Result<Self> {
        if Path::new(name).join("sweep.toml").is_file() {
            return Self::open(Path::new(name), store);
        }
        let root = root(store);
        let dirs = directories(store);
        let id = |dir: &Path| dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(dir) = dirs.iter().find(|dir| id(dir) == name) {
            return Self::open(dir, store);
        }
        if name == "last" {
            let newest = list(store).into_iter().find_map(Result::ok);
            return newest.with_context(|| format!("no sweep yet in {}", root.display()));
        }
        let fits: Vec<&PathBuf> =
            dirs.iter().filter(|d| !name.is_empty() && id(d).starts_with(name)).collect();
        match fits.as_slice() {
            [one] => Self::open(one, store),
            [] => {
                bail!("sweep '{name}': no such sweep in {}; `polymix sweep list` shows them", root.display())
            }
            many => bail!("sweep '{name}': {} sweeps begin so; write more of the id", many.len()),
        }
    }

    /// The run of a cell, whether it exists yet or not.
    #[must_use]
    pub fn run(&self, cell: &Cell) -> RunDir {
        RunDir::new(self.runs.root.join(&cell.id))
    }

    /// As [`Plan::check`], for who goes on with the sweep.
    ///
    /// # Errors
    /// As there.
    pub fn check_devices(&self, devices: &[String]) -> Result<()> {
        check_devices(&self.plan, &self.cells, devices)
    }
}

impl Plan {
    /// Refuses a cell that is no valid spec, or for which the data have no batches, and a device that some cell cannot use,
    /// before anything is written.
    ///
    /// # Errors
    /// Names the cell, the device, and why.
    pub fn check(&self, devices: &[String]) -> Result<()> {
        let cells = cells(&self.spec, &self.grid, self.seeds, "cell")?;
        check_devices(self, &cells, devices)?;
        check_batches(&cells)
    }
}

/// Refuses cells whose data are at hand, but give no batch plan. What cannot be opened yet, or is large, is left to the cell's
/// worker.
fn check_batches(cells: &[Cell]) -> Result<()> {
    let mut opened: Vec<(&ExperimentSpec, Option<Vec<Layout>>)> = Vec::new();
    for cell in cells {
        let spec = &cell.spec;
        let is_known = |(other, _): &&(&ExperimentSpec, _)| {
            (&other.data, &other.model, &other.evaluate) == (&spec.data, &spec.model, &spec.evaluate)
        };
        if opened.iter().find(is_known).is_none() {
            let all = spec.data.train.iter().chain(&spec.data.validation).chain(&spec.data.evaluation);
            let is_small = all.clone().all(|d| tokens::is_large(d).is_ok_and(|is_large| !is_large));
            let sources = is_small.then(|| Sources::open(spec, &mut |_, _| Ok(())).ok()).flatten();
            opened.push((spec, sources.map(|s| s.train.iter().map(Source::layout).collect())));
        }
        if let Some((_, Some(layouts))) = opened.iter().find(is_known) {
            crate::batch::Plan::from_layouts(spec, layouts.clone()).with_context(|| cell.id.clone())?;
        }
    }
    Ok(())
}

fn check_devices(plan: &Plan, cells: &[Cell], devices: &[String]) -> Result<()> {
    ensure!(
        devices.is_empty() || plan.grid.iter().all(|axis| axis.key != "train.device"),
        "--devices: the grid has train.device already; give one of the two"
    );
    for device in devices {
        for cell in cells {
            let mut spec = cell.spec.clone();
            spec.train.device.clone_from(device);
            spec.check().with_context(|| format!("--devices {device}, {}", cell.id))?;
        }
    }
    Ok(())
}

fn checked(name: &str) -> Result<&str> {
    ensure!(
        !name.is_empty() && name.len() <= 60 && file_name(name) == name,
        "--name {name}: at most 60 bytes of letters, digits, '.', '-' and '_' (it names a directory)"
    );
    Ok(name)
}

/// The directories in [`root`] that hold a sweep.
#[must_use]
pub fn directories(store: &Store) -> Vec<PathBuf> {
    files::children(&root(store)).into_iter().filter(|dir| dir.join("sweep.toml").is_file()).collect()
}

/// Every sweep in [`root`], newest first; what cannot be read comes last, as its error.
#[must_use]
pub fn list(store: &Store) -> Vec<Result<Sweep>> {
    let mut found: Vec<Result<Sweep>> =
        directories(store).iter().map(|dir| Sweep::open(dir, store)).collect();
    found.sort_by(|a, b| {
        let created = |sweep: &Result<Sweep>| sweep.as_ref().map_or(f64::NEG_INFINITY, |s| s.created);
        created(b).total_cmp(&created(a))
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(axes: &[&str], seeds: usize) -> Plan {
        let grid = axes.iter().map(|t| Axis::parse(t).unwrap()).collect();
        Plan { spec: ExperimentSpec::default(), grid, seeds }
    }

    fn store(dir: &tempfile::TempDir) -> Store {
        Store { root: dir.path().join("runs") }
    }

    #[test]
    fn a_sweep_is_read_as_it_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let made = Sweep::create(&store, plan(&["sampling.alpha=0,0.5"], 2), None, None).unwrap();
        assert_eq!(made.path, dir.path().join("sweeps/experiment-sweep-001"));
        assert_eq!(Sweep::open(&made.path, &store).unwrap(), made);
        assert_eq!(Sweep::find("exp", &store).unwrap(), made);
        assert_eq!(Sweep::find("last", &store).unwrap(), made);
        let second = Sweep::create(&store, plan(&["sampling.alpha=0,0.5"], 2), None, None).unwrap();
        assert_eq!(second.id, "experiment-sweep-002");
        let ids: Vec<String> = list(&store).into_iter().map(|s| s.unwrap().id).collect();
        assert_eq!(ids, ["experiment-sweep-002", "experiment-sweep-001"]);
        for (name, part) in [("exp", "2 sweeps begin so"), ("x", "no such sweep"), ("", "no such sweep")] {
            let message = format!("{:#}", Sweep::find(name, &store).expect_err(name));
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn names_that_are_taken_or_impossible_are_refused_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let create = |axes: &[&str], name: &str| Sweep::create(&store, plan(axes, 1), Some(name), None);
        for name in ["a/b", "", ".x", "a b"] {
            let message = format!("{:#}", create(&["sampling.alpha=0,1"], name).expect_err(name));
            assert!(message.contains("--name"), "{message}");
        }
        assert!(create(&["sampling.alpha=0,7"], "bad").is_err());
        assert!(!root(&store).exists(), "a refused sweep leaves nothing");
        let made = create(&["sampling.alpha=0,1"], "good").unwrap();
        let message = format!("{:#}", create(&["sampling.alpha=0,1"], "good").expect_err("taken"));
        assert!(message.contains("--resume"), "{message}");
        made.runs.create_as(&made.cells[0].id, &made.cells[0].spec).unwrap();
        std::fs::remove_dir_all(&made.path).unwrap();
        let message = format!("{:#}", create(&["sampling.alpha=0,1"], "good").expect_err("runs left"));
        assert!(message.contains("another --name"), "{message}");
    }

    #[test]
    fn a_later_version_is_not_misread() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let made = Sweep::create(&store, plan(&[], 3), Some("s"), None).unwrap();
        let file = made.path.join("sweep.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let body = text.split_once('\n').unwrap().1;
        std::fs::write(&file, body).unwrap();
        assert_eq!(Sweep::open(&made.path, &store).unwrap(), made, "as versions without a checksum wrote it");
        let later = seal::headed(&body.replacen("v = 1", "v = 2\nnew = true", 1), "");
        std::fs::write(&file, later).unwrap();
        let error = Sweep::open(&made.path, &store).expect_err("version");
        assert!(seal::is_newer(&error) && format!("{error:#}").contains("format 2"), "{error:#}");
        for broken in [text.replacen("seeds = 3", "seeds = 5", 1), body[..body.len() / 2].to_owned()] {
            std::fs::write(&file, broken).unwrap();
            let error = Sweep::open(&made.path, &store).expect_err("damaged");
            assert!(seal::is_damage(&error) && format!("{error:#}").contains("sweep.toml"), "{error:#}");
        }
        assert!(list(&store)[0].is_err(), "a broken sweep does not hide the others");
    }

    #[test]
    fn devices_that_do_not_exist_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let sweep = Sweep::create(&store(&dir), plan(&["train.dtype=f32,bf16"], 1), Some("s"), None).unwrap();
        sweep.check_devices(&["cuda:0".into(), "cpu".into()]).unwrap();
        let message =
            format!("{:#}", sweep.check_devices(&["cuda:0".into(), "gpu1".into()]).expect_err("device"));
        assert!(message.contains("--devices gpu1, s-01"), "{message}");
    }
}
