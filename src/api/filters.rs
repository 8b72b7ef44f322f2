//! `filters=` of lists and events: JSON in the form of Go clients (`{"label":{"a=b":true}}`) or of
//! docker-py (`{"label":["a=b"]}`). Docs: Moby `api/types/filters`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::errors::ApiError;

/// Values by key. Values of one key are alternatives, keys are all required.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters {
    fields: BTreeMap<String, Vec<String>>,
}

impl Filters {
    /// Parses the query's value; empty means no filter.
    ///
    /// # Errors
    /// 400 `invalid filter` for what is neither form.
    pub(crate) fn parse(json: &str) -> Result<Self, ApiError> {
        let bad = || ApiError::invalid("invalid filter");
        let mut fields = BTreeMap::new();
        if json.is_empty() {
            return Ok(Self { fields });
        }
        let object = match serde_json::from_str(json).map_err(|_| bad())? {
            Value::Object(object) => object,
            Value::Null => return Ok(Self { fields }),
            _ => return Err(bad()),
        };
        for (key, value) in object {
            let mut values = Vec::new();
            match value {
                Value::Object(set) => {
                    for (name, on) in set {
                        // Go keeps the key whatever its boolean says.
                        if !on.is_boolean() {
                            return Err(bad());
                        }
                        values.push(name);
                    }
                }
                Value::Array(list) => {
                    for item in list {
                        let Value::String(item) = item else {
                            return Err(bad());
                        };
                        values.push(item);
                    }
                }
                Value::Null => {}
                _ => return Err(bad()),
            }
            fields.insert(key, values);
        }
        Ok(Self { fields })
    }

    /// A filter from pairs, for callers inside the daemon.
    #[cfg(test)]
    pub(crate) fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in pairs {
            fields
                .entry((*key).to_owned())
                .or_default()
                .push((*value).to_owned());
        }
        Self { fields }
    }

    /// Refuses keys that an endpoint does not know.
    ///
    /// # Errors
    /// 400 `Invalid filter 'x'`.
    pub(crate) fn validate(&self, known: &[&str]) -> Result<(), ApiError> {
        for key in self.fields.keys() {
            if !known.contains(&key.as_str()) {
                return Err(ApiError::invalid(format!("Invalid filter '{key}'")));
            }
        }
        Ok(())
    }

    /// Values of a key; empty if it was not given.
    pub(crate) fn get(&self, key: &str) -> &[String] {
        self.fields.get(key).map_or(&[], Vec::as_slice)
    }

    /// The key was given with at least one value.
    pub(crate) fn has(&self, key: &str) -> bool {
        !self.get(key).is_empty()
    }

    /// Equal to one of the key's values, or the key was not given.
    pub(crate) fn exact(&self, key: &str, source: &str) -> bool {
        let values = self.get(key);
        values.is_empty() || values.iter().any(|value| value == source)
    }

    /// Begins with one of the key's values, or the key was not given.
    pub(crate) fn prefix(&self, key: &str, source: &str) -> bool {
        let values = self.get(key);
        values.is_empty()
            || values
                .iter()
                .any(|value| source.starts_with(value.as_str()))
    }

    /// All of the key's `name` or `name=value` hold for the labels.
    pub(crate) fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.get(key).iter().all(|wanted| {
            let (name, value) = match wanted.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (wanted.as_str(), None),
            };
            labels
                .get(name)
                .is_some_and(|have| value.is_none_or(|value| value == have))
        })
    }

    /// A boolean filter such as `dangling`.
    ///
    /// # Errors
    /// 400 `invalid filter 'dangling=x'` for what is no boolean.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, ApiError> {
        let first = self.get(key).first();
        first.map(|value| truth(key, value)).transpose()
    }

    /// As `boolean`, of a filter that may be given more than once: true if one of them is.
    ///
    /// # Errors
    /// 400 if one of them is no boolean.
    pub(crate) fn any_boolean(&self, key: &str) -> Result<Option<bool>, ApiError> {
        let values = self.get(key).iter().map(|value| truth(key, value));
        values.reduce(|a, b| Ok(a? | b?)).transpose()
    }
}

fn truth(key: &str, value: &str) -> Result<bool, ApiError> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(ApiError::invalid(format!(
            "Invalid filter '{key}=[{value}]'"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let go = Filters::parse(r#"{"label":{"a=b":true,"c":true},"status":{"exited":true}}"#);
        let python = Filters::parse(r#"{"label":["a=b","c"],"status":["exited"]}"#);
        assert_eq!(go.unwrap(), python.unwrap());
        for none in ["", "null", "{}"] {
            assert_eq!(Filters::parse(none).unwrap(), Filters::default(), "{none}");
        }
    }

    #[test]
    fn malformed() {
        for bad in [
            "x",
            "[]",
            "1",
            r#"{"a":1}"#,
            r#"{"a":[1]}"#,
            r#"{"a":{"b":1}}"#,
        ] {
            let error = Filters::parse(bad).unwrap_err();
            assert_eq!(error.message, "invalid filter", "{bad}");
        }
    }

    #[test]
    fn unknown_key() {
        let filters = Filters::from_pairs(&[("x", "1")]);
        assert_eq!(
            filters.validate(&["label"]).unwrap_err().message,
            "Invalid filter 'x'"
        );
        filters.validate(&["x"]).unwrap();
    }

    #[test]
    fn matching() {
        let filters = Filters::from_pairs(&[
            ("label", "a=1"),
            ("label", "b"),
            ("name", "web"),
            ("name", "db"),
            ("status", "exited"),
        ]);
        let labels = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        assert!(filters.labels("label", &labels(&[("a", "1"), ("b", "x")])));
        assert!(!filters.labels("label", &labels(&[("a", "2"), ("b", "x")])));
        assert!(!filters.labels("label", &labels(&[("a", "1")])));
        assert!(filters.exact("status", "exited"));
        assert!(!filters.exact("status", "exite"));
        assert!(filters.exact("other", "anything"));
        assert!(filters.prefix("name", "dbx"));
        assert!(!filters.prefix("name", "xdb"));
    }

    #[test]
    fn booleans_given_twice() {
        let of = |values: &[&str]| {
            let pairs: Vec<_> = values.iter().map(|value| ("x", *value)).collect();
            Filters::from_pairs(&pairs).any_boolean("x")
        };
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&["false"]).unwrap(), Some(false));
        assert_eq!(of(&["false", "true"]).unwrap(), Some(true));
        assert!(of(&["true", "y"]).is_err());
    }

    #[test]
    fn booleans() {
        let filters = Filters::from_pairs(&[("dangling", "True"), ("x", "y")]);
        assert_eq!(filters.boolean("dangling").unwrap(), Some(true));
        assert_eq!(filters.boolean("none").unwrap(), None);
        assert_eq!(
            filters.boolean("x").unwrap_err().message,
            "Invalid filter 'x=[y]'"
        );
    }
}
