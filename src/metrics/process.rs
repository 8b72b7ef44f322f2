//! The daemon's own process, under Prometheus' usual names.

use std::fs;

use super::Text;

/// Clock ticks a second, as the kernel shows them on every architecture that Linux has today.
const TICKS: f64 = 100.0;

pub(super) fn write(text: &mut Text) {
    if let Some((cpu, started)) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| {
        let boot = boot_time(&fs::read_to_string("/proc/stat").ok()?)?;
        let (ticks, start) = stat_fields(&stat)?;
        Some((ticks / TICKS, boot + start / TICKS))
    }) {
        text.counter("process_cpu_seconds_total", "CPU time of the daemon.")
            .value(cpu);
        text.gauge(
            "process_start_time_seconds",
            "Start of the daemon, seconds since 1970.",
        )
        .value(started);
    }
    if let Some(bytes) = fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| resident(&status))
    {
        text.gauge("process_resident_memory_bytes", "Memory of the daemon.")
            .value(bytes);
    }
    if let Ok(list) = fs::read_dir("/proc/self/fd") {
        text.gauge("process_open_fds", "Descriptors that the daemon has open.")
            .value(list.count());
    }
    if let Ok((soft, _)) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
    {
        text.gauge("process_max_fds", "Most descriptors that it may have open.")
            .value(soft);
    }
}

/// utime + stime and starttime of `/proc/<pid>/stat`, in ticks.
fn stat_fields(stat: &str) -> Option<(f64, f64)> {
    // The name in parentheses may have anything in it.
    let (_, rest) = stat.rsplit_once(") ")?;
    // The first field here is number 3.
    let field = |number: usize| rest.split(' ').nth(number - 3)?.parse::<f64>().ok();
    Some((field(14)? + field(15)?, field(22)?))
}

fn boot_time(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        let stat = "1 (a) b) S 0 1 1 0 -1 4 5 6 7 8 100 50 0 0 20 0 1 0 4242 0 0";
        assert_eq!(stat_fields(stat), Some((150.0, 4242.0)));
        assert_eq!(stat_fields("1 (a"), None);
        assert_eq!(boot_time("cpu 1\nbtime 17\n"), Some(17.0));
        assert_eq!(resident("VmRSS:\t  4 kB\n"), Some(4096));
        let mut text = Text::default();
        write(&mut text);
        assert!(text.finish().contains("process_open_fds"));
    }
}
