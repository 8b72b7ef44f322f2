//! What the service manager is told: `sd_notify(3)` and the watchdog of `sd_watchdog_enabled(3)`.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A change of state that the service manager hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Requests are answered; also the end of a reload.
    Ready,
    /// A reload began (`Type=notify-reload` wants the time with it).
    Reloading,
    /// The end began.
    Stopping,
    /// Still alive.
    Watchdog,
}

impl State {
    fn text(self) -> String {
        match self {
            Self::Ready => "READY=1\nSTATUS=serving".to_owned(),
            Self::Reloading => format!(
                "RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reading the configuration again",
                monotonic_usec()
            ),
            Self::Stopping => {
                "STOPPING=1\nSTATUS=ending; containers stay as live-restore says".to_owned()
            }
            Self::Watchdog => "WATCHDOG=1".to_owned(),
        }
    }
}

fn monotonic_usec() -> u64 {
    // The clock always exists on Linux.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        now.tv_sec().unsigned_abs() * 1_000_000 + now.tv_nsec().unsigned_abs() / 1000
    })
}

/// Tells the service manager, if there is one.
pub(super) fn tell(state: State) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = std::os::unix::net::UnixDatagram::unbound().and_then(|socket| {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::net::SocketAddr;
        let bytes = address.as_encoded_bytes();
        let address = match bytes.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&address)?,
        };
        socket.send_to_addr(state.text().as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::warn!(error = %error, "service manager cannot be told");
    }
}

/// How often [`State::Watchdog`] is due: half of what the service manager allows, if it watches
/// this process at all.
pub(super) fn watchdog_interval() -> Option<Duration> {
    interval(
        std::env::var("WATCHDOG_USEC").ok()?.as_str(),
        std::env::var("WATCHDOG_PID").ok().as_deref(),
        std::process::id(),
    )
}

fn interval(usec: &str, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let usec: u64 = usec.parse().ok().filter(|usec| *usec > 0)?;
    Some(Duration::from_micros(usec / 2).max(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_sd_notify() {
        assert!(State::Ready.text().starts_with("READY=1\n"));
        let reloading = State::Reloading.text();
        let usec = reloading
            .lines()
            .find_map(|line| line.strip_prefix("MONOTONIC_USEC="))
            .unwrap();
        assert!(usec.parse::<u64>().unwrap() > 0);
        assert!(State::Stopping.text().starts_with("STOPPING=1\n"));
    }

    #[test]
    fn watchdog_for_this_process_only() {
        let ms = |n| Some(Duration::from_millis(n));
        assert_eq!(interval("30000000", None, 7), ms(15_000));
        assert_eq!(interval("30000000", Some("7"), 7), ms(15_000));
        assert_eq!(interval("30000000", Some("8"), 7), None);
        assert_eq!(interval("0", None, 7), None);
        assert_eq!(interval("x", None, 7), None);
        assert_eq!(interval("1", None, 7), ms(1));
    }
}
