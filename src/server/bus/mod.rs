//! The cluster bus: the sockets and the timer of the cluster's state machine.
//!
//! ```text
//!   cluster thread (a runtime of its own)           other threads
//!   listeners, one task a link, one timer  <-bell-  CLUSTER commands, PUBLISH
//!         |  handle_packet, handle_timeout
//!         v
//!   Core (one mutex)  -> events -> roles, pauses, lost slots   (commands::cluster::events)
//!                     -> nodes.conf, on a thread for it, with fsync where packets wait for it
//!                     -> packets -> queue of the link -> socket
//! ```
//!
//! Nothing that clients do runs here, and no disk is waited for, so neither delays a heartbeat. The order after every input is
//! the one that [`Core`] asks for: events, then the file, then the packets that depend on it.

mod file;
mod seeds;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use self::file::NodesFile;
use super::{dial, listen};
use crate::base::{clock, rng};
use crate::cluster::NodeId;
use crate::cluster::core::{BUS_OFFSET, Boot, Core, Facts, LinkId, Persist, PrimaryLink, Settings, Transmit};
use crate::cluster::wire::frame::{self, Need};
use crate::commands::Server;
use crate::commands::cluster::events;
use crate::config::Config;
use crate::repl::LinkState;

/// What a published message needs around it.
const OVERHEAD: usize = 4096;
/// After an error of the listening socket it is left alone for so many milliseconds.
const RETRY_MS: u64 = 100;

/// A thread that comes so late to the timer was kept away: by the disk, or by others that use the processors.
const AWAY_MS: i64 = 200;

/// Milliseconds after which a write of nodes.conf is worth a line in the log.
const LONG_SAVE_MS: u64 = 500;

/// The settings that the state machine obeys.
pub fn settings(config: &Config) -> Settings {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let ip = text(config.cluster_announce_ip());
    Settings {
        node_timeout: config.cluster_node_timeout(),
        ping_interval: config.cluster_ping_interval(),
        replica_validity_factor: config.cluster_replica_validity_factor(),
        migration_barrier: config.cluster_migration_barrier(),
        allow_replica_migration: config.cluster_allow_replica_migration(),
        require_full_coverage: config.cluster_require_full_coverage(),
        replica_no_failover: config.cluster_replica_no_failover(),
        blacklist_ttl: config.cluster_blacklist_ttl(),
        manual_failover_timeout: config.cluster_manual_failover_timeout(),
        repl_ping_period: config.repl_ping_replica_period() as i64,
        port: config.port(),
        bus_port: config.cluster_port(),
        announce_ip: (!ip.is_empty()).then_some(ip),
        announce_port: config.cluster_announce_port(),
        announce_tls_port: config.cluster_announce_tls_port(),
        announce_bus_port: config.cluster_announce_bus_port(),
        announce_client_ipv4: text(config.cluster_announce_client_ipv4()),
        announce_client_ipv6: text(config.cluster_announce_client_ipv6()),
        announce_hostname: text(config.cluster_announce_hostname()),
        announce_human_nodename: text(config.cluster_announce_human_nodename()),
        ..Settings::default()
    }
}

fn facts(server: &Server) -> Facts {
    let (repl, now, steady) = (&server.repl, clock::now_ms(), clock::steady_ms());
    let link = &repl.link;
    let at = |wall: i64| steady - (now - wall);
    let primary_link = if link.state() == LinkState::Connected {
        PrimaryLink::Up { last_heard: at(link.last_io.load(std::sync::atomic::Ordering::Acquire)) }
    } else {
        PrimaryLink::Down { since: at(link.down_since.load(std::sync::atomic::Ordering::Acquire)) }
    };
    // What it has of another shard's history counts for nothing in the shard that it follows now, and gets its data from
    // only later: with its old offset it would be elected before those who have them. So does what it has while a
    // snapshot comes in.
    let blank = link.blank.load(std::sync::atomic::Ordering::Acquire) || link.state() == LinkState::Sync;
    Facts { repl_offset: if link.is_replica() && blank { 0 } else { repl.log.end() }, primary_link }
}

/// What a link's task is reached by. Dropping it closes the link.
struct Line {
    to: UnboundedSender<Bytes>,
    waiting: usize,
}

/// The bus, on its thread.
struct Bus {
    server: &'static Server,
    file: Arc<Mutex<NodesFile>>,
    /// The file is being written.
    saving: Cell<bool>,
    lines: RefCell<HashMap<LinkId, Line>>,
}

/// What was prepared for the bus before the server takes clients.
pub struct Prepared {
    file: NodesFile,
    listeners: Vec<std::net::TcpListener>,
}

/// Reads nodes.conf and opens the bus port: the server is a node of a cluster then. `None` where it is not to be one.
pub fn prepare(server: &'static Server) -> Result<Option<Prepared>, String> {
    let config = server.config;
    if !config.cluster_enabled() {
        return Ok(None);
    }
    if config.primary_to_follow().is_some() {
        return Err("replicaof directive not allowed in cluster mode".to_owned());
    }
    let port = match (config.cluster_port(), config.port()) {
        (0, 0) => return Err("The cluster bus needs a port: set port or cluster-port.".to_owned()),
        (0, port) => port.checked_add(BUS_OFFSET).ok_or_else(|| {
            format!(
                "Cluster bus port number too high. Cluster bus port {port} + {BUS_OFFSET} can't exceed 65535. Use a lower \
                 port, or set cluster-port."
            )
        })?,
        (port, _) => port,
    };
    let (file, stored) = NodesFile::open(config)?;
    let listeners = listen::bind_port(config, port)?;
    let mut rng = rng::Rng::from_os();
    let boot = match stored {
        None => Boot::Fresh(NodeId::random(&mut rng)),
        Some(stored) => {
            for name in &stored.unknown_vars {
                tracing::warn!("Skipping unknown cluster config variable '{name}'");
            }
            Boot::Stored(stored)
        }
    };
    let core = Core::new(boot, settings(config), facts(server), clock::steady_ms(), rng::seed_from_os());
    server.cluster.install(core);
    // A replica is one before its data are loaded.
    events::carry_out(server);
    Ok(Some(Prepared { file, listeners }))
}

/// Starts the thread.
pub fn start(server: &'static Server, prepared: Prepared) -> Result<(), String> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, run(server, prepared)),
            Err(e) => tracing::error!("Can't make the runtime of the cluster bus: {e}"),
        }
    };
    let thread = std::thread::Builder::new().name("cluster".into()).spawn(run);
    thread.map(drop).map_err(|e| format!("Can't start the thread of the cluster bus: {e}"))
}

async fn run(server: &'static Server, prepared: Prepared) {
    let file = Arc::new(Mutex::new(prepared.file));
    let bus = Rc::new(Bus { server, file, saving: Cell::default(), lines: RefCell::default() });
    for listener in prepared.listeners {
        match TcpListener::from_std(listener) {
            Ok(listener) => drop(tokio::task::spawn_local(accept(bus.clone(), listener))),
            Err(e) => tracing::error!("Can't listen for the cluster bus: {e}"),
        }
    }
    bus.pump();
    tokio::task::spawn_local(seeds::run(server));
    while !server.is_stopping() {
        let Some(due) = server.cluster.core().map(|core| core.poll_timeout()) else { return };
        let left = (due - clock::steady_ms()).max(0) as u64;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(left)) => {}
            () = server.cluster.rung() => {}
            () = server.stopped() => {}
        }
        if clock::steady_ms() - due > AWAY_MS {
            // Nobody is called silent before what came meanwhile is read.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let facts = facts(server);
        if let Some(mut core) = server.cluster.core() {
            let now = clock::steady_ms();
            core.handle_facts(now, facts);
            if now >= due {
                core.handle_timeout(now);
            }
        }
        bus.pump();
    }
    // The last changes, once what is under way is written.
    let rest = server.cluster.core().and_then(|mut core| Some((core.poll_persist()?, core.nodes_conf())));
    if let Some((persist, text)) = rest {
        bus.saved(persist, bus.file.lock().save(&text, persist.sync));
    }
}

impl Bus {
    /// Does what the state machine asks for, in its order. What must be on disk before a packet leaves holds that packet
    /// back, and nothing else: the file is written on another thread, while links and the timer have their turns. What
    /// changes meanwhile is written next.
    fn pump(self: &Rc<Self>) {
        let server = self.server;
        loop {
            events::carry_out(server);
            let Some(mut core) = server.cluster.core() else { return };
            if !self.saving.get()
                && let Some(persist) = core.poll_persist()
            {
                let text = core.nodes_conf();
                drop(core);
                self.save(persist, text);
                continue;
            }
            let transmits: Vec<_> = std::iter::from_fn(|| core.poll_transmit()).collect();
            drop(core);
            if transmits.is_empty() {
                return;
            }
            transmits.into_iter().for_each(|transmit| self.transmit(transmit));
        }
    }

    fn save(self: &Rc<Self>, persist: Persist, text: String) {
        self.saving.set(true);
        let (bus, file) = (self.clone(), self.file.clone());
        tokio::task::spawn_local(async move {
            let save = move || file.lock().save(&text, persist.sync);
            let start = clock::mono_ns();
            let saved = tokio::task::spawn_blocking(save).await;
            let took = (clock::mono_ns() - start) / 1_000_000;
            if took > LONG_SAVE_MS {
                tracing::warn!(
                    "Writing the cluster config file took {took} ms: nothing that depends on it was sent meanwhile"
                );
            }
            bus.saving.set(false);
            bus.saved(persist, saved.unwrap_or_else(|e| Err(e.to_string())));
            bus.pump();
        });
    }

    fn saved(&self, persist: Persist, result: Result<(), String>) {
        match result {
            Ok(()) => {
                if let Some(mut core) = self.server.cluster.core() {
                    core.persisted(persist.version);
                }
            }
            // As Redis: a node that cannot keep its promises ends.
            Err(e) if persist.sync => {
                tracing::error!("Fatal: can't update the cluster config file: {e}");
                std::process::exit(1);
            }
            // The next change writes this one, too.
            Err(e) => tracing::warn!("Can't update the cluster config file: {e}"),
        }
    }

    fn transmit(self: &Rc<Self>, transmit: Transmit) {
        match transmit {
            Transmit::Connect { link, ip, port } => {
                let from = self.add_line(link);
                tokio::task::spawn_local(connect(self.clone(), link, ip, port, from));
            }
            Transmit::Send { link, packet } => {
                let mut lines = self.lines.borrow_mut();
                let Some(line) = lines.get_mut(&link) else { return };
                line.waiting += packet.len();
                let waiting = line.waiting;
                let _ = line.to.send(packet);
                drop(lines);
                self.server.cluster.set_waiting(link, waiting);
                let limit = self.server.config.cluster_link_sendbuf_limit();
                if limit > 0
                    && waiting as u64 > limit
                    && let Some(mut core) = self.server.cluster.core()
                {
                    core.link_overflow(clock::steady_ms(), link, waiting as u64);
                }
            }
            Transmit::Close { link } => self.remove_line(link),
        }
    }

    fn add_line(&self, link: LinkId) -> UnboundedReceiver<Bytes> {
        let (to, from) = unbounded_channel();
        self.lines.borrow_mut().insert(link, Line { to, waiting: 0 });
        from
    }
    fn remove_line(&self, link: LinkId) {
        self.lines.borrow_mut().remove(&link);
        self.server.cluster.forget_link(link);
    }
    fn sent(&self, link: LinkId, bytes: usize) {
        if let Some(line) = self.lines.borrow_mut().get_mut(&link) {
            line.waiting -= bytes;
            self.server.cluster.set_waiting(link, line.waiting);
        }
    }

    /// The link is gone.
    fn ended(self: &Rc<Self>, link: LinkId) {
        if self.lines.borrow().contains_key(&link) {
            self.remove_line(link);
            if let Some(mut core) = self.server.cluster.core() {
                core.link_down(clock::steady_ms(), link);
            }
            self.pump();
        }
    }
}

async fn accept(bus: Rc<Bus>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Ok(local) = stream.local_addr() else { continue };
                let link = match bus.server.cluster.core() {
                    Some(mut core) => core.accept(clock::steady_ms(), peer.ip(), local.ip()),
                    None => return,
                };
                let from = bus.add_line(link);
                let bus = bus.clone();
                tokio::task::spawn_local(async move {
                    speak(&bus, link, stream, from).await;
                    bus.ended(link);
                });
            }
            Err(e) => {
                tracing::debug!("Error accepting cluster node: {e}");
                tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
            }
        }
    }
}

async fn connect(bus: Rc<Bus>, link: LinkId, ip: String, port: u16, from: UnboundedReceiver<Bytes>) {
    let timeout = Duration::from_millis(bus.server.config.cluster_node_timeout().max(100) as u64);
    if ip.parse::<IpAddr>().is_ok()
        && let Ok(Ok(stream)) = tokio::time::timeout(timeout, dial::connect(bus.server.config, &ip, port)).await
        && let Ok(local) = stream.local_addr()
    {
        if let Some(mut core) = bus.server.cluster.core() {
            core.link_up(clock::steady_ms(), link, local.ip());
        }
        bus.pump();
        speak(&bus, link, stream, from).await;
    }
    bus.ended(link);
}

/// Moves packets both ways until one side ends it.
async fn speak(bus: &Rc<Bus>, link: LinkId, stream: TcpStream, mut from: UnboundedReceiver<Bytes>) {
    let _ = stream.set_nodelay(true);
    let (mut read, mut write) = stream.into_split();
    let listens = async {
        let (mut buf, mut room) = (BytesMut::new(), 0);
        let limit = bus.server.config.proto_max_bulk_len().saturating_add(OVERHEAD);
        loop {
            loop {
                match frame::need(&buf, limit) {
                    Ok(Need::Packet(n)) if is_dropped(bus.server, &buf) => {
                        if let Some(mut core) = bus.server.cluster.core() {
                            core.lose_packet(frame::kind(&buf).unwrap_or_default());
                        }
                        buf.advance(n);
                        if bus.server.switches.close_on_drop.load(Relaxed) {
                            return;
                        }
                    }
                    Ok(Need::Packet(n)) => {
                        if let Some(mut core) = bus.server.cluster.core() {
                            core.handle_packet(clock::steady_ms(), link, &buf[..n]);
                        }
                        buf.advance(n);
                    }
                    Ok(Need::Bytes(_)) => break,
                    Err(e) => {
                        tracing::warn!("Bad message on the cluster bus, the link is closed: {e}");
                        return;
                    }
                }
            }
            bus.pump();
            buf.reserve(16 << 10);
            if buf.capacity() != room && bus.lines.borrow().contains_key(&link) {
                room = buf.capacity();
                bus.server.cluster.set_receiving(link, room);
            }
            if !matches!(read.read_buf(&mut buf).await, Ok(n) if n > 0) {
                return;
            }
        }
    };
    let tells = async {
        // The end of the queue is the order to close.
        while let Some(packet) = from.recv().await {
            if write.write_all(&packet).await.is_err() {
                return;
            }
            bus.sent(link, packet.len());
        }
    };
    tokio::select! {
        () = listens => {}
        () = tells => {}
    }
}

/// Whether a test wants this packet to be lost.
fn is_dropped(server: &Server, packet: &[u8]) -> bool {
    let wanted = server.switches.dropped_packets.load(Relaxed);
    wanted >= 0 && frame::kind(packet).is_some_and(|kind| i64::from(kind) == wanted)
}

/// Settings changed.
pub fn review_settings(server: &Server) {
    if let Some(mut core) = server.cluster.core() {
        core.handle_settings(clock::steady_ms(), settings(server.config));
        drop(core);
        // The next command sees what this one set. All else follows on the thread of the bus.
        events::publish_view(server);
        server.cluster.ring();
    }
}
