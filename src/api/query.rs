//! The query of a request: URL decoding, the first value of a key wins, and Docker's rules for
//! booleans and numbers (docs: Moby `api/server/httputils`).

use crate::errors::ApiError;

/// A decoded query string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes `a=b&c=d` (`application/x-www-form-urlencoded`).
    ///
    /// # Errors
    /// 400 for a `%` that is not followed by two hex digits.
    pub(crate) fn parse(raw: &str) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        for part in raw.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((decode(key, true)?, decode(value, true)?));
        }
        Ok(Self { pairs })
    }

    /// The first value of a key; `None` if the key is missing.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The first value of a key, or `""`.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or("")
    }

    /// A value that is there and not empty.
    pub(crate) fn some(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    /// All values of a key (`changes=`, `names=`).
    pub(crate) fn all(&self, key: &str) -> Vec<String> {
        self.pairs
            .iter()
            .filter(|(name, _)| name == key)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// A boolean: `""`, `0`, `no`, `false` and `none` are false, everything else is true; missing
    /// is false.
    pub(crate) fn flag(&self, key: &str) -> bool {
        truth(self.text(key))
    }

    /// A decimal number.
    ///
    /// # Errors
    /// 400 with Go's text for what is not a number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.some(key) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|_| {
            ApiError::invalid(format!("strconv.Atoi: parsing \"{value}\": invalid syntax"))
        })
    }
}

fn truth(value: &str) -> bool {
    let value = value.trim();
    !(value.is_empty()
        || value == "0"
        || ["no", "false", "none"]
            .iter()
            .any(|word| value.eq_ignore_ascii_case(word)))
}

/// Decodes percent escapes, and `+` as a blank where `plus` says so.
///
/// # Errors
/// 400 for a `%` that is not followed by two hex digits.
pub(crate) fn decode(text: &str, plus: bool) -> Result<String, ApiError> {
    if !text.bytes().any(|b| b == b'%' || (plus && b == b'+')) {
        return Ok(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let hex = |i: usize| {
                    bytes
                        .get(i)
                        .and_then(|b| char::from(*b).to_digit(16))
                        .and_then(|d| u8::try_from(d).ok())
                };
                let (Some(high), Some(low)) = (hex(at + 1), hex(at + 2)) else {
                    let shown = String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 3)]);
                    return Err(ApiError::invalid(format!("invalid URL escape \"{shown}\"")));
                };
                out.push(high << 4 | low);
                at += 3;
            }
            b'+' if plus => {
                out.push(b' ');
                at += 1;
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
    // Go keeps such bytes; a name or a filter with broken UTF-8 matches nothing either way.
    Ok(String::from_utf8(out)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_value_wins_and_escapes_are_decoded() {
        let query = Query::parse("repo=docker.io%2Flibrary%2Fbb&tag=2&tag=3&x&m=a+b").unwrap();
        assert_eq!(query.text("repo"), "docker.io/library/bb");
        assert_eq!(query.text("tag"), "2");
        assert_eq!(query.all("tag"), ["2", "3"]);
        assert_eq!(query.get("x"), Some(""));
        assert_eq!(query.get("y"), None);
        assert_eq!(query.text("m"), "a b");
    }

    #[test]
    fn bad_escape_is_refused() {
        for (raw, shown) in [("a=%", "%"), ("a=%4", "%4"), ("a=%zz1", "%zz")] {
            let error = Query::parse(raw).unwrap_err();
            assert_eq!(error.message, format!("invalid URL escape \"{shown}\""));
        }
    }

    #[test]
    fn booleans_as_docker_reads_them() {
        for no in ["", "0", "no", "No", "false", "False", "NONE", " false "] {
            let query = Query {
                pairs: vec![("k".into(), no.into())],
            };
            assert!(!query.flag("k"), "{no:?}");
        }
        for yes in ["1", "true", "True", "yes", "2", "x"] {
            let query = Query {
                pairs: vec![("k".into(), yes.into())],
            };
            assert!(query.flag("k"), "{yes:?}");
        }
        assert!(!Query::default().flag("k"));
    }

    #[test]
    fn numbers() {
        let query = Query::parse("t=-1&h=x&e=").unwrap();
        assert_eq!(query.number("t").unwrap(), Some(-1));
        assert_eq!(query.number("e").unwrap(), None);
        assert_eq!(query.number("missing").unwrap(), None);
        assert_eq!(
            query.number("h").unwrap_err().message,
            "strconv.Atoi: parsing \"x\": invalid syntax"
        );
    }
}
