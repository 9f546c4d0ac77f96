//! RENAME, RENAMENX.

use super::super::{Command, Ctx};
use crate::keyspace::notify;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

const FROM: KeySpec = KeySpec::one(1, KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE));

/// `RENAME key newkey` <https://valkey.io/commands/rename/>
pub static RENAME: Command = Command::new(
    Meta::new("rename", 3, Flags::WRITE, Group::Generic)
        .keys(const { &[FROM, KeySpec::one(2, KeyFlags::OW.or(KeyFlags::UPDATE))] })
        .doc("1.0.0", "O(1), and the deletion of what the new name held.", "Gives a key another name."),
    |cx, args| {
        rename(cx, args, false)?;
        cx.out.ok();
        Ok(())
    },
);
/// `RENAMENX key newkey` <https://valkey.io/commands/renamenx/>
pub static RENAMENX: Command = Command::new(
    Meta::new("renamenx", 3, Flags::WRITE.or(Flags::FAST), Group::Generic)
        .keys(const { &[FROM, KeySpec::one(2, KeyFlags::OW.or(KeyFlags::INSERT))] })
        .doc("1.0.0", "O(1)", "Gives a key another name if that name is free."),
    |cx, args| {
        let done = rename(cx, args, true)?;
        cx.out.int(i64::from(done));
        Ok(())
    },
);

fn rename(cx: &mut Ctx<'_>, args: &[&[u8]], only_new: bool) -> Result<bool, Error> {
    let (from, to) = (args[1], args[2]);
    if cx.db.read(from).is_none() {
        return Err(Error::NO_KEY);
    }
    if from == to {
        return Ok(!only_new);
    }
    cx.db.expire_if_needed(to);
    if cx.db.exists(to) {
        if only_new {
            return Ok(false);
        }
        let lazy = cx.db.tuning().lazy_server_del;
        cx.db.delete(to, lazy);
    }
    if let Some(e) = cx.db.take(from) {
        cx.db.insert_entry(to, e.renamed(to));
    }
    cx.db.modified(from, 1);
    cx.db.modified(to, 0);
    cx.db.notify(notify::GENERIC, "rename_from", from);
    cx.db.notify(notify::GENERIC, "rename_to", to);
    Ok(true)
}
