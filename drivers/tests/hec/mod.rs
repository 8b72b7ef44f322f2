//! A strict double of Splunk's HTTP event collector, made from its documentation: it checks requests more closely than Splunk would, keeps what it
//! takes, and fails on demand. In tests by [`Hec`], as a program by `examples/hec_double.rs`.

// Each user needs a part of it.
#![allow(dead_code)]

mod http;
mod rules;

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

pub(crate) use http::Request;

/// How a request with events fails.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// this status, body and Retry-After; nothing is kept
    Status(u16, &'static str, Option<u64>),
    /// no answer, nothing is kept, until [`Hec::release`]
    Hang,
    /// closed after the request was read; nothing is kept
    Close,
    /// closed with a reset in the middle of the request
    Reset,
    /// kept, but closed before the answer
    AnswerLost,
}

/// What the collector is like.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) token: String,
    /// whether the token wants acknowledgements
    pub(crate) ack: bool,
    /// questions until events count as indexed; `None`: never
    pub(crate) indexed_after: Option<u32>,
    /// events with this text are refused with code 6
    pub(crate) refused: Option<&'static str>,
    /// the number in that answer: `None` leaves it out, otherwise this is added to the right one
    pub(crate) number_off: Option<i64>,
    /// whether events before a refused one are kept
    pub(crate) keeps_before: bool,
    pub(crate) max_body: usize,
    /// answer to OPTIONS
    pub(crate) verify_status: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token: "good-token".to_owned(),
            ack: false,
            indexed_after: Some(2),
            refused: None,
            number_off: Some(0),
            keeps_before: true,
            max_body: 1_000_000,
            verify_status: 200,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    /// used up one a request with events
    pub(crate) faults: VecDeque<Fault>,
    /// all events kept, in order
    pub(crate) events: Vec<Value>,
    /// requests as they came: method, path, headers, body after decompression
    pub(crate) requests: Vec<Request>,
    /// what no client may do
    pub(crate) violations: Vec<String>,
    pub(crate) connections: usize,
    /// channel: next number, and questions left of those not indexed
    channels: HashMap<String, (u64, HashMap<u64, u32>)>,
    released: bool,
}

/// A running double.
pub(crate) struct Hec {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
    tls: Option<Arc<ServerConfig>>,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Hec {
    pub(crate) fn start(settings: Settings, tls: Option<Arc<ServerConfig>>) -> Self {
        Self::listen("127.0.0.1:0", settings, tls)
    }

    pub(crate) fn listen(at: &str, settings: Settings, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                settings,
                ..State::default()
            }),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            tls,
        });
        let ours = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if ours.stop.load(Ordering::SeqCst) {
                    break;
                }
                let ours = Arc::clone(&ours);
                if let Ok(socket) = socket {
                    std::thread::spawn(move || ours.serve(socket));
                }
            }
        });
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Ends all hanging requests.
    pub(crate) fn release(&self) {
        self.state().released = true;
        self.shared.changed.notify_all();
    }

    /// Waits until a request made it so.
    pub(crate) fn wait_for(&self, what: &str, ready: impl Fn(&State) -> bool) {
        let until = Instant::now() + Duration::from_secs(30);
        let mut state = self.state();
        while !ready(&state) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} within 30 s");
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Drop for Hec {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.release();
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, socket: TcpStream) {
        self.state.lock().unwrap().connections += 1;
        let _ = socket.set_read_timeout(Some(Duration::from_secs(120)));
        let _ = socket.set_nodelay(true);
        let raw = socket.try_clone().unwrap();
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(socket),
            Some(config) => {
                let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                Box::new(StreamOwned::new(connection, socket))
            }
        };
        while !self.stop.load(Ordering::SeqCst) {
            let fault = self.state.lock().unwrap().faults.front().cloned();
            let head = match http::read_head(stream.as_mut()) {
                Ok(Some(head)) => head,
                _ => return,
            };
            let posts = head.method == "POST" && head.path == rules::EVENTS;
            if posts && matches!(fault, Some(Fault::Reset)) {
                self.state.lock().unwrap().faults.pop_front();
                let _ = nix::sys::socket::setsockopt(
                    &raw,
                    nix::sys::socket::sockopt::Linger,
                    &libc::linger {
                        l_onoff: 1,
                        l_linger: 0,
                    },
                );
                self.changed.notify_all();
                return;
            }
            let request = match http::read_body(stream.as_mut(), head) {
                Ok(request) => request,
                Err(error) => {
                    // A request that was cut short is no fault of the client: it may have been stopped.
                    if error.kind() == std::io::ErrorKind::InvalidData {
                        self.state
                            .lock()
                            .unwrap()
                            .violations
                            .push(error.to_string());
                    }
                    return;
                }
            };
            let Some((status, body, retry_after)) = self.answer(request, posts) else {
                return;
            };
            self.changed.notify_all();
            if http::write(stream.as_mut(), status, &body, retry_after).is_err() {
                return;
            }
        }
    }

    /// Nothing: the connection is closed.
    fn answer(&self, request: Request, posts: bool) -> Option<(u16, String, Option<u64>)> {
        let mut state = self.state.lock().unwrap();
        state.requests.push(request.clone());
        let fault = if posts {
            state.faults.pop_front()
        } else {
            None
        };
        match fault {
            Some(Fault::Status(status, body, after)) => {
                return Some((status, body.to_owned(), after));
            }
            Some(Fault::Hang) => {
                self.changed.notify_all();
                while !state.released {
                    state = self.changed.wait(state).unwrap();
                }
                return None;
            }
            Some(Fault::Close | Fault::Reset) => {
                self.changed.notify_all();
                return None;
            }
            _ => {}
        }
        let (status, body) = rules::answer(&mut state, &request);
        if matches!(fault, Some(Fault::AnswerLost)) {
            self.changed.notify_all();
            return None;
        }
        Some((status, body, None))
    }
}
