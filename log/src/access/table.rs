//! Where the frames of a compressed file are: sizes, with sums at every so many.

/// One sum for so many frames.
const STEP: usize = 64;

/// Compressed and plain sizes of a file's frames, in their order.
#[derive(Debug, Default)]
pub(crate) struct Table {
    sizes: Vec<(u32, u32)>,
    /// Compressed and plain offset of each frame whose number is a multiple of [`STEP`].
    sums: Vec<(u64, u64)>,
    compressed: u64,
    plain: u64,
}

/// Where a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: u64,
    pub(crate) size: u32,
    pub(crate) plain_at: u64,
    pub(crate) plain_size: u32,
}

impl Table {
    pub(crate) fn push(&mut self, size: u32, plain_size: u32) {
        if self.sizes.len().is_multiple_of(STEP) {
            self.sums.push((self.compressed, self.plain));
        }
        self.sizes.push((size, plain_size));
        self.compressed += u64::from(size);
        self.plain += u64::from(plain_size);
    }

    pub(crate) fn compressed(&self) -> u64 {
        self.compressed
    }

    pub(crate) fn plain(&self) -> u64 {
        self.plain
    }

    pub(crate) fn sizes(&self) -> &[(u32, u32)] {
        &self.sizes
    }

    /// The frame with the byte at plain offset `offset`, and its number.
    pub(crate) fn find(&self, offset: u64) -> Option<(usize, Place)> {
        if offset >= self.plain {
            return None;
        }
        let sum = self.sums.partition_point(|s| s.1 <= offset) - 1;
        self.from(sum)
            .find(|(_, place)| offset < place.plain_at + u64::from(place.plain_size))
    }

    /// The frame that begins at `at` of the compressed file.
    pub(crate) fn starting(&self, at: u64) -> Option<Place> {
        let sum = self.sums.partition_point(|s| s.0 <= at).checked_sub(1)?;
        let (_, place) = self.from(sum).find(|(_, place)| place.at >= at)?;
        (place.at == at).then_some(place)
    }

    /// The frames from sum number `sum` on, with their numbers.
    fn from(&self, sum: usize) -> impl Iterator<Item = (usize, Place)> {
        let (mut at, mut plain_at) = self.sums[sum];
        let sizes = self.sizes.iter().enumerate().skip(sum * STEP);
        sizes.map(move |(n, (size, plain_size))| {
            let place = Place {
                at,
                size: *size,
                plain_at,
                plain_size: *plain_size,
            };
            at += u64::from(*size);
            plain_at += u64::from(*plain_size);
            (n, place)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_byte_s_frame() {
        let mut table = Table::default();
        for n in 0..300u32 {
            table.push(n + 1, n % 7);
        }
        let (mut at, mut plain) = (0u64, 0u64);
        for n in 0..300u32 {
            for byte in plain..plain + u64::from(n % 7) {
                let (number, place) = table.find(byte).unwrap();
                assert_eq!((number, place.at, place.plain_at), (n as usize, at, plain));
            }
            at += u64::from(n + 1);
            plain += u64::from(n % 7);
        }
        assert_eq!(table.find(plain), None);
        assert_eq!(table.compressed(), at);
        for n in 0..300u64 {
            let at = n * (n + 1) / 2;
            assert_eq!(table.starting(at).map(|p| p.size), Some(n as u32 + 1));
            assert_eq!(
                table.starting(at + 1),
                (n == 0).then(|| table.starting(1)).flatten()
            );
        }
    }
}
