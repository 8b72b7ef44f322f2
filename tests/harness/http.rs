//! A small HTTP/1.1 client on a unix socket: requests, streamed answers, hijacked connections. Standard library only,
//! so that the tests do not trust the code that they test.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// An answer whose body is read as it comes.
#[derive(Debug)]
pub(crate) struct Streaming {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    reader: BufReader<UnixStream>,
    chunked: bool,
    /// Bytes left of the current chunk, or of the whole body.
    left: Option<u64>,
    ended: bool,
}

impl Streaming {
    /// The connection itself, for hijacked streams. Bytes that came with the header are in the reader.
    pub(crate) fn socket(&self) -> &UnixStream {
        self.reader.get_ref()
    }
}

impl Read for Streaming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        if self.chunked && self.left.is_none_or(|left| left == 0) {
            let mut line = String::new();
            if self.left.is_some() {
                self.reader.read_line(&mut line)?;
                line.clear();
            }
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "connection closed between chunks",
                ));
            }
            let size = u64::from_str_radix(line.trim().split(';').next().unwrap_or(""), 16)
                .map_err(|_| io::Error::other(format!("bad chunk size {line:?}")))?;
            if size == 0 {
                self.ended = true;
                return Ok(0);
            }
            self.left = Some(size);
        }
        let want = match self.left {
            Some(left) => usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len()),
            None => buffer.len(),
        };
        let got = self.reader.read(&mut buffer[..want])?;
        if let Some(left) = &mut self.left {
            *left -= got as u64;
            if *left == 0 && !self.chunked {
                self.ended = true;
            }
        }
        if got == 0 {
            self.ended = true;
            if self.chunked {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "connection closed within a chunk",
                ));
            }
        }
        Ok(got)
    }
}

/// Sends one request and reads status and headers. `extra` are whole header lines without CR LF.
pub(crate) fn open(
    socket: &Path,
    method: &str,
    path: &str,
    extra: &[&str],
    body: Option<&[u8]>,
    timeout: Duration,
) -> io::Result<Streaming> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for line in extra {
        head.push_str(line);
        head.push_str("\r\n");
    }
    if let Some(body) = body {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        if !extra
            .iter()
            .any(|line| line.to_ascii_lowercase().starts_with("content-type"))
        {
            head.push_str("Content-Type: application/json\r\n");
        }
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if let Some(body) = body {
        stream.write_all(body)?;
    }
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| io::Error::other(format!("bad status line {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        let (name, value) = text
            .split_once(':')
            .ok_or_else(|| io::Error::other(format!("bad header {text:?}")))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let chunked =
        find(&headers, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
    let left = find(&headers, "content-length").and_then(|v| v.parse().ok());
    let bodiless = method == "HEAD" || status == 204 || status == 304;
    Ok(Streaming {
        status,
        headers,
        reader,
        chunked,
        left: if chunked { None } else { left },
        ended: bodiless || (!chunked && left == Some(0)),
    })
}

/// One request, its whole answer.
pub(crate) fn request(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&[u8]>,
    timeout: Duration,
) -> io::Result<Answer> {
    let mut stream = open(socket, method, path, &["Connection: close"], body, timeout)?;
    let mut body = Vec::new();
    stream.read_to_end(&mut body)?;
    Ok(Answer {
        status: stream.status,
        headers: std::mem::take(&mut stream.headers),
        body,
    })
}

/// Splits Docker's frames: (stream, payload).
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while bytes.len() >= 8 {
        let length = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        assert!(bytes.len() >= 8 + length, "a frame is cut off");
        assert_eq!(&bytes[1..4], &[0, 0, 0], "a frame's header");
        frames.push((bytes[0], bytes[8..8 + length].to_vec()));
        bytes = &bytes[8 + length..];
    }
    assert!(
        bytes.is_empty(),
        "{} bytes after the last frame",
        bytes.len()
    );
    frames
}
