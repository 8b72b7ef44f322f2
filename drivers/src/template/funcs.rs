//! The functions of templates: Go's own and those Docker adds.

use super::value::Value;
use super::{MAX_ITEMS, MAX_STRING, escape, fmt};

/// `and` and `or` are evaluated by the caller, which stops at the first operand that decides.
pub(super) const SHORT_CIRCUIT: &[&str] = &["and", "or"];

const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt",
    "ne", "not", "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate",
    "upper", "urlquery",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Why a call failed.
pub(super) enum CallError {
    /// Said as it is.
    Usage(String),
    /// Said after `error calling <name>: `.
    Calling(String),
}

type Result = std::result::Result<Value, CallError>;

fn calling<T>(message: impl Into<String>) -> std::result::Result<T, CallError> {
    Err(CallError::Calling(message.into()))
}

fn too_long<T>() -> std::result::Result<T, CallError> {
    calling("result is too long")
}

fn exactly(name: &str, args: &[Value], want: usize) -> std::result::Result<(), CallError> {
    if args.len() == want {
        return Ok(());
    }
    Err(CallError::Usage(format!(
        "wrong number of args for {name}: want {want} got {}",
        args.len()
    )))
}

fn at_least(name: &str, args: &[Value], want: usize) -> std::result::Result<(), CallError> {
    if args.len() >= want {
        return Ok(());
    }
    Err(CallError::Usage(format!(
        "wrong number of args for {name}: want at least {want} got {}",
        args.len()
    )))
}

fn string(value: &Value) -> std::result::Result<&str, CallError> {
    match value {
        Value::Str(s) => Ok(s),
        other => Err(CallError::Usage(format!(
            "wrong type for value; expected string; got {}",
            other.type_name()
        ))),
    }
}

fn int(value: &Value) -> std::result::Result<i64, CallError> {
    match value {
        Value::Int(n) => Ok(*n),
        other => Err(CallError::Usage(format!(
            "wrong type for value; expected int; got {}",
            other.type_name()
        ))),
    }
}

pub(super) fn call(name: &str, args: &[Value]) -> Result {
    match name {
        "not" => {
            exactly(name, args, 1)?;
            Ok(Value::Bool(!args[0].truth()))
        }
        "len" => {
            exactly(name, args, 1)?;
            length(&args[0])
        }
        "index" => {
            at_least(name, args, 1)?;
            args[1..]
                .iter()
                .try_fold(args[0].clone(), |item, key| index(&item, key))
        }
        "slice" => {
            at_least(name, args, 1)?;
            slice(&args[0], &args[1..])
        }
        "eq" => {
            at_least(name, args, 1)?;
            if args.len() == 1 {
                return calling("missing argument for comparison");
            }
            for other in &args[1..] {
                if equal(&args[0], other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        "ne" => {
            exactly(name, args, 2)?;
            Ok(Value::Bool(!equal(&args[0], &args[1])?))
        }
        "lt" | "le" | "gt" | "ge" => {
            exactly(name, args, 2)?;
            let order = compare(&args[0], &args[1])?;
            Ok(Value::Bool(match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        "print" => fmt::sprint(args).map_or_else(too_long, |text| Ok(text.into())),
        "html" | "js" | "urlquery" => {
            let escaped = fmt::sprint(args).map(|text| match name {
                "html" => escape::html(&text),
                "js" => escape::js(&text),
                _ => escape::urlquery(&text),
            });
            match escaped {
                Some(text) if text.len() <= MAX_STRING => Ok(text.into()),
                _ => too_long(),
            }
        }
        "println" => fmt::sprintln(args).map_or_else(too_long, |text| Ok(text.into())),
        "printf" => {
            at_least(name, args, 1)?;
            fmt::sprintf(string(&args[0])?, &args[1..])
                .map_or_else(too_long, |text| Ok(text.into()))
        }
        _ => docker(name, args),
    }
}

/// The functions that Docker adds (its package `templates`).
fn docker(name: &str, args: &[Value]) -> Result {
    match name {
        "json" => {
            exactly(name, args, 1)?;
            let mut out = Vec::new();
            fmt::json(&mut out, &args[0]);
            Ok(String::from_utf8_lossy(&out).into_owned().into())
        }
        "split" => {
            exactly(name, args, 2)?;
            split(string(&args[0])?, string(&args[1])?)
        }
        "join" => {
            exactly(name, args, 2)?;
            join(&args[0], string(&args[1])?)
        }
        "title" => {
            exactly(name, args, 1)?;
            let mut out = String::new();
            let mut inside = false;
            for c in string(&args[0])?.chars() {
                if inside {
                    out.push(c);
                } else {
                    out.extend(c.to_uppercase());
                }
                inside = c.is_alphanumeric() || c == '_' || (!c.is_ascii() && !c.is_whitespace());
            }
            Ok(out.into())
        }
        "lower" => {
            exactly(name, args, 1)?;
            Ok(string(&args[0])?.to_lowercase().into())
        }
        "upper" => {
            exactly(name, args, 1)?;
            Ok(string(&args[0])?.to_uppercase().into())
        }
        "pad" => {
            exactly(name, args, 3)?;
            pad(string(&args[0])?, int(&args[1])?, int(&args[2])?)
        }
        "truncate" => {
            exactly(name, args, 2)?;
            let text = string(&args[0])?;
            let Ok(bytes) = usize::try_from(int(&args[1])?) else {
                return calling("length is negative");
            };
            // Docker cuts at any byte; here never inside a character.
            let mut end = bytes.min(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            Ok(text[..end].into())
        }
        // The parser lets no other name pass.
        _ => calling("not a function"),
    }
}

fn length(value: &Value) -> Result {
    let length = match value {
        Value::Str(s) => s.len(),
        Value::List(items) => items.len(),
        Value::Map(items) => items.len(),
        Value::Nil => return calling("len of nil pointer"),
        other => return calling(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn position(key: &Value, length: usize) -> std::result::Result<usize, CallError> {
    match key {
        Value::Int(n) => match usize::try_from(*n) {
            Ok(at) if at <= length => Ok(at),
            _ => calling(format!("index out of range: {n}")),
        },
        Value::Nil => calling("cannot index slice/array with nil"),
        other => calling(format!(
            "cannot index slice/array with type {}",
            other.type_name()
        )),
    }
}

fn index(item: &Value, key: &Value) -> Result {
    match item {
        Value::Map(items) => match key {
            Value::Str(key) => Ok(items.iter().find(|(k, _)| k == key).map_or_else(
                // A Go map[string]string gives the empty string, a map of anything gives nothing.
                || {
                    if items.iter().all(|(_, v)| matches!(v, Value::Str(_))) {
                        Value::Str(String::new())
                    } else {
                        Value::Nil
                    }
                },
                |(_, value)| value.clone(),
            )),
            other => calling(format!(
                "value has type {}; should be string",
                other.type_name()
            )),
        },
        Value::List(items) => {
            let at = position(key, items.len())?;
            match items.get(at) {
                Some(value) => Ok(value.clone()),
                None => calling(format!("index out of range: {at}")),
            }
        }
        Value::Str(text) => {
            let at = position(key, text.len())?;
            match text.as_bytes().get(at) {
                Some(byte) => Ok(Value::Int(i64::from(*byte))),
                None => calling(format!("index out of range: {at}")),
            }
        }
        Value::Nil => calling("index of untyped nil"),
        other => calling(format!("can't index item of type {}", other.type_name())),
    }
}

fn slice(item: &Value, keys: &[Value]) -> Result {
    let length = match item {
        Value::Str(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Nil => return calling("slice of untyped nil"),
        other => return calling(format!("can't slice item of type {}", other.type_name())),
    };
    if keys.len() > 2 {
        return calling(format!("too many slice indexes: {}", keys.len()));
    }
    let from = keys.first().map_or(Ok(0), |key| position(key, length))?;
    let to = keys
        .get(1)
        .map_or(Ok(length), |key| position(key, length))?;
    if from > to {
        return calling(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match item {
        Value::List(items) => Value::List(items[from..to].to_vec()),
        Value::Str(text) => String::from_utf8_lossy(&text.as_bytes()[from..to])
            .into_owned()
            .into(),
        _ => Value::Nil,
    })
}

fn equal(a: &Value, b: &Value) -> std::result::Result<bool, CallError> {
    match (a, b) {
        (Value::Nil, _) | (_, Value::Nil) => Ok(a == b),
        (Value::Bool(_), Value::Bool(_))
        | (Value::Int(_), Value::Int(_))
        | (Value::Float(_), Value::Float(_))
        | (Value::Str(_), Value::Str(_)) => Ok(a == b),
        (Value::List(_) | Value::Map(_) | Value::Object(_), _)
        | (_, Value::List(_) | Value::Map(_) | Value::Object(_)) => {
            calling("non-comparable type in comparison")
        }
        _ => calling("incompatible types for comparison"),
    }
}

fn compare(a: &Value, b: &Value) -> std::result::Result<std::cmp::Ordering, CallError> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => Ok(a.total_cmp(b)),
        (Value::Str(a), Value::Str(b)) => Ok(a.cmp(b)),
        (
            Value::Int(_) | Value::Float(_) | Value::Str(_),
            Value::Int(_) | Value::Float(_) | Value::Str(_),
        ) => calling("incompatible types for comparison"),
        _ => calling("invalid type for comparison"),
    }
}

fn split(text: &str, separator: &str) -> Result {
    let mut items = Vec::new();
    let mut push = |part: &str| {
        items.push(Value::from(part));
        items.len() <= MAX_ITEMS
    };
    // Go splits by characters at an empty separator, Rust also before the first and after the last.
    let complete = if separator.is_empty() {
        text.char_indices()
            .all(|(at, c)| push(&text[at..at + c.len_utf8()]))
    } else {
        text.split(separator).all(&mut push)
    };
    if complete {
        Ok(Value::List(items))
    } else {
        too_long()
    }
}

fn join(list: &Value, separator: &str) -> Result {
    let Value::List(items) = list else {
        return Err(CallError::Usage(format!(
            "wrong type for value; expected []string; got {}",
            list.type_name()
        )));
    };
    let mut out = String::new();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(separator);
        }
        fmt::print(&mut out, item);
        if out.len() > MAX_STRING {
            return too_long();
        }
    }
    Ok(out.into())
}

fn pad(text: &str, before: i64, after: i64) -> Result {
    if text.is_empty() {
        return Ok(text.into());
    }
    let (Ok(before), Ok(after)) = (usize::try_from(before), usize::try_from(after)) else {
        return calling("strings: negative Repeat count");
    };
    if before.saturating_add(after) > MAX_STRING {
        return too_long();
    }
    Ok(format!("{:before$}{text}{:after$}", "", "").into())
}
