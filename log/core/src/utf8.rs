//! UTF-8 as the chunker and the encoder need it: where a character ends.

/// Length of the valid UTF-8 character at the start of `bytes` (1 to 4), or 0 if there is none.
/// Follows Go's and Unicode's rules: no overlong forms, no surrogates, nothing above U+10FFFF.
#[must_use]
#[inline]
pub fn char_len(bytes: &[u8]) -> usize {
    let Some(&first) = bytes.first() else {
        return 0;
    };
    let (len, low, high) = match first {
        0x00..=0x7f => return 1,
        0xc2..=0xdf => (2, 0x80, 0xbf),
        0xe0 => (3, 0xa0, 0xbf),
        0xe1..=0xec | 0xee..=0xef => (3, 0x80, 0xbf),
        0xed => (3, 0x80, 0x9f),
        0xf0 => (4, 0x90, 0xbf),
        0xf1..=0xf3 => (4, 0x80, 0xbf),
        0xf4 => (4, 0x80, 0x8f),
        _ => return 0,
    };
    if bytes.len() < len || bytes[1] < low || bytes[1] > high {
        return 0;
    }
    if bytes[2..len].iter().any(|b| b & 0xc0 != 0x80) {
        return 0;
    }
    len
}

/// How many bytes at the end of `bytes` (0 to 3) begin a character that further bytes could make
/// valid. A piece is cut before them, so that no valid character is torn.
#[must_use]
pub fn open_tail(bytes: &[u8]) -> usize {
    let n = bytes.len();
    for back in 1..=n.min(3) {
        let at = n - back;
        let first = bytes[at];
        if first & 0xc0 == 0x80 {
            continue;
        }
        let want = match first {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return 0,
        };
        if want <= back {
            return 0;
        }
        // The bytes that are there must not already be wrong: complete them with a continuation
        // that fits any first byte and see.
        let mut probe = [0x80u8; 4];
        probe[..back].copy_from_slice(&bytes[at..]);
        if back == 1 {
            probe[1] = match first {
                0xe0 => 0xa0,
                0xf0 => 0x90,
                _ => 0x80,
            };
        }
        return if char_len(&probe[..want]) == want {
            back
        } else {
            0
        };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn char_len_agrees_with_std() {
        for first in 0..=0xffu8 {
            for second in [
                0x00, 0x20, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff,
            ] {
                for rest in [[0x80, 0x80], [0xbf, 0xbf], [0x41, 0x80], [0x80, 0x41]] {
                    let bytes = [first, second, rest[0], rest[1]];
                    let std = match std::str::from_utf8(&bytes) {
                        Ok(s) => s.chars().next().map_or(0, char::len_utf8),
                        Err(e) if e.valid_up_to() > 0 => {
                            let s = std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap();
                            s.chars().next().map_or(0, char::len_utf8)
                        }
                        Err(_) => 0,
                    };
                    assert_eq!(char_len(&bytes), std, "{bytes:x?}");
                }
            }
        }
    }

    #[test]
    fn open_tail_finds_exactly_the_unfinished_characters() {
        for c in [
            'é',
            '€',
            '\u{800}',
            '\u{ffff}',
            '😀',
            '\u{10000}',
            '\u{10ffff}',
            '\u{d7ff}',
        ] {
            let mut buf = [0; 4];
            let s = c.encode_utf8(&mut buf).as_bytes();
            for cut in 1..s.len() {
                let mut bytes = b"xx".to_vec();
                bytes.extend_from_slice(&s[..cut]);
                assert_eq!(open_tail(&bytes), cut, "{c:?} cut at {cut}");
            }
            let mut whole = b"x".to_vec();
            whole.extend_from_slice(s);
            assert_eq!(open_tail(&whole), 0, "{c:?} whole");
        }
        for bad in [
            &b"a\x80"[..],
            b"\xff",
            b"\xc0",
            b"\xe0\x80",
            b"\xed\xa0",
            b"\xf4\x90",
            b"\xf5",
            b"abc",
            b"",
        ] {
            assert_eq!(open_tail(bad), 0, "{bad:x?}");
        }
    }
}
