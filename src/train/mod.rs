//! Training: loss, optimiser, schedule, the loop, and the events it reports.

mod event;

pub use event::{Best, DrawnPairs, Event, Record, Score, Stage};
