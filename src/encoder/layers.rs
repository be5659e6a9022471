//! Vectors after every layer, for looking into a model. Nothing here is trained.

use anyhow::Result;
use candle_core::Device;

use super::adapters::Route;
use super::model::Encoder;
use super::packed::Packed;

impl Encoder {
    /// What the vectors of [`Encoder::encode_layers`] belong to: `embeddings`, `1` to the number of layers, and `head` where
    /// the model has a dense layer.
    #[must_use]
    pub fn layer_names(&self, outputs: usize) -> Vec<String> {
        (0..outputs)
            .map(|index| match index {
                0 => "embeddings".to_owned(),
                _ if index > self.config.layers => "head".to_owned(),
                _ => index.to_string(),
            })
            .collect()
    }

    /// Row-major `[texts, width]` unit vectors after every layer, in the order of the texts: the embeddings, the layers, the
    /// dense layers where there are some. The last is what [`Encoder::encode_routed`] gives. `progress` hears how many are done.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_layers(
        &self,
        texts: &[Vec<u32>],
        routes: &[Route],
        batch_tokens: usize,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<Vec<f32>>> {
        let route = |i: usize| routes.get(i).copied().flatten();
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(texts[i].len()));
        let mut layers: Vec<Vec<f32>> = Vec::new();
        let (mut start, mut tokens) = (0, 0);
        for end in 1..=order.len() {
            tokens += texts[order[end - 1]].len();
            if end < order.len() && tokens + texts[order[end]].len() <= batch_tokens {
                continue;
            }
            let chunk = &order[start..end];
            let packed = Packed::routed(chunk.iter().map(|&i| (i as u64, texts[i].as_slice(), route(i))));
            for (layer, vectors) in self.forward_layers(&packed)?.iter().enumerate() {
                let width = vectors.dim(1)?;
                if layers.len() == layer {
                    layers.push(vec![0f32; texts.len() * width]);
                }
                let rows = vectors.to_device(&Device::Cpu)?.to_vec2::<f32>()?;
                for (&index, row) in chunk.iter().zip(rows) {
                    layers[layer][index * width..(index + 1) * width].copy_from_slice(&row);
                }
            }
            (start, tokens) = (end, 0);
            progress(end)?;
        }
        Ok(layers)
    }
}
