//! `polymix doctor`: what this machine has for polymix, and how to get what is missing.

use std::io::IsTerminal;

use anyhow::{Context, Result, ensure};
use candle_core::DType;
use serde_json::json;

use super::{print, print_json};
use crate::corpus::catalogue::{Entries, data_root};
use crate::hub::{Settings, redact};
use crate::ops::check::{Form, attention_forms, check};
use crate::run::Store;
use crate::train::device;

/// Arguments of `polymix doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Compute every operation of training on this device, in f32 and bf16, and compare it with the CPU
    #[arg(long, value_name = "auto|cpu|cuda[:n]|metal")]
    device: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Every operation on `name`, in both types; fails where one is off.
fn check_device(name: &str, json: bool) -> Result<()> {
    let device = device::open(name)?;
    let (mut rows, mut lines, mut off) = (Vec::new(), Vec::new(), Vec::new());
    for (dtype, label) in [(DType::F32, "f32"), (DType::BF16, "bf16")] {
        let findings = check(&device, dtype).with_context(|| format!("{name}, {label}"))?;
        lines.push(format!(
            "{:<32}{:>12}{:>12}{:>10}",
            format!("{} in {label}", device::name(&device)),
            "difference",
            "allowed",
            "ms"
        ));
        for finding in findings {
            lines.push(format!(
                "{:<32}{:>12.1e}{:>12.1e}{:>10.2}{}",
                finding.operation,
                finding.difference,
                finding.allowed,
                finding.milliseconds,
                if finding.passed() { "" } else { "  WRONG" }
            ));
            if !finding.passed() {
                off.push(format!("{} in {label}", finding.operation));
            }
            rows.push(json!({"dtype": label, "passed": finding.passed(), "finding": finding}));
        }
    }
    let forms = attention_forms(&device).with_context(|| format!("{name}, attention in both forms"))?;
    for form in &forms {
        lines.push(format!(
            "attention in bf16, heads of {}: {} used; forward {:.3} ms with flash, {:.3} with tiles; backward {:.3}, {:.3}; they \
             differ by {:.1e}",
            form.head,
            if form.used == Form::Flash { "flash" } else { "tiles" },
            form.forward[0],
            form.forward[1],
            form.backward[0],
            form.backward[1],
            form.difference
        ));
    }
    if json {
        print_json(
            &json!({"v": 1, "device": device::name(&device), "operations": rows, "attention": forms}),
        )?;
    } else {
        print(&lines.join("\n"))?;
    }
    ensure!(
        off.is_empty(),
        "{}: {} computed something else than the CPU; do not train there (update the driver, or report it with the output of \
         `polymix doctor --device {name} --json`)",
        device::name(&device),
        off.join(", ")
    );
    Ok(())
}

/// Where downloads come from and go to; the token itself is never shown.
fn downloads() -> Vec<(&'static str, String)> {
    let settings = Settings::from_env();
    let offline = if settings.is_offline { " (HF_HUB_OFFLINE is set: nothing is downloaded)" } else { "" };
    let token = match &settings.token {
        Some(_) => format!("from {}", settings.token_origin),
        None => "none; gated models need one: set HF_TOKEN".into(),
    };
    let own = match Entries::own_file() {
        Some(path) if path.exists() => match Entries::read_own(&path) {
            Ok(entries) => format!("{} ({} entries)", path.display(), entries.len()),
            Err(error) => format!("{error:#}"),
        },
        Some(path) => format!("{} (not there; entries of your own go there)", path.display()),
        None => "this system names no configuration folder; set POLYMIX_CATALOGUE".into(),
    };
    let data = data_root().map_or_else(|e| format!("{e:#}"), |p| p.display().to_string());
    vec![
        ("hub", redact(&settings.endpoint) + offline),
        ("hub token", token),
        ("hub cache", settings.cache.display().to_string()),
        ("data", data),
        ("catalogue", own),
    ]
}

/// Runs the command.
pub fn run(args: &Args, store: &Store) -> Result<()> {
    if let Some(name) = &args.device {
        return check_device(name, args.json);
    }
    let mut findings: Vec<(&str, String)> = vec![("polymix", crate::VERSION.to_owned())];
    findings.push(("threads", rayon::current_num_threads().to_string()));
    if let Ok(mut system) = sysinfo::System::new() {
        system.refresh_memory();
        let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1u32 << 30));
        let memory =
            format!("{} of {} available", gib(system.available_memory()), gib(system.total_memory()));
        findings.push(("memory", memory));
    }
    for name in ["cuda", "metal"] {
        let built = if name == "cuda" {
            candle_core::utils::cuda_is_available()
        } else {
            candle_core::utils::metal_is_available()
        };
        let state = if built {
            device::open(name).map_or_else(|e| format!("{e:#}"), |d| format!("usable ({})", device::name(&d)))
        } else {
            format!("not in this binary; build with --features {name}")
        };
        findings.push((name, state));
    }
    findings.push(("auto device", device::name(&device::open("auto")?)));
    let writable = crate::files::create_dir(&store.root).and_then(|()| {
        let probe = store.root.join(format!(".probe-{}", std::process::id()));
        crate::files::replace(&probe, b"")?;
        Ok(std::fs::remove_file(probe)?)
    });
    let runs = match writable {
        Ok(()) => format!("{} ({} runs)", store.root.display(), store.list().len()),
        Err(error) => format!("{error:#}; choose another with --runs-dir or POLYMIX_RUNS"),
    };
    findings.push(("runs", runs));
    findings.extend(downloads());
    let terminal = if std::io::stdout().is_terminal() {
        let size = crossterm::terminal::size().map_or("unknown size".into(), |(w, h)| format!("{w}x{h}"));
        let colours = crossterm::style::available_color_count();
        format!("{size}, {colours} colours, TERM={}", std::env::var("TERM").unwrap_or_default())
    } else {
        "standard output is not a terminal; the workbench needs one, the subcommands do not".into()
    };
    findings.push(("terminal", terminal));
    let utf8 = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|k| std::env::var(k).ok().filter(|v| !v.is_empty()))
        .is_some_and(|v| v.to_lowercase().replace('-', "").contains("utf8"));
    findings.push((
        "locale",
        if utf8 { "UTF-8".into() } else { "not UTF-8; use --ascii if lines look broken".into() },
    ));
    if args.json {
        let object: serde_json::Map<_, _> =
            findings.into_iter().map(|(k, v)| (k.to_owned(), json!(v))).collect();
        return print_json(&json!({"v": 1, "findings": object}));
    }
    print(&findings.iter().map(|(k, v)| format!("{k:12} {v}")).collect::<Vec<_>>().join("\n"))
}
