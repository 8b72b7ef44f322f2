//! Tokens to nodes, as Go's `text/template/parse/parse.go`.

use super::lex::{Kind, Token, lex};
use super::node::{Arg, ArgKind, Branch, Command, Node, Pipe};
use super::{MAX_DEPTH, TemplateError, funcs};

pub(super) fn parse(name: &str, text: &str) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser {
        name,
        tokens: lex(text),
        at: 0,
        variables: vec!["$".to_owned()],
        action_line: 0,
        depth: 0,
        ranges: 0,
    };
    let (nodes, end) = parser.list()?;
    match end {
        Stop::Eof => Ok(nodes),
        Stop::Else => parser.fail("unexpected {{else}}"),
        Stop::End => parser.fail("unexpected {{end}}"),
    }
}

/// What ended a list of nodes.
#[derive(Clone, Copy)]
enum Stop {
    Eof,
    End,
    /// before what follows the keyword
    Else,
}

struct Parser<'a> {
    name: &'a str,
    tokens: Vec<Token>,
    at: usize,
    variables: Vec<String>,
    /// line of the open action, 0 outside
    action_line: usize,
    depth: usize,
    ranges: usize,
}

type Result<T, E = TemplateError> = std::result::Result<T, E>;

impl Parser<'_> {
    fn peek(&self) -> &Token {
        // The last token (Eof or Error) is never passed: `next` stays on it.
        &self.tokens[self.at]
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
    }

    fn next_non_space(&mut self) -> Token {
        self.skip_space();
        self.next()
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        let line = self.tokens[self.at.saturating_sub(1)].line;
        self.fail_at(line, message)
    }

    fn fail_at<T>(&self, line: usize, message: impl Into<String>) -> Result<T> {
        Err(TemplateError::Parse {
            name: self.name.to_owned(),
            line,
            message: message.into(),
        })
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Result<T> {
        if token.kind == Kind::Error {
            let mut extra = String::new();
            if self.action_line != 0 && self.action_line != token.line {
                let start = if token.text.ends_with(" action") {
                    " started at"
                } else {
                    " in action started at"
                };
                extra = format!("{start} {}:{}", self.name, self.action_line);
            }
            return self.fail_at(token.line, format!("{token}{extra}"));
        }
        self.fail_at(token.line, format!("unexpected {token} in {context}"))
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(format!("nested more than {MAX_DEPTH} levels deep"));
        }
        Ok(())
    }

    fn list(&mut self) -> Result<(Vec<Node>, Stop)> {
        let mut nodes = Vec::new();
        loop {
            let token = self.next();
            match token.kind {
                Kind::Text => nodes.push(Node::Text(token.text)),
                Kind::Eof => return Ok((nodes, Stop::Eof)),
                Kind::Left => {
                    self.action_line = token.line;
                    let node = self.action()?;
                    self.action_line = 0;
                    match node {
                        Ok(node) => nodes.push(node),
                        Err(end) => return Ok((nodes, end)),
                    }
                }
                _ => return self.unexpected(&token, "input"),
            }
        }
    }

    /// After `{{`: a node, or what ends the surrounding list.
    fn action(&mut self) -> Result<Result<Node, Stop>> {
        self.skip_space();
        if self.peek().kind == Kind::Keyword {
            let token = self.next();
            return match token.text.as_str() {
                "else" => Ok(Err(Stop::Else)),
                "end" => {
                    self.close("end")?;
                    Ok(Err(Stop::End))
                }
                "if" => Ok(Ok(Node::If(self.branch("if")?))),
                "with" => Ok(Ok(Node::With(self.branch("with")?))),
                "range" => Ok(Ok(Node::Range(self.branch("range")?))),
                "break" | "continue" => {
                    let what = format!("{{{{{}}}}}", token.text);
                    self.close(&what)?;
                    if self.ranges == 0 {
                        return self.fail_at(token.line, format!("{what} outside {{{{range}}}}"));
                    }
                    Ok(Ok(if token.text == "break" {
                        Node::Break
                    } else {
                        Node::Continue
                    }))
                }
                other => self.fail_at(token.line, format!("{{{{{other}}}}} is not supported here")),
            };
        }
        Ok(Ok(Node::Action(self.pipeline("command", Kind::Right)?)))
    }

    fn close(&mut self, context: &str) -> Result<()> {
        let token = self.next_non_space();
        if token.kind == Kind::Right {
            Ok(())
        } else {
            self.unexpected(&token, context)
        }
    }

    fn branch(&mut self, context: &'static str) -> Result<Branch> {
        self.enter()?;
        let scope = self.variables.len();
        let pipe = self.pipeline(context, Kind::Right)?;
        if context == "range" {
            self.ranges += 1;
        }
        let (then, end) = self.list()?;
        if context == "range" {
            self.ranges -= 1;
        }
        let otherwise = match end {
            Stop::Eof => return self.fail("unexpected EOF"),
            Stop::End => Vec::new(),
            Stop::Else => self.otherwise(context)?,
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(Branch {
            pipe,
            then,
            otherwise,
        })
    }

    /// After `{{else`.
    fn otherwise(&mut self, context: &'static str) -> Result<Vec<Node>> {
        self.skip_space();
        let next = self.peek();
        // {{else if}} and {{else with}} share the {{end}} of what they continue.
        if next.kind == Kind::Keyword && next.text == context && context != "range" {
            self.next();
            let branch = self.branch(context)?;
            return Ok(vec![if context == "if" {
                Node::If(branch)
            } else {
                Node::With(branch)
            }]);
        }
        self.close("else")?;
        let (nodes, end) = self.list()?;
        match end {
            Stop::End => Ok(nodes),
            Stop::Eof => self.fail("unexpected EOF"),
            Stop::Else => self.fail("expected end; found {{else}}"),
        }
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe> {
        self.skip_space();
        let mut pipe = Pipe {
            pos: self.peek().pos,
            assign: false,
            variables: Vec::new(),
            commands: Vec::new(),
        };
        self.declarations(context, &mut pipe)?;
        loop {
            self.skip_space();
            let token = self.peek().clone();
            match token.kind {
                kind if kind == end => {
                    self.next();
                    self.check(&pipe, context)?;
                    // Visible from here on, not within its own value.
                    if !pipe.assign {
                        self.variables.extend(pipe.variables.iter().cloned());
                    }
                    return Ok(pipe);
                }
                Kind::Bool
                | Kind::CharConstant
                | Kind::Dot
                | Kind::Field
                | Kind::Ident
                | Kind::Number
                | Kind::Nil
                | Kind::RawStr
                | Kind::Str
                | Kind::Variable
                | Kind::LeftParen => {
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
    }

    fn declarations(&mut self, context: &str, pipe: &mut Pipe) -> Result<()> {
        let start = self.at;
        loop {
            self.skip_space();
            if self.peek().kind != Kind::Variable {
                break;
            }
            let variable = self.next();
            self.skip_space();
            let next = self.peek().clone();
            match next.kind {
                Kind::Declare | Kind::Assign => {
                    self.next();
                    pipe.assign = next.kind == Kind::Assign;
                    if pipe.assign && !self.variables.contains(&variable.text) {
                        return self.fail_at(
                            variable.line,
                            format!("undefined variable {}", crate::go::quote(&variable.text)),
                        );
                    }
                    pipe.variables.push(variable.text);
                    return Ok(());
                }
                Kind::Char if next.text == "," && context == "range" => {
                    self.next();
                    pipe.variables.push(variable.text);
                    if pipe.variables.len() > 1 {
                        return self.fail_at(next.line, "too many declarations in range");
                    }
                }
                _ => break,
            }
        }
        if pipe.variables.is_empty() {
            self.at = start;
            return Ok(());
        }
        self.fail(format!(
            "range can only initialize variables, not use {}",
            pipe.variables[0]
        ))
    }

    fn check(&self, pipe: &Pipe, context: &str) -> Result<()> {
        if pipe.commands.is_empty() {
            return self.fail(format!("missing value for {context}"));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            if matches!(
                command.args[0].kind,
                ArgKind::Bool(_)
                    | ArgKind::Dot
                    | ArgKind::Nil
                    | ArgKind::Int(..)
                    | ArgKind::Float(..)
                    | ArgKind::Str(..)
            ) {
                return self.fail(format!(
                    "non executable command in pipeline stage {}",
                    i + 1
                ));
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Command> {
        let mut command = Command {
            pos: self.peek().pos,
            args: Vec::new(),
        };
        loop {
            self.skip_space();
            if let Some(arg) = self.operand()? {
                command.args.push(arg);
            }
            let token = self.peek().clone();
            match token.kind {
                Kind::Space => {
                    self.next();
                }
                Kind::Right | Kind::RightParen => break,
                Kind::Pipe => {
                    self.next();
                    self.skip_space();
                    if matches!(self.peek().kind, Kind::Right | Kind::RightParen) {
                        return self.fail("missing value for command");
                    }
                    break;
                }
                _ => return self.unexpected(&token, "operand"),
            }
        }
        if command.args.is_empty() {
            return self.fail("empty command");
        }
        Ok(command)
    }

    fn operand(&mut self) -> Result<Option<Arg>> {
        let Some(mut arg) = self.term()? else {
            return Ok(None);
        };
        if self.peek().kind != Kind::Field {
            return Ok(Some(arg));
        }
        // Go gives a chain the place of its second part.
        let pos = self.peek().pos;
        let mut names = Vec::new();
        while self.peek().kind == Kind::Field {
            names.push(self.next().text[1..].to_owned());
        }
        arg.pos = pos;
        arg.kind = match arg.kind {
            ArgKind::Field(mut first) => {
                first.append(&mut names);
                ArgKind::Field(first)
            }
            ArgKind::Variable(name, mut first) => {
                first.append(&mut names);
                ArgKind::Variable(name, first)
            }
            ArgKind::Pipe(pipe) => ArgKind::Chain(pipe, names),
            kind => {
                let term = Arg { pos, kind };
                return self.fail(format!(
                    "unexpected . after term {}",
                    crate::go::quote(&term.to_string())
                ));
            }
        };
        Ok(Some(arg))
    }

    fn term(&mut self) -> Result<Option<Arg>> {
        let token = self.peek().clone();
        let kind = match token.kind {
            Kind::Ident => {
                if !funcs::exists(&token.text) {
                    return self.fail_at(
                        token.line,
                        format!("function {} not defined", crate::go::quote(&token.text)),
                    );
                }
                ArgKind::Function(token.text.clone())
            }
            Kind::Dot => ArgKind::Dot,
            Kind::Nil => ArgKind::Nil,
            Kind::Bool => ArgKind::Bool(token.text == "true"),
            Kind::Field => ArgKind::Field(vec![token.text[1..].to_owned()]),
            Kind::Variable => {
                if !self.variables.contains(&token.text) {
                    return self.fail_at(
                        token.line,
                        format!("undefined variable {}", crate::go::quote(&token.text)),
                    );
                }
                ArgKind::Variable(token.text.clone(), Vec::new())
            }
            Kind::Number => match number(&token.text) {
                Some(kind) => kind,
                None => {
                    return self.fail_at(
                        token.line,
                        format!("illegal number syntax: {}", crate::go::quote(&token.text)),
                    );
                }
            },
            Kind::RawStr => {
                let raw = token.text.clone();
                let inner = raw[1..raw.len() - 1].to_owned();
                ArgKind::Str(raw, inner)
            }
            Kind::Str | Kind::CharConstant => {
                let raw = token.text.clone();
                let value = unquote(&raw[1..raw.len() - 1]);
                match (value, token.kind) {
                    (Some(text), Kind::Str) => ArgKind::Str(raw, text),
                    (Some(text), _) if text.chars().count() == 1 => ArgKind::Int(
                        text.chars().next().map_or(0, |c| i64::from(u32::from(c))),
                        raw,
                    ),
                    (_, Kind::Str) => return self.fail_at(token.line, "invalid syntax"),
                    _ => {
                        return self
                            .fail_at(token.line, format!("malformed character constant: {raw}"));
                    }
                }
            }
            Kind::LeftParen => {
                self.next();
                self.enter()?;
                let pipe = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                self.depth -= 1;
                return Ok(Some(Arg {
                    pos: token.pos,
                    kind: ArgKind::Pipe(Box::new(pipe)),
                }));
            }
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(Arg {
            pos: token.pos,
            kind,
        }))
    }
}

fn number(text: &str) -> Option<ArgKind> {
    let (sign, digits) = match text.as_bytes()[0] {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let clean = digits.replace('_', "");
    let lower = clean.to_ascii_lowercase();
    let radix = |prefix: &str, radix| {
        lower
            .strip_prefix(prefix)
            .and_then(|rest| i64::from_str_radix(&format!("{sign}{rest}"), radix).ok())
    };
    let int = radix("0x", 16)
        .or_else(|| radix("0o", 8))
        .or_else(|| radix("0b", 2))
        .or_else(|| {
            if lower.len() > 1 && lower.starts_with('0') {
                radix("0", 8)
            } else {
                format!("{sign}{clean}").parse().ok()
            }
        });
    if let Some(n) = int {
        return Some(ArgKind::Int(n, text.to_owned()));
    }
    let plain = clean
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let float: f64 = format!("{sign}{clean}").parse().ok()?;
    (plain && float.is_finite()).then(|| ArgKind::Float(float, text.to_owned()))
}

/// The inside of a Go string literal.
fn unquote(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let code =
            |chars: &mut std::str::Chars<'_>, digits: usize, radix: u32, first: Option<char>| {
                let mut code = first.map_or(Some(0), |c| c.to_digit(radix))?;
                for _ in 0..digits {
                    code = code * radix + chars.next()?.to_digit(radix)?;
                }
                char::from_u32(code)
            };
        out.push(match chars.next()? {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\\' => '\\',
            '"' => '"',
            '\'' => '\'',
            // Bytes above 0x7f would be no UTF-8 by themselves; they are taken as the character of that number.
            'x' => code(&mut chars, 2, 16, None)?,
            'u' => code(&mut chars, 4, 16, None)?,
            'U' => {
                let digits: String = chars.by_ref().take(8).collect();
                if digits.len() != 8 {
                    return None;
                }
                char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
            }
            c @ '0'..='7' => code(&mut chars, 2, 8, Some(c))?,
            _ => return None,
        });
    }
    Some(out)
}
