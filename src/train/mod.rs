//! Training: loss, optimiser, schedule, one step at a time, and the events that it reports.

mod accumulate;
pub mod bench;
mod checkpoint;
pub mod device;
mod diverged;
mod event;
mod footprint;
mod gradient;
mod lengths;
mod pace;
mod perturbation;
mod schedule;
mod switch;
mod tokens;
mod trainer;
mod validation;

pub use accumulate::{BatchReport, StepGradient};
pub use checkpoint::Progress;
pub use diverged::Diverged;
pub use event::{Best, DrawnPairs, EVENTS_VERSION, Event, Record, Sample, Score, Stage};
pub use footprint::{Asker, Besides, Footprint};
pub use gradient::{BatchGradient, Objective, PairTokens, add_gradient, batch_gradient, batch_loss};
pub use lengths::TextLengths;
pub use pace::{Pace, Place, Rehearsal, SUBCOMMAND, Steps, Typical};
pub use perturbation::Perturbation;
pub use schedule::learning_rate;
pub use switch::{Reading, Switched, Switcher, no_texts};
pub use tokens::{Cuts, SLICE, Tokens, TrainingSet};
pub use trainer::{StepReport, Trainer, adapted, training_flops};
pub use validation::{Validation, ValidationPlan, left_out};
