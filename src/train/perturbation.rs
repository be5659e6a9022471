//! Word embeddings moved within a ball: at random, or one step up the loss (FGM, Miyato et al. 2017).
//!
//! The ball is a text's own: the move's length over all of its tokens is `radius` times that of its word embeddings, so that
//! the same number means the same for every model and for short and long texts. A random move ends on the ball's surface,
//! where nearly all of a ball lies in so many dimensions. Neither depends on how a batch is cut into chunks: the random one is a function
//! of (seed, batch of the plan, text, position, feature), the other follows the gradient of the whole batch's loss.

use anyhow::Result;
use candle_core::Tensor;

use crate::encoder::{Encoder, Packed};
use crate::ops::{text_norms, to_radius, token_noise};
use crate::spec::{PerturbationKind, RobustSpec};
use crate::stream::key;

/// How the word embeddings of a batch are moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perturbation {
    kind: PerturbationKind,
    radius: f64,
    key: u64,
}

/// What is added to the word embeddings of a pass, f32 `[T, H]`.
pub type Moved = Tensor;

impl Perturbation {
    /// For the plan's batch `index`; `None` where the spec moves nothing.
    #[must_use]
    pub fn new(spec: &RobustSpec, seed: u64, index: usize) -> Option<Self> {
        (spec.perturbation != PerturbationKind::None).then(|| Self {
            kind: spec.perturbation,
            radius: spec.radius,
            key: key(seed, "perturbation", index as u64),
        })
    }

    pub(super) fn is_adversarial(&self) -> bool {
        self.kind == PerturbationKind::Adversarial
    }

    /// In a random direction.
    pub(super) fn random(&self, encoder: &Encoder, texts: &Packed) -> Result<Moved> {
        let words = encoder.word_embeddings(texts)?;
        let noise = token_noise(self.key, &texts.segments, words.dim(1)?, &words)?;
        self.scaled(&words, &noise, texts)
    }

    /// In the direction of `slope`, the loss's gradient with respect to the word embeddings.
    pub(super) fn along(&self, encoder: &Encoder, texts: &Packed, slope: &Tensor) -> Result<Moved> {
        self.scaled(&encoder.word_embeddings(texts)?, slope, texts)
    }

    fn scaled(&self, words: &Tensor, direction: &Tensor, texts: &Packed) -> Result<Moved> {
        let radii: Vec<f64> =
            text_norms(words, &texts.segments)?.into_iter().map(|norm| norm * self.radius).collect();
        Ok(to_radius(direction, &texts.segments, &radii)?)
    }
}
