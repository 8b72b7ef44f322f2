//! `monitor.conf`: what the daemon tells a monitor, as `key=value` strings that end with NUL.

use crate::text::parse;

/// Most arguments of the runtime's `create`.
pub const ARGS: usize = 63;

/// The settings of one monitor. Strings point into the file's memory.
#[derive(Clone, Copy, Debug)]
pub struct Conf<'a> {
    /// Folder of the log (with NUL), or empty: nothing is kept.
    pub log_dir: &'a [u8],
    /// Name of the log file without NUL.
    pub log_name: &'a [u8],
    /// Folder of the side files (with NUL).
    pub index_dir: &'a [u8],
    /// Folder of closed files past retention that are still needed (with NUL), or empty.
    pub spool_dir: &'a [u8],
    /// Folder where the daemon leaves compressed files (with NUL), or empty.
    pub tmp_dir: &'a [u8],
    /// The `local` format; `log_name` means nothing then.
    pub local: bool,
    /// Number of the container's run, from 1.
    pub run: u32,
    /// Each batch is on disk before it counts.
    pub sync: bool,
    /// The application waits rather than that the spool lets go of what is still needed.
    pub blocking: bool,
    pub max_size: u64,
    pub max_file: u64,
    /// JSON object of attributes, or empty.
    pub attrs: &'a [u8],
    pub discard: bool,
    pub tty: bool,
    pub stdin: bool,
    pub rows: u16,
    pub cols: u16,
    /// Arguments of the runtime's `create`, each with NUL.
    pub args: [&'a [u8]; ARGS],
    pub arg_count: usize,
}

/// Reads the file's bytes. `None` if a string has no end, a number is none, or there are too many
/// arguments.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Conf<'_>> {
    let mut conf = Conf {
        log_dir: b"",
        log_name: b"",
        index_dir: b"",
        spool_dir: b"",
        tmp_dir: b"",
        local: false,
        run: 1,
        sync: false,
        blocking: false,
        max_size: 0,
        max_file: 1,
        attrs: b"",
        discard: false,
        tty: false,
        stdin: false,
        rows: 0,
        cols: 0,
        args: [b""; ARGS],
        arg_count: 0,
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == 0)?;
        let (line, next) = rest.split_at(end + 1);
        rest = next;
        let eq = line.iter().position(|b| *b == b'=')?;
        let (key, with_nul) = (&line[..eq], &line[eq + 1..]);
        let value = &with_nul[..with_nul.len() - 1];
        match key {
            b"log_dir" => conf.log_dir = with_nul,
            b"log_name" if value.len() <= 200 => conf.log_name = value,
            b"index_dir" => conf.index_dir = with_nul,
            b"spool_dir" => conf.spool_dir = with_nul,
            b"tmp_dir" => conf.tmp_dir = with_nul,
            b"format" => {
                conf.local = match value {
                    b"local" => true,
                    b"json-file" => false,
                    _ => return None,
                }
            }
            b"run" => conf.run = u32::try_from(parse(value)?).ok()?,
            b"sync" => conf.sync = value == b"1",
            b"blocking" => conf.blocking = value == b"1",
            b"max_size" => conf.max_size = parse(value)?,
            b"max_file" => conf.max_file = parse(value)?.max(1),
            b"attrs" => conf.attrs = value,
            b"discard" => conf.discard = value == b"1",
            b"tty" => conf.tty = value == b"1",
            b"stdin" => conf.stdin = value == b"1",
            b"rows" => conf.rows = parse(value)? as u16,
            b"cols" => conf.cols = parse(value)? as u16,
            b"arg" => {
                *conf.args.get_mut(conf.arg_count)? = with_nul;
                conf.arg_count += 1;
            }
            _ => return None,
        }
    }
    Some(conf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_refuses() {
        let c =
            read(b"log_dir=/x\0log_name=a-json.log\0max_size=10\0tty=1\0arg=runc\0arg=create\0")
                .unwrap();
        assert_eq!(
            (c.log_dir, c.log_name, c.max_size, c.tty),
            (&b"/x\0"[..], &b"a-json.log"[..], 10, true)
        );
        assert_eq!((c.arg_count, c.args[1]), (2, &b"create\0"[..]));
        assert!(read(b"no end").is_none());
        assert!(read(b"max_size=x\0").is_none());
        assert!(read(b"what=1\0").is_none());
        assert!(read(b"format=xml\0").is_none());
        let c = read(b"format=local\0run=3\0sync=1\0").unwrap();
        assert_eq!((c.local, c.run, c.sync), (true, 3, true));
        assert!(read(b"").is_some());
    }
}
