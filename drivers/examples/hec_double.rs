//! The double of Splunk's event collector as a program: `hec_double [ADDRESS]`. Prints its address, then each event that it keeps as a line of
//! JSON. Commands come a line each on standard input: `ack on|off`, `token TEXT`, `status NUMBER [COUNT]` (400, 401, 403, 404, 413, 429, 500, 503),
//! `hang`, `close`, `reset`, `answer-lost`, `release`. Ends with its input.

#[path = "../tests/hec/mod.rs"]
mod hec;

use std::io::{BufRead as _, Write as _};

use hec::{Fault, Hec, Settings};

fn status(number: u16) -> Fault {
    let body = match number {
        400 => r#"{"text":"Invalid data format","code":6}"#,
        401 => r#"{"text":"Token is required","code":2}"#,
        403 => r#"{"text":"Invalid token","code":4}"#,
        503 => r#"{"text":"Server is busy","code":9}"#,
        _ => "",
    };
    Fault::Status(number, body, (number == 429).then_some(1))
}

fn main() {
    let at = std::env::args().nth(1);
    let double = Hec::listen(
        at.as_deref().unwrap_or("127.0.0.1:8088"),
        Settings::default(),
        None,
    );
    println!("{}", double.address());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let words: Vec<_> = line.split_whitespace().collect();
                let mut state = double.state();
                match words[..] {
                    ["ack", on] => state.settings.ack = on == "on",
                    ["token", text] => state.settings.token = text.to_owned(),
                    ["status", number, ref count @ ..] => {
                        let count = count.first().and_then(|n| n.parse().ok()).unwrap_or(1);
                        let fault = status(number.parse().unwrap_or(500));
                        state.faults.extend(std::iter::repeat_n(fault, count));
                    }
                    ["hang"] => state.faults.push_back(Fault::Hang),
                    ["close"] => state.faults.push_back(Fault::Close),
                    ["reset"] => state.faults.push_back(Fault::Reset),
                    ["answer-lost"] => state.faults.push_back(Fault::AnswerLost),
                    ["release"] => {
                        drop(state);
                        double.release();
                    }
                    _ => eprintln!("not understood: {line}"),
                }
            }
            std::process::exit(0);
        });
        loop {
            let mut state = double.state();
            let fresh: Vec<_> = state.events.drain(..).collect();
            drop(state);
            let mut out = std::io::stdout().lock();
            for event in &fresh {
                let _ = writeln!(out, "{event}");
            }
            let _ = out.flush();
            drop(out);
            if fresh.is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
    });
}
