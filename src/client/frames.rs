//! The 8-byte frames in which logs and attach carry several streams (docs: Engine API, "Stream format").

use super::ClientError;

/// Where a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Takes frames apart, in whatever pieces they come.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    header: [u8; 8],
    have: usize,
    left: usize,
    error: Vec<u8>,
}

/// Longest text kept of an error that a daemon reports within a stream.
const MAX_ERROR: usize = 64 * 1024;

impl Demux {
    /// Hands each piece of payload in `bytes` to `sink`, in order.
    ///
    /// # Errors
    /// A frame of kind 3 when it is complete, an unknown kind, and whatever `sink` returns.
    pub(crate) fn feed<E: From<ClientError>>(
        &mut self,
        bytes: &[u8],
        mut sink: impl FnMut(Stream, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.feed_frames(bytes, |stream, piece, _| sink(stream, piece))
    }

    /// As [`Demux::feed`]; `sink` also learns whether the piece is its frame's last.
    ///
    /// # Errors
    /// As [`Demux::feed`].
    pub(crate) fn feed_frames<E: From<ClientError>>(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(Stream, &[u8], bool) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if self.have < 8 {
                let n = bytes.len().min(8 - self.have);
                self.header[self.have..self.have + n].copy_from_slice(&bytes[..n]);
                self.have += n;
                bytes = &bytes[n..];
                if self.have < 8 {
                    return Ok(());
                }
                if self.header[0] > 3 {
                    return Err(ClientError::BadFrame(self.header[0]).into());
                }
                let [_, _, _, _, a, b, c, d] = self.header;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
            }
            let n = bytes.len().min(self.left);
            let (piece, rest) = bytes.split_at(n);
            match self.header[0] {
                0 | 1 if n > 0 => sink(Stream::Stdout, piece, n == self.left)?,
                2 if n > 0 => sink(Stream::Stderr, piece, n == self.left)?,
                3 => {
                    let room = MAX_ERROR.saturating_sub(self.error.len());
                    self.error.extend_from_slice(&piece[..n.min(room)]);
                }
                _ => {}
            }
            self.left -= n;
            bytes = rest;
            if self.left == 0 {
                self.have = 0;
                if self.header[0] == 3 {
                    let text = String::from_utf8_lossy(&self.error).into_owned();
                    return Err(ClientError::InStream(text).into());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 0, 0, 0];
        out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn any_cut_gives_the_same_streams() {
        let all = [
            frame(1, b"out\n"),
            frame(2, b"err\n"),
            frame(1, b""),
            frame(0, b"in\n"),
        ]
        .concat();
        for size in 1..all.len() {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut demux = Demux::default();
            for piece in all.chunks(size) {
                demux
                    .feed(piece, |stream, bytes| {
                        match stream {
                            Stream::Stdout => out.extend_from_slice(bytes),
                            Stream::Stderr => err.extend_from_slice(bytes),
                        }
                        Ok::<(), ClientError>(())
                    })
                    .unwrap();
            }
            assert_eq!((&out[..], &err[..]), (&b"out\nin\n"[..], &b"err\n"[..]));
        }
    }

    #[test]
    fn an_error_frame_ends_the_stream() {
        let mut demux = Demux::default();
        let bytes = frame(3, b"boom");
        assert!(
            demux
                .feed(&bytes[..9], |_, _| Ok::<(), ClientError>(()))
                .is_ok()
        );
        let err = demux
            .feed(&bytes[9..], |_, _| Ok::<(), ClientError>(()))
            .unwrap_err();
        assert_eq!(err.to_string(), "error from daemon in stream: boom");
        assert!(matches!(
            Demux::default().feed(&frame(9, b""), |_, _| Ok::<(), ClientError>(())),
            Err(ClientError::BadFrame(9))
        ));
    }
}
