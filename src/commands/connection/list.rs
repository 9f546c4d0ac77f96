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
            let running = (client.id == me).then_some(cx.entry.id);
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

fn info(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    let mut text = Vec::new();
    describe(&cx.session.client, Some(cx.entry.id), cx.db.clock, &cx.server.lookup, &mut text);
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

/// Append the line of a connection; `running`: the command that it is in right now.
pub fn describe(client: &Client, running: Option<u16>, now: i64, lookup: &Lookup, text: &mut Vec<u8>) {
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
    let command = running.or(last).map_or("NULL", |id| lookup.get(id).command.meta.name);
    let [sub, psub, ssub] = [0, 1, 2].map(|kind| client.subs[kind].load(Relaxed));
    let mut put = |part: String| text.extend_from_slice(part.as_bytes());
    put(format!("id={} addr={} laddr={} fd={} name=", client.id, client.addr, client.laddr, client.fd));
    text.extend_from_slice(&names.name);
    let mut put = |part: String| text.extend_from_slice(part.as_bytes());
    put(format!(
        " age={} idle={} flags={} db={} sub={sub} psub={psub} ssub={ssub} multi={multi} watch={}",
        (now - client.created) / 1000,
        (now - client.active.load(Relaxed)).max(0) / 1000,
        letters(client),
        client.db.load(Relaxed),
        client.watch.load(Relaxed),
    ));
    put(format!(
        " qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={own} oll={} omem={queued} tot-mem={}",
        client.qbuf.load(Relaxed),
        client.qbuf_free.load(Relaxed),
        client.argv_mem.load(Relaxed),
        client.multi_mem.load(Relaxed),
        client.out_capacity.load(Relaxed),
        client.out_peak.load(Relaxed),
        usize::from(queued > 0),
        client.memory(),
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
