//! `journald`, the systemd journal: options and their checks. Docker's fields, sent as datagrams of systemd's native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

mod encode;
mod field;
mod memfd;
mod queue;
mod socket;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::attrs::{AttrSelection, ContainerFacts, TagError};
use crate::error::OptionError;
use crate::options::{OptionKind, OptionSpec};
use crate::selection::select;
use crate::sink::{Destination, Encoder, Environment, Limits, PrepareError, SinkSettings};

use encode::JournalEncoder;
use socket::JournalOpener;

/// The driver's name.
pub(crate) const NAME: &str = "journald";

/// Where journald listens.
const DEFAULT_SOCKET: &str = "/run/systemd/journal/socket";

const SOCKET: &str = "journald-socket";
/// Most bytes of a socket's path: `sun_path` without its NUL.
const MAX_PATH: usize = 107;

/// The driver's own options.
pub(crate) const OPTIONS: &[OptionSpec] = &[OptionSpec {
    name: SOCKET,
    kind: OptionKind::Path,
    default: DEFAULT_SOCKET,
    allowed: "an absolute path of at most 107 bytes",
    short: "Socket of journald's native protocol.",
    full: "Taffrail's own. A journal namespace NAME listens at /run/systemd/journal.NAME/socket.",
}];

/// Checked options of one container's journald sink.
#[derive(Debug)]
struct Settings {
    socket: PathBuf,
    selection: AttrSelection,
}

/// All checks.
pub(crate) fn check(
    options: &BTreeMap<String, String>,
    errors: &mut Vec<OptionError>,
) -> Option<Arc<dyn SinkSettings>> {
    let before = errors.len();
    let socket = match options.get(SOCKET).map(String::as_str) {
        None | Some("") => DEFAULT_SOCKET,
        Some(path) => {
            if !path.starts_with('/') || path.len() > MAX_PATH || path.contains('\0') {
                errors.push(OptionError::Driver {
                    text: "journald: the socket cannot be at this path".to_owned(),
                    option: SOCKET,
                    value: path.to_owned(),
                    allowed: OPTIONS[0].allowed.to_owned(),
                });
            }
            path
        }
    };
    let selection = select(options, errors);
    (errors.len() == before).then(|| {
        Arc::new(Settings {
            socket: Path::new(socket).to_owned(),
            selection,
        }) as Arc<dyn SinkSettings>
    })
}

impl SinkSettings for Settings {
    fn destination(&self, _: &Environment) -> Result<Destination, PrepareError> {
        let path = self.socket.display();
        let limits = Limits {
            // The way is short and a socket holds few datagrams: nothing is gained by waiting for more.
            linger: Duration::ZERO,
            ..Limits::default()
        };
        Ok(Destination {
            key: format!("{NAME}:{path}"),
            address: format!("{NAME}:{path}"),
            opener: Arc::new(JournalOpener::new(self.socket.clone(), limits)),
            limits,
        })
    }

    fn encoder(&self, container: &ContainerFacts<'_>) -> Result<Box<dyn Encoder>, TagError> {
        Ok(Box::new(JournalEncoder::new(&self.selection, container)?))
    }
}

#[cfg(test)]
mod tests {
    use crate::validate;
    use std::collections::BTreeMap;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn good_options() {
        for pairs in [
            &[][..],
            &[("journald-socket", "/run/systemd/journal.web/socket")],
            &[("journald-socket", "")],
            &[("tag", "{{.Name}}"), ("labels", "a,b"), ("env", "X")],
            &[("labels-regex", "^a"), ("env-regex", "^X"), ("tag", "")],
        ] {
            let found = validate("journald", &options(pairs)).unwrap();
            assert_eq!(found.sinks()[0].driver, "journald");
        }
    }

    #[test]
    fn bad_options() {
        let long = format!("/{}", "x".repeat(107));
        for (name, value, text) in [
            (
                "journald-socket",
                "run/x",
                "journald: the socket cannot be at this path\n  journald-socket=\"run/x\": allowed: an absolute path of at most 107 bytes",
            ),
            ("journald-socket", long.as_str(), "at most 107 bytes"),
            ("labels-regex", "[", "error parsing regexp"),
            ("env-regex", "(", "error parsing regexp"),
            ("tag", "{{.Nope}}", "can't evaluate field Nope"),
            (
                "max-size",
                "1m",
                "unknown log opt 'max-size' for journald log driver",
            ),
        ] {
            let error = validate("journald", &options(&[(name, value)]))
                .unwrap_err()
                .to_string();
            assert!(error.contains(text), "{name}={value}: {error}");
        }
    }

    #[test]
    fn sinks_of_one_socket_share_a_connection() {
        let key = |pairs: &[(&str, &str)]| {
            let found = validate("journald", &options(pairs)).unwrap();
            let destination = found.sinks()[0].settings.destination(&Default::default());
            destination.unwrap().key
        };
        assert_eq!(key(&[]), key(&[("tag", "x")]));
        assert_ne!(key(&[]), key(&[("journald-socket", "/other")]));
    }
}
