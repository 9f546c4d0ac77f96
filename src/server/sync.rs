//! What a node does for its replicas from time to time: it begins snapshots for those that wait, pings, drops those that
//! fell silent or too far behind, and the history that nobody needs.

use std::collections::HashMap;
use std::io::{self, Read, Seek, Write};
use std::sync::atomic::Ordering::*;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;

use super::bulk::Temporary;
use crate::base::{clock, rng};
use crate::clients::Stage;
use crate::commands::Server;
use crate::commands::cluster::transfer::import;
use crate::commands::gate::bits;
use crate::commands::persistence::status::Job;
use crate::commands::replication::{failover, role};
use crate::persist::rdb::file::FileSnapshot;
use crate::repl::{Candidate, Part, ReaderId};

/// The auxiliary field that tells which slots are open.
pub(super) const OPEN_SLOTS: &str = "cluster-slot-states";
/// How often it looks.
const TICK: Duration = Duration::from_millis(100);

/// Runs until the process ends.
pub async fn run(server: &'static Server) {
    let mut chores = Chores::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = server.repl.changed.notified() => {}
        }
        let now = clock::now_ms();
        failover::step(server, now);
        count_good(server, now);
        begin_snapshot(server, now);
        chores.run(server, now);
    }
}

/// `min-replicas-to-write`: whether enough replicas are in step.
pub fn count_good(server: &Server, now: i64) {
    let config = server.config;
    let (least, lag) = (config.min_replicas_to_write(), config.min_replicas_max_lag());
    let few = least > 0 && lag > 0 && server.repl.good(lag, now) < least;
    if server.gate.has(bits::FEW_REPLICAS) != few {
        server.gate.set(bits::FEW_REPLICAS, few);
    }
}

#[derive(Default)]
struct Chores {
    pinged: i64,
    /// Since when a replica is over the soft limit of its output.
    over_soft: HashMap<u64, i64>,
    /// When those who wait for a snapshot were last sent a sign of life.
    signed: i64,
}

impl Chores {
    fn run(&mut self, server: &'static Server, now: i64) {
        let (repl, config) = (&server.repl, server.config);
        let period = config.repl_ping_replica_period() as i64 * 1000;
        if repl.online() == 0 || self.pinged == 0 {
            self.pinged = now;
        }
        if !repl.link.is_replica() && now - self.pinged >= period {
            self.pinged = now;
            let paused = server.pause.is_set() && repl.failover.lock().is_some();
            if !paused {
                repl.log.append_raw(b"*1\r\n$4\r\nPING\r\n");
            }
        }
        if now - self.signed >= 1000 {
            self.signed = now;
            for c in repl.candidates().iter() {
                let _ = c.to.try_send(Part::Bytes(Bytes::from_static(b"\n")));
            }
        }
        self.see_to_peers(server, now);
        end_useless_snapshot(server);
        let ttl = config.repl_backlog_ttl() * 1000;
        if ttl > 0
            && !repl.link.is_replica()
            && repl.log.is_kept()
            && let Some(since) = repl.alone_since()
            && since > 0
            && now - since > ttl
        {
            drop_history(server, ttl / 1000);
        }
    }

    /// Replicas that fell silent, or for which too much waits, are disconnected.
    fn see_to_peers(&mut self, server: &Server, now: i64) {
        let (repl, config) = (&server.repl, server.config);
        let timeout = config.repl_timeout() * 1000;
        let limit = config.replica_output_limit();
        see_to_expected(server, limit.hard, now);
        let peers = repl.peers();
        self.over_soft.retain(|id, _| peers.iter().any(|p| p.client.id == *id));
        for p in peers.iter().filter(|p| !p.client.mailbox.is_closing()) {
            let r = &p.replica;
            let silent = now - r.acked_at.load(Acquire) > timeout;
            if r.stage() == Stage::Online && !r.old.load(Acquire) && silent {
                tracing::warn!("Disconnecting timedout replica (streaming sync): {}", p.client.addr);
                p.client.mailbox.close();
                continue;
            }
            let reader = r.reader.load(Acquire);
            let behind = repl.log.behind(ReaderId(reader));
            p.client.out_capacity.store(behind as usize, Relaxed);
            let over = |limit: u64| limit > 0 && behind > limit;
            let since = *self.over_soft.entry(p.client.id).or_insert(now);
            if !over(limit.soft) {
                self.over_soft.insert(p.client.id, now);
            }
            if over(limit.hard) || over(limit.soft) && now - since > limit.soft_seconds as i64 * 1000 {
                tracing::warn!(
                    "Client id={} addr={} scheduled to be closed ASAP for overcoming of output buffer limits.",
                    p.client.id,
                    p.client.addr
                );
                repl.counters.too_slow.fetch_add(1, Relaxed);
                p.client.mailbox.close();
            }
        }
    }
}

/// Replicas that get a snapshot and have not asked for the log, which is kept for them: up to `limit` bytes (0: any), and for a
/// while after they have it.
fn see_to_expected(server: &Server, limit: u64, now: i64) {
    let grace = server.switches.rdb_client_grace.load(Relaxed);
    for (client, gone, behind) in server.repl.who_is_expected() {
        let late = gone != 0 && now - gone > grace * 1000;
        let over = limit > 0 && behind > limit;
        if late {
            tracing::info!(
                "Replica main channel failed to establish PSYNC within the grace period ({} seconds). Freeing RDB client \
                 {client}.",
                (now - gone) / 1000
            );
        }
        if over {
            tracing::warn!("Client id={client} closed by force for overcoming of output buffer limits.");
            server.repl.counters.too_slow.fetch_add(1, Relaxed);
            if let Some(client) = server.registry.get(client) {
                client.mailbox.close();
            }
        }
        if late || over {
            server.repl.expect_no_more(client);
        }
    }
}

/// `repl-backlog-ttl`: without replicas for so long, the history goes, and with it its identity: what follows is not
/// counted.
fn drop_history(server: &Server, seconds: i64) {
    let mut held = server.keyspace.held();
    held.lock_all();
    if server.repl.alone_since().is_some() && server.repl.log.stop() {
        server.repl.new_history();
        role::review_log(server);
        tracing::info!("Replication backlog freed after {seconds} seconds without connected replicas.");
    }
}

/// Ends a snapshot for replicas of which none is left.
fn end_useless_snapshot(server: &Server) {
    let waits = |stage| matches!(stage, Stage::WaitEnd | Stage::Bulk);
    if let Some(job) = server.snapshots.job()
        && job.for_replicas.load(Acquire)
        && !server.repl.peers().iter().any(|p| waits(p.replica.stage()))
    {
        job.cancel.store(true, Release);
    }
}

/// Begins a snapshot for those who wait for one, if it is time.
fn begin_snapshot(server: &'static Server, now: i64) {
    let config = server.config;
    let (chosen, diskless): (Vec<Candidate>, bool) = {
        let mut candidates = server.repl.candidates();
        if candidates.is_empty() || server.gate.has(bits::LOADING) {
            return;
        }
        let asked = |c: &Candidate| c.peer.replica.asked_at.load(Acquire);
        let oldest = candidates.iter().map(asked).min().unwrap_or(now);
        let enough = config.repl_diskless_sync_max_replicas();
        let waits = config.repl_diskless_sync()
            && now - oldest < config.repl_diskless_sync_delay() * 1000
            && (enough == 0 || candidates.len() < enough);
        if waits || server.has_snapshot() {
            return;
        }
        // Those that cannot take a snapshot of unknown length get it by way of a file, each kind at its turn.
        let eof = |c: &Candidate| c.peer.replica.hello.lock().eof;
        let apart = |c: &Candidate| eof(c) && wants_of(c).1;
        let diskless = config.repl_diskless_sync() && candidates.iter().any(eof) || candidates.iter().any(apart);
        let takes = |c: &Candidate| !diskless || eof(c);
        let wants = candidates.iter().find(|c| takes(c)).map(wants_of);
        let (chosen, rest) = candidates.drain(..).partition(|c| takes(c) && Some(wants_of(c)) == wants);
        *candidates = rest;
        (chosen, diskless)
    };
    let spawned = std::thread::Builder::new().name("full-sync".into()).spawn(move || serve(server, chosen, diskless));
    if let Err(e) = spawned {
        tracing::warn!("Can't start a thread for a synchronization: {e}");
    }
}

/// What only others that want the same can share: a part of the snapshot, the snapshot apart from the log.
fn wants_of(c: &Candidate) -> (Option<crate::clients::Filter>, bool) {
    let hello = c.peer.replica.hello.lock();
    (hello.filter, hello.rdb_channel)
}

/// One snapshot for several replicas, on a thread of its own.
fn serve(server: &'static Server, chosen: Vec<Candidate>, diskless: bool) {
    let addresses: Vec<&str> = chosen.iter().map(|c| c.peer.client.addr.as_str()).collect();
    let way = if diskless { "sockets" } else { "a file" };
    tracing::info!("Starting a snapshot for synchronization by way of {way}, for replicas {}", addresses.join(", "));
    // To others this is a background save like any other.
    let result = match server.snapshots.begin(false) {
        None => Err(Failure::Busy),
        Some(job) => {
            let result = if diskless { to_sockets(server, &chosen, &job) } else { by_file(server, &chosen, &job) };
            server.snapshots.end();
            result
        }
    };
    match result {
        Ok(()) => {}
        Err(Failure::Busy) => {
            // Another snapshot came first: these wait for their turn again.
            for c in &chosen {
                c.peer.replica.set_stage(Stage::WaitStart);
            }
            server.repl.candidates().extend(chosen);
        }
        // Dropping what leads to them closes their connections.
        Err(Failure::Io(e)) => tracing::warn!("Background RDB transfer error: {e}"),
    }
}

enum Failure {
    Busy,
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure::Io(e)
    }
}

/// What is agreed on at the cut.
struct Cut {
    id: String,
    offset: u64,
    readers: Vec<ReaderId>,
}

/// At the cut: the log begins, and every replica gets its place in it.
fn cut(server: &Server, chosen: &[Candidate]) -> Cut {
    let repl = &server.repl;
    role::begin_log(server);
    let cut = Cut {
        id: repl.ids().current,
        offset: repl.log.end(),
        readers: chosen
            .iter()
            .map(|c| {
                if wants_of(c).1 {
                    // Another connection of the replica will ask for the log.
                    repl.expect_other(c.peer.client.id);
                    ReaderId(0)
                } else {
                    repl.log.reader_at_end()
                }
            })
            .collect(),
    };
    import::tell_new_replicas(server);
    cut
}

/// Those who get the snapshot, with what is still to come.
struct Receivers<'a> {
    server: &'a Server,
    job: &'a Job,
    to: Vec<(&'a Candidate, ReaderId)>,
    /// Waits for those that are slow.
    runtime: Runtime,
}

impl<'a> Receivers<'a> {
    /// Each gets its place in the log, which counts from now on: what waits there for a replica that takes the snapshot too
    /// slowly is limited, and goes with its connection.
    fn new(
        server: &'a Server,
        job: &'a Job,
        chosen: &'a [Candidate],
        readers: Vec<ReaderId>,
        runtime: Runtime,
    ) -> Receivers<'a> {
        let to: Vec<_> = chosen.iter().zip(readers).collect();
        to.iter().for_each(|(c, reader)| c.peer.replica.reader.store(reader.0, Release));
        Receivers { server, job, to, runtime }
    }
    /// Gives a replica the next part. One that takes none for `repl-timeout` is disconnected. False: it is gone, or the
    /// snapshot is not wanted any more.
    fn hand_over(&self, to: &Candidate, part: Part) -> bool {
        let since = clock::steady_ms();
        loop {
            match self.runtime.block_on(async { tokio::time::timeout(TICK, to.to.reserve()).await }) {
                Ok(Ok(place)) => {
                    place.send(part);
                    return true;
                }
                Ok(Err(_)) => return false,
                Err(_) => {}
            }
            if clock::steady_ms() - since > self.server.config.repl_timeout() * 1000 {
                tracing::warn!("Disconnecting timedout replica (full sync): {}", to.peer.client.addr);
                to.peer.client.mailbox.close();
                return false;
            }
            if self.job.cancel.load(Acquire) {
                return false;
            }
        }
    }
    fn send(&mut self, bytes: &Bytes) -> io::Result<()> {
        for (c, reader) in std::mem::take(&mut self.to) {
            if self.hand_over(c, Part::Bytes(bytes.clone())) {
                self.to.push((c, reader));
            } else {
                self.server.repl.log.remove_reader(reader);
            }
        }
        if self.to.is_empty() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "no replica is left that waits for it"));
        }
        Ok(())
    }
    /// All of it was sent.
    fn finish(&mut self, acknowledged: bool) {
        for (c, reader) in std::mem::take(&mut self.to) {
            if !self.hand_over(c, Part::Log { reader, acknowledged }) {
                self.server.repl.log.remove_reader(reader);
            }
        }
    }
}

impl Drop for Receivers<'_> {
    fn drop(&mut self) {
        self.to.iter().for_each(|(_, reader)| self.server.repl.log.remove_reader(*reader));
    }
}

/// Begins the snapshot, and tells the replicas what follows; `stage` is how far they are then. With the offset of the cut.
fn open<'a>(
    server: &'static Server,
    chosen: &'a [Candidate],
    job: &'a Job,
) -> Result<(FileSnapshot, Receivers<'a>, u64), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    // All of them want the same.
    let filter = chosen.first().and_then(|c| wants_of(c).0);
    let at_cut = || {
        let cut = cut(server, chosen);
        let mut head = server.rdb_head(false).with_history(&cut.id, cut.offset);
        if let Some(filter) = filter {
            head.sizes.clear();
            if !filter.functions {
                head.functions.clear();
            }
        }
        // What comes before the cut is not in the stream any more.
        let open_slots = server.cluster.core().and_then(|core| core.open_slots());
        head.aux.extend(open_slots.map(|text| (OPEN_SLOTS, text)));
        (head, cut)
    };
    let (data, options, progress) = (server.keyspace, server.rdb_options(), job.progress.clone());
    let (snapshot, cut) = match filter {
        None => FileSnapshot::begin(data, options, progress, at_cut).map_err(|_| Failure::Busy)?,
        Some(_) => FileSnapshot::without_data(data, options, progress, at_cut),
    };
    let receivers = Receivers::new(server, job, chosen, cut.readers, runtime);
    let announced = Bytes::from(format!("+FULLRESYNC {} {}\r\n", cut.id, cut.offset));
    for (c, _) in &receivers.to {
        c.peer.replica.set_stage(Stage::WaitEnd);
        if wants_of(c).1 {
            let end = format!("$ENDOFF:{} {} 0 {}\r\n", cut.offset, cut.id, c.peer.client.id);
            receivers.hand_over(c, Part::Bytes(Bytes::from(end)));
        } else if !c.peer.replica.old.load(Acquire) {
            receivers.hand_over(c, Part::Bytes(announced.clone()));
        }
    }
    job.for_replicas.store(true, Release);
    Ok((snapshot, receivers, cut.offset))
}

fn to_sockets(server: &'static Server, chosen: &[Candidate], job: &Job) -> Result<(), Failure> {
    let (snapshot, mut receivers, _) = open(server, chosen, job)?;
    let mark = rng::hex_id();
    receivers.send(&Bytes::from(format!("$EOF:{mark}\r\n")))?;
    snapshot.run(&job.cancel, |chunk| receivers.send(&Bytes::copy_from_slice(chunk)))?;
    receivers.send(&Bytes::from(mark))?;
    tracing::info!("Diskless rdb transfer, done reading from pipe, {} replicas still up.", receivers.to.len());
    receivers.finish(true);
    Ok(())
}

/// For replicas that take only a snapshot of known length: a file first, then its bytes.
fn by_file(server: &'static Server, chosen: &[Candidate], job: &Job) -> Result<(), Failure> {
    let (snapshot, mut receivers, offset) = open(server, chosen, job)?;
    let path = std::path::PathBuf::from(format!("temp-sync-{}-{offset}.rdb", std::process::id()));
    let file = Temporary::create(path)?;
    let mut signed = clock::now_ms();
    snapshot.run(&job.cancel, |chunk| {
        if clock::now_ms() - signed >= 1000 {
            signed = clock::now_ms();
            receivers.send(&Bytes::from_static(b"\n"))?;
        }
        (&file.file).write_all(chunk)
    })?;
    let length = (&file.file).stream_position()?;
    (&file.file).seek(io::SeekFrom::Start(0))?;
    receivers.to.iter().for_each(|(c, _)| c.peer.replica.set_stage(Stage::Bulk));
    receivers.send(&Bytes::from(format!("${length}\r\n")))?;
    let mut left = length;
    while left > 0 {
        let mut chunk = vec![0; left.min(256 << 10) as usize];
        (&file.file).read_exact(&mut chunk)?;
        left -= chunk.len() as u64;
        receivers.send(&Bytes::from(chunk))?;
    }
    receivers.finish(false);
    Ok(())
}
