//! Where the cells of a sweep lie: the keys that tell them apart, and the values there.

use super::Sweep;
use crate::spec::{Axis, Cell, KINDS, SAMPLING};

impl Sweep {
    /// What tells the combinations apart, with every value: the axes of the grid, but for an axis of whole sampling tables the
    /// share of each kind of batch that any cell draws, as `sampling.mono`, ...
    #[must_use]
    pub fn coordinates(&self) -> Vec<Axis> {
        let mut found = Vec::new();
        for (index, axis) in self.plan.grid.iter().enumerate() {
            if axis.key != SAMPLING {
                found.push((axis.key.clone(), From::Axis(index)));
                continue;
            }
            let is_drawn = |kind: &str| self.cells.iter().any(|cell| share(cell, kind) > 0.0);
            let kinds = KINDS.into_iter().filter(|kind| is_drawn(kind));
            found.extend(kinds.map(|kind| (format!("{SAMPLING}.{kind}"), From::Share(kind))));
        }
        let all = |(key, from): (String, From)| {
            let mut values: Vec<String> = Vec::new();
            for value in self.cells.iter().map(|cell| from.value(cell)) {
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            Axis { key, values }
        };
        found.into_iter().map(all).collect()
    }

    /// The values of a cell, one for each of these [`Self::coordinates`].
    #[must_use]
    pub fn place(&self, cell: &Cell, coordinates: &[Axis]) -> Vec<String> {
        let value = |axis: &Axis| match self.plan.grid.iter().position(|own| own.key == axis.key) {
            Some(index) => From::Axis(index).value(cell),
            None => From::Share(axis.key.trim_start_matches("sampling.")).value(cell),
        };
        coordinates.iter().map(value).collect()
    }
}

/// Where a coordinate of a cell comes from.
enum From<'a> {
    /// A key of the grid.
    Axis(usize),
    /// The share of a kind of batch.
    Share(&'a str),
}

impl From<'_> {
    fn value(&self, cell: &Cell) -> String {
        match self {
            Self::Axis(index) => cell.values[*index].clone(),
            // A ten-thousandth is nearer than any ratio is chosen.
            Self::Share(kind) => format!("{}", (share(cell, kind) * 1e4).round() / 1e4),
        }
    }
}

fn share(cell: &Cell, kind: &str) -> f64 {
    cell.spec.sampling.weights().ok().and_then(|weights| weights.share(kind)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Store;
    use crate::run::sweep::Plan;
    use crate::spec::{ExperimentSpec, PlanSchedule};

    #[test]
    fn mixes_lie_by_the_shares_of_their_kinds_and_other_keys_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store { root: dir.path().join("runs") };
        let mixes = Axis::simplex("mono,cross,same=3", PlanSchedule::Exact).unwrap();
        let grid = vec![mixes, Axis::parse("train.batch=8,16").unwrap()];
        let plan = Plan { spec: ExperimentSpec::default(), grid, seeds: 2 };
        let sweep = Sweep::create(&store, plan, Some("s"), None).unwrap();
        let coordinates = sweep.coordinates();
        let keys: Vec<&str> = coordinates.iter().map(|axis| axis.key.as_str()).collect();
        assert_eq!(keys, ["sampling.mono", "sampling.cross", "sampling.same", "train.batch"]);
        assert_eq!(coordinates[0].values, ["1", "0.6667", "0.3333", "0"]);
        // The second mix with the second batch size, in both seeds.
        for index in [3, 23] {
            assert_eq!(sweep.place(&sweep.cells[index], &coordinates), ["0.6667", "0.3333", "0", "16"]);
        }
    }
}
