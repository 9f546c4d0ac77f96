//! MULTI, EXEC, DISCARD, WATCH, UNWATCH. (`exec` runs the queued commands.)

use super::{CmdResult, Command, Ctx, Scope};
use crate::clients::{Multi, Session};
use crate::keyspace::Db;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

/// All of them.
pub const COMMANDS: &[&Command] = &[&DISCARD, &EXEC, &MULTI, &UNWATCH, &WATCH];

const OPEN: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE).or(Flags::FAST).or(Flags::ALLOW_BUSY);

/// `MULTI` <https://valkey.io/commands/multi/>
pub static MULTI: Command = Command::new(
    Meta::new("multi", 1, OPEN.or(Flags::NO_MULTI), Group::Transactions).doc(
        "1.2.0",
        "O(1)",
        "Begins a transaction: the commands that follow are queued until EXEC.",
    ),
    multi,
);
/// `EXEC` <https://valkey.io/commands/exec/>
pub static EXEC: Command = Command::new(
    Meta::new(
        "exec",
        1,
        Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE).or(Flags::SKIP_SLOWLOG),
        Group::Transactions,
    )
    .doc("1.2.0", "Depends on the commands in the transaction.", "Executes the queued commands as one."),
    |_, _| Err(Error::new("ERR EXEC without MULTI")),
);
/// `DISCARD` <https://valkey.io/commands/discard/>
pub static DISCARD: Command = Command::new(
    Meta::new("discard", 1, OPEN, Group::Transactions).doc(
        "2.0.0",
        "O(N), when N is the number of queued commands.",
        "Drops the queued commands and ends the transaction.",
    ),
    |cx, _| {
        if cx.session.multi.is_none() {
            return Err(Error::new("ERR DISCARD without MULTI"));
        }
        discard(cx);
        cx.out.ok();
        Ok(())
    },
)
.scope(Scope::Watched);
/// `WATCH key [key ...]` <https://valkey.io/commands/watch/>
pub static WATCH: Command = Command::new(
    Meta::new("watch", -2, OPEN.or(Flags::NO_MULTI), Group::Transactions)
        .keys(const { &[KeySpec::range(1, -1, 1, KeyFlags::RO)] })
        .doc("2.2.0", "O(1) for every key.", "Makes the next EXEC depend on keys staying as they are."),
    watch,
);
/// `UNWATCH` <https://valkey.io/commands/unwatch/>
pub static UNWATCH: Command = Command::new(
    Meta::new("unwatch", 1, OPEN, Group::Transactions).doc("2.2.0", "O(1)", "Forgets all watched keys."),
    |cx, _| {
        forget_watches(&mut cx.db, cx.session);
        cx.session.publish_multi();
        cx.out.ok();
        Ok(())
    },
)
.scope(Scope::Watched);

/// Commands that run at once though a transaction is open.
pub fn runs_inside(name: &str) -> bool {
    matches!(name, "exec" | "discard" | "quit" | "reset")
}

fn multi(cx: &mut Ctx<'_>, _args: &[&[u8]]) -> CmdResult {
    cx.session.multi = Some(Multi::default());
    cx.session.publish_multi();
    cx.out.ok();
    Ok(())
}

fn watch(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let db = cx.db.index();
    for &key in &args[1..] {
        if cx.session.watched.insert((db, key.to_vec())) {
            cx.db.watch(key, &cx.session.watch);
            cx.session.client.hold_name(key);
        }
    }
    cx.session.publish_multi();
    cx.out.ok();
    Ok(())
}

/// Ends the open transaction, if any, and all watches. The slots of the watched keys are locked.
pub fn discard(cx: &mut Ctx<'_>) {
    cx.session.multi = None;
    forget_watches(&mut cx.db, cx.session);
    cx.session.publish_multi();
}

/// Ends all watches of a session. The slots of the watched keys are locked.
pub fn forget_watches(db: &mut Db<'_>, session: &mut Session) {
    for (index, key) in std::mem::take(&mut session.watched) {
        db.other(index).unwatch(&key, &session.watch);
        session.client.drop_name(&key);
    }
    session.watch = Default::default();
}
