//! Adapters: small modules that belong to one language each, and through which only texts of that language go.
//!
//! **Bottleneck** (MAD-X): after every layer's feed-forward block, `y + up(GELU(down(y)))`. It stands *after* the residual norm: it
//! sees rows of one scale, which need no second norm (Pfeiffer et al. 2020 put it between the feed-forward output and a repeated
//! norm), and the rows of other languages stay exactly what the base computes. `AdapterHub`'s names for this:
//! `original_ln_before`, not `original_ln_after`, residual after the norm. **Invertible**: two additive couplings after the
//! embeddings. **`LoRA`**: low-rank changes of query, key, value and of attention's output.
//!
//! Up-projections, and `LoRA`'s B, begin at zero, so that a fresh adapter is the identity. The parameters stand after the
//! head's, language by language, so that the base's places never change.

mod files;
mod merge;
mod route;
mod stored;

pub use files::{read, weights_file};
pub use merge::merge;
pub use route::{Projection, SavedCouplings, SavedModules};
pub use stored::{Origin, stored};

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};

use super::config::EncoderConfig;
use super::layout::Slot;
use crate::spec::{AdapterKind, AdapterSpec};
use crate::stream::Stream;

/// The adapter of a text: an index into [`Adapters::languages`]; `None`: the base alone.
pub type Route = Option<u16>;

/// The adapters of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapters {
    /// Kind and shape.
    pub spec: AdapterSpec,
    /// Whose they are, in the order of the parameters.
    pub languages: Vec<String>,
    /// Where the base's weights come from, where they were not trained.
    pub origin: Option<Origin>,
    /// Index of the first adapter's first parameter.
    pub(super) first: usize,
    /// Layers of the encoder.
    layers: usize,
}

/// Parameters of a layer's module: a bottleneck's two matrices with their biases, or A and B of attention's input and output.
const PER_LAYER: usize = 4;
/// Parameters of an invertible map: two bottlenecks.
const COUPLING: usize = 8;
/// Width of a half over the width of the bottleneck between the halves, as MAD-X has it.
const COUPLING_REDUCTION: usize = 2;

impl Adapters {
    /// Adapters of this shape for these languages, their parameters at `first`.
    ///
    /// # Errors
    /// Where the encoder is too narrow for the shape.
    pub fn new(
        spec: &AdapterSpec,
        languages: &[String],
        config: &EncoderConfig,
        first: usize,
    ) -> Result<Self> {
        let hidden = config.hidden_size;
        ensure!(
            spec.kind != AdapterKind::Bottleneck || spec.reduction <= hidden,
            "adapters.reduction = {}: leaves nothing of the model's hidden width of {hidden}",
            spec.reduction
        );
        for language in languages {
            ensure!(
                crate::spec::is_code(language),
                "adapters: the language '{language}' cannot name a directory; its code must have letters, digits, '-' and '_' \
                 only"
            );
        }
        ensure!(
            spec.kind != AdapterKind::Lora || spec.rank <= hidden,
            "adapters.rank = {}: is more than the model's hidden width of {hidden}",
            spec.rank
        );
        ensure!(
            !spec.invertible || hidden.is_multiple_of(2 * COUPLING_REDUCTION),
            "adapters.invertible = true: the model's hidden width of {hidden} is not a multiple of four"
        );
        Ok(Self {
            spec: AdapterSpec { languages: languages.to_vec(), ..spec.clone() },
            languages: languages.to_vec(),
            origin: None,
            first,
            layers: config.layers,
        })
    }

    /// The adapter of texts in this language.
    #[must_use]
    pub fn route(&self, language: &str) -> Route {
        self.languages.iter().position(|l| l == language).map(|index| index as u16)
    }

    /// Parameters of one language.
    fn per_language(&self) -> usize {
        PER_LAYER * self.layers + if self.spec.invertible { COUPLING } else { 0 }
    }

    /// Index of the first of the four parameters of a layer's module.
    pub(super) fn module(&self, adapter: usize, layer: usize) -> usize {
        self.first + adapter * self.per_language() + PER_LAYER * layer
    }

    /// Index of the first of the eight parameters of the invertible map.
    pub(super) fn coupling(&self, adapter: usize) -> usize {
        self.module(adapter, self.layers)
    }

    /// `alpha / rank` of `LoRA`.
    pub(super) fn scale(&self) -> f64 {
        self.spec.alpha / self.spec.rank as f64
    }

    /// Every parameter with the language it belongs to, in order.
    pub(super) fn slots<'a>(
        &'a self,
        config: &'a EncoderConfig,
    ) -> impl Iterator<Item = (&'a str, Slot)> + 'a {
        self.languages
            .iter()
            .flat_map(move |l| slots(config, &self.spec, l).into_iter().map(move |slot| (l.as_str(), slot)))
    }

    /// Fresh parameters: they depend on the seed, the language and the parameter's name, not on the other languages.
    pub(super) fn initial(&self, config: &EncoderConfig, seed: u64) -> Result<Vec<Tensor>> {
        self.slots(config)
            .map(|(language, slot)| {
                let count: usize = slot.shape.iter().product();
                let is_zero = !slot.decayed || is_last(&slot.names[0]);
                let data = if is_zero {
                    vec![0f32; count]
                } else {
                    // As PEFT draws A: the variance of its uniform numbers.
                    let deviation = match self.spec.kind {
                        AdapterKind::Lora => (3.0 * config.hidden_size as f64).sqrt().recip(),
                        _ => config.initializer_range,
                    };
                    let mut stream = Stream::new(seed, &format!("adapter {language} {}", slot.names[0]), 0);
                    (0..count).map(|_| (stream.normal() * deviation) as f32).collect()
                };
                Ok(Tensor::from_vec(data, slot.shape.as_slice(), &Device::Cpu)?)
            })
            .collect()
    }
}

/// Numbers that the adapters of so many languages have.
#[must_use]
pub fn count(config: &EncoderConfig, spec: &AdapterSpec, languages: usize) -> usize {
    let one = slots(config, spec, "");
    languages * one.iter().map(|s| s.shape.iter().product::<usize>()).sum::<usize>()
}

/// Floating point operations of the adapters' matrix products in a forward pass of so many tokens, each through one.
#[must_use]
pub fn flops(config: &EncoderConfig, spec: &AdapterSpec, tokens: usize) -> f64 {
    let matrices = slots(config, spec, "").into_iter().filter(|s| s.shape.len() > 1);
    2.0 * tokens as f64 * matrices.map(|s| s.shape.iter().product::<usize>()).sum::<usize>() as f64
}

/// Numbers that a layer keeps a token for the backward pass of its module.
#[must_use]
pub fn kept(config: &EncoderConfig, spec: &AdapterSpec) -> usize {
    match spec.kind {
        AdapterKind::None => 0,
        // The layer's output before and after the module, the bottleneck before and after GELU.
        AdapterKind::Bottleneck => config.hidden_size + 2 * (config.hidden_size / spec.reduction.max(1)),
        AdapterKind::Lora => config.hidden_size + 4 * spec.rank,
    }
}

/// True for what begins at zero: a bottleneck's up-projection and `LoRA`'s B.
fn is_last(name: &str) -> bool {
    [".adapter_up.weight", ".2.weight", ".lora_B.weight"].iter().any(|end| name.ends_with(end))
}

/// The parameters of one language, under the names of `AdapterHub`'s and PEFT's files.
fn slots(config: &EncoderConfig, spec: &AdapterSpec, language: &str) -> Vec<Slot> {
    let h = config.hidden_size;
    let slot =
        |names: Vec<String>, shape: &[usize]| Slot { names, shape: shape.to_vec(), decayed: shape.len() > 1 };
    let mut all = Vec::new();
    for layer in 0..config.layers {
        match spec.kind {
            AdapterKind::None => {}
            AdapterKind::Bottleneck => {
                let width = (h / spec.reduction.max(1)).max(1);
                let at =
                    |part: &str| vec![format!("encoder.layer.{layer}.output.adapters.{language}.{part}")];
                all.push(slot(at("adapter_down.0.weight"), &[width, h]));
                all.push(slot(at("adapter_down.0.bias"), &[width]));
                all.push(slot(at("adapter_up.weight"), &[h, width]));
                all.push(slot(at("adapter_up.bias"), &[h]));
            }
            AdapterKind::Lora => {
                let at = |map: &str, part: &str| {
                    format!("base_model.model.encoder.layer.{layer}.attention.{map}.lora_{part}.weight")
                };
                let inputs = |part| INPUTS.iter().map(|map| at(map, part)).collect::<Vec<_>>();
                all.push(slot(inputs("A"), &[INPUTS.len() * spec.rank, h]));
                all.push(slot(inputs("B"), &[INPUTS.len() * h, spec.rank]));
                all.push(slot(vec![at(OUTPUT, "A")], &[spec.rank, h]));
                all.push(slot(vec![at(OUTPUT, "B")], &[h, spec.rank]));
            }
        }
    }
    if spec.invertible && spec.kind == AdapterKind::Bottleneck {
        let (half, width) = (h / 2, (h / 2 / COUPLING_REDUCTION).max(1));
        for map in ["F", "G"] {
            let at = |part: &str| vec![format!("invertible_adapters.{language}.{map}.{part}")];
            all.push(slot(at("0.weight"), &[width, half]));
            all.push(slot(at("0.bias"), &[width]));
            all.push(slot(at("2.weight"), &[half, width]));
            all.push(slot(at("2.bias"), &[half]));
        }
    }
    all
}

/// Attention's projections, as checkpoints name them.
const INPUTS: [&str; 3] = ["self.query", "self.key", "self.value"];
const OUTPUT: &str = "output.dense";

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EncoderConfig {
        EncoderConfig::parse(crate::corpus::demo::CONFIG).expect("config")
    }

    #[test]
    fn parameters_are_as_many_as_the_shapes_say() {
        let config = config();
        let bottleneck =
            AdapterSpec { kind: AdapterKind::Bottleneck, reduction: 4, ..AdapterSpec::default() };
        // One layer, hidden 128, bottleneck 32: two matrices and their biases.
        assert_eq!(count(&config, &bottleneck, 2), 2 * (2 * 128 * 32 + 32 + 128));
        let invertible = AdapterSpec { invertible: true, ..bottleneck.clone() };
        let coupling = 2 * (2 * 64 * 32 + 32 + 64);
        assert_eq!(count(&config, &invertible, 1), 2 * 128 * 32 + 32 + 128 + coupling);
        let lora = AdapterSpec { kind: AdapterKind::Lora, rank: 3, ..AdapterSpec::default() };
        assert_eq!(count(&config, &lora, 1), 4 * 2 * 3 * 128);
        assert_eq!(count(&config, &AdapterSpec::default(), 5), 0);
        // A multiply-add is two operations, whichever language's weights it uses.
        assert_eq!(flops(&config, &lora, 10), 10.0 * 2.0 * f64::from(4 * 2 * 3 * 128));
    }

    #[test]
    fn an_adapter_starts_alike_whatever_other_languages_have_one() {
        let (config, spec) = (config(), AdapterSpec { kind: AdapterKind::Lora, ..AdapterSpec::default() });
        let make = |languages: &[&str]| {
            let languages: Vec<String> = languages.iter().map(|l| (*l).to_owned()).collect();
            let adapters = Adapters::new(&spec, &languages, &config, 7).expect("adapters");
            adapters.initial(&config, 5).expect("weights")
        };
        let (alone, both) = (make(&["en"]), make(&["de", "en"]));
        let values = |t: &Tensor| t.flatten_all().expect("flat").to_vec1::<f32>().expect("f32");
        assert_eq!(values(&alone[0]), values(&both[4]));
        assert_ne!(values(&both[0]), values(&both[4]));
        assert!(values(&alone[1]).iter().all(|x| *x == 0.0) && values(&alone[0]).iter().any(|x| *x != 0.0));
    }

    #[test]
    fn a_model_too_narrow_for_the_shape_is_refused() {
        let config = config();
        let wide = AdapterSpec { kind: AdapterKind::Bottleneck, reduction: 256, ..AdapterSpec::default() };
        let error = format!("{:#}", Adapters::new(&wide, &[], &config, 0).expect_err("too narrow"));
        assert!(error.contains("adapters.reduction = 256") && error.contains("128"), "{error}");
    }
}
