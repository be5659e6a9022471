//! Statistical tests on questions that come in clusters: numbers in, numbers out; nothing here knows of evaluations.
//!
//! Eleven translations of a question are one observation, not eleven, so every test here flips, draws or leaves out
//! whole clusters. [`sign_flips`] gives p-values and [`intervals`] confidence intervals for two single systems;
//! [`crossed`] compares two groups of systems over seeds and clusters at once; [`holm`] adjusts a family of p-values.

mod crossed;
mod distribution;
mod holm;
mod resample;
mod table;

pub use crossed::{Crossed, crossed};
pub use distribution::{normal_below, normal_quantile, t_quantile, t_two_sided};
pub use holm::holm;
pub use resample::{Method, Options, intervals, sign_flips};
pub use table::Clustered;

/// Confidence of every interval.
pub const CONFIDENCE: f64 = 0.95;
