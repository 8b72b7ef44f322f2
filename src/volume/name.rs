//! Names of volumes: asked for, or made up for anonymous ones.

use super::error::{Problem, VolumeError};

/// Checks a name (source: Moby `volume/local`).
pub(super) fn check(name: &str) -> Result<(), Problem> {
    if name.len() == 1 {
        return Err(Problem::ShortName);
    }
    let first = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if first && name.bytes().all(rest) {
        Ok(())
    } else {
        Err(Problem::Name(name.to_owned()))
    }
}

/// 64 hex digits that nobody has.
pub(super) fn generate() -> Result<String, VolumeError> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| VolumeError::Random(error.to_string()))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_docker_takes_them() {
        for good in ["aa", "v1", "0_.-", &"x".repeat(255)] {
            check(good).unwrap();
        }
        for bad in ["", "_a", ".a", "a/b", "a b", "aä", "-a", "a\n"] {
            let text = check(bad).unwrap_err().to_string();
            assert!(
                text.contains("includes invalid characters"),
                "{bad}: {text}"
            );
        }
        assert!(matches!(check("a"), Err(Problem::ShortName)));
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.len(), 64);
        assert_ne!(one, two);
        check(&one).unwrap();
    }
}
