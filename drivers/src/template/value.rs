//! Data that templates read.

/// A value, as Go's `interface{}` after decoding JSON, or an [`Object`] for a Go struct.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// nothing
    Nil,
    /// true or false
    Bool(bool),
    /// whole number
    Int(i64),
    /// other number
    Float(f64),
    /// text
    Str(String),
    /// list
    List(Vec<Value>),
    /// map; `json` keeps this order, printing and `range` sort by key as Go does
    Map(Vec<(String, Value)>),
    /// struct with methods
    Object(Object),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberKind {
    Field,
    Method,
    /// a method with one argument, which is ignored
    MethodWithArgument,
}

/// A Go struct: only its members can be named, anything else is an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub(super) type_name: &'static str,
    pub(super) members: Vec<(&'static str, MemberKind, Value)>,
}

impl Object {
    /// A struct without members; `type_name` is Go's name, as it appears in errors.
    pub fn new(type_name: &'static str) -> Self {
        Self {
            type_name,
            members: Vec::new(),
        }
    }
    fn with(mut self, name: &'static str, kind: MemberKind, value: impl Into<Value>) -> Self {
        self.members.push((name, kind, value.into()));
        self
    }
    /// Adds a field.
    #[must_use]
    pub fn field(self, name: &'static str, value: impl Into<Value>) -> Self {
        self.with(name, MemberKind::Field, value)
    }
    /// Adds a method without arguments.
    #[must_use]
    pub fn method(self, name: &'static str, value: impl Into<Value>) -> Self {
        self.with(name, MemberKind::Method, value)
    }
    /// Adds a method that must be given one argument and does not look at it.
    #[must_use]
    pub fn method_with_argument(self, name: &'static str, value: impl Into<Value>) -> Self {
        self.with(name, MemberKind::MethodWithArgument, value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Nil,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => n
                .as_i64()
                .map_or_else(|| Self::Float(n.as_f64().unwrap_or(0.0)), Self::Int),
            Json::String(s) => Self::Str(s.clone()),
            Json::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Json::Object(map) => {
                Self::Map(map.iter().map(|(k, v)| (k.clone(), v.into())).collect())
            }
        }
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        Self::from(&json)
    }
}

impl Value {
    /// Go's name of the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Object(object) => object.type_name,
        }
    }

    /// Go's truth: not nil, zero or empty.
    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(b) => *b,
            Self::Int(n) => *n != 0,
            Self::Float(n) => *n != 0.0,
            Self::Str(s) => !s.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(items) => !items.is_empty(),
            Self::Object(_) => true,
        }
    }

    pub(super) fn sorted(items: &[(String, Self)]) -> Vec<&(String, Self)> {
        let mut sorted: Vec<_> = items.iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        sorted
    }
}
