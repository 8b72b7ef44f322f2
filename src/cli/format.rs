//! `--format`: `json`, `table ...` and Go templates, over rows of strings or whole objects.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use taffrail_drivers::template::{self, TemplateError};

use super::table;

/// A template that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("template parsing error: {0}")]
    Template(#[from] TemplateError),
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
                    let sorted: BTreeMap<_, _> =
                        row.iter().filter(|(_, v)| !v.is_object()).collect();
                    out.push_str(&escape_html(&serde_json::json!(sorted).to_string()));
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
                let mut head: Map<String, Value> = headings
                    .iter()
                    .map(|(field, heading)| ((*field).to_owned(), Value::from(*heading)))
                    .collect();
                head.insert("LabelMap".into(), template.label_headings());
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

/// As Go's encoder: safe within HTML.
fn escape_html(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    parsed: template::Template,
    /// Keys of `{{.Label "key"}}`.
    labels: Vec<String>,
}

/// How Docker's templates ask a row for one label; a method there, a map here.
const LABEL_METHOD: &str = ".Label \"";
const LABEL_INDEX: &str = "index .LabelMap \"";

impl Template {
    /// # Errors
    /// Go's text for wrong syntax.
    pub(crate) fn parse(text: &str) -> Result<Self, FormatError> {
        let labels = text
            .split(LABEL_METHOD)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .map(str::to_owned)
            .collect();
        let text = text.replace(LABEL_METHOD, LABEL_INDEX);
        Ok(Self {
            parsed: template::Template::parse("", &text)?.strict(),
            labels,
        })
    }

    /// The text for one value.
    ///
    /// # Errors
    /// Go's text for a field that is not there, or a function with the wrong arguments.
    pub(crate) fn render(&self, value: &Value) -> Result<String, FormatError> {
        let failure = match self.parsed.render(&self.with_labels(value)) {
            Ok(text) => return Ok(text),
            Err(e) => e,
        };
        // Go's structs have `ID` where JSON has `Id`.
        let other = value.get("Id").map(|id| {
            let mut value = value.clone();
            value["ID"] = id.clone();
            value
        });
        match other.map(|v| self.parsed.render(&self.with_labels(&v))) {
            Some(result) => Ok(result?),
            None => Err(failure.into()),
        }
    }

    /// A row in which each label that is asked for exists: one that is missing is empty.
    fn with_labels(&self, value: &Value) -> template::Value {
        let mut value = value.clone();
        if self.labels.is_empty() {
            // So that `{{json .}}` has Docker's fields alone.
            if let Some(map) = value.as_object_mut() {
                map.remove("LabelMap");
            }
            return value.into();
        }
        for key in &self.labels {
            if value["LabelMap"].get(key).is_none() {
                value["LabelMap"][key] = "".into();
            }
        }
        value.into()
    }

    /// Headings for the labels that are asked for: their keys.
    fn label_headings(&self) -> Value {
        let map: Map<String, Value> = self
            .labels
            .iter()
            .map(|key| (key.clone(), Value::from(key.as_str())))
            .collect();
        map.into()
    }
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
        assert_eq!(render("{{range .Args}}<{{.}}>{{end}}", &v), "<a><b>");
        let missing = Template::parse("{{.Nope}}")
            .unwrap()
            .render(&v)
            .unwrap_err();
        assert_eq!(
            missing.to_string(),
            "template parsing error: template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\""
        );
        assert!(Template::parse("{{.A").is_err());
        assert!(Template::parse("{{nope .A}}").is_err());
    }

    #[test]
    fn one_label_of_a_row() {
        let row: Map<String, Value> = [("LabelMap".to_owned(), json!({"a": "b"}))]
            .into_iter()
            .collect();
        let layout = Layout::choose(Some("table {{.Label \"a\"}}|{{.Label \"z\"}}"), "").unwrap();
        assert_eq!(layout.render(&[row], &[]).unwrap(), "a|z\nb|\n");
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
