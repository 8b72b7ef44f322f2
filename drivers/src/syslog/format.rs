//! Records as Docker's syslog driver writes them, byte for byte.

use std::io::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::sink::{Encoded, Encoder, Record, Stream};

/// `syslog-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Docker's default: BSD style without a host name
    Local,
    /// RFC 3164
    Rfc3164,
    /// RFC 5424 with whole seconds
    Rfc5424,
    /// RFC 5424 with microseconds
    Rfc5424Micro,
}

impl Format {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" => Self::Local,
            "rfc3164" => Self::Rfc3164,
            "rfc5424" => Self::Rfc5424,
            "rfc5424micro" => Self::Rfc5424Micro,
            _ => return None,
        })
    }
    pub(super) fn is_5424(self) -> bool {
        matches!(self, Self::Rfc5424 | Self::Rfc5424Micro)
    }
}

/// Names of the facilities, by number.
const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// `syslog-facility`: a name or a number; empty is `daemon`.
pub(super) fn facility(text: &str) -> Option<u8> {
    if text.is_empty() {
        return Some(3);
    }
    let named = FACILITIES.iter().find(|(name, _)| *name == text);
    named.map(|(_, number)| *number).or_else(|| {
        crate::go::atoi(text)
            .ok()
            .and_then(|number| u8::try_from(number).ok())
            .filter(|number| *number <= 23)
    })
}

/// How records are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// a newline behind each (RFC 6587, "non-transparent"), also at the end of datagrams
    Newline,
    /// the number of bytes before each (RFC 5425, RFC 6587), and Docker's newline at the end, counted
    Counted,
    /// nothing: RELP has frames of its own
    Bare,
}

/// What is the same for all records of a container.
pub(super) struct Fields<'a> {
    pub(super) format: Format,
    pub(super) framing: Framing,
    pub(super) facility: u8,
    pub(super) hostname: &'a str,
    pub(super) tag: &'a str,
    pub(super) pid: u32,
}

/// The encoder of a container.
pub(super) struct Syslog {
    format: Format,
    framing: Framing,
    zone: TimeZone,
    /// priority and what follows up to the time; stdout's and stderr's
    head: [Vec<u8>; 2],
    /// the time up to its seconds, and what follows them (a zone), of `second`
    time: Vec<u8>,
    offset: Vec<u8>,
    second: i64,
    /// between time and text
    middle: Vec<u8>,
}

impl Syslog {
    pub(super) fn new(fields: &Fields<'_>, zone: TimeZone) -> Self {
        let version = if fields.format.is_5424() { "1 " } else { "" };
        let head = [Stream::Stdout, Stream::Stderr].map(|stream| {
            let priority = u32::from(fields.facility) * 8 + u32::from(stream.severity());
            format!("<{priority}>{version}").into_bytes()
        });
        let (host, tag, pid) = (fields.hostname, fields.tag, fields.pid);
        let middle = match fields.format {
            Format::Local => format!(" {tag}[{pid}]: "),
            Format::Rfc3164 => format!(" {host} {tag}[{pid}]: "),
            Format::Rfc5424 | Format::Rfc5424Micro => format!(" {host} {tag} {pid} {tag} - "),
        };
        let mut new = Self {
            format: fields.format,
            framing: fields.framing,
            zone,
            head,
            time: Vec::with_capacity(32),
            offset: Vec::with_capacity(8),
            second: 0,
            middle: middle.into_bytes(),
        };
        new.set_second(0);
        new
    }

    /// Local time, made anew once a second of the log.
    fn set_second(&mut self, second: i64) {
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        self.second = second;
        self.time.clear();
        self.offset.clear();
        // Nanoseconds of 64 bits end in 2262, within jiff's range.
        let time = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
        let zone = self.zone.to_offset(time);
        let local = zone.to_datetime(time);
        // Writing to a vector does not fail.
        if !self.format.is_5424() {
            let month = usize::try_from(local.month() - 1).unwrap_or(0);
            let _ = write!(
                self.time,
                "{} {:>2} {:02}:{:02}:{:02}",
                MONTHS[month],
                local.day(),
                local.hour(),
                local.minute(),
                local.second()
            );
            return;
        }
        let _ = write!(
            self.time,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            local.year(),
            local.month(),
            local.day(),
            local.hour(),
            local.minute(),
            local.second()
        );
        let minutes = zone.seconds() / 60;
        if zone.seconds() == 0 {
            self.offset.push(b'Z');
        } else {
            let sign = if minutes < 0 { '-' } else { '+' };
            let minutes = minutes.abs();
            let _ = write!(self.offset, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
        }
    }
}

/// Decimal digits, with zeros before them up to `width`.
fn decimal(mut number: usize, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    let at = at.min(digits.len() - width.max(1));
    out.extend_from_slice(&digits[at..]);
}

impl Encoder for Syslog {
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        if record.line.is_empty() {
            return Encoded::Skipped;
        }
        let second = record.time_ns.div_euclid(1_000_000_000);
        if second != self.second {
            self.set_second(second);
        }
        let head = match record.stream {
            Stream::Stdout => &self.head[0],
            Stream::Stderr => &self.head[1],
        };
        let micro = self.format == Format::Rfc5424Micro;
        if self.framing == Framing::Counted {
            let fraction = if micro { 7 } else { 0 };
            let fixed = head.len() + self.time.len() + self.offset.len() + self.middle.len();
            decimal(fixed + fraction + record.line.len() + 1, 1, out);
            out.push(b' ');
        }
        out.extend_from_slice(head);
        out.extend_from_slice(&self.time);
        if micro {
            let micros = record.time_ns.rem_euclid(1_000_000_000) / 1000;
            out.push(b'.');
            decimal(usize::try_from(micros).unwrap_or(0), 6, out);
        }
        out.extend_from_slice(&self.offset);
        out.extend_from_slice(&self.middle);
        out.extend_from_slice(record.line);
        if self.framing != Framing::Bare {
            out.push(b'\n');
        }
        Encoded::Yes
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
