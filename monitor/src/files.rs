//! The log on disk: the current file, its side file, rotation, the attach spool, the doorbell.

mod json;
mod retire;
mod segments;

use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use taffrail_log_core::capture::{self, Format, Log};
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
/// [`taffrail_log_core::local::ALIGN`] as an offset.
const ALIGN: u64 = taffrail_log_core::local::ALIGN as u64;
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
    spool: Fd,
    tmp: Fd,
    /// Written since the last sync (`sync=record`).
    dirty: bool,
    segment: Fd,
    segment_no: u64,
    /// Nothing that is needed leaves the spool, whatever its bound (`mode=blocking`).
    pub keep_all: bool,
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
            spool: -1,
            keep_all: conf.blocking,
            tmp: -1,
            dirty: false,
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
        self.spool = open(self.spool, self.conf.spool_dir).unwrap_or(-1);
        self.tmp = open(self.tmp, self.conf.tmp_dir).unwrap_or(-1);
    }

    /// How records are stored, with `max_size` bytes a file.
    #[must_use]
    pub fn format(&self, max_size: u64) -> Format<'c> {
        Format {
            local: self.conf.local,
            run: self.conf.run,
            max_size,
            attrs: self.conf.attrs,
            discard: self.conf.discard,
        }
    }

    /// The current file by its name, or none.
    fn open_log(&mut self, slot: &Slot) {
        self.open_folders();
        if self.dir < 0 {
            return;
        }
        let name = self.current_name(slot);
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
        if self.conf.local {
            self.open_log(slot);
            self.state.set_phase(phase::BATCH);
            return;
        }
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
    /// side file with its header, what a segment and a run begin with.
    ///
    /// # Errors
    /// The log does not take what a segment or a run begins with.
    pub fn settle(&mut self, slot: &mut Slot) -> Result<()> {
        if !self.has_log() {
            self.open_log(slot);
        }
        if self.log < 0 {
            return Ok(());
        }
        let Ok(stat) = sys::fstat(self.log) else {
            return Ok(());
        };
        let new_end = if self.conf.local {
            // Batches begin at multiples of their alignment.
            stat.size.next_multiple_of(ALIGN)
        } else {
            stat.size
        };
        if stat.size < slot.offset {
            // Truncated from outside: go on at the new end (decision 11).
            slot.lost_bytes += slot.offset - stat.size;
            slot.lost_cause = Errno::ENOENT.0 as u32;
            slot.offset = new_end;
            slot.block_offset = slot.offset;
            slot.block_crc = 0;
        }
        if slot.inode != 0 && slot.inode != stat.inode && stat.size > slot.offset {
            // Another file took its place: nothing of it is written over.
            slot.offset = new_end;
            slot.block_offset = slot.offset;
            slot.block_crc = 0;
        }
        if slot.inode != stat.inode || slot.index_offset == 0 {
            slot.inode = stat.inode;
            self.side_header(slot);
        }
        if self.conf.local {
            self.begin_segment(slot)?;
        }
        capture::mark_run(self, slot, self.conf.run, sys::now(sys::REALTIME));
        Ok(())
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

    /// Marks the run at the start of a file that it goes on in; with `sync=record` the file's name is
    /// on the disk before anything is in it.
    fn mark_file(&mut self, slot: &mut Slot) {
        slot.run_marked = 0;
        capture::mark_run(self, slot, self.conf.run, sys::now(sys::REALTIME));
        if self.conf.sync && sys::fsync(self.dir).is_err() {
            self.count_anomaly();
        }
    }

    fn count_anomaly(&self) {
        let anomalies = &self.state.page().anomalies;
        anomalies.fetch_add(1, Ordering::Relaxed);
    }

    /// Cuts off what lies behind the last commit: part of a batch that was given up.
    pub fn trim(&self, slot: &Slot) {
        if self.log >= 0
            && let Ok(stat) = sys::fstat(self.log)
            && stat.inode == slot.inode
            && stat.size > slot.offset
        {
            let _ = sys::ftruncate(self.log, slot.offset);
        }
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

    /// Finishes or makes the rotation that `slot` is in. Every step can be done again.
    ///
    /// # Errors
    /// Nothing was changed for good, the current file goes on.
    pub fn run_rotation(&mut self, slot: &mut Slot) -> Result<()> {
        self.open_folders();
        if self.conf.local {
            self.rotate_segments(slot)
        } else {
            self.rotate_names(slot)
        }
    }

    fn current_name(&self, slot: &Slot) -> Name {
        if self.conf.local {
            segments::name(slot.file_no, b".seg")
        } else {
            self.name(0)
        }
    }

    /// The daemon compressed file `number`: takes the result in its place.
    ///
    /// # Errors
    /// ENOENT if the file is gone or the current one; what the renaming gives.
    pub fn publish(&mut self, slot: &Slot, number: u64) -> Result<()> {
        self.open_folders();
        if number < slot.oldest_file_no || number >= slot.file_no || self.tmp < 0 {
            return Err(Errno::ENOENT);
        }
        let (plain, packed, from) = if self.conf.local {
            (
                segments::name(number, b".seg"),
                segments::name(number, b".seg.zst"),
                segments::name(number, b".zst"),
            )
        } else {
            let generation = slot.file_no - number;
            (
                self.name(generation),
                self.packed(generation),
                segments::name(number, b".gz"),
            )
        };
        sys::open(self.dir, plain.path(), O_RDONLY, 0).map(sys::close)?;
        P::step(29);
        sys::rename_to(self.tmp, from.path(), self.dir, packed.path())?;
        P::step(30);
        // With both there, readers take the plain one; the daemon packs it again.
        sys::unlink(self.dir, plain.path())
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
        self.dirty = true;
        P::step(8);
        Ok(())
    }

    fn write_parts(&mut self, at: u64, parts: &[&[u8]]) -> Result<()> {
        P::step(7);
        if self.log < 0 {
            return Err(self.no_log);
        }
        sys::pwritev_all(self.log, parts, at)?;
        self.dirty = true;
        P::step(8);
        Ok(())
    }

    fn write_side(&mut self, at: u64, entry: &[u8; side::ENTRY]) -> bool {
        if self.side < 0 {
            return false;
        }
        P::step(20);
        let written = sys::pwrite_all(self.side, entry, at).is_ok();
        P::step(21);
        written
    }

    fn sync(&mut self) -> Result<()> {
        if self.conf.sync && self.dirty {
            P::step(31);
            // After a failure the batch is written again, which makes its pages dirty again.
            sys::fdatasync(self.log)?;
            self.dirty = false;
            P::step(32);
        }
        Ok(())
    }

    fn long_lines(&mut self, count: u32) {
        let lines = &self.state.page().long_lines;
        lines.fetch_add(count.into(), Ordering::Relaxed);
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
            if !self.conf.local {
                self.put_names_back();
            }
            self.state.set_phase(phase::BATCH);
            NO_ROTATION
        })
    }
}
