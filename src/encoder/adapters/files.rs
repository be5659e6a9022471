//! Adapters on disk: `adapters/<language>/` with one safetensors file and `adapter_config.json`, named as `AdapterHub`'s library
//! (bottlenecks) or PEFT (`LoRA`) names them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use super::super::checkpoint::{self, ModelFiles, read_tensors, stacked};
use super::super::config::{Architecture, EncoderConfig};
use super::super::layout::Parameters;
use super::super::sentence::SentenceLayout;
use super::super::write::write_tensors;
use super::stored::{ADAPTERS, INDEX, Origin, Stored, VERSION};
use super::{Adapters, COUPLING_REDUCTION};
use crate::files;
use crate::spec::{AdapterKind, Pooling};

/// The adapters of a model directory and their weights.
///
/// # Errors
/// Names the file and the tensor that is missing, damaged or of another shape.
pub fn read(
    dir: &Path,
    stored: &Stored,
    config: &EncoderConfig,
    first: usize,
) -> Result<(Adapters, Vec<Tensor>)> {
    let mut adapters = Adapters::new(&stored.adapters, &stored.adapters.languages, config, first)?;
    adapters.origin.clone_from(&stored.base);
    let mut read: HashMap<String, HashMap<String, Tensor>> = HashMap::new();
    let mut weights = Vec::new();
    for (language, slot) in adapters.slots(config) {
        let path = weights_file(dir, language, adapters.spec.kind);
        if !read.contains_key(language) {
            read.insert(language.to_owned(), read_tensors(&path)?);
        }
        let tensor = stacked(&read[language], "", &slot).with_context(|| path.display().to_string())?;
        weights.push(tensor);
    }
    Ok((adapters, weights))
}

/// The file with a language's weights.
pub fn weights_file(dir: &Path, language: &str, kind: AdapterKind) -> PathBuf {
    let name = if kind == AdapterKind::Lora { "adapter_model.safetensors" } else { "adapter.safetensors" };
    dir.join(ADAPTERS).join(language).join(name)
}

impl Origin {
    /// The base's weights, read from where they came from.
    ///
    /// # Errors
    /// Where they are no longer there or others than they were.
    pub(in super::super) fn parameters(&self, config: &EncoderConfig) -> Result<Parameters> {
        let parameters = if self.base == "demo" {
            let (config, tokenizer) = (crate::corpus::demo::CONFIG, crate::corpus::demo::TOKENIZER);
            ModelFiles::fresh(config, tokenizer, Pooling::Auto, self.seed)?.parameters
        } else {
            let (layout, own) = self.layout()?;
            ensure!(
                (own.hidden_size, own.layers) == (config.hidden_size, config.layers),
                "{}: another model than the adapters were trained on",
                self.base
            );
            checkpoint::read_parameters(&own, &layout)?.0
        };
        let hash = checkpoint::weights_hash(&parameters.tensors)?;
        if hash != self.weights_sha256 {
            bail!(
                "{}: its weights are others than those that the adapters were trained on (SHA-256 {:.12}... instead of \
                 {:.12}...); put the model back as it was",
                self.base,
                hash,
                self.weights_sha256
            );
        }
        Ok(parameters)
    }

    /// Where the base's files lie; not for `demo`, which has none.
    pub(in super::super) fn layout(&self) -> Result<(SentenceLayout, EncoderConfig)> {
        let dir = Path::new(&self.base);
        ensure!(
            dir.is_dir(),
            "{}: the base that the adapters were trained on is not there any more; put it back, or write its new place into \
             {ADAPTERS}/{INDEX} ('base'). A frozen base is not written a second time",
            self.base
        );
        checkpoint::read_layout(dir, Pooling::Auto)
    }
}

impl Adapters {
    /// Writes the adapters into the model directory `dir`; `tensors` are all parameters of the encoder.
    ///
    /// # Errors
    /// Where the disk is full or the place read-only.
    pub(in super::super) fn write(
        &self,
        dir: &Path,
        config: &EncoderConfig,
        tensors: &[Tensor],
    ) -> Result<()> {
        let mut by_language: HashMap<&str, HashMap<String, Tensor>> = HashMap::new();
        for ((language, slot), tensor) in self.slots(config).zip(&tensors[self.first..]) {
            let tensor = tensor.to_device(&Device::Cpu)?;
            let rows = slot.shape[0] / slot.names.len();
            for (part, name) in slot.names.iter().enumerate() {
                let tensor = tensor.narrow(0, part * rows, rows)?.contiguous()?;
                by_language.entry(language).or_default().insert(name.clone(), tensor);
            }
        }
        for (language, tensors) in by_language {
            let path = weights_file(dir, language, self.spec.kind);
            if let Some(own) = path.parent() {
                files::create_dir(own)?;
            }
            write_tensors(&path, &tensors)?;
            let config = serde_json::to_vec_pretty(&self.config_file(language, config))?;
            files::replace(&path.with_file_name("adapter_config.json"), &config)?;
        }
        let stored = Stored { v: VERSION, adapters: self.spec.clone(), base: self.origin.clone() };
        files::create_dir(&dir.join(ADAPTERS))?;
        files::replace(&dir.join(ADAPTERS).join(INDEX), &serde_json::to_vec_pretty(&stored)?)
    }

    /// `adapter_config.json` in the words of the library that would read it.
    fn config_file(&self, language: &str, config: &EncoderConfig) -> Value {
        let base = self.origin.as_ref().map_or("..", |o| o.base.as_str());
        if self.spec.kind == AdapterKind::Lora {
            return json!({
                "peft_type": "LORA", "task_type": "FEATURE_EXTRACTION", "base_model_name_or_path": base,
                "r": self.spec.rank, "lora_alpha": self.spec.alpha, "lora_dropout": 0.0, "bias": "none",
                "fan_in_fan_out": false, "init_lora_weights": true, "inference_mode": true,
                "modules_to_save": null,
                "target_modules": ["query", "key", "value", "attention.output.dense"]
            });
        }
        let (model_type, class) = match config.architecture {
            Architecture::Bert => ("bert", "BertModel"),
            Architecture::XlmRoberta => ("xlm-roberta", "XLMRobertaModel"),
        };
        json!({
            "name": language, "model_type": model_type, "model_class": class, "model_name": base,
            "hidden_size": config.hidden_size,
            "config": {
                "architecture": null, "mh_adapter": false, "output_adapter": true, "cross_adapter": false,
                "non_linearity": "gelu", "reduction_factor": self.spec.reduction, "is_parallel": false,
                "scaling": 1.0, "use_gating": false, "original_ln_before": true, "original_ln_after": false,
                "ln_before": false, "ln_after": false, "residual_before_ln": false,
                "adapter_residual_before_ln": false, "leave_out": [], "dropout": 0.0, "phm_layer": false,
                "inv_adapter": self.spec.invertible.then_some("nice"),
                "inv_adapter_reduction_factor": self.spec.invertible.then_some(COUPLING_REDUCTION)
            }
        })
    }
}
