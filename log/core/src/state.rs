//! The state file of a running container: one state page, the stage, and two carry rings.
//!
//! The layout is specified in `docs/design/state-page.md`. The monitor maps it shared and is the
//! only writer of everything but the fields marked *daemon*. A reader (the daemon) takes a
//! consistent copy of the committed slot with [`StatePage::committed`].
//!
//! Nothing here makes a system call: the functions work on mapped memory.

use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering, fence};

/// First eight bytes of a state file.
pub const MAGIC: u64 = u64::from_le_bytes(*b"TAFSTATE");
/// Layout version. A monitor refuses any other; a respawn always uses the binary that made it.
pub const VERSION: u32 = 2;
/// Bytes of the state page.
pub const PAGE: usize = 4096;
/// Bytes of the stage: the most that one read takes, and as much as a pipe is grown to.
pub const STAGE: usize = 128 * 1024;
/// Bytes of one carry ring (one a stream).
pub const RING: usize = 32 * 1024;
/// Offset of the stage in the state file.
pub const STAGE_AT: usize = PAGE;
/// Offset of the first carry ring (stdout); stderr's follows.
pub const RING_AT: usize = PAGE + STAGE;
/// Size of the state file in bytes.
pub const STATE_FILE: usize = PAGE + STAGE + 2 * RING;

/// Values of the phase in [`StatePage::word`].
pub mod phase {
    /// Nothing in flight: the committed slot is all there is.
    pub const IDLE: u8 = 0;
    /// A read of `batch_want` bytes into the stage was announced; whether it happened is told by
    /// the sentinels.
    pub const READING: u8 = 1;
    /// The stage holds a batch, of which `consumed` bytes are already in the log.
    pub const BATCH: u8 = 2;
    /// The log file is being rotated; `rotate_step` counts the finished steps. The stage still
    /// holds the batch.
    pub const ROTATING: u8 = 3;
    /// End of the container: everything is in the log and the exit status is final.
    pub const DONE: u8 = 4;
}

/// Values of [`StatePage::lifecycle`].
pub mod lifecycle {
    /// The daemon made the file; no monitor has worked on it.
    pub const NEW: u32 = 0;
    /// The monitor runs the OCI runtime's `create`.
    pub const CREATING: u32 = 1;
    /// `create` succeeded: `app_pid` and `app_start` are valid.
    pub const CREATED: u32 = 2;
    /// `create` failed or did not finish; `create_status` says how.
    pub const FAILED: u32 = 3;
    /// The application has ended and its log is complete; `exit_*` are final.
    pub const ENDED: u32 = 4;
}

/// Committed capture state. Two of these lie in the page; [`StatePage::word`] names the valid one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Number of the current log file, from 1, never reused for the container.
    pub file_no: u64,
    /// Bytes of the current log file that are committed (the `L` of the protocol).
    pub offset: u64,
    /// Inode of the current log file.
    pub inode: u64,
    pub epoch: u64,
    /// Sequence number of the next record.
    pub next_seq: u64,
    /// Time of the last record, nanoseconds since 1970.
    pub last_time: u64,
    /// Start of each stream's carry in its ring (stdout, stderr).
    pub carry_at: [u32; 2],
    /// Length of each stream's carry: the open line's bytes that are in no record yet (< 16 KiB).
    pub carry_len: [u32; 2],
    /// Bytes of the batch in the stage that are already in records or in the carry.
    pub consumed: u32,
    /// Bit 0/1: the last record of stdout/stderr was a piece without a newline.
    pub chain: u32,
    /// Bytes of the current side file that are committed.
    pub index_offset: u64,
    /// Where in the log file the open index block began, and its first record.
    pub block_offset: u64,
    pub block_seq: u64,
    pub block_time: u64,
    /// crc32c of the open index block so far.
    pub block_crc: u32,
    /// Bit 0/1: end of stdout/stderr was seen.
    pub eof: u32,
    /// Bytes written to the attach spool since the state file was made.
    pub attach_pos: u64,
    /// Records and bytes that could not be kept, and the last reason (see `docs/design`).
    pub lost_records: u64,
    pub lost_bytes: u64,
    pub lost_cause: u32,
    /// Number of the batch that `consumed` and `attach_pos` speak of (see `batch_no`).
    pub batch_mark: u32,
    /// Bytes read from stdout and stderr since the state file was made.
    pub bytes_in: [u64; 2],
    /// Number of the oldest log file that still exists, the spool left aside.
    pub oldest_file_no: u64,
    /// `local`: salt of the current segment.
    pub salt: u32,
    /// 1 once the run is marked in the index.
    pub run_marked: u32,
    /// `local`: offset / 64 of the attributes in force, 0 for none.
    pub attrs_at: u32,
    /// Number of the container's run.
    pub run: u32,
    /// Seq of the piece with which each stream's open line began, and the ordinal of its last
    /// piece; 0 if no piece of an open line is in the log.
    pub chain_seq: [u64; 2],
    pub ordinal: [u32; 2],
    /// A gap that is not in the log yet: first missing record, number, bytes, time of the first and
    /// of the last loss, errno. `gap_records` and `gap_bytes` 0: none.
    pub gap_seq: u64,
    pub gap_records: u64,
    pub gap_bytes: u64,
    pub gap_from: u64,
    pub gap_until: u64,
    pub gap_cause: u32,
    /// `local`: 1 once the current segment has a batch of records or a gap.
    pub segment_used: u32,
    /// Number of the oldest file in the spool (`oldest_file_no` if it is empty), and its bytes.
    pub spool_oldest: u64,
    pub spool_bytes: u64,
    /// What the spool's bound took from readers that had not read it.
    pub spool_lost_records: u64,
    pub spool_lost_bytes: u64,
    /// Clock of the last batch, nanoseconds since 1970: tells a step back.
    pub clock: u64,
}

/// The state page. Fields are little-endian; all are naturally aligned.
#[repr(C)]
#[derive(Debug)]
pub struct StatePage {
    pub magic: AtomicU64,
    pub version: AtomicU32,
    pub stage_size: AtomicU32,
    pub container: [u8; 32],
    pub reserved0: [u64; 2],
    /// `commit << 8 | phase << 1 | slot`: the one word whose store is the commit.
    pub word: AtomicU64,
    /// *daemon*: a reader that has caught up sets 1 and wants the doorbell; the monitor swaps 0.
    pub armed: AtomicU32,
    /// *daemon*: 1 while the raw output is wanted in the attach spool.
    pub attach_want: AtomicU32,
    /// *daemon*: bytes of the attach spool that all attach clients have taken.
    pub attach_read: AtomicU64,
    /// *daemon*: number of followers; with any, the pause after short reads is shorter.
    pub followers: AtomicU32,
    /// Steps of the running rotation that are done.
    pub rotate_step: AtomicU32,
    pub lifecycle: AtomicU32,
    /// Pid of the application in the daemon's pid namespace.
    pub app_pid: AtomicI32,
    /// Start time of the application in clock ticks (`/proc/<pid>/stat`, field 22).
    pub app_start: AtomicU64,
    /// 0 not ended, 1 `exit_status` is a wait status, 2 the status could not be learned.
    pub exit_known: AtomicU32,
    /// `wait(2)` status of the application.
    pub exit_status: AtomicI32,
    /// When the application ended, nanoseconds since 1970.
    pub exit_time: AtomicU64,
    /// Exit status of the OCI runtime's `create` when it failed (`wait(2)` status), or -errno.
    pub create_status: AtomicI32,
    /// Reads that gave less than announced (somebody else reads the application's output).
    pub anomalies: AtomicU32,
    /// How often a monitor took over this state file.
    pub takeovers: AtomicU32,
    /// Size of the application's pipes in bytes, as the kernel granted it.
    pub pipe_size: AtomicU32,
    /// 1 while the monitor does not read because the attach spool is at its bound.
    pub attach_blocked: AtomicU32,
    /// Pid of the monitor that holds the state file.
    pub monitor_pid: AtomicI32,
    /// Batch: stream (0 stdout, 1 stderr), bytes announced, time given at the end of the read.
    pub batch_stream: AtomicU32,
    pub batch_want: AtomicU32,
    pub batch_time: AtomicU64,
    /// Complement of the first byte, when the read is shorter than a sentinel.
    pub batch_poison: AtomicU32,
    /// Counts batches, so that a slot tells whether it already holds part of the one in the stage.
    pub batch_no: AtomicU32,
    /// Random bytes that mark stage memory as not yet overwritten by a read.
    pub sentinel: [AtomicU64; 2],
    /// *daemon*: 1 once the application's stdin was closed for good.
    pub stdin_closed: AtomicU32,
    /// 1 while the monitor does not read because the spool is at its bound (`mode=blocking`).
    pub spool_blocked: AtomicU32,
    /// *daemon*: lowest number of a file that a reader or sink still needs; `u64::MAX`: none. A file
    /// from this number on is not removed by rotation but moved to the spool.
    pub held_from: AtomicU64,
    /// *daemon*: this container's share of the spool in bytes.
    pub spool_share: AtomicU64,
    pub slots: [Slot; 2],
    /// Lines of this run that were longer than a piece, or had no end. Behind the slots, where an older
    /// monitor leaves zero.
    pub long_lines: AtomicU64,
}

const _: () = assert!(core::mem::size_of::<StatePage>() <= PAGE);

/// A word taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    pub commit: u64,
    pub phase: u8,
    pub slot: u8,
}

impl Word {
    #[must_use]
    pub fn pack(self) -> u64 {
        self.commit << 8 | u64::from(self.phase) << 1 | u64::from(self.slot & 1)
    }

    #[must_use]
    pub fn unpack(word: u64) -> Self {
        Self {
            commit: word >> 8,
            phase: (word >> 1 & 0x7f) as u8,
            slot: (word & 1) as u8,
        }
    }
}

impl StatePage {
    /// A copy of the committed slot and the word it was committed with. Never torn: the copy is
    /// taken again when the word moved meanwhile. `None` if the page is not a state page of this
    /// version, or is damaged.
    #[must_use]
    pub fn committed(&self) -> Option<(Word, Slot)> {
        if self.magic.load(Ordering::Relaxed) != MAGIC
            || self.version.load(Ordering::Relaxed) != VERSION
        {
            return None;
        }
        for _ in 0..10_000 {
            let before = self.word.load(Ordering::Acquire);
            let word = Word::unpack(before);
            let at: *const Slot = &raw const self.slots[usize::from(word.slot)];
            // SAFETY: `at` points into the mapped page. Another process may write the slot while
            // it is read; the copy is volatile, made of integers only, and thrown away unless the
            // word is unchanged after it.
            let slot = unsafe { at.read_volatile() };
            fence(Ordering::Acquire);
            if self.word.load(Ordering::Relaxed) == before {
                return Some((word, slot));
            }
            core::hint::spin_loop();
        }
        None
    }
}
