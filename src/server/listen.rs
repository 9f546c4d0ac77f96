//! The listening sockets: TCP addresses of `bind`, and the unix socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::base::os;
use crate::config::Config;

/// A listening socket.
pub enum Listener {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// Opens every listening socket that the configuration asks for.
pub fn bind_all(config: &Config) -> Result<Vec<Listener>, String> {
    let mut list = bind_tcp(config)?;
    if let Some(path) = unix_path(config) {
        list.push(bind_unix(config, &path)?);
    }
    if list.is_empty() {
        return Err("Configured to not listen anywhere, exiting.".to_owned());
    }
    Ok(list)
}

/// Opens the TCP sockets. An address with `-` in front may be missing on this machine.
pub fn bind_tcp(config: &Config) -> Result<Vec<Listener>, String> {
    let list = bind_port(config, config.port())?;
    Ok(list.into_iter().map(Listener::Tcp).collect())
}

/// Opens a port on the addresses of `bind`; none where the port is 0 or there are no addresses.
pub fn bind_port(config: &Config, port: u16) -> Result<Vec<std::net::TcpListener>, String> {
    bind_addresses(config, config.bind_addresses(), port)
}

/// Opens a port on these addresses, in the form of `bind`; none where the port is 0 or there are no addresses.
pub fn bind_addresses(
    config: &Config,
    addresses: Vec<String>,
    port: u16,
) -> Result<Vec<std::net::TcpListener>, String> {
    let mut list = Vec::new();
    if port == 0 || addresses.is_empty() {
        return Ok(list);
    }
    for address in addresses {
        let (optional, name) = match address.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, &address[..]),
        };
        let bound = resolve(name, port).and_then(|addr| tcp(addr, config.tcp_backlog()));
        match bound {
            Ok(l) => list.push(l),
            Err(e) if optional && is_absent(&e) => {}
            Err(e) => {
                return Err(format!("Could not create server TCP listening socket {name}:{port}: bind: {}", text(&e)));
            }
        }
    }
    if list.is_empty() {
        return Err(format!("Failed listening on port {port} (tcp), aborting."));
    }
    Ok(list)
}

fn text(e: &std::io::Error) -> String {
    match e.raw_os_error() {
        Some(_) => e.to_string().split(" (os error").next().unwrap_or_default().to_owned(),
        None => e.to_string(),
    }
}

/// The machine has no such address, or no such family.
fn is_absent(e: &std::io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(
            libc::EADDRNOTAVAIL
                | libc::EAFNOSUPPORT
                | libc::ENOPROTOOPT
                | libc::EPROTONOSUPPORT
                | libc::ESOCKTNOSUPPORT
                | libc::EPFNOSUPPORT
        )
    )
}

fn resolve(name: &str, port: u16) -> std::io::Result<SocketAddr> {
    match name {
        "*" => Ok((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into()),
        "::*" => Ok((IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into()),
        name => {
            (name, port).to_socket_addrs()?.next().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
        }
    }
}

fn tcp(addr: SocketAddr, backlog: i32) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(addr))?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn unix_path(config: &Config) -> Option<PathBuf> {
    let path = config.unixsocket();
    (!path.is_empty()).then(|| os::path(path))
}

fn bind_unix(config: &Config, path: &PathBuf) -> Result<Listener, String> {
    let failed = |e: std::io::Error| format!("Failed opening Unix socket: bind: {}", text(&e));
    // A socket that a dead process left behind.
    let _ = std::fs::remove_file(path);
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    let mode = config.unixsocketperm();
    if mode != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    let group = config.unixsocketgroup();
    if !group.is_empty() {
        let id =
            os::group_id(&group).ok_or_else(|| format!("There is no group {}", String::from_utf8_lossy(&group)))?;
        std::os::unix::fs::chown(path, None, Some(id)).map_err(failed)?;
    }
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(Listener::Unix(listener))
}

/// Removes the unix socket's file at the end.
pub fn remove_socket(config: &Config) {
    if let Some(path) = unix_path(config) {
        let _ = std::fs::remove_file(path);
    }
}
