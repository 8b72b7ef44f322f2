//! Text to tokens, as Go's `text/template/parse/lex.go`.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Left,
    Right,
    Space,
    Field,
    Variable,
    Ident,
    Keyword,
    Bool,
    Nil,
    Dot,
    Number,
    Str,
    RawStr,
    CharConstant,
    Char,
    Pipe,
    Declare,
    Assign,
    LeftParen,
    RightParen,
    Eof,
    Error,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) pos: usize,
    pub(super) line: usize,
    /// the text, or the message of an error
    pub(super) text: String,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Kind::Eof => f.write_str("EOF"),
            Kind::Error => f.write_str(&self.text),
            Kind::Keyword | Kind::Dot | Kind::Nil => write!(f, "<{}>", self.text),
            _ if self.text.len() > 10 => {
                let short: String = self.text.chars().take(10).collect();
                write!(f, "{}...", crate::go::quote(&short))
            }
            _ => f.write_str(&crate::go::quote(&self.text)),
        }
    }
}

const KEYWORDS: &[&str] = &[
    "block", "break", "continue", "define", "else", "end", "if", "range", "template", "with",
];

struct Lexer<'a> {
    text: &'a str,
    pos: usize,
    parens: usize,
    tokens: Vec<Token>,
    line: usize,
    /// up to where newlines are counted in `line`
    counted: usize,
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alnum(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// All tokens; the last is [`Kind::Eof`] or [`Kind::Error`].
pub(super) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        text,
        pos: 0,
        parens: 0,
        tokens: Vec::new(),
        line: 1,
        counted: 0,
    };
    if let Err((pos, message)) = lexer.run() {
        lexer.push(Kind::Error, pos, message);
    }
    lexer.tokens
}

type Failure = (usize, String);

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.pos..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn push(&mut self, kind: Kind, pos: usize, text: impl Into<String>) {
        let upto = pos.max(self.counted);
        self.line += self.text.as_bytes()[self.counted..upto]
            .iter()
            .filter(|&&b| b == b'\n')
            .count();
        self.counted = upto;
        self.tokens.push(Token {
            kind,
            pos,
            line: self.line,
            text: text.into(),
        });
    }

    fn run(&mut self) -> Result<(), Failure> {
        let mut trim_left = false;
        loop {
            let start = self.pos;
            let found = self.rest().find("{{");
            let end = found.map_or(self.text.len(), |at| start + at);
            let mut text = &self.text[start..end];
            let mut text_start = start;
            if trim_left {
                let trimmed = text.trim_start_matches(is_space);
                text_start += text.len() - trimmed.len();
                text = trimmed;
            }
            let after = self.text.get(end + 2..).unwrap_or_default();
            let trim_right = found.is_some()
                && after
                    .strip_prefix('-')
                    .is_some_and(|rest| rest.starts_with(is_space));
            if trim_right {
                text = text.trim_end_matches(is_space);
            }
            if !text.is_empty() {
                self.push(Kind::Text, text_start, text);
            }
            if found.is_none() {
                self.push(Kind::Eof, self.text.len(), "");
                return Ok(());
            }
            let open = end;
            self.pos = end + 2 + if trim_right { 2 } else { 0 };
            if self.rest().starts_with("/*") {
                trim_left = self.comment(open)?;
            } else {
                self.push(Kind::Left, open, "{{");
                self.parens = 0;
                trim_left = self.action()?;
            }
        }
    }

    /// After `{{`; returns whether text after it is trimmed.
    fn comment(&mut self, open: usize) -> Result<bool, Failure> {
        let Some(at) = self.rest()[2..].find("*/") else {
            return Err((open, "unclosed comment".to_owned()));
        };
        self.pos += 2 + at + 2;
        match self.right() {
            Some((length, trim)) => {
                self.pos += length;
                Ok(trim)
            }
            None => Err((open, "comment ends before closing delimiter".to_owned())),
        }
    }

    /// Whether `}}` or ` -}}` comes next: its length and whether it trims.
    fn right(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        if rest.starts_with("}}") {
            return Some((2, false));
        }
        let mut chars = rest.chars();
        if chars.next().is_some_and(is_space) && chars.as_str().starts_with("-}}") {
            return Some((4, true));
        }
        None
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.pos += end;
        &rest[..end]
    }

    fn action(&mut self) -> Result<bool, Failure> {
        loop {
            let start = self.pos;
            if let Some((length, trim)) = self.right() {
                if self.parens > 0 {
                    return Err((start, "unclosed left paren".to_owned()));
                }
                self.push(Kind::Right, start, "}}");
                self.pos += length;
                return Ok(trim);
            }
            let Some(c) = self.peek() else {
                return Err((start, "unclosed action".to_owned()));
            };
            match c {
                c if is_space(c) => self.space(start),
                '=' => self.single(Kind::Assign),
                ':' => {
                    if !self.rest().starts_with(":=") {
                        return Err((start, "expected :=".to_owned()));
                    }
                    self.pos += 2;
                    self.push(Kind::Declare, start, ":=");
                }
                '|' => self.single(Kind::Pipe),
                '"' => self.quoted('"', Kind::Str, "unterminated quoted string")?,
                '\'' => self.quoted('\'', Kind::CharConstant, "unterminated character constant")?,
                '`' => self.raw_string()?,
                '$' => self.name(Kind::Variable)?,
                '.' => {
                    if self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) {
                        self.number()?;
                    } else if self.rest()[1..].starts_with(is_alnum) {
                        self.name(Kind::Field)?;
                    } else {
                        self.single(Kind::Dot);
                        self.terminated()?;
                    }
                }
                '+' | '-' | '0'..='9' => self.number()?,
                c if is_alnum(c) => {
                    let word = self.take_while(is_alnum);
                    self.terminated()?;
                    let kind = match word {
                        "true" | "false" => Kind::Bool,
                        "nil" => Kind::Nil,
                        word if KEYWORDS.contains(&word) => Kind::Keyword,
                        _ => Kind::Ident,
                    };
                    self.push(kind, start, word);
                }
                '(' => {
                    self.parens += 1;
                    self.single(Kind::LeftParen);
                }
                ')' => {
                    if self.parens == 0 {
                        return Err((start, "unexpected right paren".to_owned()));
                    }
                    self.parens -= 1;
                    self.single(Kind::RightParen);
                }
                c if c.is_ascii_graphic() => self.single(Kind::Char),
                c => {
                    return Err((
                        start,
                        format!("unrecognized character in action: {}", unicode(c)),
                    ));
                }
            }
        }
    }

    fn single(&mut self, kind: Kind) {
        let start = self.pos;
        self.pos += 1;
        self.push(kind, start, &self.text[start..self.pos]);
    }

    fn space(&mut self, start: usize) {
        // The blank of " -}}" belongs to the delimiter.
        while self.peek().is_some_and(is_space) {
            if self.right().is_some() {
                break;
            }
            self.pos += 1;
        }
        if self.pos > start {
            self.push(Kind::Space, start, " ");
        }
    }

    fn name(&mut self, kind: Kind) -> Result<(), Failure> {
        let start = self.pos;
        self.pos += 1;
        self.take_while(is_alnum);
        self.terminated()?;
        self.push(kind, start, &self.text[start..self.pos]);
        Ok(())
    }

    /// A word must be followed by something that can end it.
    fn terminated(&self) -> Result<(), Failure> {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => Ok(()),
            Some(c) if is_space(c) || self.rest().starts_with("}}") => Ok(()),
            Some(c) => Err((self.pos, format!("bad character {}", unicode(c)))),
        }
    }

    fn number(&mut self) -> Result<(), Failure> {
        let start = self.pos;
        self.pos += 1;
        let mut last = self.text.as_bytes()[start];
        while let Some(c) = self.peek() {
            let sign = matches!(c, '+' | '-') && matches!(last, b'e' | b'E' | b'p' | b'P');
            if !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || sign) {
                break;
            }
            last = c as u8;
            self.pos += 1;
        }
        let text = &self.text[start..self.pos];
        if !text.bytes().any(|b| b.is_ascii_digit()) {
            return Err((
                start,
                format!("bad number syntax: {}", crate::go::quote(text)),
            ));
        }
        self.push(Kind::Number, start, text);
        Ok(())
    }

    fn quoted(&mut self, quote: char, kind: Kind, unterminated: &str) -> Result<(), Failure> {
        let start = self.pos;
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                // what is escaped is no end, whatever it is
                '\\' => match chars.next() {
                    None | Some((_, '\n')) => break,
                    Some(_) => {}
                },
                '\n' => break,
                c if c == quote => {
                    self.pos += at + 1;
                    self.push(kind, start, &self.text[start..self.pos]);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err((start, unterminated.to_owned()))
    }

    fn raw_string(&mut self) -> Result<(), Failure> {
        let start = self.pos;
        let Some(at) = self.rest()[1..].find('`') else {
            return Err((start, "unterminated raw quoted string".to_owned()));
        };
        self.pos += at + 2;
        self.push(Kind::RawStr, start, &self.text[start..self.pos]);
        Ok(())
    }
}

/// Go's `%#U`.
fn unicode(c: char) -> String {
    if c.is_control() {
        format!("U+{:04X}", c as u32)
    } else {
        format!("U+{:04X} '{c}'", c as u32)
    }
}
