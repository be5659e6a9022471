//! Main memory: what this process holds, and how much more it may take.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Environment variable with the most main memory that a run may take, as `8GiB` or `500MiB`.
pub const LIMIT: &str = "POLYMIX_MEMORY";

/// What the line that is said when the system refuses memory begins with.
pub const NO_MEMORY: &str = "polymix: no memory left: ";
/// Pairs a pass that a training run would try next; 0 where nothing is trained.
static NEXT_CHUNK: AtomicUsize = AtomicUsize::new(0);
/// A [`Doing`].
static DOING: AtomicU8 = AtomicU8::new(Doing::Other as u8);
/// Where the line is kept besides standard error, which may be a terminal that is gone.
static LOG: Mutex<Option<PathBuf>> = Mutex::new(None);
/// Longest path that the standard library opens without taking memory, with some to spare.
const SHORT_PATH: usize = 300;

/// What the program is asked for, as far as it decides what would need less memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Doing {
    /// Training, evaluating, or anything else on the keys of a spec.
    Other,
    /// An estimate of what a run would take.
    Estimate,
    /// `polymix bench train`: its chunk is an option, not a key.
    Bench,
}

/// Says what the program does, from now on.
pub fn doing(what: Doing) {
    DOING.store(what as u8, Ordering::Relaxed);
}

/// Says, from now on, which chunk to try where the system refuses memory, of so many `pairs` a pass.
pub fn suggest_chunk(pairs: usize) {
    NEXT_CHUNK.store(smaller_chunk(pairs), Ordering::Relaxed);
}

/// A quarter of a pass: half of one needs more than half of its memory, and is mostly refused too. 0 where one pair is all of it.
#[must_use]
pub const fn smaller_chunk(pairs: usize) -> usize {
    if pairs > 1 { pairs.div_ceil(4) } else { 0 }
}

/// While it lives, what is said where the system refuses memory is kept in a file too.
#[derive(Debug)]
#[must_use]
pub struct Logged(());

impl Drop for Logged {
    fn drop(&mut self) {
        *LOG.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Keeps what is said where the system refuses memory in this file too, as long as the result lives. There is one such file: of
/// several runs at a time in one process, the last that began.
pub fn log_no_memory(path: PathBuf) -> Logged {
    if path.as_os_str().len() < SHORT_PATH {
        *LOG.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
    }
    Logged(())
}

/// Says on `out` that the system refused memory, in one line that tells what to do; takes no memory itself.
pub fn tell_no_memory(out: &mut dyn Write) {
    let chunk = NEXT_CHUNK.load(Ordering::Relaxed);
    let doing = match DOING.load(Ordering::Relaxed) {
        n if n == Doing::Bench as u8 => Doing::Bench,
        n if n == Doing::Estimate as u8 => Doing::Estimate,
        _ => Doing::Other,
    };
    tell(chunk, doing, out);
    // Nobody waits here: whoever holds the lock may be what was refused.
    let Ok(log) = LOG.try_lock() else { return };
    if let Some(Ok(mut log)) = log.as_ref().map(|path| File::options().append(true).create(true).open(path)) {
        tell(chunk, doing, &mut log);
    }
}

fn tell(chunk: usize, doing: Doing, out: &mut dyn Write) {
    let mut line = [0u8; 320];
    let mut left = line.as_mut_slice();
    // The line is shorter than its buffer; one that were not is cut.
    let _ = left.write_all(NO_MEMORY.as_bytes());
    let _ = left.write_all(b"raise the limit (ulimit -v, the container's)");
    let _ = match (chunk, doing) {
        // Nothing is trained or evaluated as the spec says, but some steps of a small model are taken.
        (_, Doing::Estimate) => left.write_all(
            b", or take less data or a smaller model: an estimate reads all data and takes some steps, though not the run's\n",
        ),
        // Before the first step, or with one pair a pass: no chunk helps.
        (0, Doing::Other) => left.write_all(
            b", or take less data, a smaller model or, to evaluate, a smaller evaluate.batch_tokens\n",
        ),
        (0, Doing::Bench) => {
            left.write_all(b", or ask for less with --batch, --batches, --lengths or a smaller --model\n")
        }
        (chunk, Doing::Bench) => writeln!(left, ", or ask for less at once with --chunk {chunk}"),
        (chunk, Doing::Other) => writeln!(
            left,
            ", or ask for less at once with --set train.chunk={chunk} (training; no result depends on it) or a smaller \
             evaluate.batch_tokens"
        ),
    };
    let unused = left.len();
    let length = line.len() - unused;
    // A line that cannot be written is lost.
    let _ = out.write_all(&line[..length]);
}

/// What this process holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Pages in main memory now.
    pub resident: u64,
    /// The most that `resident` ever was; `None` where the system does not keep it.
    pub peak: Option<u64>,
    /// Address space that is mapped, used or not; `None` where the system does not tell.
    pub mapped: Option<u64>,
}

/// How much more memory may be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headroom {
    pub bytes: u64,
    /// All that this process may hold, what it holds now included.
    pub total: u64,
    /// What sets this bound, for messages.
    pub bound: String,
    /// Bytes that are not to be counted on: of an address space, allocator and threads map more at once than they need.
    pub spare: u64,
}

impl Headroom {
    /// What of so many bytes can be planned with: nine tenths, as estimates are not exact, and not what is [`Headroom::spare`].
    #[must_use]
    pub fn planned(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.spare.max(bytes / 10))
    }
}

/// Bytes that an allocator may map more than it needs: a segment, and as much again to have it aligned (mimalloc).
const SPARE: u64 = 64 << 20;

/// This process's memory.
#[must_use]
pub fn memory() -> Option<Memory> {
    if let Ok(text) = std::fs::read_to_string("/proc/self/status") {
        return from_status(&text);
    }
    let pid = Pid::from_u32(std::process::id());
    let mut system = System::new().ok()?;
    let what = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    Some(Memory { resident: system.process(pid)?.memory(), ..Memory::default() })
}

/// Reads `/proc/self/status`.
fn from_status(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        let kib: u64 = line.trim_start_matches(':').split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    };
    Some(Memory { resident: field("VmRSS")?, peak: field("VmHWM"), mapped: field("VmSize") })
}

/// Seconds of computing that this process has used, on all cores together: what a busy machine does not change much.
#[must_use]
pub fn cpu_seconds() -> Option<f64> {
    let pid = Pid::from_u32(std::process::id());
    let mut system = System::new().ok()?;
    let what = ProcessRefreshKind::nothing().with_cpu();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    Some(system.process(pid)?.accumulated_cpu_time() as f64 / 1e3)
}

/// The tightest of: memory that the system has available, the control group's limit, the address space limit.
#[must_use]
pub fn headroom() -> Option<Headroom> {
    let mut bounds = Vec::new();
    let held = memory().map_or(0, |m| m.resident);
    if let Ok(mut system) = System::new() {
        system.refresh_memory();
        if system.total_memory() > 0 {
            let left = system.available_memory();
            bounds.push((left, left + held, "memory available on this machine".to_owned(), 0));
        }
    }
    if let Ok(groups) = std::fs::read_to_string("/proc/self/cgroup") {
        let groups = from_groups(Path::new("/sys/fs/cgroup"), &groups).into_iter();
        bounds.extend(groups.map(|(left, bound)| (left, left + held, bound, 0)));
    }
    if let Some(limit) = std::env::var(LIMIT).ok().and_then(|l| parse_bytes(&l)) {
        bounds.push((limit.saturating_sub(held), limit, format!("limit of {} by {LIMIT}", bytes(limit)), 0));
    }
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    // The program's own files, its threads' stacks and what the allocator reserved count against it, in use or not.
    if let Some(limit) = address_limit(&limits) {
        let mapped = memory().and_then(|m| m.mapped).unwrap_or(held).max(held);
        bounds.push((
            limit.saturating_sub(mapped),
            limit.saturating_sub(mapped - held),
            format!("address space limit of {} (ulimit -v)", bytes(limit)),
            SPARE,
        ));
    }
    let tightest = bounds.into_iter().min();
    tightest.map(|(bytes, total, bound, spare)| Headroom { bytes, total, bound, spare })
}

/// Refuses a limit in the environment that is none: it would be passed over.
///
/// # Errors
/// Says how a limit is written.
pub fn check_limit() -> anyhow::Result<()> {
    let Some(limit) = std::env::var_os(LIMIT).filter(|l| !l.is_empty()) else { return Ok(()) };
    let is_limit = limit.to_str().is_some_and(|l| parse_bytes(l).is_some());
    anyhow::ensure!(
        is_limit,
        "{LIMIT}={}: no amount of memory; write it as 8GiB, 500MiB or in bytes",
        limit.to_string_lossy()
    );
    Ok(())
}

/// Soft limit of the address space from `/proc/self/limits`.
fn address_limit(text: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix("Max address space"))?.split_whitespace().next()?.parse().ok()
}

/// Files of a memory control group: its limit, what it uses, and in `memory.stat` what is only cached.
struct GroupFiles {
    limit: &'static str,
    used: &'static str,
    cached: &'static str,
}

const VERSION_1: GroupFiles = GroupFiles {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: "total_inactive_file ",
};
const VERSION_2: GroupFiles =
    GroupFiles { limit: "memory.max", used: "memory.current", cached: "inactive_file " };

/// What the memory control groups, from this process's own (`groups`: `/proc/self/cgroup`) up to the root, leave. Version 1
/// has a tree for memory alone; a container may see its own group as that tree's root.
fn from_groups(root: &Path, groups: &str) -> Vec<(u64, String)> {
    let number = |path: &Path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, files) = match controllers {
            "" => (root.to_owned(), VERSION_2),
            list if list.split(',').any(|name| name == "memory") => (root.join("memory"), VERSION_1),
            _ => continue,
        };
        let own = root.join(path.trim_start_matches('/'));
        found.extend(own.ancestors().take_while(|p| p.starts_with(&root)).filter_map(|group| {
            // Version 1 says "no limit" with a number that no machine has.
            let limit = number(&group.join(files.limit)).filter(|limit| *limit < 1 << 60)?;
            let used = number(&group.join(files.used))?;
            // Files that the kernel only caches are given up before anything is killed.
            let stat = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
            let cached = stat.lines().find_map(|l| l.strip_prefix(files.cached));
            let cached = cached.and_then(|c| c.trim().parse().ok()).unwrap_or(0);
            let left = limit.saturating_sub(used.saturating_sub(cached));
            Some((left, format!("memory limit of {} of the control group", bytes(limit))))
        }));
    }
    found
}

/// `8GiB`, `500 MiB`, `1000000`; `None` for anything else.
fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let units = [
        ("GiB", 1u64 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1000),
        ("", 1),
    ];
    let (number, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    let number: f64 = number.trim().parse().ok()?;
    (number > 0.0 && number.is_finite()).then_some((number * *unit as f64) as u64)
}

/// `1.5 GiB`, `300 MiB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    let mib = number as f64 / f64::from(1 << 20);
    if mib >= 1024.0 { format!("{:.2} GiB", mib / 1024.0) } else { format!("{mib:.0} MiB") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_limits_and_groups_are_read() {
        let status =
            "Name:\tx\nVmPeak:\t 9 kB\nVmSize:\t   2048 kB\nVmHWM:\t    1500 kB\nVmRSS:\t    1024 kB\n";
        let memory = from_status(status).expect("status");
        assert_eq!((memory.resident, memory.peak), (1 << 20, Some(1500 << 10)));
        assert_eq!(memory.mapped, Some(2 << 20));
        let limits = "Max cpu time   unlimited unlimited seconds\nMax address space         8000   unlimited   bytes\n";
        assert_eq!(address_limit(limits), Some(8000));
        assert_eq!(address_limit("Max address space   unlimited   unlimited   bytes"), None);

        let root = tempfile::tempdir().expect("directory");
        let inner = root.path().join("a/b");
        std::fs::create_dir_all(&inner).expect("groups");
        let put = |dir: &Path, name: &str, text: &str| std::fs::write(dir.join(name), text).expect("file");
        put(&inner, "memory.max", "max\n");
        put(&inner, "memory.current", "10\n");
        put(&root.path().join("a"), "memory.max", "1000\n");
        put(&root.path().join("a"), "memory.current", "700\n");
        put(&root.path().join("a"), "memory.stat", "anon 1\ninactive_file 200\n");
        let left: Vec<u64> = from_groups(root.path(), "0::/a/b\n").into_iter().map(|(l, _)| l).collect();
        assert_eq!(left, [500], "the parent's limit counts, without what is only cached");

        let old = root.path().join("memory/job/step");
        std::fs::create_dir_all(&old).expect("groups");
        put(&old, "memory.limit_in_bytes", "9223372036854771712\n");
        put(&old, "memory.usage_in_bytes", "10\n");
        put(&root.path().join("memory/job"), "memory.limit_in_bytes", "2000\n");
        put(&root.path().join("memory/job"), "memory.usage_in_bytes", "900\n");
        put(&root.path().join("memory/job"), "memory.stat", "inactive_file 1\ntotal_inactive_file 300\n");
        let version_1 = "5:cpu,cpuacct:/\n4:memory:/job/step\n0::/\n";
        let left: Vec<u64> = from_groups(root.path(), version_1).into_iter().map(|(l, _)| l).collect();
        assert_eq!(left, [1400], "version 1, the parent's limit");
        assert!(from_groups(root.path(), "3:memory:/x\n1:name=systemd:/y\n").is_empty());
    }

    #[test]
    fn want_of_memory_is_told_with_a_chunk_that_takes_much_less() {
        let said = |pairs: usize, doing| {
            let mut line = Vec::new();
            tell(smaller_chunk(pairs), doing, &mut line);
            String::from_utf8(line).expect("text")
        };
        let first = said(0, Doing::Other);
        assert!(first.contains("less data, a smaller model"), "{first}");
        assert!(!first.contains("chunk"), "no chunk helps where nothing is trained yet");
        let run = said(25, Doing::Other);
        assert!(run.contains("with --set train.chunk=7 (training"), "{run}");
        assert!(said(25, Doing::Bench).ends_with("with --chunk 7\n"), "{}", said(25, Doing::Bench));
        let bench = said(0, Doing::Bench);
        assert!(bench.contains("--batch, --batches") && !bench.contains("evaluate."), "{bench}");
        for estimate in [said(0, Doing::Estimate), said(25, Doing::Estimate)] {
            assert!(!estimate.contains("chunk") && !estimate.contains("evaluate."), "{estimate}");
            assert!(estimate.contains("less data or a smaller model"), "{estimate}");
        }
        assert_eq!(said(1, Doing::Other), first, "one pair cannot be divided");
        for doing in [Doing::Other, Doing::Estimate, Doing::Bench] {
            let longest = said(usize::MAX, doing);
            assert!(longest.starts_with(NO_MEMORY) && longest.ends_with('\n'), "{longest}");
        }
    }

    #[test]
    fn of_an_address_space_more_than_a_tenth_is_left_alone() {
        let room = |spare| Headroom { bytes: 1000 << 20, total: 0, bound: String::new(), spare };
        assert_eq!(room(0).planned(1000 << 20), 900 << 20);
        assert_eq!(room(SPARE).planned(1000 << 20), 900 << 20, "a tenth is more");
        assert_eq!(room(SPARE).planned(100 << 20), (100 << 20) - SPARE);
        assert_eq!(room(SPARE).planned(1), 0);
    }

    #[test]
    fn this_process_holds_something_and_may_take_more() {
        let memory = memory().expect("this system tells");
        assert!(memory.resident > 1 << 20 && memory.peak.is_none_or(|p| p >= memory.resident / 2));
        assert!(headroom().expect("this system tells").bytes > 0);
    }

    #[test]
    fn limits_are_read_with_their_unit() {
        assert_eq!(parse_bytes("1.5 GiB"), Some(3 << 29));
        assert_eq!((parse_bytes("500MiB"), parse_bytes("7")), (Some(500 << 20), Some(7)));
        assert_eq!((parse_bytes("300MB"), parse_bytes("2 GB")), (Some(300_000_000), Some(2_000_000_000)));
        assert_eq!((parse_bytes("much"), parse_bytes("-1GiB"), parse_bytes("")), (None, None, None));
    }

    #[test]
    fn computing_is_counted() {
        let (start, began) = (cpu_seconds().expect("this system tells"), std::time::Instant::now());
        let mut x = 1.0f64;
        let used = || cpu_seconds().expect("again") - start;
        // On a busy machine this thread may wait for its turn much longer than it computes.
        while used() <= 0.005 && began.elapsed().as_secs() < 60 {
            for _ in 0..1_000_000 {
                x = std::hint::black_box(x.sqrt() + 1.0);
            }
        }
        let used = used();
        assert!(x > 0.0 && used > 0.005, "{used}");
        // No more than all threads of this process together can have used.
        let threads = std::thread::available_parallelism().map_or(1024, usize::from) as f64;
        assert!(used < threads * (began.elapsed().as_secs_f64() + 1.0), "{used}");
    }

    #[test]
    fn bytes_read_well() {
        assert_eq!((bytes(300 << 20), bytes(3 << 29)), ("300 MiB".into(), "1.50 GiB".into()));
    }
}
