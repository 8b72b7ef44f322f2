//! The control protocol between daemon, keeper and monitor (`docs/design/control-protocol.md`).
//!
//! Messages travel over `SOCK_SEQPACKET` unix sockets, one a packet, all of one shape: 64 bytes,
//! little-endian. A receiver answers a type it does not know with [`kind::UNSUPPORTED`].

/// Bytes of a message.
pub const SIZE: usize = 64;
/// Major version; a peer serves the newest two.
pub const VERSION: u16 = 1;

/// Types of message.
pub mod kind {
    /// daemon → keeper or monitor: who I am. Answered by the same type, `a` = pid. A monitor of a
    /// terminal container also sends [`MASTER`].
    pub const HELLO: u16 = 1;
    /// daemon → keeper: start a monitor for `id`. Answered by [`OK`] with `a` = its pid, or
    /// [`FAILED`] with `a` = errno.
    pub const SPAWN: u16 = 2;
    /// daemon → keeper: the container is gone, let go of its pipes. Answered by [`OK`].
    pub const FORGET: u16 = 3;
    /// monitor → keeper: I work for `id`, `a` = my pid. The keeper sends [`MASTER`] if it has it.
    pub const REGISTER: u16 = 4;
    /// monitor → keeper: the application of `id`: `a` = pid, `c` = start time in clock ticks.
    pub const APP: u16 = 5;
    /// A terminal's master, as a descriptor with the message.
    pub const MASTER: u16 = 6;
    /// keeper → monitor: the application ended: `a` = pid, `b` = wait status, `c` = start time,
    /// `d` = when, nanoseconds since 1970.
    pub const EXITED: u16 = 7;
    /// monitor → daemon: something was committed or changed; look at the state page.
    pub const BELL: u16 = 8;
    /// daemon → monitor: look at the fields that the daemon writes.
    pub const KICK: u16 = 9;
    /// daemon → keeper: drop the write end of stdin of `id`. Answered by [`OK`].
    pub const STDIN_CLOSED: u16 = 10;
    /// keeper → daemon: the monitor of `id` died too often; start it again when you see fit.
    pub const GAVE_UP: u16 = 11;
    pub const OK: u16 = 12;
    /// `a` = errno.
    pub const FAILED: u16 = 13;
    /// `a` = the type that is not known.
    pub const UNSUPPORTED: u16 = 14;
    /// daemon → keeper: end if you hold no container. Answered by [`FAILED`] if it does.
    pub const SHUTDOWN: u16 = 15;
    /// daemon → monitor: the compressed form of log file `c` lies in the container's `tmp` folder;
    /// take it in the plain file's place. Answered by [`OK`] or [`FAILED`], with the same `c`.
    pub const PUBLISH: u16 = 16;
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub version: u16,
    pub kind: u16,
    /// Container id, the 32 bytes that its 64 hex digits stand for.
    pub id: [u8; 32],
    pub a: i32,
    pub b: i32,
    pub c: u64,
    pub d: u64,
}

impl Message {
    #[must_use]
    pub fn new(kind: u16, id: [u8; 32]) -> Self {
        Self {
            version: VERSION,
            kind,
            id,
            a: 0,
            b: 0,
            c: 0,
            d: 0,
        }
    }

    #[must_use]
    pub fn encode(&self) -> [u8; SIZE] {
        let mut out = [0; SIZE];
        out[..4].copy_from_slice(&(SIZE as u32).to_le_bytes());
        out[4..6].copy_from_slice(&self.version.to_le_bytes());
        out[6..8].copy_from_slice(&self.kind.to_le_bytes());
        out[8..40].copy_from_slice(&self.id);
        out[40..44].copy_from_slice(&self.a.to_le_bytes());
        out[44..48].copy_from_slice(&self.b.to_le_bytes());
        out[48..56].copy_from_slice(&self.c.to_le_bytes());
        out[56..].copy_from_slice(&self.d.to_le_bytes());
        out
    }

    /// `None` if the bytes are not one whole message of a version that is served.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
        let u16_at = |i: usize| u16::from_le_bytes([bytes[i], bytes[i + 1]]);
        let u32_at =
            |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        let u64_at = |i: usize| u64::from(u32_at(i)) | u64::from(u32_at(i + 4)) << 32;
        if u32_at(0) as usize != SIZE || u16_at(4) != VERSION {
            return None;
        }
        let mut id = [0; 32];
        id.copy_from_slice(&bytes[8..40]);
        Some(Self {
            version: u16_at(4),
            kind: u16_at(6),
            id,
            a: u32_at(40) as i32,
            b: u32_at(44) as i32,
            c: u64_at(48),
            d: u64_at(56),
        })
    }
}

/// The id's 64 hex digits.
#[must_use]
pub fn hex(id: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 64];
    for (i, b) in id.iter().enumerate() {
        out[2 * i] = DIGITS[usize::from(b >> 4)];
        out[2 * i + 1] = DIGITS[usize::from(b & 15)];
    }
    out
}

/// The id that 64 hex digits stand for.
#[must_use]
pub fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
    let mut out = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (i, o) in out.iter_mut().enumerate() {
        *o = digit(text[2 * i])? << 4 | digit(text[2 * i + 1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusal() {
        let id = unhex(&[b'a'; 64]).unwrap();
        assert_eq!(hex(&id), [b'a'; 64]);
        assert_eq!(unhex(b"xyz"), None);
        let m = Message {
            a: -5,
            b: 7,
            c: u64::MAX - 1,
            d: 1 << 40,
            ..Message::new(kind::EXITED, id)
        };
        assert_eq!(Message::decode(&m.encode()), Some(m));
        let mut other = m.encode();
        other[4] = 9;
        assert_eq!(Message::decode(&other), None);
        assert_eq!(Message::decode(&other[..63]), None);
        assert_eq!(Message::decode(&[]), None);
    }
}
