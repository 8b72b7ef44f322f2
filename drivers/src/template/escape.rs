//! Go's `html`, `js` and `urlquery`.

use std::fmt::Write;

/// `template.HTMLEscapeString`.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

/// `template.JSEscapeString`.
pub(super) fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' | '\u{2028}' | '\u{2029}' | '\u{feff}' => unicode(&mut out, c),
            c if c.is_control() => unicode(&mut out, c),
            c => out.push(c),
        }
    }
    out
}

fn unicode(out: &mut String, c: char) {
    // Writing to a string cannot fail.
    let _ = write!(out, "\\u{:04X}", c as u32);
}

/// `url.QueryEscape`.
pub(super) fn urlquery(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go() {
        assert_eq!(
            html("<a b=\"c\">'&\0"),
            "&lt;a b=&#34;c&#34;&gt;&#39;&amp;\u{fffd}"
        );
        assert_eq!(
            js("a'b\"c\\<=>&\n\u{e9}"),
            "a\\'b\\\"c\\\\\\u003C\\u003D\\u003E\\u0026\\u000A\u{e9}"
        );
        assert_eq!(urlquery("a b&c=d/\u{e9}~"), "a+b%26c%3Dd%2F%C3%A9~");
    }
}
