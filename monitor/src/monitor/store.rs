//! From the stage into the log, whatever the log does.

use super::*;

impl<P: Probe> Monitor<'_, P> {
    /// Takes the batch in the stage into the log, whatever it needs.
    pub(super) fn process(&mut self, stream: usize, got: usize) {
        let stage = self.state.staged(got);
        let page = self.state.page();
        let time = page.batch_time.load(Ordering::Relaxed);
        let begin = |slot: &mut Slot, no: u32| {
            if slot.batch_mark != no {
                slot.batch_mark = no;
                slot.consumed = 0;
                true
            } else {
                false
            }
        };
        loop {
            let mut slot = self.slot;
            let first = begin(&mut slot, self.attach_no);
            let settled = if first || !self.files.has_log() {
                self.files.settle(&mut slot)
            } else {
                Ok(())
            };
            if first && page.attach_want.load(Ordering::Acquire) != 0 {
                self.files.attach(&mut slot, stream, stage);
            }
            let done = settled.and_then(|()| {
                self.encode(&mut slot, |files, slot, format, buffers, ring| {
                    capture::batch(files, slot, format, buffers, ring, stream, stage, time)
                })
            });
            self.slot = self.state.slot();
            match done {
                Ok(()) => {
                    self.log_fails_since = 0;
                    return;
                }
                Err(e) if self.log_failed(e) => {}
                Err(e) => {
                    let mut slot = self.slot;
                    // The log is all that does not get it.
                    if begin(&mut slot, self.attach_no)
                        && page.attach_want.load(Ordering::Acquire) != 0
                    {
                        self.files.attach(&mut slot, stream, stage);
                    }
                    let cause = e.0 as u32;
                    let mut ring = Ring::new(self.state.ring(stream));
                    let files = &mut self.files;
                    capture::drop_batch(files, &mut slot, &mut ring, stream, stage, time, cause);
                    self.slot = slot;
                    return;
                }
            }
        }
    }

    /// Runs one capture step with the buffers.
    pub(super) fn encode(
        &mut self,
        slot: &mut Slot,
        step: impl FnOnce(
            &mut Files<'_, P>,
            &mut Slot,
            &Format<'_>,
            &mut Buffers<'_>,
            &mut Ring<'_>,
        ) -> Result<()>,
    ) -> Result<()> {
        let stream = (self.state.page().batch_stream.load(Ordering::Relaxed) & 1) as usize;
        let rotate = sys::now(sys::MONOTONIC) >= self.no_rotation_until;
        let format = self
            .files
            .format(if rotate { self.conf().max_size } else { 0 });
        // SAFETY: `out` is a private mapping of OUT + LINE bytes, lent to one step at a time.
        let (out, line) = unsafe {
            (
                core::slice::from_raw_parts_mut(self.out, OUT),
                core::slice::from_raw_parts_mut(self.out.add(OUT), LINE),
            )
        };
        let mut buffers = Buffers { out, line };
        step(
            &mut self.files,
            slot,
            &format,
            &mut buffers,
            &mut Ring::new(self.state.ring(stream)),
        )
    }

    /// The log did not take a batch: waits a little and says whether to try again.
    pub(super) fn log_failed(&mut self, e: Errno) -> bool {
        let now = sys::now(sys::MONOTONIC);
        if e == NO_ROTATION {
            self.no_rotation_until = now + 1000 * MS;
            return true;
        }
        if self.log_fails_since == 0 {
            self.log_fails_since = now;
        }
        if now - self.log_fails_since >= LOG_PATIENCE {
            return false;
        }
        sys::sleep(50 * MS);
        true
    }

    /// End of a stream: its open line becomes a record.
    pub(super) fn finish(&mut self, stream: usize) {
        self.unwatch(stream);
        if self.slot.eof & 1 << stream != 0 {
            return;
        }
        let page = self.state.page();
        // A death in a rotation from here on finds a batch without bytes, not the last one again.
        page.batch_stream.store(stream as u32, Ordering::Relaxed);
        page.batch_want.store(0, Ordering::Relaxed);
        loop {
            let mut slot = self.slot;
            let time = sys::now(sys::REALTIME);
            page.batch_time.store(time, Ordering::Relaxed);
            let done = self.encode(&mut slot, |files, slot, format, buffers, ring| {
                capture::finish(files, slot, format, buffers, ring, stream, time)
            });
            P::step(24);
            self.slot = self.state.slot();
            match done {
                Ok(()) => return,
                Err(e) if self.log_failed(e) => {}
                Err(e) => {
                    let mut slot = self.slot;
                    slot.eof |= 1 << stream;
                    let cause = e.0 as u32;
                    let mut ring = Ring::new(self.state.ring(stream));
                    let files = &mut self.files;
                    capture::drop_batch(files, &mut slot, &mut ring, stream, &[], time, cause);
                    self.slot = slot;
                    return;
                }
            }
        }
    }
}
