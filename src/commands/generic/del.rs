//! DEL, UNLINK, EXISTS, TOUCH.

use super::super::{CmdResult, Command, Ctx};
use super::deleted;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

const RM: &[KeySpec] = &[KeySpec::range(1, -1, 1, KeyFlags::RM.or(KeyFlags::DELETE))];
const RO: &[KeySpec] = &[KeySpec::range(1, -1, 1, KeyFlags::RO)];
const SUM: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];

/// `DEL key [key ...]` <https://valkey.io/commands/del/>
pub static DEL: Command = Command::new(
    Meta::new("del", -2, Flags::WRITE, Group::Generic)
        .keys(RM)
        .doc("1.0.0", "O(N) where N is the number of keys, and of the elements that they hold.", "Deletes keys.")
        .tips(SUM),
    |cx, args| {
        let lazy = cx.db.tuning().lazy_user_del;
        del(cx, args, lazy)
    },
);
/// `UNLINK key [key ...]` <https://valkey.io/commands/unlink/>
pub static UNLINK: Command = Command::new(
    Meta::new("unlink", -2, Flags::WRITE.or(Flags::FAST), Group::Generic)
        .keys(RM)
        .doc("4.0.0", "O(1) for each key; the memory is freed in the background.", "Deletes keys without waiting.")
        .tips(SUM),
    |cx, args| del(cx, args, true),
);
/// `EXISTS key [key ...]` <https://valkey.io/commands/exists/>
pub static EXISTS: Command = Command::new(
    Meta::new("exists", -2, Flags::READONLY.or(Flags::FAST), Group::Generic)
        .keys(RO)
        .doc("1.0.0", "O(N) where N is the number of keys.", "Counts how many of the keys exist.")
        .tips(SUM),
    |cx, args| {
        let no_touch = std::mem::replace(&mut cx.db.no_touch, true);
        let n = args[1..].iter().filter(|key| cx.db.read(key).is_some()).count();
        cx.db.no_touch = no_touch;
        cx.out.len_int(n);
        Ok(())
    },
);
/// `TOUCH key [key ...]` <https://valkey.io/commands/touch/>
pub static TOUCH: Command = Command::new(
    Meta::new("touch", -2, Flags::READONLY.or(Flags::FAST), Group::Generic)
        .keys(RO)
        .doc("3.2.1", "O(N) where N is the number of keys.", "Counts how many of the keys exist, as an access to them.")
        .tips(SUM),
    |cx, args| {
        let no_touch = std::mem::replace(&mut cx.db.no_touch, false);
        let n = args[1..].iter().filter(|key| cx.db.read(key).is_some()).count();
        cx.db.no_touch = no_touch;
        cx.out.len_int(n);
        Ok(())
    },
);

fn del(cx: &mut Ctx<'_>, args: &[&[u8]], lazy: bool) -> CmdResult {
    let mut n = 0;
    for key in &args[1..] {
        if cx.db.delete(key, lazy) {
            deleted(cx, key);
            n += 1;
        }
    }
    cx.out.len_int(n);
    Ok(())
}
