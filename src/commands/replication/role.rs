//! Becoming a replica, becoming a primary: REPLICAOF, and what else changes the role.

use crate::base::clock;
use crate::clients::flags;
use crate::commands::connection::kill::count_unserved;
use crate::commands::gate::bits;
use crate::commands::options::{self, is};
use crate::commands::server::oom;
use crate::commands::{CmdResult, Command, Ctx, Scope, Server};
use crate::repl::{LinkState, Primary};
use crate::resp::Error;
use crate::spec::{Cat, Flags, Group, Meta};

const ROLE_CHANGE: Flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::STALE);

/// `REPLICAOF host port` or `NO ONE` <https://valkey.io/commands/replicaof/>
pub static REPLICAOF: Command = Command::new(
    Meta::new("replicaof", 3, ROLE_CHANGE.or(Flags::NO_ASYNC_LOADING), Group::Server).cat(Cat::DANGEROUS).doc(
        "5.0.0",
        "O(1)",
        "Makes this node a replica of another, or a primary again.",
    ),
    replicaof,
)
.scope(Scope::All);

/// `SLAVEOF host port` or `NO ONE` <https://valkey.io/commands/slaveof/>
pub static SLAVEOF: Command = Command::new(
    Meta::new("slaveof", 3, ROLE_CHANGE.or(Flags::NO_ASYNC_LOADING), Group::Server)
        .cat(Cat::DANGEROUS)
        .doc("1.0.0", "O(1)", "Makes this node a replica of another, or a primary again.")
        .deprecated("5.0.0", "`REPLICAOF`"),
    replicaof,
)
.scope(Scope::All);

fn replicaof(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let server = cx.server;
    if server.cluster.is_enabled() {
        return Err(Error::new("ERR REPLICAOF not allowed in cluster mode."));
    }
    if server.repl.failover.lock().is_some() {
        return Err(Error::new("ERR REPLICAOF not allowed while failing over."));
    }
    if is(args[1], "no") && is(args[2], "one") {
        if server.repl.link.is_replica() {
            become_primary(server);
            tracing::info!("PRIMARY MODE enabled (user request from '{}')", cx.session.client.addr);
        }
        cx.out.ok();
        return Ok(());
    }
    if cx.session.client.has(flags::REPLICA) {
        return Err(Error::new("ERR Command is not valid when client is a replica."));
    }
    let port = options::int(args[2]).ok().and_then(|n| u16::try_from(n).ok());
    let port = port.ok_or(Error::new("ERR Invalid master port"))?;
    let primary = Primary { host: String::from_utf8_lossy(args[1]).into_owned(), port };
    if server.repl.link.primary().is_some_and(|p| p.host.eq_ignore_ascii_case(&primary.host) && p.port == port) {
        tracing::info!("REPLICAOF would result into synchronization with the primary we are already connected with.");
        cx.out.simple("OK Already connected to specified master");
        return Ok(());
    }
    tracing::info!("REPLICAOF {}:{port} enabled (user request from '{}')", primary.host, cx.session.client.addr);
    become_replica(server, primary);
    cx.out.ok();
    Ok(())
}

/// Where clients that can go there by themselves find the primary of this replica.
pub fn to_primary(server: &Server) -> Error {
    match server.repl.link.primary() {
        Some(Primary { host, port }) => Error::owned(format!("REDIRECT {host}:{port}")),
        // It has just ceased to be a replica.
        None => Error::new("TRYAGAIN The role of this server is changing"),
    }
}

/// Follows a primary. All slots are held, or no command runs yet.
pub fn become_replica(server: &Server, primary: Primary) {
    let text = format!("{} {}", primary.host, primary.port);
    server.config.keep_in_step("replicaof", text.as_bytes());
    let was_primary = !server.repl.link.is_replica();
    server.repl.link.set_primary(Some(primary));
    server.gate.set(bits::REPLICA | bits::STALE, true);
    server.repl.log.set_follows(Some(server.repl.link.generation()));
    review_log(server);
    if was_primary {
        // What they wait for will not happen here any more.
        let counters = server.metrics.spare();
        for client in server.registry.all() {
            let waiter = client.blocked.lock().clone();
            if client.has(flags::BLOCKED)
                && let Some(waiter) = waiter
                && waiter.claim()
            {
                const TEXT: &[u8] =
                    b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n";
                count_unserved(server, counters.stats, &waiter, Some(b"UNBLOCKED"));
                if client.has(flags::REDIRECTS) && !server.cluster.is_enabled() {
                    waiter.to.deliver([b"-", to_primary(server).text(), b"\r\n"].concat());
                    continue;
                }
                waiter.to.deliver(TEXT.to_vec());
                client.mailbox.close_after_reply();
            }
        }
    }
    note_score(server);
    server.repl.changed.notify_waiters();
}

/// Follows nobody any more: the data at hand go on under a new identity. All slots are held.
pub fn become_primary(server: &Server) {
    server.config.keep_in_step("replicaof", b"");
    server.repl.link.set_primary(None);
    server.repl.link.blank.store(false, std::sync::atomic::Ordering::Release);
    // Those who follow us get to know the new identity when they come back.
    disconnect_replicas(server);
    server.repl.shift();
    server.repl.log.set_follows(None);
    server.gate.set(bits::REPLICA | bits::STALE, false);
    review_log(server);
    note_score(server);
    server.repl.changed.notify_waiters();
}

fn note_score(server: &Server) {
    // The role has changed all the same; the log says what was wrong.
    let _ = oom::apply(server);
}

/// Closes the connections of all replicas.
pub fn disconnect_replicas(server: &Server) {
    server.repl.peers().iter().for_each(|p| p.client.mailbox.close());
}

/// Turns the gathering of effects on or off, by who wants them. All slots are held, or nobody is lost by a delay.
pub fn review_log(server: &Server) {
    let for_replicas = server.repl.log.is_kept() && !server.repl.link.is_replica();
    server.keyspace.hooks.set_logging(for_replicas || server.repl.log.has_file());
}

/// Begins to keep the log of what is done, if that is not the case, for one more reader. All slots are held.
pub fn begin_log(server: &Server) {
    if server.repl.log.start() && !server.repl.link.is_replica() {
        // Nobody has counted what was written up to now.
        server.repl.new_history();
    }
    review_log(server);
}

/// Says whether the link to the primary is in step; how stale a replica is decides what it answers.
pub fn set_link_state(server: &Server, state: LinkState) {
    let link = &server.repl.link;
    let was = link.state();
    link.set_state(state);
    let up = state == LinkState::Connected;
    if was == LinkState::Connected && !up {
        link.down_since.store(clock::now_ms(), std::sync::atomic::Ordering::Release);
    }
    server.gate.set(bits::STALE, !up && link.is_replica());
}

/// `ROLE` <https://valkey.io/commands/role/>
pub static ROLE: Command = Command::new(
    Meta::new("role", 1, Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE).or(Flags::FAST), Group::Server)
        .cat(Cat::ADMIN.or(Cat::DANGEROUS))
        .doc("2.8.12", "O(1)", "Returns the role of the node in replication."),
    role,
);

fn role(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    let repl = &cx.server.repl;
    let end = repl.log.end() as i64;
    if let Some(primary) = repl.link.primary() {
        let state = repl.link.state();
        cx.out.array(5);
        cx.out.bulk(b"slave");
        cx.out.bulk(primary.host.as_bytes());
        cx.out.int(i64::from(primary.port));
        cx.out.bulk(state.name().as_bytes());
        cx.out.int(if state == LinkState::Connected { end } else { -1 });
        return Ok(());
    }
    cx.out.array(3);
    cx.out.bulk(b"master");
    cx.out.int(end);
    let online: Vec<_> =
        repl.peers().into_iter().filter(|p| p.replica.stage() == crate::clients::Stage::Online).collect();
    cx.out.array(online.len());
    for peer in online {
        let (address, port) = super::info::address(&peer);
        cx.out.array(3);
        cx.out.bulk(address.as_bytes());
        cx.out.bulk_int(i64::from(port));
        cx.out.bulk_int(peer.replica.acked.load(std::sync::atomic::Ordering::Acquire) as i64);
    }
    Ok(())
}
