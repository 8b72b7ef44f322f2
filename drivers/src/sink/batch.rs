//! Encoded records on their way.

/// Encoded records, one behind the other.
#[derive(Debug, Default)]
pub struct Batch {
    /// the records' bytes
    pub bytes: Vec<u8>,
    /// where each record ends in `bytes`
    pub ends: Vec<u32>,
    /// [`Encoder::scope`](super::Encoder::scope) of all of them
    pub scope: Option<String>,
}

impl Batch {
    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }
    /// Whether it has no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
    /// Each record's bytes.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(from, to)| &self.bytes[from as usize..*to as usize])
    }
    /// Makes it empty; keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.scope = None;
    }
}
