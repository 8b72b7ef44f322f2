//! A connected byte stream of any kind.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustls::{ClientConnection, StreamOwned};

/// TCP, TLS over TCP, or a unix stream socket.
#[derive(Debug)]
pub enum Stream {
    /// plain TCP
    Tcp(TcpStream),
    /// TLS over TCP
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// unix stream socket
    Unix(UnixStream),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Tls(tls) => tls.sock.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(into),
            Self::Tls(tls) => tls.read(into),
            Self::Unix(socket) => socket.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.flush(),
            Self::Tls(tls) => tls.flush(),
            Self::Unix(socket) => socket.flush(),
        }
    }
}
