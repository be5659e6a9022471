//! Every operation on a device against the host form in f32: what `polymix doctor --device` runs.
//!
//! A driver, a compiler or a chip that computes something else is found before a week of training is spent on it.

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};

pub use super::device::{Form, Forms, forms as attention_forms};
use super::{
    AdamW, BottleneckWeights, Coupling, Dropout, LowRank, Pool, Segments, add_bias, add_norm,
    add_norm_backward, add_to, attention, attention_backward, bias_gelu, bottleneck, bottleneck_backward,
    dropout, embed, gelu_backward, global_norm, info_nce, linear, linear_backward, normalise,
    normalise_backward, pool, pool_backward, scatter_add, scatter_add_to, text_norms, to_radius, token_noise,
};
use crate::stream::Stream;

/// How one operation did.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Finding {
    pub operation: &'static str,
    /// Largest difference from the host, as a share of the host's largest value.
    pub difference: f64,
    /// What that may be in this type.
    pub allowed: f64,
    /// Milliseconds of a warm call, results read back.
    pub milliseconds: f64,
}

impl Finding {
    /// Whether the device computes what the host does.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.difference <= self.allowed
    }
}

const WIDTH: usize = 256;
/// Of adapters' bottlenecks and low-rank changes.
const NARROW: usize = 16;
const VOCABULARY: usize = 1000;

/// What all operations are given.
struct Inputs {
    device: Device,
    dtype: DType,
    segments: Segments,
    ids: Vec<u32>,
    positions: Vec<u32>,
}

impl Inputs {
    /// 24 texts of 1 to 116 tokens.
    fn new(device: &Device, dtype: DType) -> Self {
        let lengths: Vec<usize> = (0..24).map(|i| 1 + 5 * i).collect();
        let mut offsets = vec![0];
        let (mut positions, mut keys) = (Vec::new(), Vec::new());
        for (text, &length) in lengths.iter().enumerate() {
            positions.extend(0..length as u32);
            keys.extend((0..length as u64).map(|p| crate::stream::mix((text as u64) << 32 | p)));
            offsets.push(positions.len());
        }
        let mut stream = Stream::new(7, "check", 0);
        let ids = positions.iter().map(|_| stream.below(VOCABULARY) as u32).collect();
        Self { device: device.clone(), dtype, segments: Segments::new(offsets, keys), ids, positions }
    }

    /// Normal deviates, rounded to the type, on the device.
    fn typed(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.plain(name, shape)?.to_dtype(self.dtype)
    }

    /// The same values in f32. They are rounded to bf16, so that both sides start from equal numbers.
    fn plain(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let mut stream = Stream::new(11, name, 0);
        let data: Vec<f32> = (0..shape.iter().product()).map(|_| stream.normal() as f32).collect();
        let host = Tensor::from_vec(data, shape, &Device::Cpu)?;
        host.to_dtype(DType::BF16)?.to_dtype(DType::F32)?.to_device(&self.device)
    }

    /// From and to `outer`.
    fn bottleneck(&self, name: &str, outer: usize) -> Result<BottleneckWeights> {
        Ok(BottleneckWeights {
            down: self.typed(&format!("{name} down"), &[NARROW, outer])?,
            down_bias: self.plain(&format!("{name} down bias"), &[NARROW])?,
            up: self.typed(&format!("{name} up"), &[outer, NARROW])?,
            up_bias: self.plain(&format!("{name} up bias"), &[outer])?,
        })
    }

    /// The same with gates that the biases alone open: where a rounded input decides, the two sides may differ by a whole unit.
    fn gated(&self, name: &str, outer: usize) -> Result<BottleneckWeights> {
        let weights = self.bottleneck(name, outer)?;
        let bias = &weights.down_bias;
        let far = (bias + bias.sign()?)?;
        Ok(BottleneckWeights {
            down: (weights.down / 64.0)?,
            down_bias: far,
            up: (weights.up / 8.0)?,
            up_bias: weights.up_bias,
        })
    }

    const fn dropout(&self) -> Dropout<'_> {
        Dropout { rate: 0.1, key: 99, tokens: &self.segments }
    }
}

type Operation = (&'static str, fn(&Inputs) -> Result<Vec<Tensor>>);

/// The operations, each giving everything that it computes.
const OPERATIONS: [Operation; 23] = [
    ("linear", |i| {
        let (x, w) = (i.typed("x", &[i.ids.len(), WIDTH])?, i.typed("w", &[2 * WIDTH, WIDTH])?);
        let dy = i.typed("dy", &[i.ids.len(), 2 * WIDTH])?;
        let y = linear(&x, &w, &i.plain("b", &[2 * WIDTH])?)?;
        let (dx, dw, db) = linear_backward(&x, &w, &dy)?;
        Ok(vec![y, dx, dw, db])
    }),
    ("bias, dropout, residual, norm", |i| {
        let [x, r, dy] = ["x", "r", "dy"].map(|n| i.typed(n, &[i.ids.len(), WIDTH]));
        let (dy, residual) = (dy?, r?);
        let [bias, scale, shift] = ["b", "s", "t"].map(|n| i.plain(n, &[WIDTH]));
        let (bias, scale, shift) = (bias?, scale?, shift?);
        let normed = add_norm(x?, Some(&bias), Some(i.dropout()), Some(&residual), (&scale, &shift), 1e-5)?;
        let back = add_norm_backward(&normed, &scale, Some(i.dropout()), &dy, None)?;
        let both = add_norm_backward(&normed, &scale, None, &dy, Some(&residual))?;
        Ok(vec![normed.output, back.sum, back.x, back.scale, back.shift, both.sum, both.scale, both.shift])
    }),
    ("bias, GELU", |i| {
        let dy = i.typed("dy", &[i.ids.len(), WIDTH])?;
        let (up, out) = bias_gelu(i.typed("x", &[i.ids.len(), WIDTH])?, &i.plain("b", &[WIDTH])?)?;
        Ok(vec![out, gelu_backward(&up, &dy)?])
    }),
    ("dropout", |i| Ok(vec![dropout(i.typed("x", &[i.ids.len(), WIDTH])?, Some(i.dropout()))?])),
    ("bias", |i| Ok(vec![add_bias(i.typed("x", &[i.ids.len(), WIDTH])?, &i.plain("b", &[WIDTH])?)?])),
    // MiniLM's heads, BERT's and XLM-R's, and wider ones; 48 has no kernel.
    ("attention, heads of 32", |i| attend(i, 32, None)),
    ("attention, heads of 32, dropout", |i| attend(i, 32, Some(i.dropout()))),
    ("attention, heads of 64", |i| attend(i, 64, None)),
    ("attention, heads of 64, dropout", |i| attend(i, 64, Some(i.dropout()))),
    ("attention, heads of 128", |i| attend(i, 128, None)),
    ("attention, heads of 128, dropout", |i| attend(i, 128, Some(i.dropout()))),
    ("attention, heads of 48, dropout", |i| attend(i, 48, Some(i.dropout()))),
    ("embedding", |i| {
        let [word, position] =
            [("word", VOCABULARY), ("position", 128)].map(|(n, r)| i.plain(n, &[r, WIDTH]));
        let out = embed(&word?, &position?, &i.plain("kind", &[2, WIDTH])?, &i.ids, &i.positions, i.dtype)?;
        let dy = i.typed("dy", &[i.ids.len(), WIDTH])?;
        let table = scatter_add_to(i.plain("word", &[VOCABULARY, WIDTH])?, &i.ids, &dy)?;
        Ok(vec![out, scatter_add(VOCABULARY, &i.ids, &dy)?, table])
    }),
    ("mean pooling", |i| pooled(i, Pool::Mean)),
    ("first-token pooling", |i| pooled(i, Pool::First)),
    ("unit length", |i| {
        let (y, norms) = normalise(&i.plain("x", &[40, WIDTH])?)?;
        let dx = normalise_backward(&y, &norms, &i.plain("dy", &[40, WIDTH])?)?;
        Ok(vec![y, dx])
    }),
    ("adapter's bottleneck", |i| {
        let (x, dy) = (i.typed("x", &[i.ids.len(), WIDTH])?, i.typed("dy", &[i.ids.len(), WIDTH])?);
        let weights = i.bottleneck("a", WIDTH)?;
        let (y, saved) = bottleneck(&x, &weights)?;
        let back = bottleneck_backward(&x, &weights, &saved, &dy)?;
        Ok([vec![y, back.x], back.weights.to_vec()].concat())
    }),
    ("invertible coupling", |i| {
        let (x, dy) = (i.typed("x", &[i.ids.len(), WIDTH])?, i.typed("dy", &[i.ids.len(), WIDTH])?);
        let coupling = Coupling { f: i.gated("f", WIDTH / 2)?, g: i.gated("g", WIDTH / 2)? };
        let (y, saved) = coupling.forward(&x)?;
        let back = coupling.backward(&saved, &dy)?;
        Ok([vec![y, back.x], back.f.to_vec(), back.g.to_vec()].concat())
    }),
    ("low-rank change", |i| {
        let (x, dy) = (i.typed("x", &[i.ids.len(), WIDTH])?, i.typed("dy", &[i.ids.len(), 3 * WIDTH])?);
        let map = LowRank {
            a: i.typed("a", &[3 * NARROW, WIDTH])?,
            b: i.typed("b", &[3 * WIDTH, NARROW])?,
            scale: 0.5,
        };
        let (y, inner) = map.forward(&x)?;
        let back = map.backward(&x, &inner, &dy)?;
        Ok(vec![y, back.x, back.a, back.b, map.change()?])
    }),
    ("perturbation in a ball", |i| {
        let x = i.typed("x", &[i.ids.len(), WIDTH])?;
        let norms = text_norms(&x, &i.segments)?;
        let noise = token_noise(99, &i.segments, WIDTH, &x)?;
        let moved = to_radius(&noise, &i.segments, &norms)?;
        let norms: Vec<f32> = norms.iter().map(|&n| n as f32).collect();
        Ok(vec![Tensor::from_vec(norms, i.segments.texts(), &Device::Cpu)?, noise, moved])
    }),
    ("sum of gradients", |i| Ok(vec![add_to(i.plain("x", &[300, WIDTH])?, &i.plain("y", &[300, WIDTH])?)?])),
    ("loss", |i| {
        let unit = |name, rows| -> Result<Tensor> { Ok(normalise(&i.plain(name, &[rows, WIDTH])?)?.0) };
        let contrast = info_nce(&unit("q", 40)?, &unit("p", 60)?, 0.05)?;
        let loss = Tensor::from_vec(vec![contrast.loss.value()? as f32], 1, &Device::Cpu)?;
        Ok(vec![loss, contrast.questions, contrast.passages])
    }),
    ("AdamW and norm", |i| {
        let shapes: [&[usize]; 3] = [&[300, 111], &[7, 9], &[5]];
        let make = |name: &str| {
            shapes.iter().map(|s| i.plain(&format!("{name}{s:?}"), s)).collect::<Result<Vec<_>>>()
        };
        let mut parameters = make("p")?.iter().map(Tensor::copy).collect::<Result<Vec<_>>>()?;
        let mut optimiser = AdamW::new(&parameters, [0.9, 0.999], 1e-8, 0.01)?;
        let mut norm = 0.0;
        for step in 0..3 {
            let gradients = make(&format!("g{step}"))?;
            let gradients: Vec<_> = gradients.into_iter().map(Some).collect();
            let decayed = [true, true, false];
            // Clipped as in training, and by a norm that is taken apart.
            if step == 0 {
                norm = global_norm(gradients.iter().flatten())?;
                optimiser.update(&mut parameters, &gradients, &decayed, 1e-2, 0.5)?;
            } else {
                norm +=
                    optimiser.clipped_update(&mut parameters, &gradients, &decayed, 1e-2, norm / 2.0, &[])?;
            }
        }
        parameters.push(Tensor::from_vec(vec![norm as f32], 1, &Device::Cpu)?);
        Ok(parameters)
    }),
];

/// Two heads of `width`.
fn attend(i: &Inputs, width: usize, dropped: Option<Dropout<'_>>) -> Result<Vec<Tensor>> {
    let heads = 2;
    let qkv = i.typed("qkv", &[i.ids.len(), 3 * heads * width])?;
    let dy = i.typed("dy", &[i.ids.len(), heads * width])?;
    let forward = attention(&qkv, &i.segments, heads, dropped)?;
    let back = attention_backward(&forward, &qkv, &i.segments, heads, dropped, &dy)?;
    Ok(vec![forward.context, back])
}

fn pooled(i: &Inputs, kind: Pool) -> Result<Vec<Tensor>> {
    let x = i.typed("x", &[i.ids.len(), WIDTH])?;
    let dy = i.plain("dy", &[i.segments.texts(), WIDTH])?;
    Ok(vec![pool(kind, &x, &i.segments)?, pool_backward(kind, &dy, &i.segments, i.dtype)?])
}

/// Results in f32 in main memory; reading them waits for the device.
fn values(tensors: &[Tensor]) -> Result<Vec<Vec<f32>>> {
    tensors
        .iter()
        .map(|t| t.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1())
        .collect()
}

/// Compares every operation on `device` in `dtype` with the host in f32.
///
/// # Errors
/// Where an operation cannot run at all; its name is in the error.
pub fn check(device: &Device, dtype: DType) -> Result<Vec<Finding>> {
    let (here, there) = (Inputs::new(&Device::Cpu, DType::F32), Inputs::new(device, dtype));
    // f32 on a GPU adds in another order; bf16 keeps eight bits.
    let allowed = if dtype == DType::F32 { 2e-5 } else { 2e-2 };
    OPERATIONS
        .iter()
        .map(|&(operation, run)| {
            let expected = values(&run(&here)?)?;
            let found = values(&run(&there).map_err(|e| e.context(operation))?)?;
            let start = Instant::now();
            values(&run(&there)?)?;
            let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
            let mut difference = 0f64;
            for (found, expected) in found.iter().zip(&expected) {
                let largest = expected.iter().fold(1e-6f32, |a, x| a.max(x.abs()));
                for (a, b) in found.iter().zip(expected) {
                    let off = f64::from((a - b).abs() / largest);
                    // NaN is as wrong as can be.
                    difference = difference.max(if off.is_nan() { f64::INFINITY } else { off });
                }
            }
            Ok(Finding { operation, difference, allowed, milliseconds })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_agrees_with_itself_and_bf16_within_its_rounding() {
        let findings = check(&Device::Cpu, DType::F32).expect("f32");
        for finding in &findings {
            assert_eq!(finding.difference, 0.0, "{finding:?}");
        }
        for operation in ["bottleneck", "coupling", "low-rank", "ball", "sum", "heads of 32", "heads of 128"]
        {
            let is_there = findings.iter().any(|f| f.operation.contains(operation));
            assert!(is_there, "training uses it, and it is not checked: {operation}");
        }
        let half = check(&Device::Cpu, DType::BF16).expect("bf16");
        assert!(half.iter().all(Finding::passed), "{half:?}");
        assert!(half.iter().filter(|f| f.difference > 1e-5).count() >= 15, "bf16 was not used: {half:?}");
    }
}
