//! A grid of specs: one spec, some keys with several values each, some seeds. Each combination is a cell.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{ExperimentSpec, parse};

/// More cells than this are taken for a mistake.
const MOST_CELLS: usize = 10_000;

/// A key of the spec and the values it takes, as written on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    pub key: String,
    pub values: Vec<String>,
}

/// One combination of values, with one seed: what one run is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// From 1, in the order in which they are started.
    pub number: usize,
    /// Name of the run: of the grid, the number, the values.
    pub id: String,
    /// One for each axis, in their order.
    pub values: Vec<String>,
    pub seed: u64,
    pub spec: ExperimentSpec,
}

impl Axis {
    /// Reads `key=v1,v2,...`. Commas within brackets or quotation marks belong to a value.
    ///
    /// # Errors
    /// Where a part is empty or a value is there twice.
    pub fn parse(text: &str) -> Result<Self> {
        let hint = "write --grid key=v1,v2, for example --grid sampling.alpha=0,0.5,1";
        let (key, values) = text.split_once('=').with_context(|| format!("--grid {text}: {hint}"))?;
        let (key, values) = (key.trim(), split(values));
        ensure!(!key.is_empty(), "--grid {text}: the key is empty; {hint}");
        for (index, value) in values.iter().enumerate() {
            ensure!(!value.is_empty(), "--grid {text}: value {} is empty; {hint}", index + 1);
            let number = |text: &str| text.parse::<f64>().ok();
            let same =
                |other: &&String| *other == value || number(other).is_some_and(|n| Some(n) == number(value));
            if let Some(other) = values[..index].iter().find(same) {
                anyhow::bail!("--grid {text}: {value} and {other} are the same value; leave one out");
            }
        }
        Ok(Self { key: key.to_owned(), values })
    }

    /// True where every value is a number.
    #[must_use]
    pub fn is_numeric(&self) -> bool {
        self.values.iter().all(|v| v.parse::<f64>().is_ok_and(f64::is_finite))
    }
}

/// At the commas outside of brackets and quotation marks.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quote) = (vec![String::new()], 0_usize, None);
    for c in text.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).collect()
}

/// Every cell of the grid, checked, seed by seed: all combinations with the first seed come first. Run names begin
/// with `name`.
///
/// # Errors
/// Where a key cannot be swept, and the first cell that is no valid spec: its values, and why.
pub fn cells(base: &ExperimentSpec, axes: &[Axis], seeds: usize, name: &str) -> Result<Vec<Cell>> {
    ensure!(
        !axes.is_empty() || seeds > 1,
        "nothing to sweep: give --grid key=v1,v2,... or --seeds N above 1"
    );
    for (index, axis) in axes.iter().enumerate() {
        let key = &axis.key;
        ensure!(key != "name", "--grid name: a sweep names its runs itself; choose another key");
        ensure!(
            key != "seed" || seeds == 1,
            "--grid seed: together with --seeds {seeds}; give one of the two"
        );
        ensure!(
            axes[..index].iter().all(|other| other.key != *key),
            "--grid {key}: given twice; put all its values into one --grid"
        );
    }
    ensure!(seeds > 0, "--seeds 0: must be at least 1");
    let combinations = axes.iter().try_fold(1_usize, |n, axis| n.checked_mul(axis.values.len()));
    let total = combinations.and_then(|n| n.checked_mul(seeds)).filter(|n| *n <= MOST_CELLS);
    let total =
        total.with_context(|| format!("the grid has more than {MOST_CELLS} cells; sweep less at once"))?;
    let text = base.to_toml()?;
    let digits = total.to_string().len().max(2);
    let mut found: Vec<Cell> = Vec::with_capacity(total);
    for repeat in 0..seeds {
        for combination in 0..total / seeds {
            let number = found.len() + 1;
            let values = combine(axes, combination);
            let sets: Vec<String> =
                axes.iter().zip(&values).map(|(axis, value)| format!("{}={value}", axis.key)).collect();
            let place = || format!("cell {number} of {total} ({})", sets.join(", "));
            let mut spec = parse(&text, &sets).with_context(place)?;
            let seed = spec.seed.checked_add(repeat as u64).filter(|s| i64::try_from(*s).is_ok());
            spec.seed = seed.with_context(|| format!("seed = {}: too large to count up from", spec.seed))?;
            let id = format!("{name}-{number:0digits$}{}", label(axes, &values, (seeds > 1, spec.seed)));
            cut(&id, 80).clone_into(&mut spec.name);
            spec.check().with_context(place)?;
            found.push(Cell { number, id, values, seed: spec.seed, spec });
        }
    }
    Ok(found)
}

/// The values of this combination; the last axis changes fastest.
fn combine(axes: &[Axis], mut combination: usize) -> Vec<String> {
    let mut values: Vec<String> = Vec::with_capacity(axes.len());
    for axis in axes.iter().rev() {
        values.push(axis.values[combination % axis.values.len()].clone());
        combination /= axis.values.len();
    }
    values.reverse();
    values
}

/// `-alpha-0.25-seed-42`, from the last part of each key.
fn label(axes: &[Axis], values: &[String], (show_seed, seed): (bool, u64)) -> String {
    let mut text = String::new();
    for (axis, value) in axes.iter().zip(values) {
        // Weights of the kinds of batch name themselves.
        if axis.key == super::SAMPLING {
            text += &format!("-{}", cut(&file_name(value), 60));
            continue;
        }
        let key = axis.key.rsplit('.').next().unwrap_or(&axis.key);
        text += &format!("-{key}-{}", cut(&file_name(value), 24));
    }
    let mut text = cut(&text, 80).to_owned();
    if show_seed {
        text += &format!("-seed-{seed}");
    }
    text
}

/// The text with all that is neither letter, digit, dot, hyphen nor underscore as single hyphens, none at the ends.
#[must_use]
pub fn file_name(text: &str) -> String {
    let keep = |c: char| c.is_alphanumeric() || "._-".contains(c);
    let parts = text.split(|c: char| !keep(c)).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").trim_matches(['-', '.']).to_owned()
}

/// At most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(texts: &[&str]) -> Vec<Axis> {
        texts.iter().map(|t| Axis::parse(t).unwrap()).collect()
    }

    fn refused(texts: &[&str], seeds: usize) -> String {
        format!("{:#}", cells(&ExperimentSpec::default(), &axes(texts), seeds, "s").expect_err("refused"))
    }

    #[test]
    fn commas_in_lists_and_strings_belong_to_the_value() {
        let axis = Axis::parse("data.train=[\"a\", \"b\"], ['c,d'] , \"e,f\"").unwrap();
        assert_eq!((axis.key.as_str(), axis.values.len()), ("data.train", 3));
        assert_eq!(axis.values, ["[\"a\", \"b\"]", "['c,d']", "\"e,f\""]);
        assert!(!axis.is_numeric() && Axis::parse("a=0,1e-3").unwrap().is_numeric());
    }

    #[test]
    fn wrong_axes_say_how_to_write_them() {
        for (text, part) in [
            ("sampling.alpha", "key=v1,v2"),
            ("=1,2", "the key is empty"),
            ("a=1,,2", "value 2 is empty"),
            ("a=", "value 1 is empty"),
            ("a=0.5,1,0.50", "0.50 and 0.5 are the same value"),
        ] {
            let message = format!("{:#}", Axis::parse(text).expect_err(text));
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn every_combination_comes_once_with_each_seed() {
        let axes = axes(&["sampling.alpha=0,1", "train.steps=5,6,7"]);
        let found = cells(&ExperimentSpec::default(), &axes, 2, "s").unwrap();
        let seen: Vec<(f64, usize, u64)> =
            found.iter().map(|c| (c.spec.sampling.alpha.unwrap(), c.spec.train.steps, c.spec.seed)).collect();
        let mut wanted = Vec::new();
        for seed in [42, 43] {
            for alpha in [0.0, 1.0] {
                wanted.extend([5, 6, 7].map(|steps| (alpha, steps, seed)));
            }
        }
        assert_eq!(seen, wanted);
        assert_eq!(found[0].id, "s-01-alpha-0-steps-5-seed-42");
        assert_eq!(found[11].id, "s-12-alpha-1-steps-7-seed-43");
        assert!(found.iter().all(|c| c.spec.name == c.id));
    }

    #[test]
    fn long_and_odd_values_still_name_a_run() {
        let long = format!("[\"xquad-r[0..24]=/a/{}\"]", "ü".repeat(60));
        let axes = [Axis { key: "data.train".into(), values: vec![long, "[\"demo[train]\"]".into()] }];
        let found = cells(&ExperimentSpec::default(), &axes, 1, &"n".repeat(60)).unwrap();
        for cell in &found {
            assert!(cell.id.len() < 200 && !cell.id.contains(['/', '"', ' ', '[']), "{}", cell.id);
        }
        assert_ne!(found[0].id, found[1].id);
    }

    #[test]
    fn a_bad_cell_is_named_and_a_senseless_grid_refused() {
        let message = refused(&["sampling.alpha=0,2"], 1);
        assert!(message.contains("cell 2 of 2 (sampling.alpha=2)"), "{message}");
        assert!(message.contains("between 0"), "{message}");
        assert!(refused(&["train.stepz=1,2"], 1).contains("stepz"));
        assert!(refused(&["seed=1,2"], 2).contains("--seeds 2"));
        assert!(refused(&["name=a,b"], 1).contains("names its runs itself"));
        assert!(refused(&["train.steps=1", "train.steps=2"], 1).contains("given twice"));
        assert!(refused(&[], 1).contains("nothing to sweep"));
        assert!(refused(&[], 0).contains("nothing to sweep"));
        assert!(refused(&["train.steps=5"], 20_000).contains("more than 10000"));
    }
}
