//! Go's `text/template`, as far as tags (`--log-opt tag=`) and `--format` need it, with Go's error texts.
//!
//! There are fields, variables, pipelines, `if`/`else if`/`else`/`end`, `with`, `range` (lists and maps), `break`, `continue`, comments and trim
//! markers; the functions `and or not eq ne lt le gt ge len index slice print printf println
//! html js urlquery` of Go and
//! `json split join title lower upper pad truncate` of Docker. Not there: `define`, `template`, `block`, `call`,
//! methods on values other than [`Object`]s, complex numbers.
//!
//! Templates come from users, so work is bounded: nesting, steps, the size of made strings and of the output.

mod escape;
mod exec;
mod fmt;
mod funcs;
mod lex;
mod node;
mod parse;
mod value;

pub use value::{Object, Value};

use node::Node;

/// Deepest nesting of blocks and parentheses.
const MAX_DEPTH: usize = 100;
/// Most nodes evaluated in one rendering.
const MAX_STEPS: usize = 500_000;
/// Largest string that a function may make, in bytes.
const MAX_STRING: usize = 4 << 20;
/// Most items of a list that a function may make.
const MAX_ITEMS: usize = 100_000;
/// Largest output, in bytes.
const MAX_OUTPUT: usize = 16 << 20;

/// A template that cannot be parsed or evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// Wrong syntax.
    #[error("template: {name}:{line}: {message}")]
    Parse {
        /// the template's name
        name: String,
        /// line within the template, from 1
        line: usize,
        /// Go's text
        message: String,
    },
    /// Right syntax, but it does not fit the data.
    #[error("template: {name}:{line}:{column}: executing {quoted} at <{context}>: {message}", quoted = crate::go::quote(name))]
    Exec {
        /// the template's name
        name: String,
        /// line within the template, from 1
        line: usize,
        /// byte within the line, from 0
        column: usize,
        /// the part that failed
        context: String,
        /// Go's text
        message: String,
        /// the data can never have the field that is named
        unknown_field: bool,
    },
    /// The output is too long.
    #[error("template: {name}: output is longer than {limit} bytes")]
    TooLong {
        /// the template's name
        name: String,
        /// the limit
        limit: usize,
    },
}

impl TemplateError {
    /// Whether a field is named that no value of the type has.
    pub fn is_unknown_field(&self) -> bool {
        matches!(
            self,
            Self::Exec {
                unknown_field: true,
                ..
            }
        )
    }
}

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    text: String,
    nodes: Vec<Node>,
    strict: bool,
}

impl Template {
    /// Parses `text`; `name` appears in errors (`log-tag` for tags).
    ///
    /// # Errors
    /// [`TemplateError::Parse`].
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        Ok(Self {
            name: name.to_owned(),
            text: text.to_owned(),
            nodes: parse::parse(name, text)?,
            strict: false,
        })
    }

    /// Makes a missing key of a map an error (Go's `missingkey=error`) instead of `<no value>`.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Evaluates the template with `dot` as `.` and `$`.
    ///
    /// # Errors
    /// [`TemplateError::Exec`] or [`TemplateError::TooLong`].
    pub fn render(&self, dot: &Value) -> Result<String, TemplateError> {
        exec::render(self, dot)
    }
}

#[cfg(test)]
mod tests;
