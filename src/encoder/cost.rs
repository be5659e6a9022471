//! What a pass through the encoder costs: floating point operations, and bytes of activations.
//!
//! Counted are the matrix products, two operations a multiply-add: for each token and layer `2 (4H² + 2HI)` for the
//! four attention maps and the two of the feed-forward block, and `4 H n` for attention within a text of `n` tokens.
//! The backward pass takes twice the forward pass. What chunks compute twice is not counted (it is no progress), nor are
//! embeddings, norms and the loss.

use candle_core::{Device, DeviceLocation};

use super::config::EncoderConfig;

/// Bytes of an f32.
const F32: usize = 4;

/// How a pass is computed, and so what it keeps and what it works in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// In main memory: attention in blocks of queries, the loss in place.
    #[default]
    Host,
    /// By the kernels of an NVIDIA GPU: attention in blocks too, the gradient of the loss beside its scores.
    Kernels,
    /// By candle's primitives, as on Metal: attention's probabilities are kept.
    Portable,
}

impl Form {
    /// The form in which this device computes.
    #[must_use]
    pub fn of(device: &Device) -> Self {
        match device.location() {
            DeviceLocation::Cpu => Self::Host,
            DeviceLocation::Cuda { .. } => Self::Kernels,
            DeviceLocation::Metal { .. } => Self::Portable,
        }
    }
}

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
    /// standardised input (8 `H` a token), the feed-forward block before and after GELU (2 `I`), and of attention the f32
    /// logarithms of the softmax's denominators, one a head and token; its probabilities, one a head and two tokens of a text,
    /// where they are kept. `element`: bytes of a number.
    #[must_use]
    pub fn layer_bytes(&self, load: Load, element: usize, form: Form) -> usize {
        let row = 8 * self.hidden_size + 2 * self.intermediate_size;
        let attention = match form {
            Form::Host | Form::Kernels => F32 * self.heads * load.tokens,
            Form::Portable => element * self.heads * load.squares,
        };
        // Two inverse deviations a token.
        element * row * load.tokens + 2 * F32 * load.tokens + attention
    }

    /// Bytes at the height of a pass that is gone back: what all layers keep, the embeddings, and what the last layer's
    /// backward pass works in, which is let go only when it is done: eleven matrices of the hidden width, and two of the
    /// feed-forward block's.
    #[must_use]
    pub fn activation_bytes(&self, load: Load, element: usize, form: Form) -> usize {
        let row = 3 * self.hidden_size + 11 * self.hidden_size + 2 * self.intermediate_size;
        // Of the block's second map: its input, the gradients of its input and output.
        let copied = self.copied(load, element, form, 2 * self.intermediate_size + self.hidden_size);
        self.layers * self.layer_bytes(load, element, form) + element * row * load.tokens + copied
    }

    /// Bytes at the height of a pass that is not gone back: one layer at a time, its input, the embeddings' norm, and a
    /// product.
    #[must_use]
    pub fn forward_bytes(&self, load: Load, element: usize, form: Form) -> usize {
        self.layer_bytes(load, element, form)
            + element * 4 * self.hidden_size * load.tokens
            + self.copied(load, element, form, self.intermediate_size + self.hidden_size)
    }

    /// Bytes of what a product of numbers of fewer bytes is computed from in main memory: in f32 `row` numbers a token, and the
    /// matrix with its gradient. Where the processor has tile units for bf16, it takes less than half of that.
    fn copied(&self, load: Load, element: usize, form: Form, row: usize) -> usize {
        if form != Form::Host || element >= F32 {
            return 0;
        }
        F32 * (row * load.tokens + 2 * self.hidden_size * self.intermediate_size)
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
        let row = 4 * 160 * (8 * 768 + 2 * 3072 + 2);
        let layer = row + 4 * 160 * 12;
        assert_eq!(config.layer_bytes(load, 4, Form::Host), layer, "a logarithm a head and token");
        assert_eq!(config.layer_bytes(load, 4, Form::Kernels), layer);
        assert_eq!(config.layer_bytes(load, 4, Form::Portable), row + 4 * 12 * 17_408, "all probabilities");
        assert_eq!(
            config.activation_bytes(load, 4, Form::Host),
            12 * layer + 4 * 160 * (14 * 768 + 2 * 3072)
        );
        assert_eq!(config.forward_bytes(load, 4, Form::Host), layer + 4 * 160 * 4 * 768);
    }

    #[test]
    fn numbers_of_two_bytes_take_half_and_in_main_memory_what_they_are_copied_for() {
        let config = EncoderConfig::parse(crate::corpus::demo::CONFIG).expect("config");
        let load = Load::of([200; 100]);
        let bytes = |element, form| {
            [config.forward_bytes(load, element, form), config.activation_bytes(load, element, form)]
        };
        let (whole, half, kernels) = (bytes(4, Form::Host), bytes(2, Form::Host), bytes(2, Form::Kernels));
        assert_eq!(bytes(4, Form::Kernels), whole);
        for n in 0..2 {
            assert!(kernels[n] < half[n] && half[n] < whole[n], "{kernels:?} {half:?} {whole:?}");
            // Norms' deviations and attention's logarithms stay f32.
            assert!(2 * kernels[n] > whole[n] && 2 * kernels[n] < whole[n] / 20 * 21);
        }
    }
}
