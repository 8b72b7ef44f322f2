//! Debian's docker-registry on loopback, and a proxy in front of it that cuts or holds a connection.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{skip, wait_for};

/// `u` with the password `pw`, as htpasswd writes it (bcrypt).
const HTPASSWD: &str = "u:$2b$04$97s73w8WyLjdwBf2kfR2TeyNdhyhRm4TtkIyZX2wMmI8wY4zaA1R2\n";
pub(crate) const USER: &str = "u";
pub(crate) const PASSWORD: &str = "pw";

/// What these cases need beside an engine.
pub(crate) fn ready() -> Result<(), String> {
    skip::program("docker")?;
    skip::program("docker-registry")
}

/// A registry that ends with this value.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) port: u16,
    folder: PathBuf,
    child: Child,
}

impl Registry {
    /// Plain HTTP, open to everyone. Its files are below `folder`.
    pub(crate) fn plain(folder: &Path) -> Self {
        Self::start(folder, "")
    }

    /// HTTPS, with a certificate of nobody's, and a login.
    pub(crate) fn with_login(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("the registry's folder");
        let path = |name: &str| folder.join(name).display().to_string();
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
                "-days",
                "2",
            ])
            .args(["-keyout", &path("key.pem"), "-out", &path("cert.pem")])
            .output()
            .expect("openssl");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        fs::write(folder.join("htpasswd"), HTPASSWD).expect("htpasswd");
        let more = format!(
            "  tls: {{certificate: {}, key: {}}}\nauth:\n  htpasswd: {{realm: r, path: {}}}\n",
            path("cert.pem"),
            path("key.pem"),
            path("htpasswd")
        );
        Self::start(folder, &more)
    }

    fn start(folder: &Path, more: &str) -> Self {
        fs::create_dir_all(folder).expect("the registry's folder");
        let port = free_port();
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: 127.0.0.1:{port}\n{more}",
            folder.join("store").display()
        );
        let file = folder.join("config.yml");
        fs::write(&file, config).expect("the registry's configuration");
        let log = fs::File::create(folder.join("log")).expect("the registry's log");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("dup"))
            .stderr(log)
            .spawn()
            .expect("docker-registry");
        let registry = Self {
            port,
            folder: folder.to_owned(),
            child,
        };
        wait_for("the registry listens", Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", port)).ok().map(drop)
        });
        registry
    }

    /// `localhost:PORT/name`.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("localhost:{}/{name}", self.port)
    }

    /// The file of a blob.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.folder
            .join("store/docker/registry/v2/blobs/sha256")
            .join(&hex[..2])
            .join(hex)
            .join("data")
    }

    /// One request over plain HTTP; status and body.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the registry");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a time limit");
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("send");
        stream.write_all(body).expect("send");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let end = memchr::memmem::find(&answer, b"\r\n\r\n").expect("a head");
        let status = String::from_utf8_lossy(&answer[9..12])
            .parse()
            .expect("a status");
        (status, answer[end + 4..].to_vec())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

/// What a proxy does to the first connection that has brought the client so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trick {
    /// Ends it.
    Cut(u64),
    /// Forwards nothing more on it until the proxy is let go.
    Hold(u64),
}

/// A TCP proxy on a port of its own.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: u16,
    trick: Trick,
    /// Bytes from the registry to clients.
    served: AtomicU64,
    /// The trick was done.
    done: AtomicBool,
    go: AtomicBool,
    ended: AtomicBool,
}

impl Proxy {
    pub(crate) fn before(registry: &Registry, trick: Trick) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the proxy");
        let port = listener.local_addr().expect("the proxy's port").port();
        let shared = Arc::new(Shared {
            target: registry.port,
            trick,
            served: AtomicU64::new(0),
            done: AtomicBool::new(false),
            go: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if own.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), Ok(server)) =
                    (client, TcpStream::connect(("127.0.0.1", own.target)))
                else {
                    continue;
                };
                let shared = Arc::clone(&own);
                std::thread::spawn(move || shared.serve(&client, &server));
            }
        });
        Self { port, shared }
    }

    /// `localhost:PORT/name`.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("localhost:{}/{name}", self.port)
    }

    pub(crate) fn served(&self) -> u64 {
        self.shared.served.load(Ordering::SeqCst)
    }

    pub(crate) fn tricked(&self) -> bool {
        self.shared.done.load(Ordering::SeqCst)
    }

    /// Lets go of what is held.
    pub(crate) fn let_go(&self) {
        self.shared.go.store(true, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.let_go();
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn serve(&self, mut client: &TcpStream, mut server: &TcpStream) {
        let (Ok(mut from), Ok(mut to)) = (client.try_clone(), server.try_clone()) else {
            return;
        };
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        let mut buffer = vec![0; 16 * 1024];
        let mut mine = 0;
        loop {
            let n = match server.read(&mut buffer) {
                Ok(n) if n > 0 => n,
                _ => break,
            };
            if client.write_all(&buffer[..n]).is_err() {
                break;
            }
            mine += n as u64;
            self.served.fetch_add(n as u64, Ordering::SeqCst);
            let limit = match self.trick {
                Trick::Cut(limit) | Trick::Hold(limit) => limit,
            };
            if mine >= limit && !self.done.swap(true, Ordering::SeqCst) {
                if let Trick::Cut(_) = self.trick {
                    break;
                }
                while !self.go.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
}
