//! What `taffrail logs` makes of a daemon's answer, as frames, lines and objects: the same in whatever
//! chunks it comes.
#![no_main]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "modules of the program, of which this is a part"
)]

#[path = "../../src/client"]
mod client {
    mod frames;

    pub(crate) use frames::{Demux, Stream};

    /// The errors that frames have.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) enum ClientError {
        BadFrame(u8),
        InStream(String),
    }
}

#[path = "../../src/cli/logs"]
mod logs {
    mod records;

    use crate::client::ClientError;
    use records::{Form, Record, Records};

    fn take(form: Form, data: &[u8], step: usize) -> (Vec<Record>, Option<ClientError>) {
        let mut records = Records::new(form);
        let mut error = None;
        let mut out = Vec::new();
        for chunk in data.chunks(step) {
            error = records.push(chunk).err();
            while let Some(head) = records.head().cloned() {
                assert_eq!(records.take(), Some(head.clone()));
                out.push(head);
            }
            if error.is_some() {
                break;
            }
        }
        if error.is_none() {
            records.end();
            out.extend(std::iter::from_fn(|| records.take()));
        }
        (out, error)
    }

    pub(crate) fn check(data: &[u8], step: usize) {
        let forms: [fn() -> Form; 3] =
            [|| Form::Frames(Box::default()), || Form::Raw, || Form::Json];
        for form in forms {
            let whole = take(form(), data, data.len().max(1));
            assert_eq!(take(form(), data, step), whole);
            let bytes: usize = whole.0.iter().map(|record| record.payload.len()).sum();
            assert!(bytes <= data.len());
        }
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let [step, data @ ..] = data {
        logs::check(data, 1 + usize::from(*step));
    }
});
