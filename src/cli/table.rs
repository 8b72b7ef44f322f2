//! Columns: at least three blanks between them, none narrower than ten, the last unpadded
//! (source: docker CLI, `text/tabwriter` with 10, 1, 3).

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Aligns lines whose cells are separated by tabs.
pub(crate) fn align(text: &str) -> String {
    align_at_least(text, MIN_WIDTH)
}

/// As [`align`], with columns of at least `narrowest` characters.
pub(crate) fn align_at_least(text: &str, narrowest: usize) -> String {
    let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
    let mut out = String::with_capacity(text.len() * 2);
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        // The last cell of a row ends no column.
        for (i, cell) in row[..row.len() - 1].iter().enumerate() {
            let width = (cell.chars().count() + PADDING).max(narrowest);
            match widths.get_mut(i) {
                Some(w) => *w = (*w).max(width),
                None => widths.push(width),
            }
        }
    }
    for row in &rows {
        let (last, cells) = row.split_last().unwrap_or((&"", &[]));
        for (cell, width) in cells.iter().zip(&widths) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        out.push_str(last);
        out.push('\n');
    }
    out
}

/// Cuts to `max` characters, the last of which says so.
pub(crate) fn ellipsis(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(max.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// An id as tables show it: twelve digits without the algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, hex)| hex);
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        assert_eq!(
            align("ID\tNAMES\tX\nabcdefghijkl\ta\t\n1\tlonger-than-ten\tz\n"),
            "ID             NAMES             X\n\
             abcdefghijkl   a                 \n\
             1              longer-than-ten   z\n"
        );
    }

    #[test]
    fn cut_texts_say_so() {
        assert_eq!(
            ellipsis("sh -c 'sleep 60; echo'", 20),
            "sh -c 'sleep 60; ec…"
        );
        assert_eq!(ellipsis("sh", 20), "sh");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("short"), "short");
    }
}
