//! Connections to other nodes: from the address that `bind-source-addr` names.
//!
//! As with Redis the option is a wish: where the address is not this machine's, or of the other family, the system chooses
//! one.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream, lookup_host};

use crate::config::Config;

/// Connects to a port of a host, which may be a name: to the first of its addresses that answers.
pub async fn connect(config: &Config, host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for to in lookup_host((host, port)).await? {
        match from_source(config, to).await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

async fn from_source(config: &Config, to: SocketAddr) -> io::Result<TcpStream> {
    let source = config.bind_source_addr();
    let source = std::str::from_utf8(&source).unwrap_or_default();
    if !source.is_empty()
        && let Ok(mut found) = lookup_host((source, 0)).await
        && let Some(from) = found.find(|from| from.is_ipv4() == to.is_ipv4())
    {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        match socket.bind(from) {
            Ok(()) => return socket.connect(to).await,
            Err(e) => tracing::debug!("bind-source-addr {source} cannot be used: {e}"),
        }
    }
    TcpStream::connect(to).await
}
