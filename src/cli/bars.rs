//! Progress of a pull, push or load: bars on a terminal, plain lines elsewhere (source: Moby
//! `pkg/jsonmessage`).

use std::collections::HashMap;

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use serde_json::Value;

use crate::client::ClientError;

use super::error::CliError;
use super::import::Objects;
use super::out::{self, To};
use super::terminal;
use super::units::human_size_4;

/// Columns from which there is room for a bar, and for the time that is left.
const WIDE: u16 = 110;
/// Columns when the terminal does not say.
const USUAL: u16 = 200;

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// Nowhere; errors are told all the same.
    Nothing,
    On(To),
}

/// Shows what a daemon tells until it is done.
///
/// # Errors
/// The daemon's last word, a broken connection, what is no JSON.
pub(crate) async fn follow(
    request: &str,
    answer: Response<Incoming>,
    show: Show,
) -> Result<(), CliError> {
    let mut body = answer.into_body();
    let mut objects = Objects::default();
    let (to, visible) = match show {
        Show::Nothing => (To::Out, false),
        Show::On(to) => (to, true),
    };
    let width = match to {
        To::Out if terminal::stdout_is_terminal() => Some(terminal::size()),
        To::Err if terminal::stderr_is_terminal() => Some(terminal::size()),
        _ => None,
    };
    let mut screen = Screen {
        width: width.map(|size| size.map_or(USUAL, |(_, columns)| columns)),
        lines: HashMap::new(),
    };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| ClientError::Http {
            request: request.to_owned(),
            source,
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let found = objects.feed(&data).map_err(|source| ClientError::Json {
            request: request.to_owned(),
            source,
        })?;
        for record in found {
            let failure = record["errorDetail"]["message"]
                .as_str()
                .or_else(|| record["error"].as_str());
            if let Some(text) = failure {
                return Err(CliError::Image(text.to_owned()));
            }
            if visible {
                out::write(to, screen.text(&record).as_bytes());
            }
        }
    }
    Ok(())
}

/// What is on the screen so far.
struct Screen {
    /// `None`: no terminal.
    width: Option<u16>,
    /// Line of each layer, from the first of the block.
    lines: HashMap<String, usize>,
}

impl Screen {
    /// What a record adds to the screen.
    fn text(&mut self, record: &Value) -> String {
        if !record["aux"].is_null() {
            return String::new();
        }
        let id = record["id"].as_str().unwrap_or_default();
        let status = record["status"].as_str().unwrap_or_default();
        let detail = &record["progressDetail"];
        if let Some(text) = record["stream"].as_str() {
            return text.to_owned();
        }
        let label = if id.is_empty() {
            String::new()
        } else {
            format!("{id}: ")
        };
        let Some(width) = self.width else {
            // Numbers would only fill a file.
            return if counts(detail) == (0, 0) {
                format!("{label}{status}\n")
            } else {
                String::new()
            };
        };
        if id.is_empty() || detail.is_null() {
            // What comes now stands below the block.
            self.lines.clear();
            return format!("{label}{status}\n");
        }
        let mut text = String::new();
        let number = self.lines.len();
        let line = *self.lines.entry(id.to_owned()).or_insert_with(|| {
            text.push('\n');
            number
        });
        let up = self.lines.len() - line;
        // To the line, write it anew, and back.
        text.push_str(&format!(
            "\x1b[{up}A\x1b[2K\r{label}{status} {}\r\x1b[{up}B",
            bar(detail, width)
        ));
        text
    }
}

fn counts(detail: &Value) -> (i64, i64) {
    let number = |key: &str| detail[key].as_i64().unwrap_or(0);
    (number("current"), number("total"))
}

fn bar(detail: &Value, width: u16) -> String {
    let (current, total) = counts(detail);
    if current <= 0 && total <= 0 {
        return String::new();
    }
    if total <= 0 || current > total {
        return format!("{:>8}", human_size_4(current));
    }
    let numbers = format!("{:>8}/{}", human_size_4(current), human_size_4(total));
    if width <= WIDE {
        return numbers;
    }
    // At most 50, as `current` is at most `total`.
    let done = usize::try_from(i128::from(current) * 50 / i128::from(total)).unwrap_or(50);
    format!("[{}>{}] {numbers}", "=".repeat(done), " ".repeat(50 - done))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn screen(width: Option<u16>) -> Screen {
        Screen {
            width,
            lines: HashMap::new(),
        }
    }

    #[test]
    fn plain_lines_without_numbers() {
        let mut screen = screen(None);
        let mut show = |record: Value| screen.text(&record);
        assert_eq!(
            show(json!({"status": "Pulling from a", "id": "1"})),
            "1: Pulling from a\n"
        );
        assert_eq!(
            show(json!({"status": "Waiting", "progressDetail": {}, "id": "ab"})),
            "ab: Waiting\n"
        );
        let counted = json!({"status": "Downloading", "progressDetail": {"current": 1, "total": 2}, "id": "ab"});
        assert_eq!(show(counted), "");
        assert_eq!(show(json!({"status": "Digest: x"})), "Digest: x\n");
        assert_eq!(show(json!({"progressDetail": {}, "aux": {}})), "");
    }

    #[test]
    fn each_layer_has_its_line() {
        let mut screen = screen(Some(80));
        let mut show = |id: &str| {
            screen.text(
                &json!({"status": "s", "progressDetail": {"current": 5, "total": 10}, "id": id}),
            )
        };
        assert_eq!(show("a"), "\n\x1b[1A\x1b[2K\ra: s       5B/10B\r\x1b[1B");
        assert_eq!(show("b"), "\n\x1b[1A\x1b[2K\rb: s       5B/10B\r\x1b[1B");
        assert_eq!(show("a"), "\x1b[2A\x1b[2K\ra: s       5B/10B\r\x1b[2B");
        assert!(
            bar(&json!({"current": 5, "total": 10}), 120)
                .starts_with("[=========================>")
        );
    }
}
