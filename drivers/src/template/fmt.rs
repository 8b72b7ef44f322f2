//! Values as text: Go's `fmt` verbs and JSON.

use super::MAX_STRING;
use super::value::Value;
use crate::go::{json_string, quote};

/// Go's `%v`. Inside lists and maps nil is `<nil>`, alone `<no value>` is the caller's.
pub(super) fn print(out: &mut String, value: &Value) {
    match value {
        Value::Nil => out.push_str("<nil>"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => out.push_str(&n.to_string()),
        Value::Float(n) => out.push_str(&float(*n, -4, 21)),
        Value::Str(s) => out.push_str(s),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                print(out, item);
            }
            out.push(']');
        }
        Value::Map(items) => {
            out.push_str("map[");
            for (i, (key, item)) in Value::sorted(items).into_iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                print(out, item);
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push('{');
            for (i, (_, _, item)) in object
                .members
                .iter()
                .filter(|(_, kind, _)| *kind == super::value::MemberKind::Field)
                .enumerate()
            {
                if i > 0 {
                    out.push(' ');
                }
                print(out, item);
            }
            out.push('}');
        }
    }
}

/// Shortest decimal form; with an exponent below 10^`low` and from 10^`high` on.
fn float(n: f64, low: i32, high: i32) -> String {
    let scientific = format!("{n:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if n != 0.0 && (exponent < low || exponent >= high) {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    } else {
        format!("{n}")
    }
}

/// Compact JSON without escaping of `<`, `>`, `&`.
pub(super) fn json(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Bool(b) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
        Value::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Float(n) => out.extend_from_slice(float(*n, -6, 21).as_bytes()),
        Value::Str(s) => json_string(out, s.as_bytes(), false),
        Value::List(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                json(out, item);
            }
            out.push(b']');
        }
        Value::Map(items) => members(out, items.iter().map(|(k, v)| (k.as_str(), v))),
        Value::Object(object) => members(
            out,
            object
                .members
                .iter()
                .filter(|(_, kind, _)| *kind == super::value::MemberKind::Field)
                .map(|(name, _, value)| (*name, value)),
        ),
    }
}

fn members<'a>(out: &mut Vec<u8>, items: impl Iterator<Item = (&'a str, &'a Value)>) {
    out.push(b'{');
    for (i, (key, item)) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        json_string(out, key.as_bytes(), false);
        out.push(b':');
        json(out, item);
    }
    out.push(b'}');
}

/// Go's `Sprint`: a blank between operands if neither is a string.
pub(super) fn sprint(values: &[Value]) -> Option<String> {
    let mut out = String::new();
    for (i, value) in values.iter().enumerate() {
        if out.len() > MAX_STRING {
            return None;
        }
        if i > 0 && !matches!(value, Value::Str(_)) && !matches!(values[i - 1], Value::Str(_)) {
            out.push(' ');
        }
        print(&mut out, value);
    }
    Some(out)
}

/// Go's `Sprintln`.
pub(super) fn sprintln(values: &[Value]) -> Option<String> {
    let mut out = String::new();
    for (i, value) in values.iter().enumerate() {
        if out.len() > MAX_STRING {
            return None;
        }
        if i > 0 {
            out.push(' ');
        }
        print(&mut out, value);
    }
    out.push('\n');
    Some(out)
}

#[derive(Default)]
struct Spec {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Largest width and precision, as in Go.
const MAX_WIDTH: usize = 1_000_000;

/// Go's `Sprintf`; `None` if the result would be too long.
pub(super) fn sprintf(format: &str, values: &[Value]) -> Option<String> {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if out.len() > MAX_STRING {
            return None;
        }
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(&flag) = chars.peek() {
            match flag {
                '+' => spec.plus = true,
                '-' => spec.minus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            chars.next();
        }
        spec.width = count(&mut chars, values, &mut next, &mut out, "%!(BADWIDTH)");
        if chars.next_if_eq(&'.').is_some() {
            spec.precision =
                Some(count(&mut chars, values, &mut next, &mut out, "%!(BADPREC)").unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match values.get(next) {
                None => {
                    out.push_str("%!");
                    out.push(verb);
                    out.push_str("(MISSING)");
                }
                Some(value) => {
                    next += 1;
                    one(&mut out, verb, &spec, value);
                }
            },
        }
    }
    if next < values.len() {
        out.push_str("%!(EXTRA ");
        for (i, value) in values[next..].iter().enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            if *value != Value::Nil {
                out.push_str(value.type_name());
                out.push('=');
            }
            print(&mut out, value);
        }
        out.push(')');
    }
    (out.len() <= MAX_STRING).then_some(out)
}

/// A width or precision: digits or `*`.
fn count(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    values: &[Value],
    next: &mut usize,
    out: &mut String,
    bad: &str,
) -> Option<usize> {
    if chars.next_if_eq(&'*').is_some() {
        let value = values.get(*next);
        *next += usize::from(value.is_some());
        let count = match value {
            Some(Value::Int(n)) => usize::try_from(*n).ok().filter(|n| *n <= MAX_WIDTH),
            _ => None,
        };
        if count.is_none() {
            out.push_str(bad);
        }
        return count;
    }
    let mut count = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        count = Some(
            count
                .unwrap_or(0usize)
                .saturating_mul(10)
                .saturating_add(digit as usize),
        );
    }
    if count.is_some_and(|n| n > MAX_WIDTH) {
        out.push_str(bad);
        return None;
    }
    count
}

fn one(out: &mut String, verb: char, spec: &Spec, value: &Value) {
    let text = match (verb, value) {
        ('v', Value::Str(s)) if spec.sharp => quote(s),
        ('v', Value::Int(n)) => integer(*n, 10, spec),
        ('v', value) => {
            let mut text = String::new();
            print(&mut text, value);
            text
        }
        ('T', value) => value.type_name().to_owned(),
        ('t', Value::Bool(b)) => b.to_string(),
        ('s' | 'q' | 'x' | 'X', Value::Str(s)) => {
            let cut: String = match spec.precision {
                Some(n) => s.chars().take(n).collect(),
                None => s.clone(),
            };
            match verb {
                's' => cut,
                'q' => quote(&cut),
                'x' => cut.bytes().map(|b| format!("{b:02x}")).collect(),
                _ => cut.bytes().map(|b| format!("{b:02X}")).collect(),
            }
        }
        // The verb goes to each item.
        (_, Value::List(items)) => {
            let mut text = String::from("[");
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(' ');
                }
                one(&mut text, verb, spec, item);
                if text.len() > MAX_STRING {
                    break; // the caller refuses it
                }
            }
            text.push(']');
            out.push_str(&text);
            return;
        }
        (_, Value::Map(items)) => {
            let mut text = String::from("map[");
            for (i, (key, item)) in Value::sorted(items).into_iter().enumerate() {
                if i > 0 {
                    text.push(' ');
                }
                one(&mut text, verb, spec, &Value::Str(key.clone()));
                text.push(':');
                one(&mut text, verb, spec, item);
                if text.len() > MAX_STRING {
                    break; // the caller refuses it
                }
            }
            text.push(']');
            out.push_str(&text);
            return;
        }
        ('d', Value::Int(n)) => integer(*n, 10, spec),
        ('b', Value::Int(n)) => integer(*n, 2, spec),
        ('o', Value::Int(n)) => integer(*n, 8, spec),
        ('x', Value::Int(n)) => integer(*n, 16, spec),
        ('X', Value::Int(n)) => integer(*n, 16, spec).to_uppercase(),
        ('c', Value::Int(n)) => u32::try_from(*n)
            .ok()
            .and_then(char::from_u32)
            .unwrap_or(char::REPLACEMENT_CHARACTER)
            .to_string(),
        ('f' | 'F', Value::Float(n)) => {
            let sign = if spec.plus && *n >= 0.0 { "+" } else { "" };
            // Rust keeps all digits it is asked for; more than 1000 are zeros.
            let digits = spec.precision.unwrap_or(6).min(1000);
            format!("{sign}{n:.digits$}")
        }
        ('e', Value::Float(n)) => {
            let digits = spec.precision.unwrap_or(6).min(1000);
            let text = format!("{n:.digits$e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        ('g', Value::Float(n)) => float(*n, -4, 21),
        (verb, Value::Nil) => format!("%!{verb}(<nil>)"),
        (verb, value) => {
            let mut text = format!("%!{verb}({}=", value.type_name());
            print(&mut text, value);
            text.push(')');
            text
        }
    };
    let length = text.chars().count();
    let fill = spec.width.unwrap_or(0).saturating_sub(length);
    if spec.minus {
        out.push_str(&text);
        out.extend(std::iter::repeat_n(' ', fill));
    } else if spec.zero && matches!(value, Value::Int(_) | Value::Float(_)) {
        let (sign, digits) = match text.strip_prefix(['+', '-']) {
            Some(digits) => text.split_at(text.len() - digits.len()),
            None => ("", text.as_str()),
        };
        out.push_str(sign);
        out.extend(std::iter::repeat_n('0', fill));
        out.push_str(digits);
    } else {
        out.extend(std::iter::repeat_n(' ', fill));
        out.push_str(&text);
    }
}

fn integer(n: i64, radix: u32, spec: &Spec) -> String {
    let magnitude = n.unsigned_abs();
    let digits = match (radix, spec.sharp) {
        (2, false) => format!("{magnitude:b}"),
        (2, true) => format!("{magnitude:#b}"),
        (8, false) => format!("{magnitude:o}"),
        (8, true) => format!("0{magnitude:o}"),
        (16, false) => format!("{magnitude:x}"),
        (16, true) => format!("{magnitude:#x}"),
        _ => magnitude.to_string(),
    };
    let sign = if n < 0 {
        "-"
    } else if spec.plus {
        "+"
    } else if spec.space {
        " "
    } else {
        ""
    };
    format!("{sign}{digits}")
}
