//! Takes the fuzzer's bytes apart. Behind their end everything is zero.

/// What is left of the bytes.
#[derive(Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// `bytes` bytes as a number, little-endian.
    pub fn number(&mut self, bytes: u32) -> u64 {
        (0..bytes).fold(0, |sum, n| sum | u64::from(self.byte()) << (8 * n))
    }

    /// A number that is small more often than not, or near the end of 64 bits.
    pub fn odd_number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=199 => u64::from(small),
            200..=229 => self.number(3),
            230..=244 => self.number(8),
            high => u64::MAX - u64::from(high - 245),
        }
    }

    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (now, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        now
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// One of `of`.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }
}
