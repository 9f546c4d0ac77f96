//! WAIT and WAITAOF: clients that want to know who has their writes.

use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use crate::clients::{Acks, Block, NullKind};
use crate::commands::options;
use crate::commands::{CmdResult, Command, Ctx, Server};
use crate::keyspace::Waiter;
use crate::repl::Wait;
use crate::resp::{Error, Out, Proto};
use crate::spec::{Cat, Flags, Group, Meta};

/// `WAIT numreplicas timeout` <https://valkey.io/commands/wait/>
pub static WAIT: Command = Command::new(
    Meta::new("wait", 3, Flags::BLOCKING, Group::Generic)
        .cat(Cat::CONNECTION)
        .not_cat(Cat::KEYSPACE)
        .doc("3.0.0", "O(1)", "Waits until replicas have confirmed the writes of this connection, and counts them.")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
    wait,
);

/// `WAITAOF numlocal numreplicas timeout` <https://valkey.io/commands/waitaof/>
pub static WAITAOF: Command = Command::new(
    Meta::new("waitaof", 4, Flags::BLOCKING, Group::Generic)
        .cat(Cat::CONNECTION)
        .not_cat(Cat::KEYSPACE)
        .doc("7.2.0", "O(1)", "Waits until the writes of this connection are on disk, here or on replicas.")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
    waitaof,
);

const NO_FILE: Error = Error::new("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");

fn wait(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    if cx.server.repl.link.is_replica() {
        return Err(Error::new(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is \
             configured to be writable (which is not the default) writes to replicas are just local and are not \
             propagated.",
        ));
    }
    let replicas = options::int(args[1])?;
    let timeout = options::timeout_ms(args[2], cx.db.clock)?;
    let acks = Acks { offset: cx.session.written, replicas: replicas.max(0) as usize, file: None };
    begin(cx, acks, replicas, timeout)
}

fn waitaof(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let local = options::int(args[1])?;
    if !(0..=1).contains(&local) {
        return Err(Error::new("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = options::int(args[2])?;
    if replicas < 0 {
        return Err(Error::new("ERR value is out of range, must be positive"));
    }
    let timeout = options::timeout_ms(args[3], cx.db.clock)?;
    if cx.server.repl.link.is_replica() {
        return Err(Error::new(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local \
             and are not propagated.",
        ));
    }
    if local == 1 && !cx.config().appendonly() {
        return Err(NO_FILE);
    }
    let acks = Acks { offset: cx.session.written, replicas: replicas as usize, file: Some(local == 1) };
    begin(cx, acks, replicas, timeout)
}

fn begin(cx: &mut Ctx<'_>, acks: Acks, replicas: i64, timeout: i64) -> CmdResult {
    let now = counts(cx.server, &acks);
    if replicas <= 0 && acks.file.is_none() || satisfied(&acks, now) || cx.session.deny_blocking {
        answer(cx.out, &acks, now);
        return Ok(());
    }
    cx.session.block = Some(Block {
        deadline: (timeout > 0).then(|| cx.db.clock + timeout),
        null: NullKind::Zero,
        acks: Some(acks),
        ..Block::default()
    });
    Ok(())
}

/// Who has it: this node's disk (0 or 1), and how many replicas.
fn counts(server: &Server, acks: &Acks) -> (usize, usize) {
    // Without a base nothing lasts, not even what was written before there was an offset.
    let local = acks.file.is_some() && !server.aof.baseless.load(Acquire) && server.repl.file_synced() >= acks.offset;
    (usize::from(local), server.repl.have(acks.offset, acks.file.is_some()))
}

fn satisfied(acks: &Acks, (local, replicas): (usize, usize)) -> bool {
    replicas >= acks.replicas && (acks.file != Some(true) || local == 1)
}

fn answer(out: &mut Out, acks: &Acks, (local, replicas): (usize, usize)) {
    if acks.file.is_some() {
        out.array(2);
        out.int(local as i64);
    }
    out.int(replicas as i64);
}

/// Notes a client that waits, and asks the replicas how far they are.
pub fn register(server: &Server, waiter: Arc<Waiter>, acks: Acks) {
    server.repl.wait(Wait { waiter, acks });
    server.repl.ask();
    // What it waits for may have come before it was in the list.
    serve(server);
}

/// The append-only file is given up: who waits for it hears so.
pub fn fail_local(server: &Server) {
    for w in server.repl.waits().into_iter().filter(|w| w.acks.file == Some(true)) {
        if w.waiter.take() {
            let mut out = Out::default();
            out.error(&NO_FILE);
            w.waiter.served(out.take_bytes());
        }
    }
}

/// Answers those who have what they wait for.
pub fn serve(server: &Server) {
    if !server.repl.has_waits() {
        return;
    }
    for w in server.repl.waits() {
        let now = counts(server, &w.acks);
        if satisfied(&w.acks, now) && w.waiter.take() {
            w.waiter.served(reply(&w, now));
        }
    }
}

fn reply(w: &Wait, counts: (usize, usize)) -> Vec<u8> {
    let mut out = Out::new(if w.waiter.resp3 { Proto::Resp3 } else { Proto::Resp2 });
    answer(&mut out, &w.acks, counts);
    out.take_bytes()
}

/// The reply to a client whose time is up: how many there are all the same. `None` if it waits for something else.
pub fn on_timeout(server: &Server, waiter: &Arc<Waiter>) -> Option<Vec<u8>> {
    if !waiter.keys.is_empty() {
        return None;
    }
    let w = server.repl.wait_of(waiter)?;
    Some(reply(&w, counts(server, &w.acks)))
}
