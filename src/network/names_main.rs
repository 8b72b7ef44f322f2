//! The name server itself: `taffrail name-server FOLDER`, hidden, started by the daemon with its
//! socket as standard input. For each container it has sockets in the container's namespace; what it
//! does not know goes on to other servers from the host's namespace.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::dns::{self, Answer, Code, Question};
use super::names::{ADDRESS, Client, Ports, Table};
use super::namespace;

/// Largest table: names of some ten thousand containers.
const MAX_TABLE: u64 = 64 << 20;
/// Questions that are passed on at a time; more are not answered.
const MAX_FORWARDED: usize = 512;
/// Connections of containers at a time.
const MAX_CONNECTIONS: usize = 256;
/// Time for another server to answer.
const SERVER: Duration = Duration::from_secs(2);
/// Time for a container to go on with a connection.
const IDLE: Duration = Duration::from_secs(10);
/// Largest message over TCP, and of what is read of a datagram.
const MESSAGE: usize = 65535;
/// Largest datagram that is answered with own records.
const DATAGRAM: usize = 512;

/// What all tasks look at.
struct Shared {
    table: RwLock<Arc<Table>>,
    forwarded: Semaphore,
    connections: Arc<Semaphore>,
}

/// A container's sockets.
struct Serving {
    ports: (u16, u16),
    tasks: [JoinHandle<()>; 2],
}

/// Runs the server.
pub(crate) fn run(_words: &[OsString]) -> ExitCode {
    use std::os::fd::FromRawFd as _;
    let _ = nix::sys::prctl::set_name(c"taffrail-names");
    // SAFETY: standard input is the daemon's socket, and nobody else here uses it.
    let listener = unsafe { UnixListener::from_raw_fd(0) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return ExitCode::FAILURE;
    };
    match runtime.block_on(serve(listener)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("name-server is started by the daemon alone: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(listener: UnixListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let shared = Arc::new(Shared {
        table: RwLock::default(),
        forwarded: Semaphore::new(MAX_FORWARDED),
        connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    });
    let mut serving: HashMap<String, Serving> = HashMap::new();
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut bytes = Vec::new();
        let mut limited = (&mut stream).take(MAX_TABLE);
        if !matches!(
            timeout(IDLE, limited.read_to_end(&mut bytes)).await,
            Ok(Ok(_))
        ) {
            continue;
        }
        // A daemon that only looks whether somebody is there.
        if bytes.is_empty() {
            continue;
        }
        let answer = match serde_json::from_slice::<Table>(&bytes) {
            Ok(table) => change(&shared, &mut serving, table),
            Err(error) => Err(error.to_string()),
        };
        let end = serving.is_empty() && answer.is_ok();
        let bytes = serde_json::to_vec(&answer).unwrap_or_default();
        let _ = timeout(IDLE, stream.write_all(&bytes)).await;
        if end {
            return Ok(());
        }
    }
}

/// Takes a new table: sockets of containers that are gone are closed, those of new ones opened.
fn change(
    shared: &Arc<Shared>,
    serving: &mut HashMap<String, Serving>,
    table: Table,
) -> Result<Ports, String> {
    serving.retain(|sandbox, one| {
        let stays = table.clients.contains_key(sandbox);
        if !stays {
            one.tasks.iter().for_each(JoinHandle::abort);
        }
        stays
    });
    let mut failed = None;
    for (sandbox, client) in &table.clients {
        if serving.contains_key(sandbox) {
            continue;
        }
        match open(shared, sandbox, client, table.port) {
            Ok(one) => drop(serving.insert(sandbox.clone(), one)),
            // The others are served nevertheless.
            Err(error) => failed = Some(format!("{}: {error}", client.namespace.display())),
        }
    }
    *shared.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    match failed {
        Some(error) => Err(error),
        None => Ok(serving
            .iter()
            .map(|(sandbox, one)| (sandbox.clone(), one.ports))
            .collect()),
    }
}

fn open(shared: &Arc<Shared>, sandbox: &str, client: &Client, port: u16) -> io::Result<Serving> {
    let (udp, tcp) = namespace::inside(&client.namespace, move || {
        let udp = UdpSocket::bind((ADDRESS, port))?;
        let tcp = TcpListener::bind((ADDRESS, port))?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok((udp, tcp))
    })?;
    let ports = (udp.local_addr()?.port(), tcp.local_addr()?.port());
    let udp = tokio::net::UdpSocket::from_std(udp)?;
    let tcp = tokio::net::TcpListener::from_std(tcp)?;
    let tasks = [
        tokio::spawn(datagrams(Arc::clone(shared), sandbox.to_owned(), udp)),
        tokio::spawn(connections(Arc::clone(shared), sandbox.to_owned(), tcp)),
    ];
    Ok(Serving { ports, tasks })
}

async fn datagrams(shared: Arc<Shared>, sandbox: String, socket: tokio::net::UdpSocket) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; MESSAGE];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let query = buffer[..length].to_vec();
        let (shared, sandbox, socket) = (Arc::clone(&shared), sandbox.clone(), Arc::clone(&socket));
        match local(&shared, &sandbox, &query, DATAGRAM) {
            Found::Here(reply) => drop(socket.send_to(&reply, from).await),
            Found::Elsewhere(question, servers) => {
                tokio::spawn(async move {
                    let Ok(_permit) = shared.forwarded.try_acquire() else {
                        return;
                    };
                    let reply = ask_udp(&query, &servers).await;
                    let reply = reply.unwrap_or_else(|| sorry(&query, &question));
                    let _ = socket.send_to(&reply, from).await;
                });
            }
            Found::Nonsense => {}
        }
    }
}

async fn connections(shared: Arc<Shared>, sandbox: String, listener: tokio::net::TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
            continue;
        };
        let (shared, sandbox) = (Arc::clone(&shared), sandbox.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let _ = connection(&shared, &sandbox, stream).await;
        });
    }
}

async fn connection(shared: &Shared, sandbox: &str, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let query = timeout(IDLE, read_message(&mut stream)).await??;
        let reply = match local(shared, sandbox, &query, MESSAGE) {
            Found::Here(reply) => reply,
            Found::Elsewhere(question, servers) => ask_tcp(&query, &servers)
                .await
                .unwrap_or_else(|| sorry(&query, &question)),
            Found::Nonsense => return Ok(()),
        };
        write_message(&mut stream, &reply).await?;
    }
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// Who answers a query.
enum Found {
    Here(Vec<u8>),
    Elsewhere(Question, Vec<IpAddr>),
    Nonsense,
}

fn local(shared: &Shared, sandbox: &str, query: &[u8], limit: usize) -> Found {
    let Some(question) = dns::question(query) else {
        return Found::Nonsense;
    };
    let table = Arc::clone(&shared.table.read().unwrap_or_else(PoisonError::into_inner));
    let Some(client) = table.clients.get(sandbox) else {
        return Found::Nonsense;
    };
    if let Some(answers) = answers(&table, client, &question) {
        return Found::Here(dns::reply(query, &question, Code::NoError, &answers, limit));
    }
    if !client.outside {
        return Found::Here(sorry(query, &question));
    }
    let servers = match client.servers.as_slice() {
        [] => host_servers(),
        servers => servers.to_vec(),
    };
    Found::Elsewhere(question, servers)
}

/// Records for a name that is known; there may be none of the kind that was asked for.
fn answers(table: &Table, client: &Client, question: &Question) -> Option<Vec<Answer>> {
    if question.kind == dns::PTR {
        let ip = dns::reverse(&question.name)?;
        let mut networks = client
            .networks
            .iter()
            .filter_map(|id| table.reverse.get(id));
        let name = networks.find_map(|names| names.get(&ip))?;
        return Some(vec![Answer::Name(name.clone())]);
    }
    // On each network, what the container alone knows comes first.
    let known_on = |id: &String| {
        let own = client.links.get(id).and_then(|own| own.get(&question.name));
        own.or_else(|| table.networks.get(id)?.get(&question.name))
    };
    let mut found: Vec<IpAddr> = Vec::new();
    let mut known = false;
    for addresses in client.networks.iter().filter_map(known_on) {
        known = true;
        for ip in addresses {
            let wanted = match ip {
                IpAddr::V4(_) => [dns::A, dns::ANY],
                IpAddr::V6(_) => [dns::AAAA, dns::ANY],
            };
            if wanted.contains(&question.kind) && !found.contains(ip) {
                found.push(*ip);
            }
        }
    }
    // Several containers of one alias share the questions.
    if found.len() > 1 {
        let turn = getrandom::u32().unwrap_or(0) as usize % found.len();
        found.rotate_left(turn);
    }
    known.then(|| found.into_iter().map(Answer::Address).collect())
}

fn sorry(query: &[u8], question: &Question) -> Vec<u8> {
    dns::reply(query, question, Code::ServerFailure, &[], DATAGRAM)
}

/// The host's servers, read anew each time, as they change.
fn host_servers() -> Vec<IpAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse().ok())
        .collect()
}

async fn ask_udp(query: &[u8], servers: &[IpAddr]) -> Option<Vec<u8>> {
    for server in servers {
        let any: SocketAddr = match server {
            IpAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
            IpAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let asked = timeout(SERVER, async {
            let socket = tokio::net::UdpSocket::bind(any).await.ok()?;
            socket.connect((*server, 53)).await.ok()?;
            socket.send(query).await.ok()?;
            let mut buffer = vec![0; MESSAGE];
            loop {
                let length = socket.recv(&mut buffer).await.ok()?;
                // Another one's answer is none.
                if length >= 2 && buffer[..2] == query[..2] {
                    buffer.truncate(length);
                    return Some(buffer);
                }
            }
        });
        if let Ok(Some(reply)) = asked.await {
            return Some(reply);
        }
    }
    None
}

async fn ask_tcp(query: &[u8], servers: &[IpAddr]) -> Option<Vec<u8>> {
    for server in servers {
        let asked = timeout(SERVER, async {
            let mut stream = TcpStream::connect((*server, 53)).await?;
            write_message(&mut stream, query).await?;
            read_message(&mut stream).await
        });
        if let Ok(Ok(reply)) = asked.await {
            return Some(reply);
        }
    }
    None
}
