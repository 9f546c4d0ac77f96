//! PING, ECHO, SELECT, QUIT, RESET.

use std::sync::atomic::Ordering::Relaxed;

use crate::clients::{Close, ReplyMode, flags};
use crate::commands::options::int;
use crate::commands::{CmdResult, Command, Ctx, Scope};
use crate::resp::{Error, Proto};
use crate::spec::{Flags, Group, Meta};

const OPEN: Flags = Flags::LOADING.or(Flags::STALE).or(Flags::FAST);
const BEFORE_AUTH: Flags = OPEN.or(Flags::NOSCRIPT).or(Flags::NO_AUTH).or(Flags::ALLOW_BUSY);

/// <https://valkey.io/commands/ping/>
pub static PING: Command = Command::new(
    Meta::new("ping", -1, Flags::FAST, Group::Connection)
        .doc("1.0.0", "O(1)", "Answers, to show that the server is alive.")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    ping,
);

fn ping(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    if args.len() > 2 {
        return Err(cx.arity());
    }
    let message = args.get(1).copied();
    // A RESP2 client with subscriptions expects nothing but messages, so the answer has the form of one.
    if cx.session.subscriptions() > 0 && !cx.out.resp3() {
        cx.out.array(2);
        cx.out.bulk(b"pong");
        cx.out.bulk(message.unwrap_or_default());
    } else {
        match message {
            Some(message) => cx.out.bulk(message),
            None => cx.out.simple("PONG"),
        }
    }
    Ok(())
}

/// <https://valkey.io/commands/echo/>
pub static ECHO: Command =
    Command::new(Meta::new("echo", 2, OPEN, Group::Connection).doc("1.0.0", "O(1)", "Returns its argument."), echo);

fn echo(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    cx.out.bulk(args[1]);
    Ok(())
}

/// <https://valkey.io/commands/select/>
pub static SELECT: Command = Command::new(
    Meta::new("select", 2, OPEN, Group::Connection).doc("1.0.0", "O(1)", "Chooses the database of this connection."),
    select,
);

fn select(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let index = int(args[1])?;
    let databases = cx.db.keyspace().databases();
    let index = usize::try_from(index).ok().filter(|&index| index < databases).ok_or(Error::DB_INDEX)?;
    cx.session.select(index);
    cx.out.ok();
    Ok(())
}

/// <https://valkey.io/commands/quit/>
pub static QUIT: Command = Command::new(
    Meta::new("quit", -1, BEFORE_AUTH, Group::Connection)
        .doc("1.0.0", "O(1)", "Closes the connection once its replies are sent.")
        .deprecated("7.2.0", "just closing the connection"),
    quit,
);

fn quit(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    cx.out.ok();
    cx.session.close = Close::AfterReply;
    // Whoever has seen the reply finds the client gone.
    cx.server.registry.hide(cx.session.client.id);
    Ok(())
}

/// <https://valkey.io/commands/reset/>
pub static RESET: Command = Command::new(
    Meta::new("reset", 1, BEFORE_AUTH, Group::Connection).doc(
        "6.2.0",
        "O(1)",
        "Puts the connection back into the state of a new one.",
    ),
    reset,
)
.scope(Scope::Watched);

fn reset(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    crate::commands::transactions::discard(cx);
    let client = cx.session.client.clone();
    super::tracking::disable(cx);
    crate::commands::pubsub::leave(cx.session, &cx.server.pubsub);
    if std::mem::take(&mut cx.session.monitor) {
        cx.server.registry.count_monitor(false);
    }
    cx.session.no_touch = false;
    (cx.session.asking, cx.session.readonly) = (false, false);
    (cx.session.redirects, cx.session.import_source) = (false, false);
    cx.session.reply = ReplyMode::On;
    let set =
        [flags::MONITOR, flags::NO_EVICT, flags::NO_TOUCH, flags::READONLY, flags::REDIRECTS, flags::IMPORT_SOURCE];
    set.into_iter().for_each(|flag| client.set(flag, false));
    client.names.lock().name.clear();
    cx.session.start_as_default(&cx.server.acl);
    cx.session.select(0);
    cx.out.set_proto(Proto::Resp2);
    client.resp.store(2, Relaxed);
    cx.out.simple("RESET");
    Ok(())
}
