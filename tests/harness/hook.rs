//! A receiver of webhook posts on loopback, whose manner is chosen and can change: what it was sent is
//! kept request by request, also what it did not take.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::wait_for;

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers with this status.
    Answers(u16),
    /// Reads the request and never answers.
    Silent,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    /// `POST /path HTTP/1.1` and the headers, as they came.
    pub(crate) head: String,
    pub(crate) body: Value,
    /// It was answered with 200.
    pub(crate) taken: bool,
}

#[derive(Debug)]
struct Shared {
    manner: Mutex<Manner>,
    posts: Mutex<Vec<Post>>,
    streams: Mutex<Vec<TcpStream>>,
    end: Mutex<bool>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Hook {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Hook {
    /// A port that nobody listens on yet.
    pub(crate) fn absent() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        Self {
            port,
            shared: Arc::new(Shared {
                manner: Mutex::new(Manner::Answers(200)),
                posts: Mutex::default(),
                streams: Mutex::default(),
                end: Mutex::new(false),
            }),
            acceptor: None,
        }
    }

    pub(crate) fn listening(manner: Manner) -> Self {
        let mut hook = Self::absent();
        hook.set(manner);
        hook.open();
        hook
    }

    pub(crate) fn set(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// Begins to listen.
    pub(crate) fn open(&mut self) {
        let port = self.port;
        let listener = wait_for("the hook's port", Duration::from_secs(10), || {
            TcpListener::bind(("127.0.0.1", port)).ok()
        });
        let shared = Arc::clone(&self.shared);
        self.acceptor = Some(std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if *shared.end.lock().unwrap() {
                    return;
                }
                let copy = stream.try_clone().expect("a descriptor");
                shared.streams.lock().unwrap().push(copy);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        }));
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook?token=sesame", self.port)
    }

    /// All requests so far.
    pub(crate) fn posts(&self) -> Vec<Post> {
        self.shared.posts.lock().unwrap().clone()
    }

    /// Waits for a request that was taken and whose body fits.
    #[track_caller]
    pub(crate) fn wait_taken(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Post {
        wait_for(what, Duration::from_secs(60), || {
            self.posts()
                .into_iter()
                .find(|post| post.taken && fits(&post.body))
        })
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        *self.shared.end.lock().unwrap() = true;
        // Wakes the acceptor.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    let mut writer = stream.try_clone().expect("a descriptor");
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(reader.read_line(&mut head), Ok(1..)) {
                return;
            }
        }
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let manner = *shared.manner.lock().unwrap();
        let post = Post {
            head,
            body: serde_json::from_slice(&body).expect("a JSON body"),
            taken: manner == Manner::Answers(200),
        };
        shared.posts.lock().unwrap().push(post);
        if let Manner::Answers(status) = manner {
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            if writer.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}
