//! Vectors of texts.

/// Row-major `[rows, width]` f32 vectors of unit length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    pub width: usize,
    pub data: Vec<f32>,
}

impl Embeddings {
    /// Number of vectors.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.data.len().checked_div(self.width).unwrap_or(0)
    }

    /// The vector at `index`.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.width..(index + 1) * self.width]
    }
}
