//! The multiplexed stream of `logs` and `attach`: an 8-byte header before each payload
//! (docs: Engine API, "Stream format").

/// Which stream a payload belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum StreamId {
    Stdout = 1,
    Stderr = 2,
    /// An error of the daemon; clients stop at it.
    SystemError = 3,
}

/// Most bytes of a live payload, as in Docker.
pub(crate) const MAX_PAYLOAD: usize = 32 * 1024;

/// Header of a frame: stream, three zero bytes, length in big endian.
pub(crate) fn header(stream: StreamId, length: u32) -> [u8; 8] {
    let [a, b, c, d] = length.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// Appends a payload as frames of at most [`MAX_PAYLOAD`] bytes, or as it is for a terminal.
pub(crate) fn append(out: &mut Vec<u8>, multiplexed: bool, stream: StreamId, payload: &[u8]) {
    if !multiplexed {
        out.extend_from_slice(payload);
        return;
    }
    for piece in payload.chunks(MAX_PAYLOAD) {
        // A piece is at most MAX_PAYLOAD long.
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&header(stream, length));
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_example() {
        let mut out = Vec::new();
        append(&mut out, true, StreamId::Stdout, b"hello\n");
        assert_eq!(out, b"\x01\0\0\0\0\0\0\x06hello\n");
    }

    #[test]
    fn long_payload_is_cut() {
        let mut out = Vec::new();
        append(&mut out, true, StreamId::Stderr, &vec![7; MAX_PAYLOAD + 1]);
        assert_eq!(out.len(), MAX_PAYLOAD + 1 + 16);
        assert_eq!(out[..8], header(StreamId::Stderr, 32 * 1024));
        assert_eq!(out[MAX_PAYLOAD + 8..], [2, 0, 0, 0, 0, 0, 0, 1, 7]);
    }

    #[test]
    fn terminal_has_no_frames() {
        let mut out = Vec::new();
        append(&mut out, false, StreamId::Stdout, b"x");
        append(&mut out, true, StreamId::Stdout, b"");
        assert_eq!(out, b"x");
    }
}
