//! Writing a model directory anew, some rows at a time: memory stays that of a few megabytes of weights, however large the
//! checkpoint is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Tensor};
use serde_json::{Map, Value, json};

use super::checkpoint::{
    Conversion, ModelFiles, Opened, carried, check_dir, check_finite, dense_parts, open_weights, part_shape,
    read_layout, read_tokenizer,
};
use super::layout;
use super::weight_files::Weights;
use super::write::Parts;
use crate::spec::Pooling;

impl ModelFiles {
    /// Writes the model of one directory as another that sentence-transformers loads, without holding its weights:
    /// what [`ModelFiles::read`] and [`ModelFiles::write`] would do. The new directory must not exist.
    ///
    /// # Errors
    /// As those two; for a model with language adapters.
    pub fn convert(from: &Path, to: &Path, conversion: &Conversion) -> Result<()> {
        check_dir(from)?;
        ensure!(
            super::adapters::stored(from)?.is_none(),
            "{}: has language adapters; read it whole to merge them or leave them out",
            from.display()
        );
        let (mut sentence, config) = read_layout(from, Pooling::Auto)?;
        sentence.catalogued = conversion.prefixes.clone();
        let inner = sentence.transformer.clone();
        let (tokenizer, tokenizer_bytes) = read_tokenizer(&[&inner, from], &config, &sentence)?;
        let opened = open_weights(&config, &sentence)?;
        let slots = layout::slots(&config, &sentence.head);
        let dtype = conversion.dtype.unwrap_or_else(|| opened.stored(&slots));
        let Opened { transformer, prefix, dense } = &opened;
        let mut own: BTreeMap<String, Copied<'_>> = BTreeMap::new();
        for slot in &slots {
            let shape = part_shape(slot);
            for name in &slot.names {
                let from = format!("{prefix}{name}");
                own.insert(name.clone(), Copied { weights: transformer, from, shape: shape.clone() });
            }
        }
        crate::files::whole_dir(to, |dir| {
            let extra = carried(&[&inner, from]);
            let parts = Parts {
                config: &config,
                layout: &sentence,
                tensors: &[],
                tokenizer: &tokenizer,
                tokenizer_bytes: &tokenizer_bytes,
                extra: &extra,
                prompts: sentence.all_prompts(),
                longest: conversion.longest,
                dtype,
                has_weights: false,
            };
            parts.write(dir)?;
            copy(&dir.join("model.safetensors"), &own, dtype)?;
            for (index, (shape, weights)) in sentence.head.dense.iter().zip(dense).enumerate() {
                let parts = dense_parts(shape).into_iter();
                let own = parts
                    .map(|(name, shape)| (name.to_owned(), Copied { weights, from: name.to_owned(), shape }));
                copy(&dir.join(format!("{}_Dense/model.safetensors", index + 2)), &own.collect(), dtype)?;
            }
            crate::files::replace(&dir.join("README.md"), conversion.card.as_bytes())
        })
    }
}

/// A tensor where it lies.
struct Copied<'a> {
    weights: &'a Weights,
    from: String,
    shape: Vec<usize>,
}

/// Writes a safetensors file of these tensors in the order of their names: its header, then block after block.
fn copy(path: &Path, tensors: &BTreeMap<String, Copied<'_>>, dtype: DType) -> Result<()> {
    let named = match dtype {
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        _ => "F32",
    };
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut end = 0;
    for (name, tensor) in tensors {
        let start = end;
        end += tensor.shape.iter().product::<usize>() * dtype.size_in_bytes();
        header.insert(
            name.clone(),
            json!({"dtype": named, "shape": tensor.shape, "data_offsets": [start, end]}),
        );
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    // Readers that map the file want the numbers to begin at a multiple of eight.
    text.resize(text.len().next_multiple_of(8), b' ');
    crate::files::replace_by(path, |beside| {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(beside)?);
        file.write_all(&(text.len() as u64).to_le_bytes())?;
        file.write_all(&text)?;
        for (name, tensor) in tensors {
            tensor.weights.blocks(&tensor.from, &tensor.shape, &mut |block| {
                let block = converted(&block, dtype, name)?;
                file.write_all(&safetensors::View::data(&block))?;
                Ok(())
            })?;
        }
        file.flush()?;
        Ok(())
    })
}

/// The same numbers in another type.
pub(super) fn converted(tensor: &Tensor, dtype: DType, name: &str) -> Result<Tensor> {
    let tensor = tensor.to_dtype(dtype)?;
    check_finite(&tensor, name)
        .with_context(|| format!("{} cannot hold these weights; choose bf16 or f32", dtype.as_str()))?;
    Ok(tensor)
}
