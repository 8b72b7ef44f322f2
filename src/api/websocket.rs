//! Web sockets, as far as `attach` needs them (RFC 6455, server's side): the handshake's answer,
//! binary messages out, messages of any kind in. No extensions, no subprotocols.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use sha1::{Digest as _, Sha1};

use super::connection::RawReader;
use super::server::STANDARD_HEADERS;
use crate::errors::ApiError;

/// What a server adds to a client's key (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Most bytes of a control frame's payload.
const CONTROL: u64 = 125;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Codes of a close frame (section 7.4.1).
pub(super) const NORMAL: u16 = 1000;
pub(super) const PROTOCOL_ERROR: u16 = 1002;

/// Head of the answer to a client's handshake.
///
/// # Errors
/// 400 if it is none.
pub(super) fn accept(headers: &HeaderMap) -> Result<String, ApiError> {
    let has = |name: header::HeaderName, word: &str| {
        headers.get_all(name).iter().any(|value| {
            value
                .to_str()
                .is_ok_and(|text| text.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
        })
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let key = key.and_then(|key| key.to_str().ok()).map(str::trim);
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    let good_key = key.filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16));
    match good_key {
        Some(key)
            if has(header::CONNECTION, "upgrade")
                && has(header::UPGRADE, "websocket")
                && version.is_some_and(|v| v == "13") =>
        {
            let standard: String = STANDARD_HEADERS
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            Ok(format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\n{standard}\r\n",
                answer(key)
            ))
        }
        _ => Err(ApiError::invalid(
            "a web socket's handshake is expected: Connection: Upgrade, Upgrade: websocket, \
             Sec-WebSocket-Key, Sec-WebSocket-Version: 13",
        )),
    }
}

fn answer(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Appends one whole frame.
fn append(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    out.push(0x80 | kind);
    // The lengths fit by the conditions.
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// A binary message.
pub(super) fn message(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 10);
    append(&mut out, BINARY, payload);
    out
}

/// The last frame of a side.
pub(super) fn close(code: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(4);
    append(&mut out, CLOSE, &code.to_be_bytes());
    out
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 2);
    append(&mut out, PONG, payload);
    out
}

/// What came from the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// Bytes of a message, of whatever kind; its borders mean nothing here.
    Data(Vec<u8>),
    Ping(Vec<u8>),
    /// The client has closed, or its connection is at its end.
    Close,
    /// What no client may send.
    Broken,
}

/// Reads frames; a long one comes in pieces.
#[derive(Debug)]
pub(super) struct Frames {
    reader: RawReader,
    mask: [u8; 4],
    /// Bytes of the present data frame that are still to come.
    left: u64,
    /// Where in the mask its next byte is.
    at: usize,
}

impl Frames {
    pub(super) fn new(reader: RawReader) -> Self {
        Self {
            reader,
            mask: [0; 4],
            left: 0,
            at: 0,
        }
    }

    /// The next piece, with at most `most` bytes. Not to be cancelled.
    pub(super) async fn next(&mut self, most: usize) -> Incoming {
        self.read(most).await.unwrap_or(Incoming::Close)
    }

    async fn read(&mut self, most: usize) -> io::Result<Incoming> {
        loop {
            if self.left > 0 {
                let want = usize::try_from(self.left).unwrap_or(most).min(most);
                let mut bytes = vec![0; want];
                let count = self.reader.read(&mut bytes).await?;
                if count == 0 {
                    return Ok(Incoming::Close);
                }
                bytes.truncate(count);
                self.unmask(&mut bytes);
                self.left -= count as u64;
                return Ok(Incoming::Data(bytes));
            }
            let mut head = [0; 2];
            self.exactly(&mut head).await?;
            let (kind, last) = (head[0] & 0x0f, head[0] & 0x80 != 0);
            let mut length = u64::from(head[1] & 0x7f);
            let control = kind >= CLOSE;
            // Reserved bits belong to extensions; clients mask; control frames are short and whole.
            if head[0] & 0x70 != 0
                || head[1] & 0x80 == 0
                || (control && (length > CONTROL || !last))
                || !matches!(kind, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG)
            {
                return Ok(Incoming::Broken);
            }
            if length == 126 {
                let mut bytes = [0; 2];
                self.exactly(&mut bytes).await?;
                length = u64::from(u16::from_be_bytes(bytes));
            } else if length == 127 {
                let mut bytes = [0; 8];
                self.exactly(&mut bytes).await?;
                length = u64::from_be_bytes(bytes);
            }
            let mut mask = [0; 4];
            self.exactly(&mut mask).await?;
            (self.mask, self.at) = (mask, 0);
            if !control {
                self.left = length;
                continue;
            }
            // At most CONTROL.
            let mut payload = vec![0; length as usize];
            self.exactly(&mut payload).await?;
            self.unmask(&mut payload);
            match kind {
                PING => return Ok(Incoming::Ping(payload)),
                CLOSE => return Ok(Incoming::Close),
                _ => {}
            }
        }
    }

    fn unmask(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte ^= self.mask[self.at % 4];
            self.at += 1;
        }
    }

    async fn exactly(&mut self, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let count = self.reader.read(buf).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buf = &mut buf[count..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::Hijacked;
    use super::*;
    use std::sync::Arc;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixStream;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_example_of_the_rfc() {
        let good = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ];
        let head = accept(&headers(&good)).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "));
        assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        for missing in 0..good.len() {
            let mut some = good.to_vec();
            some.remove(missing);
            accept(&headers(&some)).unwrap_err();
        }
    }

    #[test]
    fn frames_out() {
        assert_eq!(message(b"hi"), b"\x82\x02hi");
        assert_eq!(message(&[0; 126])[..4], [0x82, 126, 0, 126]);
        assert_eq!(
            message(&[0; 0x1_0000])[..10],
            [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]
        );
        assert_eq!(close(NORMAL), [0x88, 2, 0x03, 0xe8]);
        assert_eq!(pong(b"x"), b"\x8a\x01x");
    }

    async fn incoming(bytes: &[u8]) -> Vec<Incoming> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).await.unwrap();
        drop(theirs);
        let mut frames = Frames::new(Hijacked::new(Arc::new(ours), bytes::Bytes::new()).reader);
        let mut out = Vec::new();
        loop {
            let next = frames.next(4).await;
            let over = matches!(next, Incoming::Close | Incoming::Broken);
            out.push(next);
            if over {
                return out;
            }
        }
    }

    #[tokio::test]
    async fn frames_in() {
        // The masked example of section 5.7, cut into pieces of four.
        let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        let got = incoming(hello).await;
        assert_eq!(
            got,
            [
                Incoming::Data(b"Hell".to_vec()),
                Incoming::Data(b"o".to_vec()),
                Incoming::Close
            ]
        );
        let ping = b"\x89\x81\0\0\0\0x\x8a\x80\0\0\0\0\x88\x80\0\0\0\0rest";
        assert_eq!(
            incoming(ping).await,
            [Incoming::Ping(b"x".to_vec()), Incoming::Close]
        );
        // Not masked, a reserved bit, an unknown kind, a long ping, half a ping.
        for bad in [
            &b"\x81\x01x"[..],
            b"\xc1\x80\0\0\0\0",
            b"\x83\x80\0\0\0\0",
            b"\x89\xfe\0\x7e\0\0\0\0",
            b"\x09\x80\0\0\0\0",
        ] {
            assert_eq!(incoming(bad).await, [Incoming::Broken], "{bad:?}");
        }
    }
}
