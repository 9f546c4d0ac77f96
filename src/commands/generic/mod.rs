//! Commands on keys, whatever they hold.

pub mod copy;
pub mod del;
pub mod dump;
pub mod expire;
pub mod keys;
pub mod migrate;
pub mod object;
pub mod rename;
pub mod scan;
pub mod sort;
pub mod ttl;

use super::{Command, Ctx};
use crate::keyspace::{Db, notify};

/// All of them.
pub const COMMANDS: &[&Command] = &[
    &copy::COPY,
    &del::DEL,
    &dump::DUMP,
    &del::EXISTS,
    &expire::EXPIRE,
    &expire::EXPIREAT,
    &ttl::EXPIRETIME,
    &keys::KEYS,
    &copy::MOVE,
    &object::OBJECT,
    &expire::PERSIST,
    &expire::PEXPIRE,
    &expire::PEXPIREAT,
    &ttl::PEXPIRETIME,
    &ttl::PTTL,
    &keys::RANDOMKEY,
    &rename::RENAME,
    &rename::RENAMENX,
    &migrate::MIGRATE,
    &dump::RESTORE,
    &dump::RESTORE_ASKING,
    &scan::SCAN,
    &sort::SORT,
    &sort::SORT_RO,
    &del::TOUCH,
    &ttl::TTL,
    &object::TYPE,
    &del::UNLINK,
];

/// A key was deleted by the command.
fn deleted(cx: &mut Ctx<'_>, key: &[u8]) {
    deleted_in(&mut cx.db, key);
}
fn deleted_in(db: &mut Db<'_>, key: &[u8]) {
    db.notify(notify::GENERIC, "del", key);
    db.modified(key, 1);
}
