//! What is wrong with a JSON body, in the words of Go's decoder: clients and tests look for them.

use serde_json::error::Category;

/// The text after `invalid JSON: `.
pub(super) fn words(body: &[u8], error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof => "unexpected end of JSON input".to_owned(),
        Category::Syntax => syntax(body, error).unwrap_or_else(|| error.to_string()),
        Category::Data | Category::Io => error.to_string(),
    }
}

/// `None` where Go has no words of its own for it.
fn syntax(body: &[u8], error: &serde_json::Error) -> Option<String> {
    let said = error.to_string();
    let looked_for = if said.starts_with("key must be a string") {
        "looking for beginning of object key string"
    } else if said.starts_with("expected value") {
        "looking for beginning of value"
    } else if said.starts_with("expected `:`") {
        "after object key"
    } else if said.starts_with("expected `,` or `}`") {
        "after object key:value pair"
    } else if said.starts_with("expected `,` or `]`") {
        "after array element"
    } else if said.starts_with("trailing characters") {
        "after top-level value"
    } else {
        return None;
    };
    let line = body.split(|byte| *byte == b'\n').nth(error.line() - 1)?;
    let rest = String::from_utf8_lossy(line.get(error.column().checked_sub(1)?..)?);
    let found = rest.chars().next()?;
    Some(format!("invalid character '{found}' {looked_for}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_go() {
        for (body, expected) in [
            (
                "{invalid json",
                "invalid character 'i' looking for beginning of object key string",
            ),
            (
                "invalid",
                "invalid character 'i' looking for beginning of value",
            ),
            (
                "{\n \"a\": 1 x}",
                "invalid character 'x' after object key:value pair",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{} trailing", "invalid character 't' after top-level value"),
            ("{\"a\":", "unexpected end of JSON input"),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(body).unwrap_err();
            assert_eq!(words(body.as_bytes(), &error), expected, "{body}");
        }
    }
}
