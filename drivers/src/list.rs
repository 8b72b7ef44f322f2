//! Lists of drivers (`json-file,splunk,syslog:audit`), and which option is whose.

use std::collections::BTreeMap;

use crate::common::is_common;
use crate::error::{OptionError, OptionErrors};
use crate::registry::{DriverInfo, driver_info, known_options};

/// Most characters of a sink's own name, behind the colon.
const MAX_NAME: usize = 32;
/// Most drivers in a list.
const MAX_DRIVERS: usize = 16;

/// One entry of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    /// as written: `syslog`, `syslog:audit`
    pub(crate) name: &'a str,
    pub(crate) info: &'static DriverInfo,
}

/// Parses a list; `none` stands alone.
pub(crate) fn parse(list: &str) -> Result<Vec<Named<'_>>, OptionErrors> {
    let names: Vec<&str> = list.split(',').collect();
    let mut errors = Vec::new();
    let mut found = Vec::new();
    let list_of = || list.to_owned();
    for (i, &name) in names.iter().enumerate() {
        let (driver, own) = match name.split_once(':') {
            Some((driver, own)) => (driver, Some(own)),
            None => (name, None),
        };
        if name.is_empty() && names.len() > 1 {
            errors.push(OptionError::EmptyDriverName { list: list_of() });
            continue;
        }
        if names[..i].contains(&name) {
            errors.push(OptionError::DuplicateDriver {
                list: list_of(),
                name: name.to_owned(),
            });
            continue;
        }
        match driver_info(driver) {
            None => errors.push(OptionError::UnknownDriver {
                name: driver.to_owned(),
            }),
            Some(info) if !info.built => errors.push(OptionError::NotBuilt {
                name: driver.to_owned(),
            }),
            Some(info) => {
                let ok = own.is_none_or(|own| {
                    info.sink.is_some()
                        && !own.is_empty()
                        && own.len() <= MAX_NAME
                        && own
                            .bytes()
                            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                });
                if ok {
                    found.push(Named { name, info });
                } else {
                    errors.push(OptionError::SinkName {
                        list: list_of(),
                        name: name.to_owned(),
                    });
                }
            }
        }
    }
    if names.len() > 1 && names.contains(&"none") {
        errors.push(OptionError::NoneWithOthers { list: list_of() });
    }
    let formats = found
        .iter()
        .filter(|one| one.info.sink.is_none() && one.info.common);
    if formats.count() > 1 {
        errors.push(OptionError::TwoFormats { list: list_of() });
    }
    if names.len() > MAX_DRIVERS {
        errors.push(OptionError::ManyDrivers {
            count: names.len(),
            max: MAX_DRIVERS,
        });
    }
    if errors.is_empty() {
        Ok(found)
    } else {
        Err(OptionErrors(errors))
    }
}

/// The options of a list, sorted out.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Of each entry of the list, in its order.
    pub(crate) own: Vec<BTreeMap<String, String>>,
    /// Of the container's log as a whole.
    pub(crate) common: BTreeMap<String, String>,
}

fn knows(info: &'static DriverInfo, option: &str) -> bool {
    known_options(info).any(|known| known.name == option && !is_common(option))
}

fn unknown(info: &DriverInfo, option: &str) -> OptionError {
    let (driver, option) = (info.name, option.to_owned());
    match driver {
        "local" => OptionError::UnknownOptionOf { driver, option },
        "gelf" => OptionError::UnknownOptionQuoted { driver, option },
        _ => OptionError::UnknownOption { driver, option },
    }
}

/// Gives each entry its options. What nobody knows is an error.
pub(crate) fn split(
    list: &[Named<'_>],
    options: &BTreeMap<String, String>,
    errors: &mut Vec<OptionError>,
) -> Parts {
    let mut parts = Parts {
        own: vec![BTreeMap::new(); list.len()],
        common: BTreeMap::new(),
    };
    let mut scoped = Vec::new();
    for (option, value) in options {
        if is_common(option) {
            parts.common.insert(option.clone(), value.clone());
        } else if let Some((name, rest)) = option.split_once('.') {
            scoped.push((option, name, rest, value));
        } else {
            let mut known = false;
            for (one, own) in list.iter().zip(&mut parts.own) {
                if knows(one.info, option) {
                    own.insert(option.clone(), value.clone());
                    known = true;
                }
            }
            match list {
                _ if known => {}
                [one] => errors.push(unknown(one.info, option)),
                _ => errors.push(OptionError::UnknownToAll {
                    option: option.clone(),
                    drivers: names(list),
                }),
            }
        }
    }
    // What is meant for one wins over what is meant for all.
    for (option, name, rest, value) in scoped {
        let Some(at) = list.iter().position(|one| one.name == name) else {
            errors.push(match list {
                [one] => unknown(one.info, option),
                _ => OptionError::UnknownToAll {
                    option: option.clone(),
                    drivers: names(list),
                },
            });
            continue;
        };
        if is_common(rest) {
            errors.push(OptionError::CommonScoped {
                option: option.clone(),
                plain: rest.to_owned(),
            });
        } else if knows(list[at].info, rest) {
            parts.own[at].insert(rest.to_owned(), value.clone());
        } else {
            errors.push(unknown(list[at].info, option));
        }
    }
    parts
}

fn names(list: &[Named<'_>]) -> String {
    let names: Vec<_> = list.iter().map(|one| one.name).collect();
    names.join(", ")
}
