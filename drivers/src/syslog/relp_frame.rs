//! RELP's frames: `TXNR SP COMMAND SP LENGTH [SP DATA] LF`, both ways (rsyslog's `relp.html`, librelp).

/// Largest transaction number; behind it comes 1.
pub(super) const LAST: u32 = 999_999_999;
/// Most bytes of a frame that is taken: answers are a line, the offers of `open` a few.
const LONGEST: usize = 64 * 1024;
/// Most bytes before the data: numbers of 9 digits, a command of 32 characters, blanks.
const HEADER: usize = 9 + 1 + 32 + 1 + 9 + 1;

/// Appends a frame.
pub(super) fn write(number: u32, command: &str, data: &[u8], out: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing to a vector does not fail.
    let _ = write!(out, "{number} {command} {}", data.len());
    if !data.is_empty() {
        out.push(b' ');
        out.extend_from_slice(data);
    }
    out.push(b'\n');
}

/// A frame of the receiver.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) number: u32,
    pub(super) command: &'a str,
    pub(super) data: &'a [u8],
}

/// The first frame and how many bytes it takes; `None` if there is more to come.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, String> {
    let shown = || {
        let start = &bytes[..bytes.len().min(60)];
        format!("no RELP: {:?}", String::from_utf8_lossy(start))
    };
    let head = &bytes[..bytes.len().min(HEADER)];
    let mut places = head
        .iter()
        .enumerate()
        .filter(|(_, b)| matches!(b, b' ' | b'\n'))
        .map(|(at, _)| at);
    let (Some(first), Some(second), third) = (places.next(), places.next(), places.next()) else {
        return if head.len() < HEADER {
            Ok(None)
        } else {
            Err(shown())
        };
    };
    let Some(third) = third else {
        return if head.len() < HEADER {
            Ok(None)
        } else {
            Err(shown())
        };
    };
    let number = |text: &[u8]| {
        std::str::from_utf8(text)
            .ok()
            .filter(|text| text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse::<u32>().ok())
    };
    let command = std::str::from_utf8(&bytes[first + 1..second]);
    let (Some(txnr), Ok(command), Some(length)) = (
        number(&bytes[..first]),
        command,
        number(&bytes[second + 1..third]),
    ) else {
        return Err(shown());
    };
    let length = length as usize;
    if length > LONGEST {
        return Err(format!(
            "a RELP frame of {length} bytes, at most {LONGEST} are taken"
        ));
    }
    // Without data the end may follow the length at once; some senders have the blank all the same.
    let start = match bytes[third] {
        b'\n' if length == 0 => third,
        b' ' => third + 1,
        _ => return Err(shown()),
    };
    let end = start + length;
    match bytes.get(end) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((
            Frame {
                number: txnr,
                command,
                data: &bytes[start..end],
            },
            end + 1,
        ))),
        Some(_) => Err(shown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let mut out = Vec::new();
        write(1, "open", b"relp_version=0", &mut out);
        write(LAST, "close", b"", &mut out);
        assert_eq!(out, b"1 open 14 relp_version=0\n999999999 close 0\n");
        let (frame, taken) = read(&out).unwrap().unwrap();
        assert_eq!(
            frame,
            Frame {
                number: 1,
                command: "open",
                data: b"relp_version=0"
            }
        );
        let (frame, rest) = read(&out[taken..]).unwrap().unwrap();
        assert_eq!((frame.number, frame.command), (LAST, "close"));
        assert_eq!(taken + rest, out.len());
        for cut in 0..taken {
            assert_eq!(read(&out[..cut]).unwrap(), None, "{cut}");
        }
    }

    #[test]
    fn data_may_have_newlines_and_blanks() {
        let bytes = b"2 rsp 12 200 OK\na b\nc\n3 rsp 6 200 OK\n";
        let (frame, taken) = read(bytes).unwrap().unwrap();
        assert_eq!(frame.data, b"200 OK\na b\nc");
        assert_eq!(read(&bytes[taken..]).unwrap().unwrap().0.number, 3);
        assert!(read(b"0 serverclose 0 \n").unwrap().is_some());
        assert!(read(b"0 serverclose 0\n").unwrap().is_some());
    }

    #[test]
    fn what_is_no_relp() {
        for bad in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"220 mail ESMTP ready\n",
            b"1 rsp -1 x\n",
            b"1 rsp 3 abcd\n",
            b"1 rsp 70000 x\n",
            b"1 rsp 3\nabc\n",
            &[b'x'; 100],
        ] {
            assert!(read(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
