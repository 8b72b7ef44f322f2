//! Output that is gathered before it is written.

use crate::client::Stream;

use crate::cli::out::{self, To};

/// What is gathered before it is written; a write larger than this brings nothing.
const BUFFER: usize = 64 * 1024;

/// Gathers output. Where both streams go to one place, they are one: the order of lines is kept,
/// and a program that changes between them does not cost a write each time.
#[derive(Debug)]
pub(super) struct Sink {
    one_place: bool,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Sink {
    pub(super) fn new(one_place: bool) -> Self {
        Self {
            one_place,
            out: Vec::with_capacity(2 * BUFFER),
            err: Vec::new(),
        }
    }

    pub(super) fn put(&mut self, stream: Stream, bytes: &[u8]) {
        let (to, buffer) = match stream {
            Stream::Stderr if !self.one_place => (To::Err, &mut self.err),
            _ => (To::Out, &mut self.out),
        };
        // Large pieces go by without a copy.
        if buffer.is_empty() && bytes.len() >= BUFFER {
            out::write(to, bytes);
            return;
        }
        buffer.extend_from_slice(bytes);
        if buffer.len() >= BUFFER {
            out::write(to, buffer);
            buffer.clear();
        }
    }

    pub(super) fn flush(&mut self) {
        for (to, buffer) in [(To::Out, &mut self.out), (To::Err, &mut self.err)] {
            if !buffer.is_empty() {
                out::write(to, buffer);
                buffer.clear();
            }
        }
    }
}
