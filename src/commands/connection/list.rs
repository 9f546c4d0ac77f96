//! CLIENT LIST and CLIENT INFO: a line a connection.

use std::sync::atomic::Ordering::Relaxed;

use super::client::{FLAGS, SUB};
use super::filter::{Filter, effective_user};
use crate::clients::{Client, flags};
use crate::commands::{CmdResult, Command, Ctx, Lookup};
use crate::spec::{Flags, Group, Meta};

/// Replies up to this size count as the connection's own buffer (`obl`), what is beyond as its queue (`omem`).
const STATIC_BUFFER: usize = 16 << 10;

/// <https://valkey.io/commands/client-list/>
pub static LIST: Command = Command::new(
    Meta::new("client|list", -2, FLAGS.or(Flags::ADMIN), Group::Connection)
        .doc("2.4.0", "O(N) where N is the number of client connections", "Lists open connections.")
        .tips(&["nondeterministic_output"]),
    list,
);

fn list(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let filter = Filter::of(cx, &args[2..], "ERR Invalid client ID")?;
    let now = cx.db.clock;
    let me = cx.session.client.id;
    let mut text = Vec::new();
    for client in cx.server.registry.all() {
        if filter.fits(&client, now) && !(filter.skip_me == Some(true) && client.id == me) {
            let running = (client.id == me).then(|| Running::own(cx, args));
            describe(&client, running, now, &cx.server.lookup, &mut text);
        }
    }
    cx.out.verbatim("txt", &text);
    Ok(())
}

/// <https://valkey.io/commands/client-info/>
pub static INFO: Command = Command::new(
    Meta::new("client|info", 2, SUB, Group::Connection)
        .doc("6.2.0", "O(1)", "Describes this connection.")
        .tips(&["nondeterministic_output"]),
    info,
);

fn info(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let mut text = Vec::new();
    let running = Running::own(cx, args);
    describe(&cx.session.client, Some(running), cx.db.clock, &cx.server.lookup, &mut text);
    cx.out.verbatim("txt", &text);
    Ok(())
}

/// The flags of a connection, a letter each.
pub fn letters(client: &Client) -> String {
    const LETTERS: [(u32, char); 17] = [
        (flags::MONITOR, 'O'),
        (flags::REPLICA, 'S'),
        (flags::PRIMARY, 'M'),
        (flags::PUBSUB, 'P'),
        (flags::MULTI, 'x'),
        (flags::BLOCKED | flags::PAUSED, 'b'),
        (flags::TRACKING, 't'),
        (flags::TRACKING_BROKEN, 'R'),
        (flags::TRACKING_BROADCAST, 'B'),
        (flags::DIRTY, 'd'),
        (flags::CLOSE_AFTER_REPLY, 'c'),
        (flags::CLOSE_ASAP, 'A'),
        (flags::UNIX, 'U'),
        (flags::READONLY, 'r'),
        (flags::NO_EVICT, 'e'),
        (flags::NO_TOUCH, 'T'),
        (flags::IMPORT_SOURCE, 'I'),
    ];
    let set: String = LETTERS.iter().filter(|(flag, _)| client.has(*flag)).map(|(_, letter)| *letter).collect();
    if set.is_empty() { "N".into() } else { set }
}

/// The command that a connection is in right now.
#[derive(Clone, Copy)]
pub struct Running {
    /// Its number.
    pub id: u16,
    /// Bytes of its arguments.
    pub argv_mem: usize,
}

impl Running {
    /// A command with its arguments.
    pub fn new(id: u16, argv: &[&[u8]]) -> Running {
        Running { id, argv_mem: argv.iter().map(|arg| arg.len()).sum() }
    }
    /// The command of a context. The arguments of queued ones count with their transaction: EXEC has none but its name.
    pub fn own(cx: &Ctx<'_>, args: &[&[u8]]) -> Running {
        let in_exec = cx.session.client.has(flags::MULTI);
        Running::new(cx.entry.id, if in_exec { &[b"exec"] } else { args })
    }
}

/// Append the line of a connection; `running`: the command that it is in right now.
pub fn describe(client: &Client, running: Option<Running>, now: i64, lookup: &Lookup, text: &mut Vec<u8>) {
    let names = client.names.lock().clone();
    let redirect = if client.has(flags::TRACKING) { client.tracked.redirect.load(Relaxed) as i64 } else { -1 };
    let out = client.out.load(Relaxed);
    let own = out.min(STATIC_BUFFER);
    let queued = out - own + client.mailbox.pending();
    let multi = client.multi.load(Relaxed) as i64 - 1;
    let last = match client.last_command.load(Relaxed) {
        0 => None,
        id => Some((id - 1) as u16),
    };
    let command = running.map(|r| r.id).or(last).map_or("NULL", |id| lookup.get(id).command.meta.name);
    let [sub, psub, ssub] = [0, 1, 2].map(|kind| client.subs[kind].load(Relaxed));
    let argv_mem = running.map_or_else(|| client.argv_mem.load(Relaxed), |r| r.argv_mem);
    // What is in a worker's buffer counts for the connection while its command runs.
    let total = client.memory() + running.map_or(0, |r| r.argv_mem);
    let mut put = |part: String| text.extend_from_slice(part.as_bytes());
    put(format!("id={} addr={} laddr={} fd={} name=", client.id, client.addr, client.laddr, client.fd));
    text.extend_from_slice(&names.name);
    let mut put = |part: String| text.extend_from_slice(part.as_bytes());
    put(format!(
        " age={} idle={} flags={} capa={} db={} sub={sub} psub={psub} ssub={ssub} multi={multi} watch={}",
        (now - client.created) / 1000,
        (now - client.active.load(Relaxed)).max(0) / 1000,
        letters(client),
        if client.has(flags::REDIRECTS) { "r" } else { "" },
        client.db.load(Relaxed),
        client.watch.load(Relaxed),
    ));
    put(format!(
        " qbuf={} qbuf-free={} argv-mem={argv_mem} multi-mem={} rbs={} rbp={} obl={own} oll={} omem={queued} tot-mem={total}",
        client.qbuf.load(Relaxed),
        client.qbuf_free.load(Relaxed),
        client.multi_mem.load(Relaxed),
        client.out_capacity.load(Relaxed),
        client.out_peak.load(Relaxed),
        usize::from(queued > 0),
    ));
    put(format!(" events={} cmd={command} user=", if out > 0 { "rw" } else { "r" }));
    text.extend_from_slice(&effective_user(client));
    text.extend_from_slice(format!(" redir={redirect} resp={} lib-name=", client.resp.load(Relaxed).max(2)).as_bytes());
    text.extend_from_slice(&names.lib_name);
    text.extend_from_slice(b" lib-ver=");
    text.extend_from_slice(&names.lib_ver);
    text.extend_from_slice(
        format!(
            " tot-net-in={} tot-net-out={} tot-cmds={}\n",
            client.net_in.load(Relaxed),
            client.net_out.load(Relaxed),
            client.commands.load(Relaxed)
        )
        .as_bytes(),
    );
}
