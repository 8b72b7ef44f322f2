//! Key sequences that leave a terminal session (`--detach-keys`, default ctrl-p ctrl-q).

/// The sequence when none is named.
const DEFAULT: [u8; 2] = [0x10, 0x11];

/// Watches typed bytes for the sequence.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// Reads `ctrl-a,b`; without a readable sequence the default is used, and the daemon, which
    /// gets the text as well, refuses it.
    pub(crate) fn new(text: Option<&str>) -> Self {
        Self {
            keys: text
                .filter(|t| !t.is_empty())
                .and_then(parse)
                .unwrap_or_else(|| DEFAULT.to_vec()),
            matched: 0,
        }
    }

    /// Length of `bytes` up to and with the end of the sequence, once it is complete.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        for (i, byte) in bytes.iter().enumerate() {
            if *byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return Some(i + 1);
                }
            } else {
                self.matched = usize::from(*byte == self.keys[0] && self.keys.len() > 1);
            }
        }
        None
    }
}

fn parse(text: &str) -> Option<Vec<u8>> {
    text.split(',')
        .map(|key| match key.strip_prefix("ctrl-") {
            None => match key.as_bytes() {
                [b] => Some(*b),
                _ => None,
            },
            Some(c) => match c.as_bytes() {
                [b @ b'a'..=b'z'] => Some(b - b'a' + 1),
                [b @ (b'@' | b'['..=b'_')] => Some(b - b'@'),
                _ => None,
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_found_across_reads() {
        let mut keys = DetachKeys::new(None);
        assert_eq!(keys.find(b"ab\x10"), None);
        assert_eq!(keys.find(b"\x11rest"), Some(1));
        assert_eq!(keys.find(b"\x10x\x11"), None);
        assert_eq!(keys.find(b"\x10\x10\x11"), Some(3));
        let mut keys = DetachKeys::new(Some("ctrl-a,d"));
        assert_eq!(keys.find(b"\x01d"), Some(2));
        assert_eq!(DetachKeys::new(Some("ctrl-")).keys, DEFAULT);
        assert_eq!(parse("ctrl-[,ctrl-@"), Some(vec![0x1b, 0]));
    }
}
