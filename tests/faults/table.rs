//! `docs/reliability.md` says what these tests try, no more and no less.

use crate::common::root;

/// Fault, what is tried, what holds afterwards, and the test.
const FAULTS: &[(&str, &str, &str, &str)] = &[
    (
        "kill -9 of the worker",
        "at 50 random moments of a run and its resumes",
        "resumable; weights, events and evaluations as if nothing had happened; nothing left behind",
        "a_worker_killed_at_random_moments",
    ),
    (
        "kill -9 of the worker",
        "the same with early stopping",
        "the same; stops at the same step with the same model",
        "a_worker_of_an_early_stopping_run_killed_at_random_moments",
    ),
    (
        "kill -9 of the worker",
        "in the middle of 50 random writes, renames, removals and other operations on files",
        "the same",
        "a_worker_killed_in_random_operations_on_files",
    ),
    (
        "kill -9 of the worker",
        "the same with early stopping",
        "the same",
        "a_worker_of_an_early_stopping_run_killed_in_random_operations_on_files",
    ),
    (
        "kill -9 of `runs remove`",
        "in operations spread over all of a removal",
        "the run is whole or gone; the next removal takes the rest away",
        "a_removal_killed_in_any_operation_leaves_all_or_nothing",
    ),
    (
        "kill -9 of the workbench",
        "while its run trains",
        "training goes on to the same result",
        "a_killed_workbench_leaves_its_run_training",
    ),
    (
        "two workbenches on one store",
        "start, follow and stop runs",
        "both show the same; runs have names of their own",
        "two_workbenches_on_one_store_see_and_stop_the_same_run",
    ),
    (
        "out of memory",
        "`POLYMIX_MEMORY`, and `ulimit -v` from 60 to 400 MB",
        "ends with a reason; resumed with more memory it is the uninterrupted run",
        "a_worker_without_its_memory_ends_with_a_reason_and_goes_on_with_more",
    ),
    (
        "disk full (ENOSPC, half a write first)",
        "from 14 random operations on, while a run logs, saves, evaluates",
        "an error that names the file; resumed it is the uninterrupted run",
        "a_disk_that_is_full_from_some_moment_on",
    ),
    (
        "disk full",
        "a tmpfs of 160 KiB, later made larger",
        "the same; no half-written file",
        "a_small_file_system_that_fills_up",
    ),
    (
        "I/O error (EIO)",
        "14 random operations that fail once while a run writes",
        "goes on, or an error that names the file; resumed it is the uninterrupted run",
        "a_write_that_fails_once",
    ),
    (
        "I/O error (EIO)",
        "reading while a run is resumed",
        "the same",
        "a_read_that_fails_while_a_run_is_resumed",
    ),
    (
        "disk full, I/O error, read-only",
        "while tables, figures and models are exported",
        "an error; the old file is as it was, no half model",
        "an_export_to_a_failing_disk_leaves_the_old_file",
    ),
    (
        "read-only store (EROFS)",
        "list, show, export, compare, evaluate; train, resume, remove",
        "the first work as ever; the others say why not and change nothing",
        "a_read_only_store_shows_its_runs_and_changes_nothing",
    ),
    (
        "damaged files",
        "each file of a run emptied, cut in half, overwritten in its middle, one digit changed; `runs list`, `show`, `evaluate`, `export`, `compare`, `figure`, `report`, `model convert`",
        "the same output, or an error or note that names the file; never another number",
        "no_reader_takes_a_damaged_file_for_numbers",
    ),
    (
        "damaged files",
        "the same, then `resume`",
        "goes on from the newest whole checkpoint to the same weights; a damaged spec is refused",
        "a_run_with_a_damaged_file_goes_on_or_says_why_not",
    ),
    (
        "damaged files",
        "every checkpoint damaged",
        "refused, with how to begin again",
        "a_run_without_a_whole_checkpoint_says_how_to_begin_again",
    ),
    (
        "damaged files",
        "`sweep.toml` in the same ways, and one of an earlier version cut off; `sweep show`, `list`, `--resume`, `report`, `scripts`, `robustness`",
        "refused by name; whole ones of earlier versions are read",
        "a_damaged_sweep_is_never_read_as_another_one",
    ),
    (
        "damaged files",
        "a store of damaged runs in the workbench, every screen",
        "it goes on",
        "the_workbench_shows_damaged_runs_and_goes_on",
    ),
    (
        "clock jumps",
        "by a day forth and back, and 50 years back, before and while a run trains",
        "the same numbers",
        "a_clock_that_jumps_while_a_run_trains_changes_no_number",
    ),
    (
        "clock jumps",
        "heartbeats of a living worker hours or days in the past or the future",
        "it counts as running: no second worker, no removal",
        "a_worker_that_lives_is_never_taken_for_dead_by_its_clock",
    ),
    (
        "clock jumps",
        "heartbeats of a dead worker, here and on another machine",
        "it counts as stale",
        "a_worker_that_died_is_found_out_whatever_its_heartbeat_says",
    ),
    (
        "strange paths",
        "a store whose path has spaces, quotes, brackets, Chinese and Arabic",
        "everything works",
        "a_store_whose_path_has_spaces_and_other_scripts",
    ),
    (
        "a wrong removal",
        "directories outside the store, deeper in it, links, `.`, `..`",
        "refused; nothing is touched",
        "removing_touches_nothing_but_runs_of_the_store",
    ),
    (
        "lost files",
        "a run without `spec.toml`",
        "listed with a note; can be removed",
        "a_run_that_lost_its_spec_is_listed_and_can_be_removed",
    ),
    (
        "leftovers",
        "a run directory that exists, empty or with the state of a creation that was killed",
        "taken",
        "a_directory_that_was_made_before_its_run_can_be_taken",
    ),
    (
        "leftovers",
        "half-written and half-removed directories of killed workers",
        "gone after the next resume",
        "what_a_killed_worker_left_half_written_is_taken_away",
    ),
    (
        "old checkpoints",
        "`train.keep_checkpoints`, `train.keep_best`",
        "exactly those are kept",
        "checkpoints_are_kept_as_the_spec_says",
    ),
    (
        "an earlier format",
        "a run that the first version wrote, ended and killed",
        "read, resumed, same scores",
        "a_run_of_the_first_format_is_read_and_goes_on",
    ),
    (
        "a later format",
        "each file of a run with a version that is not known yet",
        "refused by name",
        "a_file_of_a_later_version_is_refused_by_name",
    ),
];

const BEGIN: &str = "<!-- written by `cargo test --release --test faults -- --ignored write` -->\n";
const END: &str = "<!-- end -->\n";

fn written() -> String {
    let mut out = format!("{BEGIN}| fault | tried | what holds |\n| --- | --- | --- |\n");
    for (fault, tried, holds, test) in FAULTS {
        out += &format!("| {fault} | {tried} | {holds} (`{test}`) |\n");
    }
    out + END
}

fn document() -> (std::path::PathBuf, String, usize, usize) {
    let path = root().join("docs/reliability.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (text.find(BEGIN).unwrap(), text.find(END).unwrap() + END.len());
    (path, text, begin, end)
}

#[test]
#[ignore = "writes docs/reliability.md"]
fn write() {
    let (path, text, begin, end) = document();
    std::fs::write(path, format!("{}{}{}", &text[..begin], written(), &text[end..])).unwrap();
}

#[test]
fn the_table_of_faults_is_that_of_the_tests() {
    let (_, text, begin, end) = document();
    assert_eq!(text[begin..end], written(), "cargo test --release --test faults -- --ignored write");
    let sources = ["clock", "damage", "disk", "kill", "place", "versions"]
        .map(|name| std::fs::read_to_string(root().join(format!("tests/faults/{name}.rs"))).unwrap());
    let mut tests: Vec<&str> = sources
        .iter()
        .flat_map(|s| s.split("#[test]\nfn ").skip(1))
        .map(|rest| rest.split('(').next().unwrap())
        .collect();
    let mut named: Vec<&str> = FAULTS.iter().map(|f| f.3).collect();
    tests.sort_unstable();
    named.sort_unstable();
    assert_eq!(tests, named);
}
