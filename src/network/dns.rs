//! The little of DNS that the name server needs: the question of a query, and answers to it. All
//! else is passed on unread. (docs: RFC 1035)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const A: u16 = 1;
pub(super) const PTR: u16 = 12;
pub(super) const AAAA: u16 = 28;
pub(super) const ANY: u16 = 255;
const INTERNET: u16 = 1;
const HEADER: usize = 12;
/// Longest name.
const MAX_NAME: usize = 255;
/// Seconds for which an answer may be kept: the next run of a container may have another address.
const TTL: u32 = 5;

/// How a query fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    NoError = 0,
    ServerFailure = 2,
}

/// The one question of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// In small letters, without the last dot.
    pub(super) name: String,
    pub(super) kind: u16,
    /// Where the question ends in the message.
    end: usize,
}

/// A record that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Address(IpAddr),
    Name(String),
}

/// Reads a query; `None` if it is none with one question about the Internet.
pub(super) fn question(message: &[u8]) -> Option<Question> {
    let word = |at: usize| {
        Some(u16::from_be_bytes([
            *message.get(at)?,
            *message.get(at + 1)?,
        ]))
    };
    let flags = word(2)?;
    // A response, or another operation than a query.
    if flags & 0xf800 != 0 || word(4)? != 1 {
        return None;
    }
    let mut at = HEADER;
    let mut name = String::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // Questions point nowhere.
        if length > 63 {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        for byte in message.get(at..at + length)? {
            name.push(char::from(byte.to_ascii_lowercase()));
        }
        at += length;
        if name.len() > MAX_NAME {
            return None;
        }
    }
    let (kind, class) = (word(at)?, word(at + 2)?);
    (class == INTERNET).then_some(Question {
        name,
        kind,
        end: at + 4,
    })
}

/// An answer to a query, with as many records as fit into `limit` bytes.
pub(super) fn reply(
    query: &[u8],
    question: &Question,
    code: Code,
    answers: &[Answer],
    limit: usize,
) -> Vec<u8> {
    let mut out = query[..question.end.min(query.len())].to_vec();
    // A response; recursion as it was desired; recursion is available.
    out[2] = 0x80 | (out[2] & 0x01);
    out[3] = 0x80 | code as u8;
    // One question, and no other sections than the answers.
    out[4..HEADER].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    let mut count: u16 = 0;
    for answer in answers {
        let (kind, data) = match answer {
            Answer::Address(IpAddr::V4(ip)) => (A, ip.octets().to_vec()),
            Answer::Address(IpAddr::V6(ip)) => (AAAA, ip.octets().to_vec()),
            Answer::Name(name) => (PTR, labels(name)),
        };
        if out.len() + 12 + data.len() > limit {
            // Truncated: the client may ask again over TCP.
            out[2] |= 0x02;
            break;
        }
        // The name is that of the question.
        out.extend([0xc0, HEADER as u8]);
        out.extend(kind.to_be_bytes());
        out.extend(INTERNET.to_be_bytes());
        out.extend(TTL.to_be_bytes());
        out.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
        out.extend(data);
        count += 1;
    }
    out[6..8].copy_from_slice(&count.to_be_bytes());
    out
}

fn labels(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        out.push(label.len() as u8);
        out.extend(label);
    }
    out.push(0);
    out
}

/// The address that the name of a reverse lookup stands for.
pub(super) fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(rest) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut parts = rest.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts
            .next()
            .is_none()
            .then(|| Ipv4Addr::from(octets).into());
    }
    let rest = name.strip_suffix(".ip6.arpa")?;
    let mut number: u128 = 0;
    let mut digits = 0;
    for digit in rest.split('.').collect::<Vec<_>>().iter().rev() {
        if digit.len() != 1 {
            return None;
        }
        number = (number << 4) | u128::from(u8::from_str_radix(digit, 16).ok()?);
        digits += 1;
    }
    (digits == 32).then(|| Ipv6Addr::from(number).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut out = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        out.extend(labels(name));
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out
    }

    #[test]
    fn questions_and_answers() {
        let message = query("Web.Example", A);
        let asked = question(&message).unwrap();
        assert_eq!((asked.name.as_str(), asked.kind), ("web.example", A));
        let ip = Answer::Address("10.0.0.2".parse().unwrap());
        let answer = reply(
            &message,
            &asked,
            Code::NoError,
            std::slice::from_ref(&ip),
            512,
        );
        assert_eq!(answer[..2], [0x12, 0x34]);
        assert_eq!(answer[2..4], [0x81, 0x80]);
        assert_eq!(answer[6..8], [0, 1]);
        assert_eq!(answer[answer.len() - 4..], [10, 0, 0, 2]);
        // Too many for a datagram.
        let answer = reply(&message, &asked, Code::NoError, &vec![ip; 100], 512);
        assert!(answer.len() <= 512 && answer[2] & 2 != 0);
        let failed = reply(&message, &asked, Code::ServerFailure, &[], 512);
        assert_eq!(failed[3] & 0xf, 2);
    }

    #[test]
    fn what_is_no_question() {
        let good = query("web", A);
        for cut in 0..good.len() {
            assert_eq!(question(&good[..cut]), None, "{cut}");
        }
        let mut response = good.clone();
        response[2] |= 0x80;
        assert_eq!(question(&response), None);
        let mut pointer = good;
        pointer[HEADER] = 0xc0;
        assert_eq!(question(&pointer), None);
    }

    #[test]
    fn reverse_names() {
        let ip = |name: &str| reverse(name).map(|ip| ip.to_string());
        assert_eq!(ip("2.0.0.10.in-addr.arpa").as_deref(), Some("10.0.0.2"));
        let six = format!("2.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
        assert_eq!(ip(&six).as_deref(), Some("fd00::2"));
        for bad in [
            "web",
            "1.2.3.in-addr.arpa",
            "1.2.ip6.arpa",
            "x.0.0.10.in-addr.arpa",
        ] {
            assert_eq!(ip(bad), None, "{bad}");
        }
    }
}
