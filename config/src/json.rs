//! A JSON reader that keeps line numbers, key order, duplicate keys and numbers as written: what error messages about a file need.

/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// A value and the line (from 1) it begins on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Json,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// as written
    Number(String),
    Str(String),
    List(Vec<Node>),
    /// in the order of the file, duplicates included; with the line of each key
    Map(Vec<(String, usize, Node)>),
}

impl Json {
    /// The name of the type in error messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Str(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }

    /// The value as Go prints it with `%v`, as it appears in Docker's texts.
    pub(crate) fn go(&self) -> String {
        match self {
            Self::Null => "<nil>".to_owned(),
            Self::Bool(b) => b.to_string(),
            Self::Number(n) => n.clone(),
            Self::Str(s) => s.clone(),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(|item| item.value.go()).collect();
                format!("[{}]", items.join(" "))
            }
            Self::Map(items) => {
                let mut items: Vec<_> = items.iter().map(|(k, _, v)| (k, v.value.go())).collect();
                items.sort();
                let items: Vec<_> = items.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                format!("map[{}]", items.join(" "))
            }
        }
    }
}

/// Wrong syntax: where, and Go's words for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
    line: usize,
    line_start: usize,
}

type Result<T> = std::result::Result<T, SyntaxError>;

/// Reads one value with nothing after it; `None` if the text is blank.
pub(crate) fn parse(text: &str) -> Result<Option<Node>> {
    let mut reader = Reader {
        bytes: text.as_bytes(),
        text,
        at: 0,
        line: 1,
        line_start: 0,
    };
    reader.blank();
    if reader.peek().is_none() {
        return Ok(None);
    }
    let node = reader.value(0)?;
    reader.blank();
    match reader.peek() {
        None => Ok(Some(node)),
        Some(_) => reader.unexpected("after top-level value"),
    }
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(SyntaxError {
            line: self.line,
            column: self.at - self.line_start + 1,
            message: message.into(),
        })
    }

    fn unexpected<T>(&self, context: &str) -> Result<T> {
        match self
            .text
            .get(self.at..)
            .and_then(|rest| rest.chars().next())
        {
            None => self.fail("unexpected end of JSON input"),
            Some('\'') => self.fail(format!("invalid character '\\'' {context}")),
            Some('"') => self.fail(format!("invalid character '\"' {context}")),
            Some(c) => self.fail(format!(
                "invalid character '{}' {context}",
                c.escape_debug()
            )),
        }
    }

    fn blank(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    self.line_start = self.at;
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                _ => break,
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node> {
        if depth > MAX_DEPTH {
            return self.fail("exceeded max depth");
        }
        let line = self.line;
        let value = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Json::Str(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Json::Bool(true))?,
            Some(b'f') => self.word("false", Json::Bool(false))?,
            Some(b'n') => self.word("null", Json::Null)?,
            _ => return self.unexpected("looking for beginning of value"),
        };
        Ok(Node { line, value })
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json> {
        for (i, expected) in word.char_indices() {
            if self.peek() != Some(expected as u8) {
                let context = format!(
                    "in literal {word} (expecting {})",
                    format_args!("'{}'", &word[i..=i])
                );
                return self.unexpected(&context);
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn map(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut items = Vec::new();
        self.blank();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Map(items));
        }
        loop {
            self.blank();
            if self.peek() != Some(b'"') {
                return self.unexpected("looking for beginning of object key string");
            }
            let line = self.line;
            let key = self.string()?;
            self.blank();
            if self.peek() != Some(b':') {
                return self.unexpected("after object key");
            }
            self.at += 1;
            self.blank();
            let value = self.value(depth + 1)?;
            items.push((key, line, value));
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Map(items));
                }
                _ => return self.unexpected("after object key:value pair"),
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut items = Vec::new();
        self.blank();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::List(items));
        }
        loop {
            self.blank();
            items.push(self.value(depth + 1)?);
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::List(items));
                }
                _ => return self.unexpected("after array element"),
            }
        }
    }

    fn number(&mut self) -> Result<Json> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.unexpected("in numeric literal"),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
                return self.unexpected("after decimal point in numeric literal");
            }
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
                return self.unexpected("in exponent of numeric literal");
            }
            self.digits();
        }
        Ok(Json::Number(self.text[start..self.at].to_owned()))
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..0x20)) {
                self.at += 1;
            }
            // Both ends are at ASCII bytes or the end, so at character borders.
            out.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                _ => return self.unexpected("in string literal"),
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<()> {
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let first = self.hex4()?;
                let c = match first {
                    0xd800..=0xdbff if self.bytes[self.at..].starts_with(b"\\u") => {
                        let back = self.at;
                        self.at += 2;
                        let second = self.hex4()?;
                        if (0xdc00..=0xdfff).contains(&second) {
                            char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
                        } else {
                            self.at = back;
                            None
                        }
                    }
                    other => char::from_u32(other),
                };
                // A lone surrogate becomes U+FFFD, as in Go.
                out.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
                return Ok(());
            }
            _ => return self.unexpected("in string escape code"),
        };
        out.push(c);
        self.at += 1;
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|b| char::from(b).to_digit(16)) else {
                return self.unexpected("in \\u hexadecimal character escape");
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        let error = parse(text).unwrap_err();
        format!("{}:{} {}", error.line, error.column, error.message)
    }

    #[test]
    fn values_lines_and_duplicates() {
        let node =
            parse(" {\n \"a\": [1.50, \"\\u00e9\\ud83d\\ude00\\n\", true],\n\n \"a\": null }")
                .unwrap()
                .unwrap();
        let Json::Map(items) = node.value else {
            panic!()
        };
        assert_eq!((items[0].0.as_str(), items[0].1), ("a", 2));
        assert_eq!((items[1].0.as_str(), items[1].1), ("a", 4));
        assert_eq!(items[0].2.value.go(), "[1.50 é😀\n true]");
        assert_eq!(parse(" \n\t"), Ok(None));
    }

    #[test]
    fn errors_in_gos_words() {
        for (text, message) in [
            (
                "{bad}",
                "1:2 invalid character 'b' looking for beginning of object key string",
            ),
            ("{\n\"a\" 1}", "2:5 invalid character '1' after object key"),
            (
                "{\"a\":1,}",
                "1:8 invalid character '}' looking for beginning of object key string",
            ),
            (
                "{\"a\":1 \"b\"}",
                "1:8 invalid character '\"' after object key:value pair",
            ),
            ("{} x", "1:4 invalid character 'x' after top-level value"),
            ("{\"a\":", "1:6 unexpected end of JSON input"),
            ("[1 2]", "1:4 invalid character '2' after array element"),
            (
                "[tru]",
                "1:5 invalid character ']' in literal true (expecting 'e')",
            ),
            (
                "'a'",
                "1:1 invalid character '\\'' looking for beginning of value",
            ),
        ] {
            assert_eq!(error(text), message, "{text}");
        }
        assert!(error(&"[".repeat(1000)).contains("max depth"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[\\[\\]{}\":,\\\\u0-9a-fé \\n.eE+-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
