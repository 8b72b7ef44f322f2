//! The container's name before each line, in a colour of its own on a terminal.

/// SGR codes that are readable on dark and light ground.
const COLOURS: [&str; 12] = [
    "36", "33", "32", "35", "34", "31", "96", "93", "92", "95", "94", "91",
];

/// Prefixes for `names`, of one width.
pub(super) fn prefixes(names: &[&str], coloured: bool) -> Vec<Vec<u8>> {
    let width = names.iter().map(|name| name.chars().count()).max();
    let width = width.unwrap_or(0);
    let mut taken = [false; COLOURS.len()];
    let prefix = |name: &&str| {
        let text = format!("{name:width$} |");
        if !coloured {
            return format!("{text} ").into_bytes();
        }
        // By name, so that a container keeps its colour; the next free one if it is taken.
        let first = name
            .bytes()
            .fold(0usize, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
        let first = first % COLOURS.len();
        let free = (0..COLOURS.len())
            .map(|i| (first + i) % COLOURS.len())
            .find(|i| !taken[*i])
            .unwrap_or(first);
        taken[free] = true;
        format!("\x1b[{}m{text}\x1b[0m ", COLOURS[free]).into_bytes()
    };
    names.iter().map(prefix).collect()
}

/// Whether colours are wanted (docs: no-color.org).
pub(super) fn coloured(refused: bool, terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    terminal && !refused && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_line_up_and_differ() {
        let plain = prefixes(&["web", "database"], false);
        assert_eq!(plain, [b"web      | ".to_vec(), b"database | ".to_vec()]);
        let names: Vec<String> = (0..12).map(|i| format!("c{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let colours: std::collections::BTreeSet<Vec<u8>> = prefixes(&names, true)
            .into_iter()
            .map(|p| p[..5].to_vec())
            .collect();
        assert_eq!(colours.len(), 12);
        assert_eq!(prefixes(&["web"], true), prefixes(&["web"], true));
        assert!(!coloured(true, true) && !coloured(false, false));
    }
}
