//! One execution of one command, under locks that are held already.

use super::Worker;
use super::script::InnerSlot;
use crate::base::clock;
use crate::clients::{Client, Session};
use crate::commands::lookup::Entry;
use crate::commands::{Ctx, Server};
use crate::config::Config;
use crate::keyspace::sample::Sampler;
use crate::keyspace::{Db, Effects, Held, Located, Tuning};
use crate::metrics::{LogKind, METERED, ThreadStats, commandlog};
use crate::resp::{Arg, Error, Out};
use crate::spec::Flags;

/// What a connection hands over: the requests of one turn.
pub struct Turn<'a> {
    /// The read buffer.
    pub buf: &'a [u8],
    /// The arguments of all requests, one after the other.
    pub args: &'a [Arg],
    /// How many arguments each request has.
    pub counts: &'a [u32],
    /// Where in the buffer the first arguments of inline requests begin, ascending.
    pub inline: &'a [u32],
    /// Unix time, ms.
    pub now: i64,
    /// For the stream of a primary, which goes on to this node's own followers as it is.
    pub stream: Option<Stream<'a>>,
}

/// How the requests of a turn lie in the stream they come from.
#[derive(Clone, Copy)]
pub struct Stream<'a> {
    /// Where each request ends in the buffer. The first begins at 0.
    pub ends: &'a [usize],
    /// The generation of the link.
    pub generation: u64,
}

/// What makes a command worth a record, read once a turn. The greatest number of a type: nothing does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thresholds {
    latency_tracking: bool,
    slow_ns: u64,
    spike_ns: u64,
    reply: usize,
    request: usize,
    slot_stats: bool,
}

impl Thresholds {
    pub(super) fn read(config: &Config) -> Thresholds {
        // -1 turns a log off, 0 takes everything; a spike threshold of 0 turns LATENCY off.
        let bytes = |n: i64| usize::try_from(n).unwrap_or(usize::MAX);
        let slow = config.commandlog_execution_slower_than();
        let spike = config.latency_monitor_threshold();
        Thresholds {
            latency_tracking: config.latency_tracking(),
            slow_ns: u64::try_from(slow).map_or(u64::MAX, |us| us.saturating_mul(1000)),
            spike_ns: if spike > 0 { (spike as u64).saturating_mul(1_000_000) } else { u64::MAX },
            reply: bytes(config.commandlog_reply_larger_than()),
            request: bytes(config.commandlog_request_larger_than()),
            slot_stats: config.cluster_slot_stats_enabled(),
        }
    }
}

/// The parts of a worker that one execution needs, apart from the rest of it.
pub(super) struct Parts<'a> {
    pub server: &'static Server,
    pub stats: &'static ThreadStats,
    pub held: &'a mut Held,
    pub fx: &'a mut Effects,
    pub tuning: Tuning,
    pub thresholds: Thresholds,
    pub samplers: &'a mut Vec<Sampler>,
    /// When the last command ended, in raw ticks. Commands that are executed together take this for their start, which
    /// saves every second look at the clock.
    pub tick: Option<u64>,
    pub scripts: &'a mut super::script::Scripts,
    /// The state of the server and of the cluster, as the worker knows them.
    pub gate: u32,
    pub view: &'a Option<std::sync::Arc<crate::cluster::View>>,
}

impl Worker {
    /// Drops all locks; what was done under them is logged first. Whether anything was.
    #[inline]
    pub(super) fn unlock(&mut self) -> bool {
        let logs = !self.fx.log.is_empty();
        if logs {
            self.server.keyspace.hooks.append(&mut self.fx.log);
        }
        self.held.unlock();
        logs
    }
    /// Passes the primary's stream on, as far as it has been executed. A transaction counts when it is whole.
    #[inline]
    pub(super) fn pass_on(&mut self, session: &Session, turn: &Turn<'_>, executed: usize) {
        if let Some(stream) = &turn.stream
            && executed > 0
            && session.multi.is_none()
        {
            let end = stream.ends[executed - 1];
            self.server.repl.log.append_stream(&turn.buf[self.passed_on..end], stream.generation);
            self.passed_on = end;
        }
    }
    pub(super) fn parts(&mut self) -> Parts<'_> {
        Parts {
            server: self.server,
            stats: self.stats,
            held: &mut self.held,
            fx: &mut self.fx,
            tuning: self.tuning,
            thresholds: self.thresholds,
            samplers: &mut self.samplers,
            tick: None,
            scripts: &mut self.scripts,
            gate: self.gate,
            view: &self.view,
        }
    }
    /// The database `index`, for work outside of a command.
    pub(super) fn db(&mut self, index: usize, now: i64) -> Db<'_> {
        let server = self.server;
        Db::new(server.keyspace, &mut self.held, index, now, &mut self.fx, self.stats, self.tuning, Located::NONE)
    }
}

impl Parts<'_> {
    /// Runs the handler, replies, counts, times, and hands the effect to the log. The command's locks are held.
    #[inline]
    pub(super) fn call(
        &mut self,
        session: &mut Session,
        entry: &'static Entry,
        argv: &[&[u8]],
        first: Located,
        now: i64,
        out: &mut Out,
    ) {
        let mark = out.place();
        let len = out.len();
        let start = self.tick.unwrap_or_else(clock::mono_raw);
        self.fx.dirty = 0;
        self.fx.replaced = false;
        let logged = if self.thresholds.slot_stats { self.fx.log.bytes() } else { 0 };
        let db_index = session.db;
        let result = match entry.command.script {
            None => {
                let Parts { server, held, fx, stats, tuning, samplers, scripts, .. } = self;
                let mut db = Db::new(server.keyspace, held, db_index, now, fx, stats, *tuning, first);
                db.no_touch = session.no_touch;
                let interpreters = &mut scripts.interpreters;
                let mut cx = Ctx { db, out, session, server, entry, stats, samplers, interpreters };
                (entry.command.run)(&mut cx, argv)
            }
            Some(kind) => self.script_or_session(kind, session, argv, now, out),
        };
        if self.scripts.wants_all {
            self.scripts.inner = InnerSlot::None;
            return;
        }
        let failed = match result {
            Ok(()) => out.is_error_since(mark),
            Err(e) => {
                out.truncate(mark);
                out.error(&e);
                match entry.command.script {
                    None => self.stats.errors.count(e.code()),
                    Some(_) => self.stats.errors.count_custom(e.code()),
                }
                true
            }
        };
        let end = clock::mono_raw();
        let ns = clock::raw_to_ns(start, end);
        self.tick = Some(end);
        // A command that blocks counts when its wait is over.
        let through = session.block.is_none() && !super::debug::is_elsewhere(session, entry);
        if METERED && through {
            let stats = self.stats.command(entry.id);
            stats.calls.add(1);
            stats.ns.add(ns);
        }
        if failed {
            self.failed(entry);
        }
        if session.tracking.is_some() && session.notes_reads() {
            self.note_reads(session, entry, argv);
        }
        if self.fx.dirty > 0 {
            self.stats.changes.add(self.fx.dirty);
        }
        if self.fx.logging {
            self.log(db_index, entry, argv);
        }
        if through {
            let replied = out.len().saturating_sub(len);
            self.observe(&session.client, entry, argv, ns, replied);
            if self.counts_slots() {
                // A primary gets no replies, and the replicas get what was logged.
                let replied = if session.primary { 0 } else { replied };
                let logged = self.fx.log.bytes().saturating_sub(logged);
                let (received, sent) = (session.received(argv), replied + logged * self.receivers());
                self.count_for_slot(entry, argv, ns, received, sent);
            }
        }
    }

    /// The connection, whose locks are held, is to hear when one of the keys changes that it has read.
    #[cold]
    fn note_reads(&mut self, session: &Session, entry: &Entry, argv: &[&[u8]]) {
        if !entry.flags().has(Flags::READONLY) || entry.flags().has(Flags::PUBSUB) || entry.command.script.is_some() {
            return;
        }
        // What the transaction or script changed before it reads is told first: it knows the keys as they are now.
        let before = &self.fx.invalidated[self.fx.told..];
        if !before.is_empty() {
            self.server.tracking.tell_all_readers(&self.server.registry, before, session.client.id);
            self.fx.told = self.fx.invalidated.len();
        }
        for key in entry.command.meta.keys_of(argv).iter().flatten() {
            self.server.tracking.note(argv[key.index], session.client.id);
        }
    }

    #[cold]
    fn failed(&mut self, entry: &Entry) {
        self.stats.command(entry.id).failed.add(1);
        self.stats.error_replies.add(u64::from(!std::mem::take(&mut self.scripts.counted)));
    }

    /// The command's effect for the log: what its handler said, or the command itself.
    fn log(&mut self, db: usize, entry: &Entry, argv: &[&[u8]]) {
        if self.fx.dirty > 0 && !self.fx.replaced && entry.flags().any(Flags::WRITE.or(Flags::MAY_REPLICATE)) {
            self.fx.push(db, argv);
        }
        if !self.fx.in_transaction {
            self.fx.log.close_group();
        }
    }

    /// Slow and large commands go to their logs; latency to the histogram and, where it is a spike, to LATENCY.
    #[inline]
    pub(super) fn observe(&self, client: &Client, entry: &'static Entry, argv: &[&[u8]], ns: u64, replied: usize) {
        let t = &self.thresholds;
        if METERED && t.latency_tracking {
            self.stats.command(entry.id).record_latency(ns);
        }
        let (slow, spike, large) = (ns >= t.slow_ns, ns >= t.spike_ns, replied >= t.reply);
        let request: usize = if t.request == usize::MAX { 0 } else { argv.iter().map(|a| a.len()).sum() };
        let large_request = request >= t.request;
        let us = (ns / 1000) as i64;
        if slow || spike || large || large_request {
            let sizes = [(slow, us), (large_request, request as i64), (large, replied as i64)];
            self.record(client, entry, argv, sizes, spike.then_some(us));
        }
    }

    /// Whether CLUSTER SLOT-STATS wants to know what commands take.
    #[inline]
    pub(super) fn counts_slots(&self) -> bool {
        self.thresholds.slot_stats && self.view.is_some()
    }

    /// How many replicas get what this node logs.
    pub(super) fn receivers(&self) -> usize {
        if self.server.repl.link.is_replica() { 0 } else { self.server.repl.online() }
    }

    /// CLUSTER SLOT-STATS: what a command took goes to the slot of its keys. What is inside of a transaction or script
    /// counts with that, if it keeps to one slot.
    #[cold]
    pub(super) fn count_for_slot(&mut self, entry: &Entry, argv: &[&[u8]], ns: u64, received: usize, sent: usize) {
        let keys = entry.command.meta.keys_of(argv).unwrap_or_default();
        keys.iter().for_each(|key| self.scripts.inner.add(crate::base::slot::key_slot(argv[key.index])));
        if !self.fx.in_transaction {
            self.count_inner(received, ns, sent);
        }
    }

    /// The end of a command, or of a transaction or script.
    #[cold]
    pub(super) fn count_inner(&mut self, received: usize, ns: u64, sent: usize) {
        if let InnerSlot::One(slot) = std::mem::take(&mut self.scripts.inner) {
            self.server.cluster.slot_stats.add(slot, ns, received as u64, sent as u64);
        }
    }

    #[cold]
    fn record(&self, client: &Client, entry: &Entry, argv: &[&[u8]], over: [(bool, i64); 3], spike: Option<i64>) {
        let config = self.server.config;
        if let Some(us) = spike {
            let event = if entry.flags().has(Flags::FAST) { "fast-command" } else { "command" };
            self.server.spikes.add(event, clock::now_ms() / 1000, (us / 1000) as u64);
        }
        if entry.flags().has(Flags::SKIP_SLOWLOG) {
            return;
        }
        let redacted = crate::commands::redact::redact(entry, argv);
        let argv: Vec<&[u8]> = redacted.iter().map(|a| &a[..]).collect();
        let name = client.names.lock().name.clone();
        let kinds = [
            (LogKind::Slow, config.commandlog_slow_execution_max_len()),
            (LogKind::LargeRequest, config.commandlog_large_request_max_len()),
            (LogKind::LargeReply, config.commandlog_large_reply_max_len()),
        ];
        // The command may have been the one that turned the log of slow ones off.
        let off = config.commandlog_execution_slower_than() < 0;
        for ((over, value), (kind, max)) in over.into_iter().zip(kinds) {
            if over && !(off && kind == LogKind::Slow) {
                let origin = commandlog::Origin { time: clock::now_ms() / 1000, addr: &client.addr, name: &name };
                self.server.log.record(kind, value, &argv, origin, max);
            }
        }
    }

    /// Refuses a command: the error is the reply, and a transaction under way is spoilt.
    pub(super) fn reject(&self, session: &mut Session, entry: Option<&Entry>, e: &Error, out: &mut Out) {
        if let Some(entry) = entry {
            self.stats.command(entry.id).rejected.add(1);
        }
        self.stats.errors.count(e.code());
        self.stats.error_replies.add(1);
        if let Some(multi) = &mut session.multi {
            multi.failed = true;
        }
        out.error(e);
    }
}
