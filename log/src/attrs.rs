//! Attributes of records as clients see them.

use crate::json::{sort_attrs, write_details};
use crate::ndjson;

/// Attributes in the two forms in which they are put out.
#[derive(Debug, Default)]
pub(crate) struct Attrs {
    /// `k=v,k=v`, query-escaped.
    pub(crate) details: Vec<u8>,
    /// `[{"Key":"k","Value":"v"}]`, or empty without any.
    pub(crate) json: Vec<u8>,
}

impl Attrs {
    pub(crate) fn clear(&mut self) {
        self.details.clear();
        self.json.clear();
    }

    /// Takes sorted pairs.
    pub(crate) fn set(&mut self, pairs: &[(Vec<u8>, Vec<u8>)]) {
        self.clear();
        write_details(pairs, &mut self.details);
        ndjson::attrs(pairs, &mut self.json);
    }

    /// Takes a JSON object of strings. `false`: it is none.
    pub(crate) fn parse(&mut self, object: &[u8]) -> bool {
        self.clear();
        let Ok(map) = serde_json::from_slice::<serde_json::Map<_, _>>(object) else {
            return false;
        };
        let mut pairs = Vec::with_capacity(map.len());
        for (key, value) in map {
            let serde_json::Value::String(value) = value else {
                return false;
            };
            pairs.push((key.into_bytes(), value.into_bytes()));
        }
        sort_attrs(&mut pairs);
        self.set(&pairs);
        true
    }
}
