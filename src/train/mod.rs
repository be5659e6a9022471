//! Training: loss, optimiser, schedule, one step at a time, and the events that it reports.

mod checkpoint;
pub mod device;
mod event;
mod gradient;
mod schedule;
mod tokens;
mod trainer;
mod validation;

pub use checkpoint::Progress;
pub use event::{Best, DrawnPairs, EVENTS_VERSION, Event, Record, Score, Stage};
pub use gradient::{BatchGradient, PairTokens, batch_gradient, batch_loss};
pub use schedule::learning_rate;
pub use tokens::{Cuts, Tokens, TrainingSet};
pub use trainer::{StepReport, Trainer};
pub use validation::Validation;
