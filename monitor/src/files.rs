//! The log on disk: the current file, its side file, rotation, the attach spool, the doorbell.

use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use taffrail_log_core::capture::Log;
use taffrail_log_core::side;
use taffrail_log_core::state::{Slot, phase};

use crate::conf::Conf;
use crate::page::State;
use crate::probe::Probe;
use crate::proto::{Message, kind};
use crate::sys::{
    self, AT_FDCWD, CPath, Errno, Fd, O_CREAT, O_DIRECTORY, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TRUNC,
    Result,
};
use crate::text::Name;

/// Bytes of a segment of the attach spool.
pub const SEGMENT: u64 = 256 * 1024;
/// Connections of daemons that a monitor serves at once.
pub const DAEMONS: usize = 4;
/// The rotation failed; the file goes on for a while.
pub const NO_ROTATION: Errno = Errno(4095);

/// See the module.
#[derive(Debug)]
pub struct Files<'c, P> {
    pub state: State,
    pub conf: &'c Conf<'c>,
    pub id: [u8; 32],
    dir: Fd,
    index: Fd,
    log: Fd,
    /// Why there is no `log`.
    no_log: Errno,
    side: Fd,
    segment: Fd,
    segment_no: u64,
    /// Sockets of daemons, -1 where free.
    pub daemons: [Fd; DAEMONS],
    probe: PhantomData<P>,
}

impl<'c, P: Probe> Files<'c, P> {
    /// Opens the current log file that `slot` names and cuts it to what is committed. A log that
    /// cannot be opened (read-only or full file system, a folder in its place) is none yet:
    /// [`Files::settle`] tries again, as the application must go on.
    #[must_use]
    pub fn open(state: State, conf: &'c Conf<'c>, id: [u8; 32], slot: &Slot) -> Self {
        let mut this = Self {
            state,
            conf,
            id,
            dir: -1,
            index: -1,
            log: -1,
            no_log: Errno::ENOENT,
            side: -1,
            segment: -1,
            segment_no: u64::MAX,
            daemons: [-1; DAEMONS],
            probe: PhantomData,
        };
        // In the middle of a rotation the current file may have any name or none: the
        // rotation opens it itself.
        if state.word().phase == phase::ROTATING {
            this.open_folders();
            this.open_side(slot.file_no, false);
        } else {
            this.open_log(slot);
        }
        this
    }

    fn open_folders(&mut self) {
        let open = |old: Fd, path: &[u8]| {
            if old >= 0 || path.is_empty() {
                return Ok(old);
            }
            sys::open(AT_FDCWD, CPath::new(path), O_RDONLY | O_DIRECTORY, 0)
        };
        if self.conf.discard {
            return;
        }
        match open(self.dir, self.conf.log_dir) {
            Ok(dir) => self.dir = dir,
            Err(e) => self.no_log = e,
        }
        self.index = open(self.index, self.conf.index_dir).unwrap_or(-1);
    }

    /// The current file by its name, or none.
    fn open_log(&mut self, slot: &Slot) {
        self.open_folders();
        if self.dir < 0 {
            return;
        }
        let name = self.name(0);
        let opened = sys::open(self.dir, name.path(), O_RDWR | O_CREAT | O_NOFOLLOW, 0o640);
        let cut = opened.and_then(|fd| {
            let stat = sys::fstat(fd)?;
            // What lies behind the last commit is a batch that is written again. Another file
            // that took its place is not ours to cut.
            if stat.size > slot.offset && (slot.inode == 0 || slot.inode == stat.inode) {
                sys::ftruncate(fd, slot.offset)?;
            }
            Ok(fd)
        });
        match cut {
            Ok(fd) => {
                self.log = fd;
                self.open_side(slot.file_no, false);
            }
            Err(e) => {
                self.no_log = e;
                if let Ok(fd) = opened {
                    sys::close(fd);
                }
            }
        }
    }

    /// False while the log cannot be opened.
    #[must_use]
    pub fn has_log(&self) -> bool {
        self.log >= 0 || self.conf.discard
    }

    /// Gives up a rotation that a dead monitor began and that cannot be finished: finds the
    /// committed file under the name that it has by now.
    pub fn call_off_rotation(&mut self, slot: &Slot) {
        self.open_folders();
        for generation in 0..2 {
            let name = self.name(generation);
            let Ok(fd) = sys::open(self.dir, name.path(), O_RDWR | O_NOFOLLOW, 0) else {
                continue;
            };
            if sys::fstat(fd).is_ok_and(|stat| stat.inode == slot.inode) {
                if generation > 0 {
                    let _ = sys::rename(self.dir, name.path(), self.name(0).path());
                }
                if self.log >= 0 {
                    sys::close(self.log);
                }
                self.log = fd;
                break;
            }
            sys::close(fd);
        }
        self.state.set_phase(phase::BATCH);
    }

    fn open_side(&mut self, file_no: u64, fresh: bool) {
        if self.side >= 0 {
            sys::close(self.side);
        }
        self.side = if self.index < 0 {
            -1
        } else {
            let flags = O_RDWR | O_CREAT | O_NOFOLLOW | if fresh { O_TRUNC } else { 0 };
            sys::open(
                self.index,
                Name::new(&[]).number(file_no).path(),
                flags,
                0o640,
            )
            .unwrap_or(-1)
        };
    }

    /// Makes the slot's view of the current file true: inode, a size that somebody else cut, a
    /// side file with its header.
    pub fn settle(&mut self, slot: &mut Slot) {
        if !self.has_log() {
            self.open_log(slot);
        }
        if self.log < 0 {
            return;
        }
        let Ok(stat) = sys::fstat(self.log) else {
            return;
        };
        if stat.size < slot.offset {
            // Truncated from outside: go on at the new end (decision 11).
            slot.lost_bytes += slot.offset - stat.size;
            slot.lost_cause = Errno::ENOENT.0 as u32;
            slot.offset = stat.size;
            slot.block_offset = slot.offset;
            slot.block_crc = 0;
        }
        if slot.inode != 0 && slot.inode != stat.inode && stat.size > slot.offset {
            // Another file took its place: nothing of it is written over.
            slot.offset = stat.size;
            slot.block_offset = slot.offset;
            slot.block_crc = 0;
        }
        if slot.inode != stat.inode || slot.index_offset == 0 {
            slot.inode = stat.inode;
            self.side_header(slot);
        }
    }

    fn side_header(&mut self, slot: &mut Slot) {
        let header = side::Header {
            file_no: slot.file_no,
            inode: slot.inode,
            epoch: slot.epoch,
            first_seq: slot.next_seq,
            time: sys::now(sys::REALTIME),
        };
        if self.side >= 0 {
            let _ = sys::pwrite_all(self.side, &header.encode(), 0);
        }
        slot.index_offset = side::ENTRY as u64;
    }

    /// Appends a frame of raw output to the attach spool (decision 17).
    pub fn attach(&mut self, slot: &mut Slot, stream: usize, bytes: &[u8]) {
        let mut header = [stream as u8 + 1, 0, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&(bytes.len() as u32).to_be_bytes());
        P::step(18);
        for part in [&header[..], bytes] {
            let mut part = part;
            while !part.is_empty() {
                let (no, within) = (slot.attach_pos / SEGMENT, slot.attach_pos % SEGMENT);
                let n = part.len().min((SEGMENT - within) as usize);
                if self.segment_no != no {
                    if self.segment >= 0 {
                        sys::close(self.segment);
                    }
                    let name = Name::new(&[b"attach/"]).number(no);
                    self.segment =
                        sys::open(AT_FDCWD, name.path(), O_RDWR | O_CREAT | O_NOFOLLOW, 0o600)
                            .unwrap_or(-1);
                    self.segment_no = no;
                }
                // A spool that cannot be written (full file system) breaks this attach only: the
                // daemon sees a segment that is too short and ends it with an error.
                let _ = sys::pwrite_all(self.segment, &part[..n], within);
                slot.attach_pos += n as u64;
                part = &part[n..];
            }
        }
        P::step(19);
    }

    /// Rings the doorbell if a reader waits for it.
    pub fn bell(&self) {
        let armed = &self.state.page().armed;
        if armed.load(Ordering::SeqCst) != 0 && armed.swap(0, Ordering::SeqCst) != 0 {
            self.ring();
            P::step(28);
        }
    }

    /// Tells every daemon to look at the page.
    pub fn ring(&self) {
        let message = Message::new(kind::BELL, self.id).encode();
        for fd in self.daemons {
            if fd >= 0 {
                // A full socket already holds a bell that was not heard yet.
                let _ = sys::send(fd, &message, None);
            }
        }
    }

    fn name(&self, generation: u64) -> Name {
        let name = Name::new(&[self.conf.log_name]);
        if generation == 0 {
            name
        } else {
            let mut name = name;
            name.push(b".");
            name.number(generation)
        }
    }

    /// Finishes or makes the rotation that `slot` is in. Every step can be done again: the
    /// counter in the page is at most one behind, and a rename that was done finds no source.
    ///
    /// # Errors
    /// [`NO_ROTATION`]: nothing was changed for good, the current file goes on.
    pub fn run_rotation(&mut self, slot: &mut Slot) -> Result<()> {
        self.open_folders();
        let page = self.state.page();
        let existing = slot.file_no - slot.oldest_file_no.min(slot.file_no);
        let keep = self.conf.max_file.max(1) - 1;
        let mut step = 0;
        let mut todo = |act: &mut dyn FnMut() -> Result<()>| -> Result<()> {
            step += 1;
            if page.rotate_step.load(Ordering::Relaxed) >= step {
                return Ok(());
            }
            P::step(13);
            match act() {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(e) => return Err(e),
            }
            P::step(14);
            page.rotate_step.store(step, Ordering::Release);
            Ok(())
        };
        // The next file first: when it cannot be made, nothing has been given up for it.
        let (fresh, current) = (Name::new(&[self.conf.log_name, b".new"]), self.name(0));
        let made = O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW;
        sys::open(self.dir, fresh.path(), made, 0o640).map(sys::close)?;
        P::step(15);
        if existing + 1 > keep {
            // The oldest makes room: with keep 0 that is the current file itself.
            let oldest = self.name(keep);
            todo(&mut || sys::unlink(self.dir, oldest.path()))?;
        }
        for to in (1..=keep.min(existing + 1)).rev() {
            let (from, to) = (self.name(to - 1), self.name(to));
            todo(&mut || sys::rename(self.dir, from.path(), to.path()))?;
        }
        todo(&mut || sys::rename(self.dir, fresh.path(), current.path()))?;
        // Made once more by a replay that had nothing left to do.
        let _ = sys::unlink(self.dir, fresh.path());
        let log = sys::open(
            self.dir,
            current.path(),
            O_RDWR | O_CREAT | O_NOFOLLOW,
            0o640,
        )?;
        if self.log >= 0 {
            sys::close(self.log);
        }
        self.log = log;
        slot.file_no += 1;
        slot.oldest_file_no = slot
            .oldest_file_no
            .max(slot.file_no - keep.min(slot.file_no - 1));
        slot.offset = 0;
        slot.inode = sys::fstat(log)?.inode;
        slot.block_offset = 0;
        slot.block_crc = 0;
        self.open_side(slot.file_no, true);
        self.side_header(slot);
        P::step(16);
        if self.index >= 0 && slot.oldest_file_no > 1 {
            let _ = sys::unlink(
                self.index,
                Name::new(&[]).number(slot.oldest_file_no - 1).path(),
            );
        }
        P::step(17);
        self.commit(slot, phase::BATCH);
        Ok(())
    }
}

impl<P: Probe> Log for Files<'_, P> {
    type Error = Errno;

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        P::step(7);
        if self.log < 0 {
            return Err(self.no_log);
        }
        sys::pwrite_all(self.log, bytes, at)?;
        P::step(8);
        Ok(())
    }

    fn write_side(&mut self, at: u64, entry: &[u8; side::ENTRY]) {
        if self.side >= 0 {
            P::step(20);
            let _ = sys::pwrite_all(self.side, entry, at);
            P::step(21);
        }
    }

    fn commit(&mut self, slot: &Slot, phase: u8) {
        P::step(9);
        self.state.write_other(slot);
        P::step(10);
        self.state.switch(phase);
        P::step(11);
        self.bell();
    }

    fn rotate(&mut self, slot: &mut Slot) -> Result<()> {
        self.state.page().rotate_step.store(0, Ordering::Relaxed);
        self.state.set_phase(phase::ROTATING);
        P::step(12);
        let committed = *slot;
        self.run_rotation(slot).map_err(|_| {
            *slot = committed;
            let fresh = Name::new(&[self.conf.log_name, b".new"]);
            let _ = sys::unlink(self.dir, fresh.path());
            // Names may have been moved already; the file itself is still open, and is put back
            // under its name where that is free.
            if sys::open(self.dir, self.name(0).path(), O_RDONLY, 0).map(sys::close)
                == Err(Errno::ENOENT)
            {
                let _ = sys::rename(self.dir, self.name(1).path(), self.name(0).path());
            }
            self.state.set_phase(phase::BATCH);
            NO_ROTATION
        })
    }
}
