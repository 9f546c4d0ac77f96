//! `cluster-seeds`: a node meets the others by itself.
//!
//! The names are looked up again and again, so one that stands for many addresses serves as a registry of nodes. Whoever
//! is found there and is not known is met. Whom an operator made the cluster forget is left alone.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::base::clock;
use crate::cluster::core::{BUS_OFFSET, Command};
use crate::commands::Server;
use crate::commands::cluster::change::Counted;

/// Between two looks while no other node is known.
const ALONE: Duration = Duration::from_secs(1);
/// Between two looks afterwards.
const TOGETHER: Duration = Duration::from_secs(10);

/// `host:port` or `host:port@busport`, as [`crate::config`] let it in.
fn parse(seed: &str) -> Option<(&str, u16, u16)> {
    let (host, ports) = seed.rsplit_once(':')?;
    let (port, bus_port) = ports.split_once('@').unwrap_or((ports, ""));
    let port = port.parse::<u16>().ok()?;
    let bus_port = if bus_port.is_empty() { port.checked_add(BUS_OFFSET)? } else { bus_port.parse().ok()? };
    Some((host.trim_start_matches('[').trim_end_matches(']'), port, bus_port))
}

/// Whether the address is one of this machine's: only those can be bound.
fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// Looks the seeds up and meets who is not known, until the server stops. What was said is not said again while it lasts.
pub async fn run(server: &'static Server) {
    let mut said: HashSet<String> = HashSet::new();
    while let Some(view) = server.cluster.view() {
        look_up(server, &mut said).await;
        tokio::select! {
            () = tokio::time::sleep(if view.nodes.len() < 2 { ALONE } else { TOGETHER }) => {}
            () = server.stopped() => return,
        }
    }
}

async fn look_up(server: &'static Server, said: &mut HashSet<String>) {
    let seeds = String::from_utf8_lossy(&server.config.cluster_seeds()).into_owned();
    for seed in seeds.split([',', ' ']).filter(|seed| !seed.is_empty()) {
        let Some((host, port, bus_port)) = parse(seed) else { continue };
        let mut say = |what: &str| {
            if said.insert(format!("{seed} {what}")) {
                tracing::warn!("The seed {seed} {what}");
            }
        };
        let found: Vec<SocketAddr> = match tokio::net::lookup_host((host, port)).await {
            Ok(found) => found.collect(),
            Err(e) => {
                say(&format!("is not found: {e}"));
                continue;
            }
        };
        for ip in found.into_iter().map(|address| address.ip()) {
            if meet(server, ip, port, bus_port).is_err() {
                say(&format!("is left alone at {ip}: the node there was forgotten"));
            }
        }
    }
}

/// The node at this address was known and is to be forgotten.
struct Forgotten;

fn meet(server: &'static Server, ip: IpAddr, port: u16, bus_port: u16) -> Result<(), Forgotten> {
    let text = ip.to_string();
    let Some(view) = server.cluster.view() else { return Ok(()) };
    let is_known = view.nodes.iter().any(|node| node.ip == text && (node.port == port || node.tls_port == port));
    if is_known || (port == server.config.port() && is_local(ip)) {
        return Ok(());
    }
    let Some(mut core) = server.cluster.core() else { return Ok(()) };
    if core.was_forgotten(&text, port) {
        return Err(Forgotten);
    }
    let (port_text, port, bus_port) = (port.to_string(), i64::from(port), i64::from(bus_port));
    tracing::info!("Meeting {text}:{port}, which cluster-seeds names");
    // The address is one, so nothing can be wrong with it.
    let _ = core.handle_command(
        clock::steady_ms(),
        Command::Meet { ip: text, port_text, port, bus_port },
        &Counted::NOTHING,
    );
    drop(core);
    server.cluster.ring();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read() {
        assert_eq!(parse("a.example:7000"), Some(("a.example", 7000, 17000)));
        assert_eq!(parse("[::1]:7000@99"), Some(("::1", 7000, 99)));
        assert_eq!((parse("a"), parse("a:x"), parse("a:60000")), (None, None, None));
    }

    #[test]
    fn own_addresses() {
        assert!(is_local("127.0.0.1".parse().unwrap()));
        assert!(!is_local("192.0.2.1".parse().unwrap()));
    }
}
