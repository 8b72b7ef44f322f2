//! Options of `--tmpfs` and of a tmpfs of `--mount` (source: Moby `pkg/mount`, `MergeTmpfsOptions`).

use super::error::RuntimeError;
use super::mounts::PROPAGATION;

/// Options of a tmpfs: Docker's safe ones first, each user option replacing its opposite.
pub(super) fn tmpfs_options(given: &[&str]) -> Result<Vec<String>, RuntimeError> {
    const PAIRS: [(&str, &str); 11] = [
        ("ro", "rw"),
        ("suid", "nosuid"),
        ("dev", "nodev"),
        ("exec", "noexec"),
        ("sync", "async"),
        ("mand", "nomand"),
        ("atime", "noatime"),
        ("diratime", "nodiratime"),
        ("relatime", "norelatime"),
        ("strictatime", "nostrictatime"),
        ("dirsync", ""),
    ];
    const DATA: [&str; 6] = ["mode", "uid", "gid", "size", "nr_inodes", "nr_blocks"];
    let mut out: Vec<String> = ["noexec", "nosuid", "nodev", "rprivate"]
        .iter()
        .map(|o| (*o).to_owned())
        .collect();
    for option in given {
        if let Some((key, value)) = option.split_once('=') {
            if value.is_empty() || !DATA.contains(&key) {
                return Err(RuntimeError::TmpfsOption((*option).to_owned()));
            }
            out.retain(|o| o.split_once('=').is_none_or(|(k, _)| k != key));
        } else if PROPAGATION.contains(option) {
            out.retain(|o| !PROPAGATION.contains(&o.as_str()));
        } else {
            let pair = PAIRS.iter().find(|(a, b)| a == option || b == option);
            let Some((a, b)) = pair.filter(|_| !option.is_empty()) else {
                return Err(RuntimeError::TmpfsOption((*option).to_owned()));
            };
            out.retain(|o| o != a && o != b);
        }
        out.push((*option).to_owned());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tmpfs_defaults_yield_to_options() {
        let o = tmpfs_options(&["exec", "size=1m", "size=2m", "uid=5"]).unwrap();
        assert_eq!(
            o,
            ["nosuid", "nodev", "rprivate", "exec", "size=2m", "uid=5"]
        );
        let e = tmpfs_options(&["bogus"]).unwrap_err();
        assert_eq!(e.to_string(), "invalid tmpfs option [\"bogus\"]");
        assert!(tmpfs_options(&["size="]).is_err());
    }
}
