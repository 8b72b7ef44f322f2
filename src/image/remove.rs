//! Removing images with Docker's rules (source: Moby `daemon/images/image_delete.go`).

use super::error::ImageError;
use super::reference::{Reference, familiar, is_hex, repository_of};
use super::state::State;

/// A container that uses an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InUse {
    /// Its id, full or short.
    pub(crate) container: String,
    pub(crate) running: bool,
}

/// What a removal did, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// A familiar name.
    Untagged(String),
    /// An image: `sha256:...`
    Deleted(String),
    /// A layer that nothing needs any more.
    Layer {
        /// With what lies below it (ChainID): `sha256:...`
        id: String,
        /// Sum of its files' sizes in bytes.
        size: u64,
    },
}

/// What to do, decided before anything is changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Keys of names and digests to drop.
    pub(super) names: Vec<String>,
    pub(super) delete: bool,
}

/// First twelve digits of an id.
pub(super) fn short_id(id: &str) -> String {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.chars().take(12).collect()
}

/// Decides on a removal of image `id`, asked for as `reference`.
pub(super) fn plan(
    state: &State,
    reference: &str,
    id: &str,
    force: bool,
    user: Option<&InUse>,
) -> Result<Plan, ImageError> {
    let names = state.references(id);
    if is_prefix(reference, id) {
        let delete_names = if is_single(&names) {
            conflict(id, &names, force, user, !force, false)?;
            names
        } else {
            conflict(id, &names, force, user, !force, !force)?;
            names
        };
        return Ok(Plan {
            names: delete_names,
            delete: true,
        });
    }
    if let Some(user) = user
        && !force
        && is_single(&names)
    {
        return Err(ImageError::ReferenceInUse {
            reference: reference.to_owned(),
            container: short_id(&user.container),
            image: short_id(id),
        });
    }
    let parsed = Reference::parse(reference)?.with_default_tag();
    let key = parsed
        .digested()
        .or_else(|| parsed.tagged())
        .unwrap_or_default();
    let mut plan = Plan {
        names: vec![key.clone()],
        delete: false,
    };
    let mut left: Vec<String> = names.into_iter().filter(|name| *name != key).collect();
    // Digests go with the last tag of their repository.
    let repository = repository_of(&key);
    let same = |name: &String| repository_of(name) == repository;
    if !key.contains('@') && !left.iter().any(|name| same(name) && !name.contains('@')) {
        plan.names
            .extend(left.iter().filter(|name| same(name)).cloned());
        left.retain(|name| !same(name));
    }
    // An image in use stays without a name; only force gets here with one.
    let kept = user.is_some_and(|user| user.running || !force);
    plan.delete = left.is_empty() && !kept;
    Ok(plan)
}

/// Conflicts of deleting by id. `stopped` and `many`: whether these count.
fn conflict(
    id: &str,
    names: &[String],
    force: bool,
    user: Option<&InUse>,
    stopped: bool,
    many: bool,
) -> Result<(), ImageError> {
    if let Some(user) = user {
        let image = short_id(id);
        let container = short_id(&user.container);
        if user.running {
            return Err(ImageError::UsedByRunning { image, container });
        }
        // Docker names the repositories first.
        if many && !force && !names.is_empty() {
            return Err(ImageError::ManyRepositories { image });
        }
        if stopped {
            return Err(ImageError::UsedByStopped { image, container });
        }
    }
    if many && !names.is_empty() {
        return Err(ImageError::ManyRepositories {
            image: short_id(id),
        });
    }
    Ok(())
}

/// At most one tag, and all names of one repository.
fn is_single(names: &[String]) -> bool {
    if names.len() <= 1 {
        return true;
    }
    let tags = names.iter().filter(|name| !name.contains('@')).count();
    let first = names.first().map(|name| repository_of(name));
    tags <= 1 && names.iter().all(|name| Some(repository_of(name)) == first)
}

/// Whether a reference is an id or the beginning of one, not a name.
fn is_prefix(reference: &str, id: &str) -> bool {
    let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
    !digits.is_empty() && is_hex(digits) && id["sha256:".len()..].starts_with(digits)
}

/// A name as the answer shows it.
pub(super) fn shown(key: &str) -> String {
    familiar(key).to_owned()
}
