//! Names: which are allowed, and made-up ones (`adjective_surname`).

use crate::errors::ApiError;

const ADJECTIVES: &[&str] = &[
    "able", "agile", "amber", "ample", "azure", "bold", "brave", "breezy", "bright", "brisk",
    "calm", "candid", "clear", "clever", "coastal", "cosy", "crisp", "daring", "deft", "eager",
    "early", "earnest", "fair", "firm", "fleet", "fond", "frank", "fresh", "gentle", "glad",
    "golden", "grand", "hardy", "hasty", "honest", "humble", "jolly", "keen", "kind", "lively",
    "loyal", "lucid", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "patient",
    "placid", "plucky", "polite", "prompt", "proud", "quick", "quiet", "ready", "robust", "salty",
    "serene", "sharp", "silent", "smart", "snug", "sober", "solid", "spry", "stable", "steady",
    "stoic", "sturdy", "sunny", "swift", "tender", "tidy", "trusty", "upbeat", "vivid", "warm",
    "wise", "witty", "zealous",
];

/// Seafarers, shipbuilders, hydrographers, and those who taught ships to talk.
const SURNAMES: &[&str] = &[
    "amundsen",
    "anson",
    "baffin",
    "barents",
    "baret",
    "beaufort",
    "bering",
    "blackburn",
    "bligh",
    "bowditch",
    "brunel",
    "cabot",
    "chichester",
    "colomb",
    "cook",
    "cousteau",
    "dampier",
    "darwin",
    "davis",
    "diaz",
    "drake",
    "earhart",
    "earle",
    "ericson",
    "fitzroy",
    "flinders",
    "franklin",
    "frobisher",
    "gama",
    "gilbert",
    "halley",
    "harrison",
    "heyerdahl",
    "hudson",
    "humboldt",
    "joshi",
    "joyon",
    "kidd",
    "knox",
    "laperouse",
    "lovell",
    "magellan",
    "marconi",
    "maury",
    "mccarthy",
    "mercator",
    "moitessier",
    "morse",
    "nansen",
    "nelson",
    "ommanney",
    "parry",
    "piccard",
    "pytheas",
    "raleigh",
    "ross",
    "saylor",
    "scoresby",
    "shackleton",
    "slocum",
    "tasman",
    "thomson",
    "torres",
    "vancouver",
    "vespucci",
    "villiers",
    "wallis",
    "weddell",
    "zheng",
];

/// Takes a name as a client gives it, with or without a leading `/`.
///
/// # Errors
/// 400 with Docker's text.
pub(crate) fn check(given: &str) -> Result<&str, ApiError> {
    let name = given.strip_prefix('/').unwrap_or(given);
    let mut bytes = name.bytes();
    let good = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.len() > 1
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if good {
        Ok(name)
    } else {
        Err(ApiError::invalid(format!(
            "Invalid container name ({given}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )))
    }
}

/// Another container has the name (without `/`).
pub(super) fn conflict(name: &str, holder: &str) -> ApiError {
    ApiError::conflict(format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    ))
}

/// A made-up name. `attempt` counts conflicts: from the first on a digit is added, later more.
pub(crate) fn generate(random: u64, attempt: u32) -> String {
    // The lists are far shorter than the numbers, so that no word is much likelier than another.
    let adjective = ADJECTIVES[(random >> 32) as usize % ADJECTIVES.len()];
    let surname = SURNAMES[(random & 0xffff_ffff) as usize % SURNAMES.len()];
    match attempt {
        0 => format!("{adjective}_{surname}"),
        _ => {
            let range = 10u64.saturating_pow(attempt.min(9));
            format!("{adjective}_{surname}{}", (random >> 7) % range)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed() {
        for (given, name) in [("/web", "web"), ("a1", "a1"), ("0.-_", "0.-_")] {
            assert_eq!(check(given).unwrap(), name);
        }
        for bad in [
            "-bad!", "", "/", "a", "//web", "../x", "a b", "_x", "a/b", "é1",
        ] {
            let error = check(bad).unwrap_err();
            assert_eq!(
                error.message,
                format!(
                    "Invalid container name ({bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
                )
            );
            assert_eq!(error.kind.status(), 400);
        }
    }

    #[test]
    fn made_up_names_are_allowed() {
        for attempt in 0..3 {
            for random in [0, u64::MAX, 0x1234_5678_9abc_def0] {
                let name = generate(random, attempt);
                assert_eq!(check(&name).unwrap(), name);
                let ends_in_digit = name.ends_with(|c: char| c.is_ascii_digit());
                assert_eq!(ends_in_digit, attempt > 0, "{name}");
            }
        }
    }
}
