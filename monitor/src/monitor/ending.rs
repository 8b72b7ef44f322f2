//! The end of the application: its status, its last output, the last commit.

use super::*;

impl<P: Probe> Monitor<'_, P> {
    /// Whether a message of the keeper is about this container's process.
    pub(super) fn is_application(&self, m: &Message) -> bool {
        let page = self.state.page();
        m.a == page.app_pid.load(Ordering::Relaxed) && m.c == page.app_start.load(Ordering::Relaxed)
    }

    /// The application has ended (or its pid is somebody else's).
    pub(super) fn application_gone(&mut self) {
        if self.pidfd >= 0 {
            let _ = sys::epoll_ctl(self.ep, EPOLL_DEL, self.pidfd, 0);
        }
        if self.gone_at == 0 {
            self.gone_at = sys::now(sys::MONOTONIC);
        }
    }

    pub(super) fn exit_is(&self, status: i32, time: u64) {
        let page = self.state.page();
        if page.exit_known.load(Ordering::Acquire) != 1 {
            page.exit_status.store(status, Ordering::Relaxed);
            page.exit_time.store(time, Ordering::Relaxed);
            page.exit_known.store(1, Ordering::Release);
            P::step(27);
        }
    }

    /// Looks for the exit status where the keeper did not bring it: its record, the kernel's
    /// memory of the process, the process table.
    pub(super) fn find_exit(&mut self) -> bool {
        let page = self.state.page();
        if page.exit_known.load(Ordering::Acquire) != 0 {
            return true;
        }
        let (pid, start) = (
            page.app_pid.load(Ordering::Relaxed),
            page.app_start.load(Ordering::Relaxed),
        );
        let found = exit_record(pid, start)
            .or_else(|| sys::pidfd_exit(self.pidfd).map(|s| (s, sys::now(sys::REALTIME))))
            .or_else(|| zombie_status(pid, start).map(|s| (s, sys::now(sys::REALTIME))));
        if let Some((status, time)) = found {
            self.exit_is(status, time);
            return true;
        }
        if sys::now(sys::MONOTONIC) - self.gone_at > EXIT_PATIENCE {
            page.exit_time
                .store(sys::now(sys::REALTIME), Ordering::Relaxed);
            page.exit_known.store(2, Ordering::Release);
            return true;
        }
        false
    }

    /// True once the application is gone, its status is known and its output is drained.
    pub(super) fn ended(&mut self) -> bool {
        if self.gone_at == 0 || !self.find_exit() {
            return false;
        }
        // A pipe whose last writer went before this monitor opened it never reports its end by
        // itself, so it is asked.
        for stream in 0..2 {
            if self.fifo[stream] < 0 || self.slot.eof & 1 << stream != 0 {
                continue;
            }
            match self.read_stream(stream) {
                Read::Got(_) => self.drained_at = 0,
                Read::End => self.finish(stream),
                // The terminal never came back to this monitor: what is in its pipe is all.
                Read::Empty if self.conf().tty && self.master < 0 => self.finish(stream),
                Read::Empty => {}
            }
        }
        let both = if self.fifo[1] < 0 { 1 } else { 3 };
        if self.slot.eof & both == both {
            return true;
        }
        let now = sys::now(sys::MONOTONIC);
        if self.drained_at == 0 {
            self.drained_at = now;
        }
        if now - self.drained_at < DRAIN_PATIENCE {
            return false;
        }
        self.finish(0);
        if self.fifo[1] >= 0 {
            self.finish(1);
        }
        true
    }

    /// The last commit.
    pub(super) fn end(&mut self) -> i32 {
        P::step(25);
        use capture::Log;
        let page = self.state.page();
        // What is still not stored is noted by the daemon, for the next run to store.
        let format = self.files.format(0);
        let _ = capture::end_log(&mut self.files, &mut self.slot, &format);
        self.files.trim(&self.slot);
        self.files.commit(&self.slot, phase::DONE);
        page.lifecycle.store(lifecycle::ENDED, Ordering::Release);
        P::step(26);
        self.files.ring();
        0
    }
}

/// Start time of a process in clock ticks.
#[must_use]
pub fn process_start(pid: i32) -> Option<u64> {
    let mut buf = [0; 512];
    let n = read_stat(pid, &mut buf)?;
    parse(stat_field(&buf[..n], 22)?)
}

fn read_stat(pid: i32, buf: &mut [u8; 512]) -> Option<usize> {
    let mut name = Name::new(&[b"/proc/"]).number(pid.max(0) as u64);
    name.push(b"/stat");
    let fd = sys::open(AT_FDCWD, name.path(), O_RDONLY, 0).ok()?;
    let n = sys::read(fd, buf);
    sys::close(fd);
    n.ok()
}

/// The wait status of a process that ended and was not reaped yet (proc(5), field 52).
fn zombie_status(pid: i32, start: u64) -> Option<i32> {
    let mut buf = [0; 512];
    let n = read_stat(pid, &mut buf)?;
    let stat = &buf[..n];
    if stat_field(stat, 3)? != b"Z" || parse(stat_field(stat, 22)?)? != start {
        return None;
    }
    let last = stat_field(stat, 52)?;
    parse(last).map(|s| s as i32)
}

/// What the keeper wrote down: `pid start status time`.
fn exit_record(pid: i32, start: u64) -> Option<(i32, u64)> {
    let fd = sys::open(AT_FDCWD, CPath::new(b"exit\0"), O_RDONLY, 0).ok()?;
    let mut buf = [0; 128];
    let n = sys::read(fd, &mut buf);
    sys::close(fd);
    let mut fields = buf[..n.ok()?].split(|b| *b == b' ').map(parse);
    let mut next = || fields.next().flatten();
    if next()? != pid as u64 || next()? != start {
        return None;
    }
    Some((next()? as i32, next()?))
}
