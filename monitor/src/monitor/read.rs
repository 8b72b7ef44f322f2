//! The exact read: from pipe or terminal into the stage, so that a death at any point is recovered
//! from.

use super::*;

impl<P: Probe> Monitor<'_, P> {
    /// Brings what a dead monitor left to a committed state.
    pub(super) fn recover(&mut self) -> Result<()> {
        let page = self.state.page();
        let stream = (page.batch_stream.load(Ordering::Relaxed) & 1) as usize;
        let want = (page.batch_want.load(Ordering::Relaxed) as usize).min(STAGE);
        self.attach_no = page.batch_no.load(Ordering::Relaxed);
        // First of all: what a dead monitor had let go, but not removed yet, is found by the
        // numbers of the committed slot only.
        let mut slot = self.slot;
        self.files.recount_spool(&mut slot);
        if slot != self.slot {
            use capture::Log;
            self.slot = slot;
            self.files.commit(&slot, self.state.word().phase);
        }
        match self.state.word().phase {
            phase::READING => {
                let got = self.read_happened(want);
                page.sentinel[0].store(self.sentinel[0], Ordering::Relaxed);
                page.sentinel[1].store(self.sentinel[1], Ordering::Relaxed);
                if got == 0 {
                    self.state.set_phase(phase::IDLE);
                } else {
                    self.take_batch(stream, got);
                }
            }
            phase::BATCH => self.process(stream, want),
            phase::ROTATING => {
                let until = sys::now(sys::MONOTONIC) + LOG_PATIENCE;
                while self.files.run_rotation(&mut self.slot).is_err() {
                    self.slot = self.state.slot();
                    let now = sys::now(sys::MONOTONIC);
                    if now >= until {
                        self.files.call_off_rotation(&self.slot);
                        self.no_rotation_until = now + 1000 * MS;
                        self.log_fails_since = now - LOG_PATIENCE;
                        break;
                    }
                    sys::sleep(100 * MS);
                }
                self.process(stream, want);
            }
            _ => {}
        }
        let mut slot = self.slot;
        // A log that does not take it now is tried again with the next batch.
        let settled = self.files.settle(&mut slot);
        if settled.is_ok() && slot != self.slot {
            self.slot = slot;
            use capture::Log;
            self.files.commit(&slot, phase::IDLE);
        }
        Ok(())
    }

    /// After a death in [`phase::READING`]: how many bytes of the announced read are in the stage.
    pub(super) fn read_happened(&self, want: usize) -> usize {
        let page = self.state.page();
        let stage = self.state.staged(want);
        let marks = [
            page.sentinel[0].load(Ordering::Relaxed),
            page.sentinel[1].load(Ordering::Relaxed),
        ];
        if want < 16 {
            let poison = page.batch_poison.load(Ordering::Relaxed) as u8;
            return if stage.first() == Some(&poison) {
                0
            } else {
                want
            };
        }
        let mut mark = [0; 16];
        mark[..8].copy_from_slice(&marks[0].to_le_bytes());
        mark[8..].copy_from_slice(&marks[1].to_le_bytes());
        if stage[..16] == mark {
            return 0;
        }
        // A page whose mark still stands was not reached: somebody else took the bytes.
        let mut at = 4096;
        while at + 8 <= want {
            if stage[at..at + 8] == mark[..8] {
                page.anomalies.fetch_add(1, Ordering::Relaxed);
                return at;
            }
            at += 4096;
        }
        want
    }

    /// One exact read of `stream` and all that follows from it.
    pub(super) fn read_stream(&mut self, stream: usize) -> Read {
        let fd = self.fifo[stream];
        if fd < 0 || self.slot.eof & 1 << stream != 0 {
            return Read::End;
        }
        let available = sys::fionread(fd).unwrap_or(0);
        if available == 0 {
            return match sys::tee(fd, self.scratch.1, 1) {
                Ok(0) => Read::End,
                Ok(_) => {
                    let _ = sys::read(self.scratch.0, &mut [0; 16]);
                    Read::Got(0)
                }
                Err(_) => Read::Empty,
            };
        }
        self.grow(stream, available);
        let n = available.min(self.stage_used);
        if !self.stage_present(n) {
            // No memory for the stage: wait, the bytes are safe in the pipe.
            sys::sleep(10 * MS);
            return Read::Empty;
        }
        let page = self.state.page();
        if P::naive() {
            return self.read_naive(stream, n);
        }
        P::step(2);
        let stage = self.state.stage();
        if n < 16 {
            let mut first = [0];
            if sys::tee(fd, self.scratch.1, 1) != Ok(1)
                || sys::read(self.scratch.0, &mut first) != Ok(1)
            {
                return Read::Empty;
            }
            page.batch_poison
                .store(u32::from(!first[0]), Ordering::Relaxed);
            // SAFETY: the stage is mapped and present.
            unsafe { stage.write_volatile(!first[0]) };
        } else {
            // SAFETY: the stage is mapped, present up to `n`, and page aligned.
            unsafe {
                stage.cast::<u64>().write_volatile(self.sentinel[0]);
                stage.cast::<u64>().add(1).write_volatile(self.sentinel[1]);
                let mut at = 4096;
                while at + 8 <= n {
                    stage.add(at).cast::<u64>().write_volatile(self.sentinel[0]);
                    at += 4096;
                }
            }
        }
        page.batch_stream.store(stream as u32, Ordering::Relaxed);
        page.batch_want.store(n as u32, Ordering::Relaxed);
        self.next_batch_no();
        P::step(3);
        self.state.set_phase(phase::READING);
        P::step(4);
        // SAFETY: the stage is mapped and at least `n` bytes long.
        let target = unsafe { core::slice::from_raw_parts_mut(stage, n) };
        let got = sys::read(fd, target).unwrap_or(0);
        P::step(5);
        if got != n {
            page.anomalies.fetch_add(1, Ordering::Relaxed);
            if got == 0 {
                self.state.set_phase(phase::IDLE);
                return Read::Empty;
            }
        }
        self.take_batch(stream, got);
        if n == self.stage_used && self.stage_used < STAGE {
            self.stage_used = STAGE;
        }
        Read::Got(got)
    }

    /// Grows a pipe that is full again and again. Larger writes to the log cost less for each byte;
    /// a pipe that is never full costs nothing more.
    pub(super) fn grow(&mut self, stream: usize, available: usize) {
        let page = self.state.page();
        if available < page.pipe_size.load(Ordering::Relaxed) as usize || self.full[stream] > FULL {
            return;
        }
        self.full[stream] += 1;
        if self.full[stream] == FULL {
            // A per-user limit may refuse; the pipe stays as it is then, and is not tried again.
            self.full[stream] = FULL + 1;
            if let Ok(size) = sys::set_pipe_size(self.fifo[stream], STAGE) {
                page.pipe_size.store(size as u32, Ordering::Relaxed);
            }
        }
    }

    /// Read and write with nothing in between that could be found again; tests show that this
    /// loses.
    pub(super) fn read_naive(&mut self, stream: usize, n: usize) -> Read {
        // SAFETY: the stage is mapped and present up to `n`.
        let target = unsafe { core::slice::from_raw_parts_mut(self.state.stage(), n) };
        let Ok(got) = sys::read(self.fifo[stream], target) else {
            return Read::Empty;
        };
        P::step(5);
        self.next_batch_no();
        self.state
            .page()
            .batch_time
            .store(sys::now(sys::REALTIME), Ordering::Relaxed);
        self.process(stream, got);
        Read::Got(got)
    }

    pub(super) fn next_batch_no(&mut self) {
        self.attach_no = self.attach_no.wrapping_add(1);
        self.state
            .page()
            .batch_no
            .store(self.attach_no, Ordering::Relaxed);
    }

    /// The stage holds `got` bytes of `stream`: give them a time, then the log.
    pub(super) fn take_batch(&mut self, stream: usize, got: usize) {
        let page = self.state.page();
        page.batch_want.store(got as u32, Ordering::Relaxed);
        page.batch_time
            .store(sys::now(sys::REALTIME), Ordering::Relaxed);
        self.state.set_phase(phase::BATCH);
        P::step(6);
        self.process(stream, got);
    }

    /// Makes the first `n` bytes of the stage present, so that no read can fail on them.
    pub(super) fn stage_present(&mut self, n: usize) -> bool {
        if n > self.stage_ready {
            let want = (n + 4095) & !4095;
            if sys::madvise(self.state.stage(), want, sys::MADV_POPULATE_WRITE).is_err() {
                return false;
            }
            self.stage_ready = want;
        }
        true
    }

    /// Gives memory back that only a busy monitor needs.
    pub(super) fn rest(&mut self) {
        if self.stage_ready > 0 && self.state.word().phase == phase::IDLE {
            if sys::madvise(self.state.stage(), STAGE, sys::MADV_REMOVE).is_err() {
                let _ = sys::madvise(self.state.stage(), STAGE, sys::MADV_DONTNEED);
            }
            let _ = sys::madvise(self.out, OUT + LINE, sys::MADV_DONTNEED);
            self.stage_ready = 0;
            self.stage_used = SMALL;
        }
    }

    /// The pause after a short read (decision 10).
    pub(super) fn pause(&mut self, stream: usize, got: usize) {
        let now = self.state.page().batch_time.load(Ordering::Relaxed);
        if now.wrapping_sub(self.last_batch[stream]) > 10 * MS {
            self.busy_since[stream] = now;
        }
        self.last_batch[stream] = now;
        if got < self.stage_used / 4
            && self.terminal < 0
            && now.wrapping_sub(self.busy_since[stream]) > 10 * MS
        {
            let followed = self.state.page().followers.load(Ordering::Relaxed) > 0;
            sys::sleep(if followed { 150_000 } else { 500_000 });
        }
    }

    /// Moves what the terminal has into the internal pipe, then reads that.
    pub(super) fn read_terminal(&mut self) -> Read {
        P::step(22);
        let moved = match sys::splice(self.master, self.terminal, STAGE) {
            Err(Errno::EINVAL) => self.copy_terminal(),
            other => other,
        };
        P::step(23);
        let ended = matches!(moved, Ok(0) | Err(Errno::EIO));
        match self.read_stream(0) {
            Read::Got(n) => Read::Got(n),
            _ if ended => {
                let _ = sys::epoll_ctl(self.ep, EPOLL_DEL, self.master, 0);
                sys::close(self.terminal);
                self.terminal = -1;
                Read::End
            }
            other => other,
        }
    }

    /// For kernels without splice on terminals: what is in `buf` at a death is lost (decision 18).
    pub(super) fn copy_terminal(&mut self) -> Result<usize> {
        let mut buf = [0; 1024];
        let n = sys::read(self.master, &mut buf)?;
        let mut rest = &buf[..n];
        while !rest.is_empty() {
            match sys::write(self.terminal, rest) {
                Ok(m) => rest = &rest[m..],
                Err(Errno::EAGAIN) => {
                    self.read_stream(0);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(n)
    }
}
