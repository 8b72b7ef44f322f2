//! The port proxy itself: `taffrail port-proxy FOLDER CONTAINER PROTOCOL=DESCRIPTOR=TARGET...`,
//! hidden, started by the daemon with the sockets open. It carries bytes until it is killed.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, mpsc};

use super::model::Protocol;
use super::proxy::parse;

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 8192;
/// Senders of datagrams at a time, a port; datagrams of more are dropped.
const MAX_SENDERS: usize = 4096;
/// Datagrams of one sender that wait for the container.
const QUEUE: usize = 64;
/// A sender that was silent for so long is a new one the next time (as Docker's proxy).
const SILENCE: Duration = Duration::from_secs(90);
/// Largest datagram.
const DATAGRAM: usize = 65507;
/// A container that does not answer is given up.
const CONNECT: Duration = Duration::from_secs(30);
/// Pause after the system had no descriptor for one more connection.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Runs a proxy on the words after the subcommand's name.
pub(crate) fn run(words: &[OsString]) -> ExitCode {
    let words = words.iter().skip(2);
    let ports: Option<Vec<_>> = words.map(|word| parse(word.to_str()?)).collect();
    let Some(ports) = ports.filter(|ports| !ports.is_empty()) else {
        eprintln!("port-proxy is started by the daemon alone");
        return ExitCode::from(125);
    };
    let _ = nix::sys::prctl::set_name(c"taffrail-port");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(async {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut kept = Vec::new();
        for (protocol, fd, target) in ports {
            // SAFETY: the daemon has opened it for this process, and nobody else here uses it.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            match (protocol, target) {
                (Protocol::Tcp, Some(target)) => {
                    tokio::spawn(tcp(socket.into(), target, Arc::clone(&connections)));
                }
                (Protocol::Udp, Some(target)) => {
                    tokio::spawn(udp(socket.into(), target));
                }
                // Only held.
                _ => kept.push(socket),
            }
        }
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

async fn tcp(listener: TcpListener, target: SocketAddr, connections: Arc<Semaphore>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    loop {
        // It is never closed.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let Ok((mut near, _)) = listener.accept().await else {
            tokio::time::sleep(EXHAUSTED).await;
            continue;
        };
        tokio::spawn(async move {
            let _permit = permit;
            let connect = tokio::net::TcpStream::connect(target);
            let Ok(Ok(mut far)) = tokio::time::timeout(CONNECT, connect).await else {
                return;
            };
            let _ = near.set_nodelay(true);
            let _ = far.set_nodelay(true);
            // Either side may end its direction first.
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
    }
}

type Senders = Arc<Mutex<HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>>>;

async fn udp(socket: UdpSocket, target: SocketAddr) {
    let Ok(socket) = tokio::net::UdpSocket::from_std(socket) else {
        return;
    };
    let socket = Arc::new(socket);
    let senders: Senders = Arc::default();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            // An ICMP message about an earlier answer.
            tokio::task::yield_now().await;
            continue;
        };
        let datagram = buffer[..length].to_vec();
        let mut known = senders.lock().await;
        let datagram = match known.get(&from) {
            Some(queue) => match queue.try_send(datagram) {
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => continue,
                Err(mpsc::error::TrySendError::Closed(datagram)) => datagram,
            },
            None if known.len() >= MAX_SENDERS => continue,
            None => datagram,
        };
        let (queue, queued) = mpsc::channel(QUEUE);
        // It is empty.
        let _ = queue.try_send(datagram);
        known.insert(from, queue);
        let (socket, senders) = (Arc::clone(&socket), Arc::clone(&senders));
        tokio::spawn(async move {
            carry(&socket, from, target, queued).await;
            let mut known = senders.lock().await;
            // Another one may have taken the place.
            if known.get(&from).is_some_and(mpsc::Sender::is_closed) {
                known.remove(&from);
            }
        });
    }
}

/// Carries the datagrams of one sender, and the answers, until both are silent.
async fn carry(
    socket: &tokio::net::UdpSocket,
    from: SocketAddr,
    target: SocketAddr,
    mut queued: mpsc::Receiver<Vec<u8>>,
) {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let Ok(far) = tokio::net::UdpSocket::bind(any).await else {
        return;
    };
    if far.connect(target).await.is_err() {
        return;
    }
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let silence = tokio::time::sleep(SILENCE);
        tokio::select! {
            datagram = queued.recv() => match datagram {
                // One that is refused is lost, as on any network.
                Some(datagram) => drop(far.send(&datagram).await),
                None => return,
            },
            answer = far.recv(&mut buffer) => match answer {
                Ok(length) => drop(socket.send_to(&buffer[..length], from).await),
                // Nobody listens yet.
                Err(_) => tokio::task::yield_now().await,
            },
            () = silence => return,
        }
    }
}
