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

/// Takes the frames' headers out of a stream that comes in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Unframed {
    header: Vec<u8>,
    /// Bytes of the present payload that are still to come.
    left: usize,
}

impl Unframed {
    /// The payloads' bytes in a piece.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        while !bytes.is_empty() {
            if self.left > 0 {
                let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
                out.extend_from_slice(payload);
                self.left -= payload.len();
                bytes = rest;
                continue;
            }
            let (header, rest) = bytes.split_at((8 - self.header.len()).min(bytes.len()));
            self.header.extend_from_slice(header);
            bytes = rest;
            if let [_, _, _, _, a, b, c, d] = self.header[..] {
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.header.clear();
            }
        }
        out
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
    fn headers_are_taken_out_wherever_they_are_cut() {
        let mut wire = Vec::new();
        append(&mut wire, true, StreamId::Stdout, b"hello ");
        append(&mut wire, true, StreamId::Stderr, b"you");
        for size in 1..wire.len() {
            let mut unframed = Unframed::default();
            let all: Vec<u8> = wire.chunks(size).flat_map(|c| unframed.feed(c)).collect();
            assert_eq!(all, b"hello you");
        }
    }

    #[test]
    fn terminal_has_no_frames() {
        let mut out = Vec::new();
        append(&mut out, false, StreamId::Stdout, b"x");
        append(&mut out, true, StreamId::Stdout, b"");
        assert_eq!(out, b"x");
    }
}
