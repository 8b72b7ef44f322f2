//! The connection to the keeper, which is started again whenever it is gone.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use taffrail_monitor::proto::{Message, kind};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::seqpacket::SeqPacket;
use super::{Supervisor, SupervisorError};

/// A future whose type does not name itself: the connection starts what may connect again.
type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How long a keeper has to come up, or to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A keeper that was started and cannot be reached for so long is started again; of two the second
/// ends at once.
const START_AGAIN: Duration = Duration::from_millis(500);
/// Longest pause between two attempts to have a keeper again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

struct Request {
    message: Message,
    fd: Option<Arc<OwnedFd>>,
    /// `None` for messages without an answer.
    reply: Option<oneshot::Sender<Message>>,
}

#[derive(Debug)]
pub(super) struct Keeper {
    exec_root: PathBuf,
    binary: PathBuf,
    supervisor: Weak<Supervisor>,
    requests: Mutex<Option<mpsc::Sender<Request>>>,
}

impl Keeper {
    pub(super) fn new(exec_root: PathBuf, binary: PathBuf, supervisor: Weak<Supervisor>) -> Self {
        Self {
            exec_root,
            binary,
            supervisor,
            requests: Mutex::default(),
        }
    }

    fn silent(&self) -> SupervisorError {
        SupervisorError::KeeperSilent {
            path: self.exec_root.clone(),
        }
    }

    /// A way to the keeper; connects, and starts one if there is none.
    pub(super) async fn ensure(&self) -> Result<(), SupervisorError> {
        self.sender().await.map(drop)
    }

    async fn sender(&self) -> Result<mpsc::Sender<Request>, SupervisorError> {
        let mut requests = self.requests.lock().await;
        if let Some(sender) = requests.as_ref().filter(|s| !s.is_closed()) {
            return Ok(sender.clone());
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(1);
        let mut started: Option<tokio::time::Instant> = None;
        let socket = loop {
            if let Ok(socket) = SeqPacket::connect(&self.exec_root, "keeper.sock") {
                let hello = Message::new(kind::HELLO, [0; 32]);
                if socket.send(&hello, None).await.is_ok()
                    && matches!(socket.recv().await, Ok(Some(_)))
                {
                    break socket;
                }
            }
            // One that was started may have died before it could be reached, or have found the root
            // still held by one that was dying.
            if started.is_none_or(|at| at.elapsed() > START_AGAIN) {
                match self.start() {
                    Ok(()) => started = Some(tokio::time::Instant::now()),
                    // The program was copied just now, and a process that another thread was making
                    // at that moment has it open for writing until it executes its own.
                    Err(SupervisorError::Spawn(error))
                        if error.kind() == io::ErrorKind::ExecutableFileBusy
                            && tokio::time::Instant::now() < deadline => {}
                    Err(error) => return Err(error),
                }
            }
            if tokio::time::Instant::now() > deadline {
                return Err(self.silent());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        };
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(talk(socket, receiver, self.supervisor.clone()));
        *requests = Some(sender.clone());
        Ok(sender)
    }

    /// Starts a keeper. It detaches itself, ends at once if another holds the root, and is waited
    /// for on a thread, so that it never becomes a zombie of this daemon.
    fn start(&self) -> Result<(), SupervisorError> {
        let mut child = Command::new(&self.binary)
            .arg("--keeper")
            .arg(&self.exec_root)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(SupervisorError::Spawn)?;
        tracing::info!(pid = child.id(), "keeper started");
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    /// Sends one message and waits for the answer.
    pub(super) async fn request(
        &self,
        message: Message,
        fd: Option<Arc<OwnedFd>>,
    ) -> Result<Message, SupervisorError> {
        for _ in 0..2 {
            let sender = self.sender().await?;
            let (reply, answer) = oneshot::channel();
            let request = Request {
                message,
                fd: fd.clone(),
                reply: Some(reply),
            };
            if sender.send(request).await.is_ok()
                && let Ok(Ok(message)) = tokio::time::timeout(PATIENCE, answer).await
            {
                return Ok(message);
            }
            // It died over the request; all of them can be made again.
        }
        Err(self.silent())
    }

    /// Sends a message that has no answer.
    pub(super) async fn send(&self, message: Message, fd: Option<Arc<OwnedFd>>) {
        if let Ok(sender) = self.sender().await {
            let _ = sender
                .send(Request {
                    message,
                    fd,
                    reply: None,
                })
                .await;
        }
    }

    /// Ends the keeper if it holds nothing. One that is not there is not started for it.
    pub(super) async fn shutdown(&self) {
        let connected = self
            .requests
            .lock()
            .await
            .as_ref()
            .is_some_and(|s| !s.is_closed());
        if connected {
            let _ = self
                .request_once(Message::new(kind::SHUTDOWN, [0; 32]))
                .await;
        }
    }

    async fn request_once(&self, message: Message) -> Option<Message> {
        let sender = self.requests.lock().await.clone()?;
        let (reply, answer) = oneshot::channel();
        sender
            .send(Request {
                message,
                fd: None,
                reply: Some(reply),
            })
            .await
            .ok()?;
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }
}

/// Owns the socket: answers come in the order of the requests; what the keeper says by itself is
/// passed on. Ends with the keeper, and then sees to it that another one takes the pipes.
async fn talk(
    socket: SeqPacket,
    mut requests: mpsc::Receiver<Request>,
    supervisor: Weak<Supervisor>,
) {
    let mut open = std::collections::VecDeque::new();
    let mut ending = false;
    loop {
        tokio::select! {
            request = requests.recv() => {
                let Some(request) = request else { return };
                ending |= request.message.kind == kind::SHUTDOWN;
                let fd = request.fd.as_deref().map(AsFd::as_fd);
                if socket.send(&request.message, fd).await.is_err() {
                    break;
                }
                if let Some(reply) = request.reply {
                    open.push_back(reply);
                }
            }
            message = socket.recv() => match message {
                Ok(Some((m, _))) if m.kind == kind::GAVE_UP => {
                    if let Some(supervisor) = supervisor.upgrade() {
                        tokio::spawn(again(supervisor, m.id));
                    }
                }
                Ok(Some((m, _))) => {
                    ending &= m.kind == kind::OK;
                    if let Some(reply) = open.pop_front() {
                        let _ = reply.send(m);
                    }
                }
                _ => break,
            }
        }
    }
    drop(requests);
    if ending {
        return;
    }
    tracing::warn!("the keeper is gone; starting another");
    if let Some(supervisor) = supervisor.upgrade() {
        tokio::spawn(reconnect(supervisor));
    }
}

fn reconnect(supervisor: Arc<Supervisor>) -> Boxed {
    Box::pin(async move {
        let mut pause = Duration::from_secs(1);
        while let Err(error) = supervisor.keeper.ensure().await {
            tracing::error!(%error, ?pause, "no keeper; containers run on, but a monitor that dies now is not replaced; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    })
}

/// A monitor that died too often gets another after a pause.
fn again(supervisor: Arc<Supervisor>, raw: [u8; 32]) -> Boxed {
    Box::pin(start_again(supervisor, raw))
}

async fn start_again(supervisor: Arc<Supervisor>, raw: [u8; 32]) {
    let id = String::from_utf8_lossy(&taffrail_monitor::proto::hex(&raw)).into_owned();
    let Some(pause) = supervisor.watched(&id).map(|capture| capture.next_pause()) else {
        // Nobody has it any more; the keeper would only make a new entry for it.
        return;
    };
    tracing::warn!(container = %id, ?pause, "its monitor died five times in ten seconds; starting it again");
    tokio::time::sleep(pause).await;
    if supervisor.watched(&id).is_none() {
        return;
    }
    if let Err(error) = supervisor.spawn_monitor(&id).await {
        tracing::error!(container = %id, %error, "no monitor for a running container");
    }
}
