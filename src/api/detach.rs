//! Detach keys: the sequence in an attached stdin that ends the attachment and not the container.

use crate::errors::ApiError;

/// Docker's default: ctrl-p, ctrl-q.
const DEFAULT: [u8; 2] = [16, 17];

/// Finds a key sequence in a byte stream that comes in pieces of any size.
#[derive(Clone, Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    /// How many keys of the sequence the stream's last bytes match.
    matched: usize,
}

/// What a piece of input comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Bytes for the container. A prefix of the sequence is held back until it is decided.
    pub(crate) forward: Vec<u8>,
    /// The sequence was complete: the rest of the input is dropped.
    pub(crate) detached: bool,
}

impl DetachKeys {
    /// Parses `detachKeys=`: keys by comma, a key is a character or `ctrl-` and one of `a`-`z`,
    /// `@`, `[`, `\`, `]`, `^`, `_`. Empty means the default.
    ///
    /// # Errors
    /// 400 with Docker's text for an unknown key.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let keys = if text.is_empty() {
            DEFAULT.to_vec()
        } else {
            parse_keys(text).ok_or_else(|| {
                ApiError::invalid(format!("Invalid detach keys ({text}) provided"))
            })?
        };
        Ok(Self { keys, matched: 0 })
    }

    /// Takes the next piece of the stream.
    pub(crate) fn scan(&mut self, input: &[u8]) -> Scanned {
        let mut forward = Vec::with_capacity(input.len() + self.matched);
        for &byte in input {
            // As Docker: a byte that breaks the sequence gives back what was held, and may itself
            // begin a new one.
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return Scanned {
                        forward,
                        detached: true,
                    };
                }
                continue;
            }
            forward.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if self.keys.first() == Some(&byte) {
                self.matched = 1;
                if self.keys.len() == 1 {
                    return Scanned {
                        forward,
                        detached: true,
                    };
                }
            } else {
                forward.push(byte);
            }
        }
        Scanned {
            forward,
            detached: false,
        }
    }

    /// What of the client's bytes goes on; none are their end. Without a terminal no key is special,
    /// as in Docker: piped input is bytes.
    pub(super) fn take(&mut self, bytes: &[u8], tty: bool) -> Scanned {
        let mut scanned = if tty {
            self.scan(bytes)
        } else {
            Scanned {
                forward: bytes.to_vec(),
                detached: false,
            }
        };
        if bytes.is_empty() {
            scanned.forward.extend_from_slice(&self.finish());
        }
        scanned
    }

    /// End of input: what was held back belongs to the container.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let held = self.keys[..self.matched].to_vec();
        self.matched = 0;
        held
    }
}

fn parse_keys(text: &str) -> Option<Vec<u8>> {
    let mut keys = Vec::new();
    for key in text.split(',') {
        let bytes = key.as_bytes();
        match bytes {
            [byte] => keys.push(*byte),
            [b'c', b't', b'r', b'l', b'-', letter] => keys.push(match letter {
                b'a'..=b'z' => letter - b'a' + 1,
                b'@' => 0,
                b'[' => 27,
                b'\\' => 28,
                b']' => 29,
                b'^' => 30,
                b'_' => 31,
                _ => return None,
            }),
            [b'D', b'E', b'L'] => keys.push(127),
            _ => return None,
        }
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_special_on_a_terminal_alone() {
        let mut keys = DetachKeys::parse("a,b").unwrap();
        assert_eq!(keys.take(b"xab", false).forward, b"xab");
        let taken = keys.take(b"xa", true);
        assert_eq!(
            (taken.forward.as_slice(), taken.detached),
            (&b"x"[..], false)
        );
        // The end gives back what was held.
        assert_eq!(keys.take(b"", true).forward, b"a");
        assert!(keys.take(b"ab", true).detached);
    }
    use proptest::prelude::*;

    fn scan_all(keys: &mut DetachKeys, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        for piece in pieces {
            let scanned = keys.scan(piece);
            out.extend_from_slice(&scanned.forward);
            if scanned.detached {
                return (out, true);
            }
        }
        out.extend_from_slice(&keys.finish());
        (out, false)
    }

    #[test]
    fn default_sequence_over_pieces() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(
            scan_all(&mut keys, &[b"ab\x10", b"\x11rest"]),
            (b"ab".to_vec(), true)
        );
    }

    #[test]
    fn broken_sequence_goes_to_the_container() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(
            scan_all(&mut keys, &[b"a\x10", b"b\x11\x10"]),
            (b"a\x10b\x11\x10".to_vec(), false)
        );
        assert_eq!(
            scan_all(&mut keys, &[b"\x10\x10\x11"]),
            (b"\x10".to_vec(), true)
        );
    }

    #[test]
    fn given_keys() {
        for (text, bytes) in [
            ("ctrl-a", vec![1]),
            ("ctrl-@,ctrl-[", vec![0, 27]),
            ("a,b,ctrl-\\", vec![b'a', b'b', 28]),
            ("ctrl-z,ctrl-],ctrl-^,ctrl-_", vec![26, 29, 30, 31]),
        ] {
            assert_eq!(DetachKeys::parse(text).unwrap().keys, bytes, "{text}");
        }
        for bad in ["ctrl-", "ctrl-A", "ctrl-1", "ab", "a,,b", "ctrl-é"] {
            assert_eq!(
                DetachKeys::parse(bad).unwrap_err().message,
                format!("Invalid detach keys ({bad}) provided")
            );
        }
    }

    #[test]
    fn single_key() {
        let mut keys = DetachKeys::parse("x").unwrap();
        assert_eq!(scan_all(&mut keys, &[b"aax", b"b"]), (b"aa".to_vec(), true));
    }

    proptest! {
        /// Cuts do not matter, and without a match every byte reaches the container.
        #[test]
        fn cuts_do_not_matter(input in proptest::collection::vec(15u8..19, 0..40), cut in 0usize..40) {
            let cut = cut.min(input.len());
            let whole = scan_all(&mut DetachKeys::parse("").unwrap(), &[&input]);
            let cut = scan_all(&mut DetachKeys::parse("").unwrap(), &[&input[..cut], &input[cut..]]);
            prop_assert_eq!(&whole, &cut);
            if !whole.1 {
                prop_assert_eq!(whole.0, input);
            }
        }
    }
}
