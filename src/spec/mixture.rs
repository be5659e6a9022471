//! How often each of several training datasets is drawn.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Shares of the training datasets. Nothing given: in proportion to their question ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mixture {
    /// Share of a dataset with n question ids: n to this power; 1: in proportion to size, 0: all alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The shares themselves, in the order of `data.train`; they need not sum to 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
}

impl Mixture {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// Names the key.
    pub fn check(&self, datasets: usize) -> Result<()> {
        if let Some(temperature) = self.temperature {
            ensure!(
                (0.0..=10.0).contains(&temperature),
                "data.mixture.temperature = {temperature}: must lie between 0 (all alike) and 10; 1 is by size"
            );
            ensure!(self.weights.is_empty(), "data.mixture: give either temperature or weights, not both");
        }
        if !self.weights.is_empty() {
            ensure!(
                self.weights.len() == datasets,
                "data.mixture.weights: {} weights for {datasets} datasets in data.train; give one each",
                self.weights.len()
            );
            ensure!(
                self.weights.iter().all(|w| w.is_finite() && *w >= 0.0)
                    && self.weights.iter().any(|w| *w > 0.0),
                "data.mixture.weights = {:?}: must be numbers of at least 0, one of them above",
                self.weights
            );
        }
        Ok(())
    }

    /// A share for each dataset of these sizes, summing to 1.
    ///
    /// # Errors
    /// As [`Mixture::check`].
    pub fn shares(&self, sizes: &[usize]) -> Result<Vec<f64>> {
        self.check(sizes.len())?;
        let raw: Vec<f64> = if self.weights.is_empty() {
            let temperature = self.temperature.unwrap_or(1.0);
            sizes.iter().map(|n| (*n as f64).powf(temperature)).collect()
        } else {
            // The sum of very large ones would be infinite; others stay as they are, to the last bit.
            let is_finite = self.weights.iter().sum::<f64>().is_finite();
            let scale = if is_finite { 1.0 } else { self.weights.iter().copied().fold(1.0, f64::max) };
            self.weights.iter().map(|w| w / scale).collect()
        };
        let total: f64 = raw.iter().sum();
        Ok(raw.into_iter().map(|w| w / total).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_size_temperature_or_weights() {
        let close = |mixture: Mixture, wanted: [f64; 2]| {
            let shares = mixture.shares(&[100, 900]).expect("shares");
            assert!(shares.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{shares:?}");
        };
        close(Mixture::default(), [0.1, 0.9]);
        close(Mixture { temperature: Some(0.5), ..Mixture::default() }, [0.25, 0.75]);
        close(Mixture { temperature: Some(0.0), ..Mixture::default() }, [0.5, 0.5]);
        close(Mixture { weights: vec![3.0, 1.0], ..Mixture::default() }, [0.75, 0.25]);
        close(Mixture { weights: vec![1.5e308, 0.5e308], ..Mixture::default() }, [0.75, 0.25]);
    }
}
