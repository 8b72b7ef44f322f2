//! Runs a program with a deadline; shows both outputs whole when something is not as expected.

use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A command to be run once.
#[derive(Debug)]
pub(crate) struct Run {
    command: Command,
    stdin: Option<Vec<u8>>,
    deadline: Duration,
}

/// What a command did.
pub(crate) struct Output {
    pub(crate) command: String,
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) took: Duration,
}

impl Run {
    pub(crate) fn new(command: Command) -> Self {
        Self {
            command,
            stdin: None,
            deadline: DEADLINE,
        }
    }

    pub(crate) fn args<S: AsRef<std::ffi::OsStr>>(
        mut self,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    pub(crate) fn deadline(mut self, seconds: u64) -> Self {
        self.deadline = Duration::from_secs(seconds);
        self
    }

    /// Runs to the end.
    #[track_caller]
    pub(crate) fn output(mut self) -> Output {
        let text = shown(&self.command);
        self.command
            .stdin(if self.stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        let feeder = self.stdin.take().map(|bytes| {
            let mut pipe = child.stdin.take().expect("stdin is piped");
            std::thread::spawn(move || {
                // A program may end before it has read everything.
                let _ = pipe.write_all(&bytes);
            })
        });
        let out = drain(child.stdout.take().expect("stdout is piped"));
        let err = drain(child.stderr.take().expect("stderr is piped"));
        let code = wait(&mut child, self.deadline);
        if code.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let stdout = out.join().expect("reader of stdout");
        let stderr = err.join().expect("reader of stderr");
        if let Some(feeder) = feeder {
            let _ = feeder.join();
        }
        let output = Output {
            command: text,
            code: code.unwrap_or(-1),
            stdout,
            stderr,
            took: begun.elapsed(),
        };
        assert!(
            code.is_some(),
            "no end within {} s: {output}",
            self.deadline.as_secs()
        );
        output
    }

    /// Starts it and leaves it running; stdout and stderr are piped.
    #[track_caller]
    pub(crate) fn spawn(mut self) -> Child {
        let text = shown(&self.command);
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// The exit status (128 + n for signal n), or nothing at the deadline.
pub(crate) fn wait(child: &mut Child, deadline: Duration) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_micros(500);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                return Some(
                    status
                        .code()
                        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
                );
            }
            Ok(None) if Instant::now() > end => return None,
            Ok(None) => std::thread::sleep(pause),
            Err(error) => panic!("wait: {error}"),
        }
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

impl Output {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// stdout without white space at its ends; the command must have succeeded.
    #[track_caller]
    pub(crate) fn ok(&self) -> String {
        assert_eq!(self.code, 0, "{self}");
        self.out().trim().to_owned()
    }

    #[track_caller]
    pub(crate) fn code(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    #[track_caller]
    pub(crate) fn stdout_is(&self, text: &str) -> &Self {
        assert_eq!(self.out(), text, "stdout of {self}");
        self
    }

    #[track_caller]
    pub(crate) fn stderr_is(&self, text: &str) -> &Self {
        assert_eq!(self.err(), text, "stderr of {self}");
        self
    }

    /// Without regard to case, as the texts differ between Docker's releases.
    #[track_caller]
    pub(crate) fn stderr_has(&self, text: &str) -> &Self {
        assert!(
            self.err().to_lowercase().contains(&text.to_lowercase()),
            "{text:?} is not in stderr of {self}"
        );
        self
    }

    #[track_caller]
    pub(crate) fn stdout_has(&self, text: &str) -> &Self {
        assert!(
            self.out().contains(text),
            "{text:?} is not in stdout of {self}"
        );
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(8192)]).into_owned();
            if bytes.len() > 8192 {
                format!("{text}\n... {} bytes", bytes.len())
            } else {
                text
            }
        };
        write!(
            f,
            "{}\n--- exit {} after {:.3} s\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.command,
            self.code,
            self.took.as_secs_f32(),
            cut(&self.stdout),
            cut(&self.stderr)
        )
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Base64 with the usual alphabet.
pub(crate) fn decode_base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let digit = ALPHABET
            .iter()
            .position(|known| *known == byte)
            .unwrap_or_else(|| panic!("not base64: {text}"));
        bits = (bits << 6) | digit as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    out
}
