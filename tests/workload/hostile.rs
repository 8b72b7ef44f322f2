//! Bytes that a log may choke on, the same for the same seed: what the workload prints and the case expects.
//! Standard library only.

/// Endless bytes in stretches of one kind each.
pub struct Hostile {
    state: u64,
}

impl Hostile {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed | 1 }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % n
    }

    /// Appends the next stretch.
    pub fn stretch(&mut self, out: &mut Vec<u8>) {
        let length = match self.below(8) {
            0 => self.below(400_000),
            1 => self.below(8),
            _ => self.below(20_000),
        } as usize;
        match self.below(10) {
            // Any bytes.
            0..=2 => {
                for _ in 0..length / 8 {
                    let word = self.below(u64::MAX);
                    out.extend_from_slice(&word.to_le_bytes());
                }
            }
            3 => out.resize(out.len() + length, 0),
            // A line without an end, of one byte or of characters that borders of 16 KiB fall into.
            4 => out.resize(out.len() + length, b'x'),
            5 => out.extend("é€x😀".bytes().cycle().take(length)),
            6 => out.resize(out.len() + length / 16, b'\n'),
            // Beginnings of characters that never come to their end.
            7 => out.extend(
                [0xe2, 0x82, 0xf0, 0x9f, 0x98, 0xc3]
                    .iter()
                    .cycle()
                    .take(length),
            ),
            // What a log's own parts begin with.
            8 => {
                for _ in 0..length / 64 {
                    out.extend_from_slice(b"TAFB\0\0\0\0TAFLOCAL{\"log\":\"\x28\xb5\x2f\xfd\x5e\x2a\x4d\x18\x1f\x8b\x08\x04");
                    out.extend_from_slice(b"taffrail: 3 records (? bytes) missing\n");
                }
            }
            _ => {
                for byte in 0..=255 {
                    out.extend_from_slice(&[byte, b'\r', b'\n']);
                }
            }
        }
    }
}

/// Exactly `size` bytes.
#[must_use]
pub fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut hostile = Hostile::new(seed);
    let mut out = Vec::with_capacity(size + 400_000);
    while out.len() < size {
        hostile.stretch(&mut out);
    }
    out.truncate(size);
    out
}
