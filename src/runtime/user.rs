//! Who a container's process runs as: `User` and `GroupAdd` against the image's passwd and group
//! files (source: Docker `--user`, `--group-add`; passwd(5), group(5)).

use std::path::Path;

use super::error::RuntimeError;
use super::rootfs::Rootfs;

/// A resolved user.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExecUser {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups, the primary one first, as Docker hands them to the runtime.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn passwd_lines(text: &str) -> impl Iterator<Item = Passwd<'_>> {
    text.lines().filter_map(|line| {
        let mut f = line.trim().split(':');
        let name = f.next().filter(|n| !n.is_empty() && !n.starts_with('#'))?;
        let _password = f.next()?;
        Some(Passwd {
            name,
            uid: f.next()?.parse().ok()?,
            gid: f.next()?.parse().ok()?,
            home: f.nth(1).unwrap_or(""),
        })
    })
}

fn group_lines(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut f = line.trim().split(':');
        let name = f.next().filter(|n| !n.is_empty() && !n.starts_with('#'))?;
        let _password = f.next()?;
        Some(Group {
            name,
            gid: f.next()?.parse().ok()?,
            members: f.next().unwrap_or(""),
        })
    })
}

/// A number in the range that Docker allows, `None` if it is not a number.
fn numeric(text: &str) -> Result<Option<u32>, RuntimeError> {
    match text.parse::<i64>() {
        Ok(n) => match u32::try_from(n) {
            Ok(id) if n <= i64::from(i32::MAX) => Ok(Some(id)),
            _ => Err(RuntimeError::IdRange),
        },
        Err(_) => Ok(None),
    }
}

/// User and group of `Config.User` by the files of a root file system.
///
/// # Errors
/// A name that is not in them.
pub(crate) fn user_ids(rootfs: &Path, user: &str) -> Result<(u32, u32), RuntimeError> {
    let found = resolve(&Rootfs::open(rootfs)?, user, &[])?;
    Ok((found.uid, found.gid))
}

/// Resolves `user` (`name|uid[:group|gid]`, empty for root) and `group_add`.
pub(super) fn resolve(
    rootfs: &Rootfs,
    user: &str,
    group_add: &[String],
) -> Result<ExecUser, RuntimeError> {
    let passwd = rootfs.read_text(Path::new("etc/passwd"))?;
    let group = rootfs.read_text(Path::new("etc/group"))?;
    resolve_in(
        passwd.as_deref().unwrap_or(""),
        group.as_deref().unwrap_or(""),
        user,
        group_add,
    )
}

fn resolve_in(
    passwd: &str,
    group: &str,
    spec: &str,
    group_add: &[String],
) -> Result<ExecUser, RuntimeError> {
    let (user, group_arg) = spec.split_once(':').unwrap_or((spec, ""));
    let number = numeric(user)?;
    let found = passwd_lines(passwd).find(|p| match user {
        "" => p.uid == 0,
        _ => p.name == user || number == Some(p.uid),
    });
    let (uid, mut gid, home) = match (&found, number) {
        (Some(p), _) => (p.uid, p.gid, p.home),
        (None, Some(uid)) => (uid, 0, ""),
        (None, None) if user.is_empty() => (0, 0, ""),
        (None, None) => return Err(RuntimeError::UnknownUser(user.to_owned())),
    };
    let mut groups = Vec::new();
    if group_arg.is_empty() {
        if let Some(p) = &found {
            groups.extend(
                group_lines(group)
                    .filter(|g| g.members.split(',').any(|m| m.trim() == p.name))
                    .map(|g| g.gid),
            );
        }
    } else {
        gid = find_group(group, group_arg)?;
    }
    groups.insert(0, gid);
    for name in group_add {
        groups.push(find_group(group, name)?);
    }
    let mut seen = Vec::new();
    groups.retain(|g| {
        !seen.contains(g) && {
            seen.push(*g);
            true
        }
    });
    Ok(ExecUser {
        uid,
        gid,
        groups,
        home: if home.is_empty() { "/" } else { home }.to_owned(),
    })
}

fn find_group(text: &str, name: &str) -> Result<u32, RuntimeError> {
    let number = numeric(name)?;
    group_lines(text)
        .find(|g| g.name == name || number == Some(g.gid))
        .map(|g| g.gid)
        .or(number)
        .ok_or_else(|| RuntimeError::UnknownGroup(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "# a comment\nroot:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34:web:/srv/web:/bin/false\n";
    const GROUP: &str = "root:x:0:root\nwww:x:34:\nlog:x:40:web,other\ndisk:x:6:other\n";

    fn of(spec: &str) -> (u32, u32, Vec<u32>, String) {
        let u = resolve_in(PASSWD, GROUP, spec, &[]).unwrap();
        (u.uid, u.gid, u.groups, u.home)
    }

    #[test]
    fn names_numbers_and_groups() {
        assert_eq!(of(""), (0, 0, vec![0], "/root".into()));
        assert_eq!(of("web"), (33, 34, vec![34, 40], "/srv/web".into()));
        assert_eq!(of("33"), (33, 34, vec![34, 40], "/srv/web".into()));
        assert_eq!(of("web:disk"), (33, 6, vec![6], "/srv/web".into()));
        assert_eq!(of("1000"), (1000, 0, vec![0], "/".into()));
        assert_eq!(of("1000:2000"), (1000, 2000, vec![2000], "/".into()));
        assert_eq!(of("web:77"), (33, 77, vec![77], "/srv/web".into()));
    }

    #[test]
    fn no_files_at_all() {
        let u = resolve_in("", "", "", &[]).unwrap();
        assert_eq!((u.uid, u.gid, u.home.as_str()), (0, 0, "/"));
        assert_eq!(resolve_in("", "", "5:6", &[]).unwrap().gid, 6);
    }

    #[test]
    fn added_groups() {
        let add = ["log".to_owned(), "99".to_owned(), "root".to_owned()];
        let u = resolve_in(PASSWD, GROUP, "0", &add).unwrap();
        assert_eq!(u.groups, [0, 40, 99]);
    }

    #[test]
    fn what_is_not_there() {
        let e = resolve_in(PASSWD, GROUP, "nosuch", &[]).unwrap_err();
        assert_eq!(
            e.to_string(),
            "unable to find user nosuch: no matching entries in passwd file"
        );
        let e = resolve_in(PASSWD, GROUP, "web:nosuch", &[]).unwrap_err();
        assert_eq!(
            e.to_string(),
            "unable to find group nosuch: no matching entries in group file"
        );
        assert!(matches!(
            resolve_in(PASSWD, GROUP, "2147483648", &[]),
            Err(RuntimeError::IdRange)
        ));
        assert!(matches!(
            resolve_in(PASSWD, GROUP, "-1", &[]),
            Err(RuntimeError::IdRange)
        ));
    }
}
