//! Which labels, variables and tag go with each record: the options that the formats on the local disk share.

use std::collections::BTreeMap;

use crate::attrs::{AttrSelection, ContainerFacts, compile};
use crate::error::OptionError;
use crate::options::{OptionKind, OptionSpec};
use crate::registry::masked;
use crate::template::Template;

/// The options.
pub(crate) const SELECTION: &[OptionSpec] = &[
    OptionSpec {
        name: "labels",
        kind: OptionKind::List,
        default: "",
        allowed: "label names separated by commas, without blanks",
        short: "Labels kept with each record.",
        full: "Exact names; labels that the container does not have are left out.",
    },
    OptionSpec {
        name: "labels-regex",
        kind: OptionKind::Regex,
        default: "",
        allowed: "an RE2 expression",
        short: "Labels kept with each record, by expression.",
        full: "Matches anywhere in the label's name unless anchored with ^ and $.",
    },
    OptionSpec {
        name: "env",
        kind: OptionKind::List,
        default: "",
        allowed: "variable names separated by commas, without blanks",
        short: "Environment variables kept with each record.",
        full: "Exact names; variables that the container does not have are left out. An environment variable wins over a label of its name.",
    },
    OptionSpec {
        name: "env-regex",
        kind: OptionKind::Regex,
        default: "",
        allowed: "an RE2 expression",
        short: "Environment variables kept with each record, by expression.",
        full: "Matches anywhere in the variable's name unless anchored with ^ and $.",
    },
    OptionSpec {
        name: "tag",
        kind: OptionKind::Template,
        default: "",
        allowed: "a Go template, for example {{.Name}}/{{.ID}}",
        short: "A tag kept with each record.",
        full: "Kept as the attribute tag, which wins over a label or variable of that name. Evaluated once, when the container starts.",
    },
];

/// Whether `name` is one of them.
pub(crate) fn is_selection(name: &str) -> bool {
    SELECTION.iter().any(|option| option.name == name)
}

/// Checks their values.
pub(crate) fn select(
    options: &BTreeMap<String, String>,
    errors: &mut Vec<OptionError>,
) -> AttrSelection {
    AttrSelection {
        labels: list(options.get("labels")),
        labels_regex: regex(options.get("labels-regex"), errors),
        env: list(options.get("env")),
        env_regex: regex(options.get("env-regex"), errors),
        tag: tag(options.get("tag"), errors),
        // Templates can show it.
        config: masked(options),
    }
}

fn list(value: Option<&String>) -> Vec<String> {
    match value.map(String::as_str) {
        None | Some("") => Vec::new(),
        Some(names) => names.split(',').map(str::to_owned).collect(),
    }
}

fn regex(value: Option<&String>, errors: &mut Vec<OptionError>) -> Option<regex::Regex> {
    let pattern = value.filter(|pattern| !pattern.is_empty())?;
    compile(pattern).map_err(|error| errors.push(error)).ok()
}

fn tag(value: Option<&String>, errors: &mut Vec<OptionError>) -> Option<Template> {
    let text = value.filter(|text| !text.is_empty())?;
    let template = Template::parse("log-tag", text)
        .map_err(|error| errors.push(error.into()))
        .ok()?;
    // A field that no container has is found by evaluating for a made-up one. Other failures can depend on the container.
    if let Err(error) =
        template.render(&ContainerFacts::default().to_value(&BTreeMap::new(), &BTreeMap::new()))
        && error.is_unknown_field()
    {
        errors.push(error.into());
        return None;
    }
    Some(template)
}
