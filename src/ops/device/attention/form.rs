//! Which kernels compute attention in bf16, and whether this GPU computes the same with both.

use std::io::Write;
use std::sync::OnceLock;
use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor, bail};

use super::super::super::dropout::Dropout;
use super::super::super::segments::Segments;
use super::{backward, forward};
use crate::stream::Stream;

/// `flash` or `tiles`: the kernels to use, without a comparison of both.
const VARIABLE: &str = "POLYMIX_ATTENTION";

/// Largest difference between the two, as a share of the largest value: twice what either may be off by in bf16.
const ALLOWED: f64 = 2.4e-2;

/// By how much closer the logarithms must be, which both compute in f32: a column too many or too few hides behind bf16's rounding.
const CLOSER: f64 = 20.0;

/// The kernels that compute attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `kernels/flash.cuh`, bf16: scores stay in registers.
    Flash,
    /// `kernels/attention.cuh`: tiles of scores in shared memory.
    Tiles,
}

impl Form {
    /// Those for these tensors of one operation, `[T, 3H]` first. On the first use on a GPU both are compared there.
    ///
    /// # Errors
    /// Where `POLYMIX_ATTENTION` names neither.
    pub fn of(tensors: &[&Tensor], heads: usize) -> Result<Self> {
        let qkv = tensors[0];
        // Sixteen bytes are copied at a time.
        let is_aligned = tensors.iter().all(|t| t.layout().start_offset().is_multiple_of(8));
        if qkv.dtype() != DType::BF16 || !is_aligned {
            return Ok(Self::Tiles);
        }
        Self::chosen(qkv.dim(1)? / 3 / heads, qkv.device())
    }

    /// Those for heads of width `d` in bf16, once and for all of the process.
    fn chosen(d: usize, device: &Device) -> Result<Self> {
        static CHOSEN: [OnceLock<Form>; 3] = [const { OnceLock::new() }; 3];
        let named = std::env::var(VARIABLE).unwrap_or_default();
        if let Some(form) = Self::named(&named)? {
            return Ok(form);
        }
        if !device.is_cuda() {
            return Ok(Self::Flash);
        }
        let slot = &CHOSEN[d.ilog2().clamp(5, 7) as usize - 5];
        Ok(*slot.get_or_init(|| {
            let (form, why) = Self::judged(d, difference(d, device));
            if let Some(why) = why {
                let _ = writeln!(std::io::stderr(), "warning: {why}");
            }
            form
        }))
    }

    fn named(name: &str) -> Result<Option<Self>> {
        Ok(match name {
            "" => None,
            "flash" => Some(Self::Flash),
            "tiles" => Some(Self::Tiles),
            _ => bail!("{VARIABLE} is {name:?}; it takes flash or tiles"),
        })
    }

    /// What to use where the two differ by so much, and what to say.
    fn judged(d: usize, difference: Result<f64>) -> (Self, Option<String>) {
        let found = match difference {
            Ok(found) if found <= ALLOWED => return (Self::Flash, None),
            Ok(found) => {
                format!("they differ by {found:.1e} of the largest value, and {ALLOWED:.1e} is allowed")
            }
            Err(error) => format!("they could not be compared: {error}"),
        };
        let why = format!(
            "attention with heads of {d}: this GPU and driver do not compute the same with flash as with tiles ({found}); \
             tiles is used, which is slower; please report it with the output of `polymix doctor --device cuda --json`"
        );
        (Self::Tiles, Some(why))
    }
}

/// Texts of these lengths, and normal deviates in bf16 for `heads` heads of `d`: queries, keys and values, and the context's gradient.
fn example(
    lengths: &[usize],
    (heads, d): (usize, usize),
    device: &Device,
) -> Result<(Segments, Tensor, Tensor)> {
    let mut offsets = vec![0];
    for length in lengths {
        offsets.push(offsets[offsets.len() - 1] + length);
    }
    let tokens = offsets[lengths.len()];
    let normal = |name: &str, width: usize| {
        let mut stream = Stream::new(13, name, 0);
        let data: Vec<f32> = (0..tokens * width).map(|_| stream.normal() as f32).collect();
        Tensor::from_vec(data, (tokens, width), &Device::Cpu)?.to_dtype(DType::BF16)?.to_device(device)
    };
    let (qkv, dcontext) = (normal("qkv", 3 * heads * d)?, normal("context", heads * d)?);
    let keys = (0..tokens as u64).map(crate::stream::mix).collect();
    Ok((Segments::new(offsets, keys), qkv, dcontext))
}

/// The largest difference between both forms, as a share of the largest value, on texts of 1, 20, 77 and 130 tokens, forward and backward,
/// with dropout; that of the logarithms times [`CLOSER`]; infinite where anything is not a number.
fn difference(d: usize, device: &Device) -> Result<f64> {
    let heads = 2;
    let (segments, qkv, dcontext) = example(&[1, 20, 77, 130], (heads, d), device)?;
    let dropped = Some(Dropout { rate: 0.1, key: 5, tokens: &segments });
    let run = |form| {
        let (context, lse) = forward(form, &qkv, &segments, heads, dropped)?;
        let dqkv = backward(form, (&context, &lse), &qkv, &segments, heads, dropped, &dcontext)?;
        [context, lse, dqkv]
            .iter()
            .map(|t| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1())
            .collect::<Result<Vec<Vec<f32>>>>()
    };
    let (tiles, flash) = (run(Form::Tiles)?, run(Form::Flash)?);
    let mut worst = 0f64;
    for ((tiles, flash), weight) in tiles.iter().zip(&flash).zip([1.0, CLOSER, 1.0]) {
        let largest = tiles.iter().fold(1e-6f32, |a, x| a.max(x.abs()));
        for (a, b) in tiles.iter().zip(flash) {
            let off = weight * f64::from((a - b).abs() / largest);
            worst = worst.max(if off.is_nan() { f64::INFINITY } else { off });
        }
    }
    Ok(worst)
}

/// How both forms do on a GPU.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Forms {
    /// Width of a head.
    pub head: usize,
    /// Which of them training uses.
    pub used: Form,
    /// The largest difference between both, as a share of the largest value (of logarithms twenty times that).
    pub difference: f64,
    /// Milliseconds of a layer's forward pass with dropout, 12 heads on texts as XQuAD-R's: flash, tiles.
    pub forward: [f64; 2],
    /// The same of the backward pass.
    pub backward: [f64; 2],
}

/// Both forms in bf16 for heads of 32, 64 and 128; nothing where `device` is no NVIDIA GPU, or where `POLYMIX_ATTENTION` names
/// `tiles`: a kernel that fails takes the GPU from its process, so that nothing else can be asked beside it.
///
/// # Errors
/// Where they cannot be run.
pub fn forms(device: &Device) -> Result<Vec<Forms>> {
    let named = Form::named(&std::env::var(VARIABLE).unwrap_or_default())?;
    if !device.is_cuda() || named == Some(Form::Tiles) {
        return Ok(Vec::new());
    }
    [32, 64, 128].into_iter().map(|d| measured(d, device)).collect()
}

fn measured(d: usize, device: &Device) -> Result<Forms> {
    let heads = 12;
    // A hundred questions of 10 to 30 tokens and a hundred passages of 80 to 180.
    let lengths: Vec<usize> = (0..200).map(|i| if i < 100 { 10 + i % 21 } else { 80 + i % 101 }).collect();
    let (segments, qkv, dcontext) = example(&lengths, (heads, d), device)?;
    let dropped = Some(Dropout { rate: 0.1, key: 5, tokens: &segments });
    let (mut ahead, mut back) = ([0.0; 2], [0.0; 2]);
    for (slot, form) in [Form::Flash, Form::Tiles].into_iter().enumerate() {
        let (context, lse) = forward(form, &qkv, &segments, heads, dropped)?;
        ahead[slot] = milliseconds(device, || forward(form, &qkv, &segments, heads, dropped).map(|_| ()))?;
        back[slot] = milliseconds(device, || {
            backward(form, (&context, &lse), &qkv, &segments, heads, dropped, &dcontext).map(|_| ())
        })?;
    }
    let used = Form::chosen(d, device)?;
    Ok(Forms { head: d, used, difference: difference(d, device)?, forward: ahead, backward: back })
}

/// Of one call out of fifty, after five.
fn milliseconds(device: &Device, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut run = |times: u32| {
        device.synchronize()?;
        let start = Instant::now();
        for _ in 0..times {
            call()?;
        }
        device.synchronize()?;
        Ok::<_, candle_core::Error>(start.elapsed().as_secs_f64() * 1000.0 / f64::from(times))
    };
    run(5)?;
    run(50)
}

#[cfg(test)]
mod tests {
    use super::super::super::emulator::skipped;
    use super::*;

    #[test]
    fn kernels_that_differ_are_not_used_and_it_is_said() {
        assert_eq!(Form::judged(64, Ok(1e-2)), (Form::Flash, None));
        let failed = || candle_core::Error::Msg("no image".into());
        for (found, part) in [
            (Ok(0.3), "3.0e-1"),
            (Ok(f64::INFINITY), "inf"),
            (Ok(f64::NAN), "NaN"),
            (Err(failed()), "no image"),
        ] {
            let (form, why) = Form::judged(64, found);
            let why = why.expect("a word");
            assert_eq!(form, Form::Tiles);
            assert!(why.contains(part) && why.contains("heads of 64") && !why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn a_name_forces_either_and_another_is_refused() {
        assert_eq!(Form::named("").expect("none"), None);
        assert_eq!(Form::named("flash").expect("flash"), Some(Form::Flash));
        assert_eq!(Form::named("tiles").expect("tiles"), Some(Form::Tiles));
        assert!(Form::named("wmma").expect_err("no such").to_string().contains("flash or tiles"));
    }

    /// What a GPU does on its first use.
    #[test]
    fn both_forms_agree_within_what_is_allowed() {
        if skipped("both_forms_agree_within_what_is_allowed") {
            return;
        }
        let found = difference(32, &Device::Cpu).expect("both");
        assert!(found > 0.0, "one form was compared with itself");
        assert!(found <= ALLOWED / 2.0, "{found}");
    }

    #[test]
    fn nothing_is_measured_without_a_gpu() {
        assert!(forms(&Device::Cpu).expect("none").is_empty());
    }
}
