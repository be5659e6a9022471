//! What a pass through the encoder costs: floating point operations, and bytes of activations.
//!
//! Counted are the matrix products, two operations a multiply-add: for each token and layer `2 (4H² + 2HI)` for the
//! four attention maps and the two of the feed-forward block, and `4 H n` for attention within a text of `n` tokens.
//! The backward pass takes twice the forward pass. What chunks compute twice is not counted (it is no progress), nor are
//! embeddings, norms and the loss.

use super::config::EncoderConfig;

/// How much text a pass holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub texts: usize,
    /// Tokens of all texts.
    pub tokens: usize,
    /// Sum over the texts of their lengths squared: what attention is about.
    pub squares: usize,
}

impl Load {
    /// The load of texts with these lengths.
    #[must_use]
    pub fn of(lengths: impl IntoIterator<Item = usize>) -> Self {
        lengths.into_iter().fold(Self::default(), |mut load, length| {
            load.texts += 1;
            load.tokens += length;
            load.squares += length * length;
            load
        })
    }
}

impl std::ops::AddAssign for Load {
    fn add_assign(&mut self, other: Self) {
        self.texts += other.texts;
        self.tokens += other.tokens;
        self.squares += other.squares;
    }
}

impl EncoderConfig {
    /// Floating point operations of a forward pass.
    #[must_use]
    pub fn forward_flops(&self, load: Load) -> f64 {
        let (h, i) = (self.hidden_size as f64, self.intermediate_size as f64);
        let maps = 2.0 * (4.0 * h * h + 2.0 * h * i) * load.tokens as f64;
        self.layers as f64 * (maps + 4.0 * h * load.squares as f64)
    }

    /// Of a forward and a backward pass.
    #[must_use]
    pub fn training_flops(&self, load: Load) -> f64 {
        3.0 * self.forward_flops(load)
    }

    /// Bytes that one layer keeps for its backward pass: queries, keys and values, the context, two norms with their
    /// standardised input (8 `H` a token), the feed-forward block before and after GELU (2 `I`), and attention's
    /// probabilities. `element`: bytes of a number.
    #[must_use]
    pub fn layer_bytes(&self, load: Load, element: usize) -> usize {
        let row = 8 * self.hidden_size + 2 * self.intermediate_size + 2;
        element * (row * load.tokens + self.heads * load.squares)
    }

    /// Bytes at the height of a pass that is gone back: what all layers keep, the embeddings, and what the last layer's
    /// backward pass works in.
    #[must_use]
    pub fn activation_bytes(&self, load: Load, element: usize) -> usize {
        let row = 3 * self.hidden_size + 3 * self.hidden_size + 2 * self.intermediate_size;
        self.layers * self.layer_bytes(load, element) + element * row * load.tokens
    }

    /// Bytes at the height of a pass that is not gone back: one layer at a time.
    #[must_use]
    pub fn forward_bytes(&self, load: Load, element: usize) -> usize {
        self.layer_bytes(load, element) + element * 3 * self.hidden_size * load.tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_equal_the_sums_written_out() {
        let config = EncoderConfig::parse(
            r#"{"model_type": "xlm-roberta", "vocab_size": 250002, "hidden_size": 768, "num_hidden_layers": 12,
            "num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 514}"#,
        )
        .expect("config");
        let load = Load::of([32, 128]);
        assert_eq!((load.texts, load.tokens, load.squares), (2, 160, 32 * 32 + 128 * 128));
        // 85 million weights of the layers' maps, two operations each and token; attention on top.
        let maps = 2.0 * 84_934_656.0 * 160.0;
        let attention = 12.0 * 4.0 * 768.0 * 17_408.0;
        assert_eq!(config.forward_flops(load), maps + attention);
        assert_eq!(config.training_flops(load), 3.0 * (maps + attention));
        let layer = 4 * (160 * (8 * 768 + 2 * 3072 + 2) + 12 * 17_408);
        assert_eq!(config.layer_bytes(load, 4), layer);
        assert_eq!(config.activation_bytes(load, 4), 12 * layer + 4 * 160 * (6 * 768 + 2 * 3072));
    }
}
