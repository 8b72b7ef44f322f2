//! As much of HTTP/1.1 as the collector needs, read strictly.

use std::collections::HashMap;
use std::io::{self, Read};

use flate2::read::GzDecoder;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    /// names in lower case
    pub(crate) headers: HashMap<String, String>,
    /// decompressed
    pub(crate) body: Vec<u8>,
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Nothing at the end of the connection.
pub(super) fn read_head(stream: &mut dyn super::Stream) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
        if head.len() > 16 * 1024 {
            return Err(invalid("head of more than 16 KiB".to_owned()));
        }
    }
    let head = String::from_utf8(head).map_err(|_| invalid("head is not UTF-8".to_owned()))?;
    let mut lines = head.trim_end().split("\r\n");
    let first = lines.next().unwrap_or_default();
    let [method, target, "HTTP/1.1"] = first.split(' ').collect::<Vec<_>>()[..] else {
        return Err(invalid(format!("first line {first:?}")));
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HashMap::new();
    for line in lines {
        let (name, value) = line
            .split_once(": ")
            .ok_or_else(|| invalid(format!("header {line:?}")))?;
        if headers
            .insert(name.to_ascii_lowercase(), value.to_owned())
            .is_some()
        {
            return Err(invalid(format!("header {name} twice")));
        }
    }
    Ok(Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: Vec::new(),
    }))
}

pub(super) fn read_body(
    stream: &mut dyn super::Stream,
    mut request: Request,
) -> io::Result<Request> {
    let length = match request.headers.get("content-length") {
        Some(length) => length
            .parse()
            .map_err(|_| invalid(format!("Content-Length {length:?}")))?,
        None if request.method == "POST" => {
            return Err(invalid("POST without Content-Length".to_owned()));
        }
        None => 0,
    };
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    request.body = match request.headers.get("content-encoding").map(String::as_str) {
        None => body,
        Some("gzip") => {
            let mut plain = Vec::new();
            GzDecoder::new(body.as_slice())
                .read_to_end(&mut plain)
                .map_err(|error| invalid(format!("gzip: {error}")))?;
            plain
        }
        Some(other) => return Err(invalid(format!("Content-Encoding {other:?}"))),
    };
    Ok(request)
}

pub(super) fn write(
    stream: &mut dyn super::Stream,
    status: u16,
    body: &str,
    retry_after: Option<u64>,
) -> io::Result<()> {
    let after = retry_after.map_or(String::new(), |s| format!("Retry-After: {s}\r\n"));
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: application/json; charset=UTF-8\r\n{after}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    stream.flush()
}
