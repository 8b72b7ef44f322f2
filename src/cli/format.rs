//! `--format`: `json`, `table ...` and templates, over rows of strings or whole objects.
//!
//! A template is text with `{{...}}`: fields (`.A.B`), and the functions `json`, `upper`, `lower`,
//! `len`, `join`, `index` and `println`, also behind `|`.

use serde_json::{Map, Value};

use super::table;

/// A template that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("template parsing error: unclosed action in {0:?}")]
    Unclosed(String),
    #[error("template parsing error: function {0:?} not defined")]
    Function(String),
    #[error("template parsing error: unexpected {0:?}")]
    Unexpected(String),
    #[error("template: map has no entry for key {0:?}")]
    NoEntry(String),
    #[error("template: wrong arguments for {0}")]
    Arguments(&'static str),
}

/// How the rows of a list are shown.
#[derive(Debug)]
pub(crate) enum Layout {
    /// One JSON object a line.
    Json,
    /// Lines of a template.
    Lines(Template),
    /// Columns of a template, with headings.
    Table(Template),
}

impl Layout {
    /// Reads `--format`; `default` is the table of the command.
    ///
    /// # Errors
    /// A template that cannot be used.
    pub(crate) fn choose(format: Option<&str>, default: &str) -> Result<Self, FormatError> {
        let format = format.filter(|f| !f.is_empty()).unwrap_or("table");
        match format {
            "json" => Ok(Self::Json),
            "table" => Ok(Self::Table(Template::parse(default)?)),
            _ => {
                let text = format.replace("\\t", "\t").replace("\\n", "\n");
                match text.strip_prefix("table ") {
                    Some(columns) => Ok(Self::Table(Template::parse(columns.trim())?)),
                    None => Ok(Self::Lines(Template::parse(&text)?)),
                }
            }
        }
    }

    /// All rows as text; `headings` maps field to heading.
    ///
    /// # Errors
    /// A field that the rows do not have.
    pub(crate) fn render(
        &self,
        rows: &[Map<String, Value>],
        headings: &[(&str, &str)],
    ) -> Result<String, FormatError> {
        let mut out = String::new();
        match self {
            Self::Json => {
                for row in rows {
                    // As in Docker, sorted, and without what only templates may use.
                    let sorted: std::collections::BTreeMap<_, _> =
                        row.iter().filter(|(_, v)| !v.is_object()).collect();
                    out.push_str(&serde_json::json!(sorted).to_string());
                    out.push('\n');
                }
                Ok(out)
            }
            Self::Lines(template) => {
                for row in rows {
                    out.push_str(&template.render(&Value::Object(row.clone()))?);
                    out.push('\n');
                }
                Ok(out)
            }
            Self::Table(template) => {
                let head: Map<String, Value> = headings
                    .iter()
                    .map(|(field, heading)| ((*field).to_owned(), Value::from(*heading)))
                    .collect();
                out.push_str(&template.render(&Value::Object(head))?);
                out.push('\n');
                for row in rows {
                    out.push_str(&template.render(&Value::Object(row.clone()))?);
                    out.push('\n');
                }
                Ok(table::align(&out))
            }
        }
    }
}

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(String),
    Pipe(Vec<Vec<Token>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Path(Vec<String>),
    Text(String),
    Number(i64),
    Word(String),
}

impl Template {
    /// # Errors
    /// An action that is not closed or not known.
    pub(crate) fn parse(text: &str) -> Result<Self, FormatError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let mut before = rest[..start].to_owned();
            let end = rest[start..]
                .find("}}")
                .ok_or_else(|| FormatError::Unclosed(text.to_owned()))?
                + start;
            let mut action = &rest[start + 2..end];
            rest = &rest[end + 2..];
            if let Some(inner) = action.strip_prefix("- ") {
                action = inner;
                before.truncate(before.trim_end().len());
            }
            if let Some(inner) = action.strip_suffix(" -") {
                action = inner;
                rest = rest.trim_start();
            }
            if !before.is_empty() {
                parts.push(Part::Text(before));
            }
            if action.trim_start().starts_with("/*") {
                continue;
            }
            let pipe: Vec<Vec<Token>> = split_pipe(action)
                .iter()
                .map(|c| tokens(c))
                .collect::<Result<_, _>>()?;
            for command in &pipe {
                match command.first() {
                    Some(Token::Word(w)) if !FUNCTIONS.contains(&w.as_str()) => {
                        return Err(FormatError::Function(w.clone()));
                    }
                    None => return Err(FormatError::Unexpected("}}".into())),
                    _ => {}
                }
            }
            parts.push(Part::Pipe(pipe));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The text for one value.
    ///
    /// # Errors
    /// A field that is not there, or a function with the wrong arguments.
    pub(crate) fn render(&self, value: &Value) -> Result<String, FormatError> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Pipe(commands) => {
                    let mut last = None;
                    for command in commands {
                        last = Some(call(command, value, last)?);
                    }
                    if let Some(v) = last {
                        show(&mut out, &v, true);
                    }
                }
            }
        }
        Ok(out)
    }
}

const FUNCTIONS: [&str; 7] = ["json", "upper", "lower", "len", "join", "index", "println"];

fn call(command: &[Token], root: &Value, piped: Option<Value>) -> Result<Value, FormatError> {
    let (head, rest) = command
        .split_first()
        .ok_or_else(|| FormatError::Unexpected("|".into()))?;
    let mut args: Vec<Value> = rest
        .iter()
        .map(|t| evaluate(t, root))
        .collect::<Result<_, _>>()?;
    let Token::Word(name) = head else {
        // `.Label "key"` is a method of list rows.
        if let (Token::Path(path), [Value::String(key)]) = (head, &args[..])
            && path.len() == 1
            && path[0] == "Label"
        {
            return Ok(root
                .pointer("/LabelMap")
                .and_then(|m| m.get(key))
                .cloned()
                .unwrap_or_else(|| "".into()));
        }
        return evaluate(head, root);
    };
    args.extend(piped);
    let text = |what| match &args[..] {
        [Value::String(s)] => Ok(s.clone()),
        _ => Err(FormatError::Arguments(what)),
    };
    Ok(match name.as_str() {
        "json" => match &args[..] {
            [v] => v.to_string().into(),
            _ => return Err(FormatError::Arguments("json")),
        },
        "upper" => text("upper")?.to_uppercase().into(),
        "lower" => text("lower")?.to_lowercase().into(),
        "len" => match &args[..] {
            [Value::Array(a)] => a.len().into(),
            [Value::Object(m)] => m.len().into(),
            [Value::String(s)] => s.len().into(),
            [Value::Null] => 0.into(),
            _ => return Err(FormatError::Arguments("len")),
        },
        "join" => match &args[..] {
            [Value::Array(a), Value::String(sep)] => a
                .iter()
                .map(|v| {
                    let mut s = String::new();
                    show(&mut s, v, true);
                    s
                })
                .collect::<Vec<_>>()
                .join(sep)
                .into(),
            _ => return Err(FormatError::Arguments("join")),
        },
        "index" => {
            let (first, keys) = args.split_first().ok_or(FormatError::Arguments("index"))?;
            let mut at = first;
            for key in keys {
                let next = match (at, key) {
                    (Value::Object(m), Value::String(k)) => m.get(k),
                    (Value::Array(a), Value::Number(n)) => n
                        .as_u64()
                        .and_then(|n| usize::try_from(n).ok())
                        .and_then(|n| a.get(n)),
                    _ => return Err(FormatError::Arguments("index")),
                };
                match next {
                    Some(v) => at = v,
                    None if key.is_string() => return Ok("".into()),
                    None => return Err(FormatError::Arguments("index")),
                }
            }
            at.clone()
        }
        "println" => {
            let mut s = String::new();
            for (i, v) in args.iter().enumerate() {
                if i > 0 {
                    s.push(' ');
                }
                show(&mut s, v, true);
            }
            s.push('\n');
            s.into()
        }
        other => return Err(FormatError::Function(other.to_owned())),
    })
}

fn evaluate(token: &Token, root: &Value) -> Result<Value, FormatError> {
    match token {
        Token::Text(s) => Ok(s.as_str().into()),
        Token::Number(n) => Ok((*n).into()),
        Token::Word(w) => Err(FormatError::Unexpected(w.clone())),
        Token::Path(path) => {
            let mut at = root;
            for name in path {
                at = field(at, name).ok_or_else(|| FormatError::NoEntry(name.clone()))?;
            }
            Ok(at.clone())
        }
    }
}

/// A field by its JSON name, or by Go's where the two differ in case (`ID` and `Id`).
fn field<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let map = value.as_object()?;
    map.get(name).or_else(|| {
        map.iter()
            .find(|(k, _)| k.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    })
}

/// As Go prints a value: `map[a:b]`, `[a b]`, `<no value>`.
fn show(out: &mut String, value: &Value, top: bool) {
    match value {
        Value::Null => out.push_str(if top { "<no value>" } else { "<nil>" }),
        Value::String(s) => out.push_str(s),
        Value::Array(items) => {
            out.push('[');
            for (i, v) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                show(out, v, false);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push_str("map[");
            let sorted: std::collections::BTreeMap<_, _> = map.iter().collect();
            for (i, (k, v)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                out.push_str(k);
                out.push(':');
                show(out, v, false);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// Cuts at `|` outside of quotes.
fn split_pipe(action: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    for c in action.chars() {
        if c == '"' {
            quoted = !quoted;
        }
        match out.last_mut() {
            Some(_) if c == '|' && !quoted => out.push(String::new()),
            Some(last) => last.push(c),
            None => {}
        }
    }
    out
}

fn tokens(command: &str) -> Result<Vec<Token>, FormatError> {
    let mut out = Vec::new();
    let mut rest = command.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted
                .find('"')
                .ok_or_else(|| FormatError::Unclosed(command.to_owned()))?;
            out.push(Token::Text(
                quoted[..end].replace("\\n", "\n").replace("\\t", "\t"),
            ));
            rest = quoted[end + 1..].trim_start();
            continue;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let word = &rest[..end];
        rest = rest[end..].trim_start();
        out.push(if let Some(path) = word.strip_prefix('.') {
            if path.contains(['(', ')', '"']) {
                return Err(FormatError::Unexpected(word.to_owned()));
            }
            Token::Path(
                path.split('.')
                    .filter(|s| !s.is_empty())
                    .map(str::to_owned)
                    .collect(),
            )
        } else if let Ok(n) = word.parse() {
            Token::Number(n)
        } else {
            Token::Word(word.to_owned())
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str, value: &Value) -> String {
        Template::parse(template).unwrap().render(value).unwrap()
    }

    #[test]
    fn fields_functions_and_pipes() {
        let v = json!({"Id": "ab", "State": {"Pid": 7, "Error": ""}, "Args": ["a", "b"],
            "Labels": {"x.y": "1"}, "None": null});
        assert_eq!(render("{{.ID}}-{{ .State.Pid }}", &v), "ab-7");
        assert_eq!(
            render("{{json .Args}} {{.Args}}", &v),
            "[\"a\",\"b\"] [a b]"
        );
        assert_eq!(render("{{.Id | upper}}", &v), "AB");
        assert_eq!(
            render("{{index .Labels \"x.y\"}}{{index .Args 1}}", &v),
            "1b"
        );
        assert_eq!(render("{{join .Args \",\"}} {{len .Args}}", &v), "a,b 2");
        assert_eq!(render("{{.None}} {{.Labels}}", &v), "<no value> map[x.y:1]");
        assert_eq!(
            Template::parse("{{.Nope}}").unwrap().render(&v),
            Err(FormatError::NoEntry("Nope".into()))
        );
        assert!(Template::parse("{{.A").is_err());
        assert!(Template::parse("{{nope .A}}").is_err());
    }

    #[test]
    fn tables_have_headings_and_json_has_lines() {
        let row: Map<String, Value> = [("ID".to_owned(), json!("1")), ("N".into(), json!("x"))]
            .into_iter()
            .collect();
        let heads = [("ID", "CONTAINER ID"), ("N", "NAMES")];
        let rows = [row];
        let t = |f: &str| {
            Layout::choose(Some(f), "{{.ID}}\t{{.N}}")
                .unwrap()
                .render(&rows, &heads)
                .unwrap()
        };
        assert_eq!(t(""), "CONTAINER ID   NAMES\n1              x\n");
        assert_eq!(t("table {{.N}}"), "NAMES\nx\n");
        assert_eq!(t("json"), "{\"ID\":\"1\",\"N\":\"x\"}\n");
        assert_eq!(t("{{.N}}\\t{{.ID}}"), "x\t1\n");
    }
}
