//! API versions: what a path asks for, and the range that is served.

use std::cmp::Ordering;
use std::fmt;

use crate::errors::ApiError;

/// A version `major.minor` of the Engine API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// The newest version whose behaviour is built.
pub(crate) const MAX: ApiVersion = ApiVersion::new(1, 43);
/// The oldest version that is served.
pub(crate) const MIN: ApiVersion = ApiVersion::new(1, 24);
/// `Content-Type: application/vnd.docker.multiplexed-stream` begins here.
pub(crate) const MULTIPLEXED: ApiVersion = ApiVersion::new(1, 42);
/// `ConsoleSize` of an exec counts from here on.
pub(crate) const CONSOLE_SIZE: ApiVersion = ApiVersion::new(1, 42);
/// `wait` sends its header at once, and knows conditions, from here on.
pub(crate) const WAIT_CONDITION: ApiVersion = ApiVersion::new(1, 30);
/// `IpcMode` is `private` where nothing is said from here on; before, `shareable`.
pub(crate) const PRIVATE_IPC: ApiVersion = ApiVersion::new(1, 40);
/// `CgroupnsMode` is the daemon's default where nothing is said from here on; before, `host`.
pub(crate) const CGROUPNS: ApiVersion = ApiVersion::new(1, 41);
/// `PidsLimit` counts from here on.
pub(crate) const PIDS_LIMIT: ApiVersion = ApiVersion::new(1, 40);
/// Mount options of another type are refused, and `volumes/prune` takes anonymous volumes alone, from
/// here on.
pub(crate) const VOLUME_RULES: ApiVersion = ApiVersion::new(1, 42);

impl ApiVersion {
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Takes `/v1.41` off a path. The second part is the rest, which begins with `/`.
/// `None` if the path names no version.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    let after = path.strip_prefix("/v")?;
    let end = after.find('/')?;
    let (version, rest) = after.split_at(end);
    let digits = !version.is_empty()
        && version.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && version.bytes().any(|b| b.is_ascii_digit());
    digits.then_some((version, rest))
}

/// The version that a request asks for; one without a version means the newest.
///
/// # Errors
/// 400 with Docker's text for a version out of range.
pub(crate) fn negotiate(asked: Option<&str>) -> Result<ApiVersion, ApiError> {
    let Some(text) = asked else {
        return Ok(MAX);
    };
    if compare(text, MIN) == Ordering::Less {
        return Err(ApiError::invalid(format!(
            "client version {text} is too old. Minimum supported API version is {MIN}, \
             please upgrade your client to a newer version"
        )));
    }
    if compare(text, MAX) == Ordering::Greater {
        return Err(ApiError::invalid(format!(
            "client version {text} is too new. Maximum supported API version is {MAX}"
        )));
    }
    let mut parts = numbers(text);
    let major = parts.next().unwrap_or(MAX.major);
    let minor = parts.next().unwrap_or(0);
    Ok(ApiVersion { major, minor })
}

/// Numbers of a dotted version. What does not fit is larger than any version there is.
fn numbers(text: &str) -> impl Iterator<Item = u32> + '_ {
    text.split('.').map(|part| {
        if part.is_empty() {
            0
        } else {
            part.parse().unwrap_or(u32::MAX)
        }
    })
}

/// Compares part by part as numbers; a missing part is 0.
fn compare(text: &str, with: ApiVersion) -> Ordering {
    let mut mine = numbers(text);
    for theirs in [with.major, with.minor] {
        match mine.next().unwrap_or(0).cmp(&theirs) {
            Ordering::Equal => {}
            other => return other,
        }
    }
    if mine.any(|part| part > 0) {
        Ordering::Greater
    } else {
        Ordering::Equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(split("/v1.41/info"), Some(("1.41", "/info")));
        assert_eq!(split("/v1.999/_ping"), Some(("1.999", "/_ping")));
        assert_eq!(split("/version"), None);
        assert_eq!(split("/volumes/x"), None);
        assert_eq!(split("/v1.41"), None);
        assert_eq!(split("/v./info"), None);
        assert_eq!(split("/info"), None);
    }

    #[test]
    fn range() {
        assert_eq!(negotiate(None).unwrap(), MAX);
        assert_eq!(negotiate(Some("1.41")).unwrap(), ApiVersion::new(1, 41));
        assert_eq!(negotiate(Some("1.24")).unwrap(), MIN);
        assert_eq!(negotiate(Some("1.43")).unwrap(), MAX);
        assert_eq!(
            negotiate(Some("1.999")).unwrap_err().message,
            "client version 1.999 is too new. Maximum supported API version is 1.43"
        );
        assert_eq!(
            negotiate(Some("1.1")).unwrap_err().message,
            "client version 1.1 is too old. Minimum supported API version is 1.24, \
             please upgrade your client to a newer version"
        );
        for new in [
            "1.44",
            "1.43.1",
            "2.0",
            "2",
            "99999999999.1",
            "1.99999999999",
        ] {
            assert!(negotiate(Some(new)).is_err(), "{new}");
        }
        for old in ["1", "0.9", "1.23", "1.2"] {
            assert!(negotiate(Some(old)).is_err(), "{old}");
        }
    }

    #[test]
    fn order() {
        assert!(ApiVersion::new(1, 9) < ApiVersion::new(1, 24));
        assert!(ApiVersion::new(1, 42) >= MULTIPLEXED);
    }
}
