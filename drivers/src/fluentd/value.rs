//! What a receiver says: MessagePack values of any kind, one behind the other.

use std::fmt;
use std::io::Cursor;

use rmp_serde::decode::Error;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Most bytes of one value; more is not of the protocol.
pub(super) const MAX: usize = 64 * 1024;

/// A value; what the protocol has no use for is `Other`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    /// text or binary: receivers differ in which they send
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Other,
}

impl Value {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => b"",
        }
    }
    /// A map's value.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Map(items) => items
                .iter()
                .find(|(name, _)| name.bytes() == key.as_bytes())
                .map(|(_, value)| value),
            _ => None,
        }
    }
    /// An array's values, if its first is this word.
    pub(super) fn named(&self, word: &str) -> Option<&[Value]> {
        match self {
            Self::Array(items) if items.first().map(Value::bytes) == Some(word.as_bytes()) => {
                Some(&items[1..])
            }
            _ => None,
        }
    }
}

/// The first value of `bytes` and its length; `None` if it is not complete.
///
/// # Errors
/// It is no value.
pub(super) fn first(bytes: &[u8]) -> Result<Option<(Value, usize)>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut decoder = rmp_serde::Deserializer::new(Cursor::new(bytes));
    match Value::deserialize(&mut decoder) {
        Ok(value) => {
            let length = usize::try_from(decoder.position()).unwrap_or(bytes.len());
            Ok(Some((value, length)))
        }
        Err(Error::InvalidMarkerRead(error) | Error::InvalidDataRead(error))
            if error.kind() == std::io::ErrorKind::UnexpectedEof && bytes.len() < MAX =>
        {
            Ok(None)
        }
        Err(error) => Err(error.to_string()),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MessagePack value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Bytes(text.as_bytes().to_vec()))
    }
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.to_vec()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = items.next_element()? {
            found.push(item);
        }
        Ok(Value::Array(found))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = items.next_entry()? {
            found.push(item);
        }
        Ok(Value::Map(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_behind_the_other() {
        let bytes = b"\x81\xa3ack\xa1x\x93\xa4HELO\xc4\x02\xff\x00\xc0\x81";
        let (ack, length) = first(bytes).unwrap().unwrap();
        assert_eq!(ack.get("ack").unwrap().bytes(), b"x");
        let rest = &bytes[length..];
        let (helo, length) = first(rest).unwrap().unwrap();
        assert_eq!(helo.named("HELO").unwrap()[0].bytes(), b"\xff\x00");
        assert_eq!(first(&rest[length..]), Ok(None));
        assert!(first(b"\xc1").is_err());
    }
}
