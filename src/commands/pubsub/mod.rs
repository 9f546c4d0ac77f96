//! Publish and subscribe, on channels, patterns and shard channels.

pub mod introspect;

use std::collections::BTreeSet;

use super::{CmdResult, Command, Ctx, Scope, Server};
use crate::base::{clock, slot};
use crate::clients::{Close, Session};
use crate::keyspace::request_len;
use crate::resp::{Error, Out};
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

/// All of them.
pub const COMMANDS: &[&Command] = &[
    &PSUBSCRIBE,
    &PUBLISH,
    &introspect::PUBSUB,
    &PUNSUBSCRIBE,
    &SPUBLISH,
    &SSUBSCRIBE,
    &SUBSCRIBE,
    &SUNSUBSCRIBE,
    &UNSUBSCRIBE,
];

const SUBSCRIBING: Flags = Flags::PUBSUB.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE);

/// `SUBSCRIBE channel [channel ...]` <https://valkey.io/commands/subscribe/>
pub static SUBSCRIBE: Command = Command::new(
    Meta::new("subscribe", -2, SUBSCRIBING, Group::Pubsub).doc(
        "2.0.0",
        "O(N), N being the number of channels.",
        "Listens to messages of channels.",
    ),
    |cx, args| subscribe(cx, args, Sort::Channel),
);
/// `PSUBSCRIBE pattern [pattern ...]` <https://valkey.io/commands/psubscribe/>
pub static PSUBSCRIBE: Command = Command::new(
    Meta::new("psubscribe", -2, SUBSCRIBING, Group::Pubsub).doc(
        "2.0.0",
        "O(N), N being the number of patterns.",
        "Listens to messages of channels that match patterns.",
    ),
    |cx, args| subscribe(cx, args, Sort::Pattern),
);
/// `UNSUBSCRIBE [channel ...]` <https://valkey.io/commands/unsubscribe/>
pub static UNSUBSCRIBE: Command = Command::new(
    Meta::new("unsubscribe", -1, SUBSCRIBING, Group::Pubsub).doc(
        "2.0.0",
        "O(N), N being the number of channels.",
        "Stops listening to messages of channels, all of them without arguments.",
    ),
    |cx, args| unsubscribe(cx, args, Sort::Channel),
);
/// `PUNSUBSCRIBE [pattern ...]` <https://valkey.io/commands/punsubscribe/>
pub static PUNSUBSCRIBE: Command = Command::new(
    Meta::new("punsubscribe", -1, SUBSCRIBING, Group::Pubsub).doc(
        "2.0.0",
        "O(N), N being the number of patterns.",
        "Stops listening to messages by patterns, all of them without arguments.",
    ),
    |cx, args| unsubscribe(cx, args, Sort::Pattern),
);
/// `PUBLISH channel message` <https://valkey.io/commands/publish/>
pub static PUBLISH: Command = Command::new(
    Meta::new(
        "publish",
        3,
        Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE).or(Flags::FAST).or(Flags::MAY_REPLICATE),
        Group::Pubsub,
    )
    .doc(
        "2.0.0",
        "O(N+M), N being the subscribers of the channel and M the subscribed patterns.",
        "Sends a message to the subscribers of a channel.",
    ),
    |cx, args| {
        let reached = cx.server.pubsub.publish(args[1], args[2]);
        pass_on(cx, args, false);
        cx.out.len_int(reached);
        Ok(())
    },
);

/// A message goes to other nodes: over the bus in a cluster, else to replicas.
fn pass_on(cx: &mut Ctx<'_>, args: &[&[u8]], shard: bool) {
    let cluster = &cx.server.cluster;
    match cluster.core() {
        Some(mut core) => {
            core.publish(clock::steady_ms(), args[1], args[2], shard);
            drop(core);
            cluster.ring();
        }
        None => cx.db.share(args),
    }
}

const SHARD: KeyFlags = KeyFlags::NOT_KEY;

/// `SSUBSCRIBE shardchannel [shardchannel ...]` <https://valkey.io/commands/ssubscribe/>
pub static SSUBSCRIBE: Command = Command::new(
    Meta::new("ssubscribe", -2, SUBSCRIBING, Group::Pubsub).keys(const { &[KeySpec::range(1, -1, 1, SHARD)] }).doc(
        "7.0.0",
        "O(N), N being the number of shard channels.",
        "Listens to messages of shard channels.",
    ),
    |cx, args| subscribe(cx, args, Sort::Shard),
)
.scope(Scope::None);
/// `SUNSUBSCRIBE [shardchannel ...]` <https://valkey.io/commands/sunsubscribe/>
pub static SUNSUBSCRIBE: Command = Command::new(
    Meta::new("sunsubscribe", -1, SUBSCRIBING, Group::Pubsub).keys(const { &[KeySpec::range(1, -1, 1, SHARD)] }).doc(
        "7.0.0",
        "O(N), N being the number of shard channels.",
        "Stops listening to messages of shard channels, all of them without arguments.",
    ),
    |cx, args| unsubscribe(cx, args, Sort::Shard),
)
.scope(Scope::None);
/// `SPUBLISH shardchannel message` <https://valkey.io/commands/spublish/>
pub static SPUBLISH: Command = Command::new(
    Meta::new(
        "spublish",
        3,
        Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE).or(Flags::FAST).or(Flags::MAY_REPLICATE),
        Group::Pubsub,
    )
    .keys(const { &[KeySpec::one(1, SHARD)] })
    .doc(
        "7.0.0",
        "O(N), N being the subscribers of the channel.",
        "Sends a message to the subscribers of a shard channel.",
    ),
    |cx, args| {
        let reached = spublish(cx.server, args[1], args[2]);
        pass_on(cx, args, true);
        cx.out.len_int(reached);
        Ok(())
    },
)
.scope(Scope::None);

/// Sends a message to the subscribers of a shard channel, and counts it for the channel's slot. How many got it.
pub fn spublish(server: &Server, channel: &[u8], message: &[u8]) -> usize {
    let reached = server.pubsub.spublish(channel, message);
    if reached > 0 && server.cluster.is_enabled() && server.config.cluster_slot_stats_enabled() {
        let sent = reached * request_len(&[b"smessage", channel, message]);
        server.cluster.slot_stats.add(slot::key_slot(channel), 0, 0, sent as u64);
    }
    reached
}

#[derive(Clone, Copy, PartialEq)]
enum Sort {
    Channel,
    Pattern,
    Shard,
}

impl Sort {
    fn of(self, session: &mut Session) -> &mut BTreeSet<Vec<u8>> {
        match self {
            Sort::Channel => &mut session.channels,
            Sort::Pattern => &mut session.patterns,
            Sort::Shard => &mut session.shard_channels,
        }
    }
    /// The number that confirmations show: channels and patterns count together, shard channels alone.
    fn count(self, session: &Session) -> usize {
        match self {
            Sort::Shard => session.shard_channels.len(),
            _ => session.channels.len() + session.patterns.len(),
        }
    }
    /// The kinds of confirmation.
    fn words(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Sort::Channel => (b"subscribe", b"unsubscribe"),
            Sort::Pattern => (b"psubscribe", b"punsubscribe"),
            Sort::Shard => (b"ssubscribe", b"sunsubscribe"),
        }
    }
}

fn confirm(out: &mut Out, word: &[u8], name: Option<&[u8]>, count: usize) {
    out.push(3);
    out.bulk(word);
    out.bulk_or_null(name);
    out.len_int(count);
}

fn subscribe(cx: &mut Ctx<'_>, args: &[&[u8]], sort: Sort) -> CmdResult {
    if cx.session.deny_blocking && !cx.out.resp3() {
        let name = cx.name();
        return Err(Error::owned(format!("ERR {} isn't allowed for a DENY BLOCKING client", name.to_uppercase())));
    }
    for name in &args[1..] {
        if sort.of(cx.session).insert(name.to_vec()) {
            cx.session.client.hold_name(name);
            match sort {
                Sort::Channel => cx.server.pubsub.subscribe(name, &cx.session.client),
                Sort::Pattern => cx.server.pubsub.psubscribe(name, &cx.session.client),
                Sort::Shard => cx.server.pubsub.ssubscribe(name, &cx.session.client),
            }
        }
        confirm(cx.out, sort.words().0, Some(name), sort.count(cx.session));
    }
    cx.session.publish_subscriptions();
    if cx.server.acl.version() != cx.session.acl_version {
        still_may(cx, args, sort == Sort::Pattern);
    }
    Ok(())
}

/// The user has changed since the command was let in, and who looked for subscriptions that it may not have any more
/// may have missed these.
fn still_may(cx: &mut Ctx<'_>, args: &[&[u8]], pattern: bool) {
    cx.session.look_at_user(&cx.server.acl);
    let user = cx.session.user.as_ref();
    if user.is_some_and(|user| !args[1..].iter().all(|name| user.may_use_channel(name, pattern))) {
        cx.session.close = Close::AfterReply;
    }
}

fn unsubscribe(cx: &mut Ctx<'_>, args: &[&[u8]], sort: Sort) -> CmdResult {
    let names: Vec<Vec<u8>> = match &args[1..] {
        [] => sort.of(cx.session).iter().cloned().collect(),
        names => names.iter().map(|n| n.to_vec()).collect(),
    };
    for name in &names {
        if sort.of(cx.session).remove(name) {
            cx.session.client.drop_name(name);
            match sort {
                Sort::Channel => cx.server.pubsub.unsubscribe(name, &cx.session.client),
                Sort::Pattern => cx.server.pubsub.punsubscribe(name, &cx.session.client),
                Sort::Shard => cx.server.pubsub.sunsubscribe(name, &cx.session.client),
            }
        }
        confirm(cx.out, sort.words().1, Some(name), sort.count(cx.session));
    }
    if names.is_empty() {
        confirm(cx.out, sort.words().1, None, sort.count(cx.session));
    }
    cx.session.publish_subscriptions();
    Ok(())
}

/// The subscription to a shard channel is over, for its slot went to another node.
pub fn shard_left(session: &mut Session, channel: &[u8], out: &mut Out) {
    if session.shard_channels.remove(channel) {
        session.client.drop_name(channel);
        confirm(out, b"sunsubscribe", Some(channel), session.shard_channels.len());
        session.publish_subscriptions();
    }
}

/// Ends all subscriptions of a connection that goes.
pub fn leave(session: &mut Session, pubsub: &crate::pubsub::PubSub) {
    for name in std::mem::take(&mut session.channels) {
        pubsub.unsubscribe(&name, &session.client);
    }
    for name in std::mem::take(&mut session.patterns) {
        pubsub.punsubscribe(&name, &session.client);
    }
    for name in std::mem::take(&mut session.shard_channels) {
        pubsub.sunsubscribe(&name, &session.client);
    }
    session.publish_subscriptions();
}
