//! Per-question values summed by cluster: what every test starts from.

/// Sums and counts, `[clusters, columns]` row-major, and macro means of columns as further statistics.
///
/// The statistic of a column is `sum / count` over all clusters: the mean over its questions. A macro mean gives each
/// of its columns the same weight. Statistics are numbered columns first, then macro means.
#[derive(Clone, Debug, PartialEq)]
pub struct Clustered {
    pub(super) clusters: usize,
    pub(super) columns: usize,
    pub(super) sums: Vec<f64>,
    pub(super) counts: Vec<f64>,
    /// For each macro mean its columns.
    pub(super) means: Vec<Vec<usize>>,
    /// Questions in each column.
    pub(super) totals: Vec<f64>,
}

impl Clustered {
    /// From (cluster, column, value) of each question; later values add to earlier ones in the order they come.
    /// Columns without a value and macro means without a column have a statistic that is not a number.
    ///
    /// # Panics
    /// Where a cluster or a column is out of range.
    #[must_use]
    pub fn new(
        clusters: usize,
        columns: usize,
        values: impl IntoIterator<Item = (usize, usize, f64)>,
        means: Vec<Vec<usize>>,
    ) -> Self {
        let mut sums = vec![0.0; clusters * columns];
        let mut counts = vec![0.0; clusters * columns];
        let mut totals = vec![0.0; columns];
        for (cluster, column, value) in values {
            assert!(cluster < clusters && column < columns, "cluster {cluster}, column {column}");
            sums[cluster * columns + column] += value;
            counts[cluster * columns + column] += 1.0;
            totals[column] += 1.0;
        }
        Self { clusters, columns, sums, counts, means, totals }
    }

    /// This less another of the same shape and counts.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let sums = self.sums.iter().zip(&other.sums).map(|(own, other)| own - other).collect();
        Self { sums, ..self.clone() }
    }

    /// Number of clusters.
    #[must_use]
    pub fn clusters(&self) -> usize {
        self.clusters
    }

    /// Columns and macro means.
    #[must_use]
    pub fn statistics(&self) -> usize {
        self.columns + self.means.len()
    }

    /// The value of every statistic.
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.columns];
        for row in self.sums.chunks_exact(self.columns.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let columns: Vec<f64> = sums.iter().zip(&self.totals).map(|(s, n)| s / n).collect();
        self.with_means(&columns)
    }

    /// Clusters that have a question in a statistic.
    #[must_use]
    pub fn clusters_in(&self, statistic: usize) -> usize {
        let own = [statistic];
        let columns = if statistic < self.columns { &own[..] } else { &self.means[statistic - self.columns] };
        let has = |cluster: &usize| columns.iter().any(|k| self.counts[cluster * self.columns + k] > 0.0);
        (0..self.clusters).filter(has).count()
    }

    /// Columns' values followed by their macro means.
    pub(super) fn with_means(&self, columns: &[f64]) -> Vec<f64> {
        let mean = |of: &Vec<usize>| of.iter().map(|k| columns[*k]).sum::<f64>() / of.len() as f64;
        columns.iter().copied().chain(self.means.iter().map(mean)).collect()
    }

    /// True where every column has the same number of questions in every cluster, so that no draw of clusters changes
    /// a denominator's share.
    pub(super) fn is_balanced(&self) -> bool {
        let Some(first) = self.counts.get(..self.columns) else { return true };
        self.counts.chunks_exact(self.columns.max(1)).all(|row| row == first)
    }
}
