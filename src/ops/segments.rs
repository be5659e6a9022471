//! Where the texts of a packed batch begin and end, and what dropout is keyed by; copied to a device once a batch.

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, DeviceLocation, Result, Tensor};

/// Bounds of the texts of a packed batch.
#[derive(Debug, Default)]
pub struct Segments {
    /// Text `i` holds the tokens `offsets[i]..offsets[i + 1]`; `[N + 1]`.
    pub offsets: Vec<usize>,
    /// One dropout key a token, of (text, position): the same wherever the token is packed; `[T]`.
    pub keys: Vec<u64>,
    uploaded: Mutex<Option<(DeviceLocation, Uploaded)>>,
}

/// The same on a device.
#[derive(Clone, Debug)]
pub(super) struct Uploaded {
    /// u32 `[N + 1]`.
    pub offsets: Tensor,
    /// The keys' bits as i64 `[T]`.
    pub keys: Tensor,
    /// (text, first token in the text) of every tile of [`TILE`] tokens, longest texts first; u32 `[2 tiles]`.
    pub tiles: Tensor,
    /// The same of [`WIDE_TILE`] tokens.
    pub wide_tiles: Tensor,
}

/// Tokens of a text that one block of the attention kernels works on.
pub(super) const TILE: usize = 32;

/// The same where scores stay in registers: four warps of sixteen tokens, which share the copies of the other side.
pub(super) const WIDE_TILE: usize = 64;

impl Segments {
    /// Texts with these bounds; `keys` may be empty where nothing is dropped.
    #[must_use]
    pub fn new(offsets: Vec<usize>, keys: Vec<u64>) -> Self {
        Self { offsets, keys, uploaded: Mutex::new(None) }
    }

    /// Number of texts.
    #[must_use]
    pub fn texts(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Number of tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// The arrays on `device`: copied at the first call.
    pub(super) fn on(&self, device: &Device) -> Result<Uploaded> {
        let mut slot = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, uploaded)) = slot.as_ref().filter(|(at, _)| *at == device.location()) {
            return Ok(uploaded.clone());
        }
        let array = |data: Vec<u32>| {
            let length = data.len();
            Tensor::from_vec(data, length, device)
        };
        let keys: Vec<i64> = self.keys.iter().map(|k| k.cast_signed()).collect();
        let mut texts: Vec<(usize, usize)> =
            self.offsets.windows(2).enumerate().map(|(text, b)| (b[1] - b[0], text)).collect();
        texts.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let tiles = |side: usize| {
            let of = move |&(length, text): &(usize, usize)| {
                (0..length).step_by(side).flat_map(move |at| [text as u32, at as u32])
            };
            texts.iter().flat_map(of).collect::<Vec<u32>>()
        };
        // In one copy.
        let (narrow, wide) = (tiles(TILE), tiles(WIDE_TILE));
        let (count, wide_count) = (narrow.len(), wide.len());
        let tiles = array([narrow, wide].concat())?;
        let uploaded = Uploaded {
            offsets: array(self.offsets.iter().map(|&o| o as u32).collect())?,
            keys: if keys.is_empty() {
                Tensor::zeros(1, DType::I64, device)?
            } else {
                let length = keys.len();
                Tensor::from_vec(keys, length, device)?
            },
            wide_tiles: tiles.narrow(0, count, wide_count)?,
            tiles: tiles.narrow(0, 0, count)?,
        };
        *slot = Some((device.location(), uploaded.clone()));
        Ok(uploaded)
    }
}

impl Clone for Segments {
    fn clone(&self) -> Self {
        Self::new(self.offsets.clone(), self.keys.clone())
    }
}

impl PartialEq for Segments {
    fn eq(&self, other: &Self) -> bool {
        self.offsets == other.offsets && self.keys == other.keys
    }
}

impl Eq for Segments {}
