//! Every mix of three kinds of batch whose shares are multiples of 1/n, as an axis of a grid.

use anyhow::{Context, Result, ensure};

use super::{Axis, PlanSchedule, Weights};

/// The key of the axis: the whole table of the sampling weights.
pub const SAMPLING: &str = "sampling";
/// The kinds by their keys in the spec, in the order of [`Weights::to_array`].
pub const KINDS: [&str; 4] = ["mono", "cross", "same", "multi"];
/// The kinds that are mixed where none are named.
const USUAL: [&str; 3] = ["mono", "cross", "multi"];

impl Axis {
    /// Reads `n` or `kind,kind,kind=n`: all `(n + 1)(n + 2) / 2` mixes of the three kinds (`mono,cross,multi` where none
    /// are named) in parts of 1/n, pure kinds included. `schedule` is kept in every value, as a value is the whole of
    /// `sampling`.
    ///
    /// # Errors
    /// Where there are not three different kinds, or n is not a whole number from 1 to 100.
    pub fn simplex(text: &str, schedule: PlanSchedule) -> Result<Self> {
        let hint = "write --simplex 4, or with kinds --simplex mono,cross,same=4";
        let (kinds, parts) = match text.split_once('=') {
            Some((kinds, parts)) => (kinds.split(',').map(str::trim).collect(), parts),
            None => (USUAL.to_vec(), text),
        };
        for (index, kind) in kinds.iter().enumerate() {
            ensure!(
                KINDS.contains(kind),
                "--simplex {text}: '{kind}' is no kind of batch; there are {}; {hint}",
                KINDS.join(", ")
            );
            ensure!(!kinds[..index].contains(kind), "--simplex {text}: {kind} is there twice; {hint}");
        }
        ensure!(
            kinds.len() == 3,
            "--simplex {text}: {} kinds, but a triangle has three; {hint}",
            kinds.len()
        );
        let parts: usize = parts.trim().parse().ok().with_context(|| {
            format!("--simplex {text}: '{}' is not a whole number of parts; {hint}", parts.trim())
        })?;
        ensure!((1..=100).contains(&parts), "--simplex {text}: 1 to 100 parts can be made; {hint}");
        let schedule = match schedule {
            PlanSchedule::Exact => "",
            PlanSchedule::Bernoulli => ", schedule = \"bernoulli\"",
        };
        let mixes = (0..=parts).rev().flat_map(|a| (0..=parts - a).rev().map(move |b| [a, b, parts - a - b]));
        let value = |mix: [usize; 3]| {
            let weights: Vec<String> =
                kinds.iter().zip(mix).map(|(kind, weight)| format!("{kind} = {weight}")).collect();
            format!("{{ {}{schedule} }}", weights.join(", "))
        };
        Ok(Self { key: SAMPLING.to_owned(), values: mixes.map(value).collect() })
    }
}

impl Axis {
    /// The option of `polymix sweep` that makes this axis: `--simplex 4`, or `--grid` with the key and its values.
    #[must_use]
    pub fn option(&self) -> (&'static str, String) {
        let plain = ("--grid", format!("{}={}", self.key, self.values.join(",")));
        // (n + 1)(n + 2) / 2 values are n parts.
        let parts = (1..=100).find(|n| (n + 1) * (n + 2) / 2 == self.values.len());
        let Some(parts) = parts.filter(|_| self.key == SAMPLING) else { return plain };
        let triples = KINDS
            .iter()
            .flat_map(|a| KINDS.iter().flat_map(move |b| KINDS.iter().map(move |c| [*a, *b, *c])));
        for kinds in [USUAL].into_iter().chain(triples) {
            let text =
                if kinds == USUAL { parts.to_string() } else { format!("{}={parts}", kinds.join(",")) };
            let made = |schedule| Self::simplex(&text, schedule).is_ok_and(|axis| axis == *self);
            if made(PlanSchedule::Exact) || made(PlanSchedule::Bernoulli) {
                return ("--simplex", text);
            }
        }
        plain
    }
}

impl Weights {
    /// The share of a kind by its key in [`KINDS`].
    #[must_use]
    pub fn share(&self, kind: &str) -> Option<f64> {
        Some(self.to_array()[KINDS.iter().position(|k| *k == kind)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ExperimentSpec, SamplingSpec, cells};
    use super::*;

    #[test]
    fn the_mixes_cover_the_triangle_evenly() {
        let axis = Axis::simplex("4", PlanSchedule::Exact).unwrap();
        assert_eq!(axis.values.len(), 15);
        assert_eq!(axis.values[0], "{ mono = 4, cross = 0, multi = 0 }");
        assert_eq!(axis.values[14], "{ mono = 0, cross = 0, multi = 4 }");
        // The base's alpha gives way to the weights.
        let base = ExperimentSpec { sampling: SamplingSpec::hybrid(0.3), ..ExperimentSpec::default() };
        let found = cells(&base, &[axis], 1, "s").unwrap();
        let mixes: Vec<[f64; 4]> =
            found.iter().map(|c| c.spec.sampling.weights().unwrap().to_array()).collect();
        for (index, mix) in mixes.iter().enumerate() {
            assert!((mix.iter().sum::<f64>() - 1.0).abs() < 1e-12 && mix[2] == 0.0);
            assert!(mix.iter().all(|w| (w * 4.0).fract() == 0.0), "{mix:?}");
            assert!(!mixes[..index].contains(mix), "{mix:?} twice");
        }
        assert_eq!(found[4].id, "s-05-mono-2-cross-1-multi-1");
    }

    #[test]
    fn kinds_may_be_named_and_the_schedule_stays() {
        let axis = Axis::simplex("mono, cross,same=1", PlanSchedule::Bernoulli).unwrap();
        let base = ExperimentSpec::default();
        let found = cells(&base, &[axis], 1, "s").unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[2].spec.sampling.weights().unwrap().to_array(), [0.0, 0.0, 1.0, 0.0]);
        assert!(found.iter().all(|c| c.spec.sampling.schedule == PlanSchedule::Bernoulli));
    }

    #[test]
    fn an_axis_knows_the_option_that_makes_it() {
        for text in ["1", "4", "mono,cross,same=2", "multi,mono,cross=3"] {
            for schedule in [PlanSchedule::Exact, PlanSchedule::Bernoulli] {
                assert_eq!(Axis::simplex(text, schedule).unwrap().option(), ("--simplex", text.to_owned()));
            }
        }
        let grid = ["sampling.alpha=0,0.5,1", "sampling={ mono = 1 },{ cross = 1 },{ multi = 1 }"];
        for text in grid {
            assert_eq!(Axis::parse(text).unwrap().option(), ("--grid", text.to_owned()));
        }
    }

    #[test]
    fn wrong_simplices_say_how_to_write_them() {
        for (text, part) in [
            ("x", "'x' is not a whole number"),
            ("0", "1 to 100"),
            ("mono,cross=2", "2 kinds"),
            ("mono,cross,cross=2", "cross is there twice"),
            ("mono,cross,alpha=2", "'alpha' is no kind"),
            ("mono,cross,same,multi=2", "4 kinds"),
        ] {
            let message = format!("{:#}", Axis::simplex(text, PlanSchedule::Exact).expect_err(text));
            assert!(message.contains(part) && message.contains("--simplex 4"), "{message}");
        }
    }
}
