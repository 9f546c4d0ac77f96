//! XLEN, XRANGE, XREVRANGE.

use super::super::collections::RO_ACCESS;
use super::super::{CmdResult, Command, Ctx, options};
use super::{interval_end, interval_start, reply_entries};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeyFlags, KeySpec, Meta};

const COMPLEXITY: &str = "O(N) where N is the number of entries returned.";

/// `XLEN key`
pub static XLEN: Command =
    Command::new(
        Meta::new("xlen", 2, Flags::READONLY.or(Flags::FAST), Group::Stream)
            .keys(&[KeySpec::one(1, KeyFlags::RO)])
            .doc("5.0.0", "O(1)", "Returns the number of entries in a stream."),
        |cx, args| {
            let n = cx.db.stream_read(args[1])?.map_or(0, |s| s.len());
            cx.out.int(n as i64);
            Ok(())
        },
    );
/// `XRANGE key start end [COUNT count]`
pub static XRANGE: Command = Command::new(
    Meta::new("xrange", -4, Flags::READONLY, Group::Stream).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "5.0.0",
        COMPLEXITY,
        "Returns the entries of a stream in a range of IDs.",
    ),
    |cx, args| xrange(cx, args, false),
);
/// `XREVRANGE key end start [COUNT count]`
pub static XREVRANGE: Command = Command::new(
    Meta::new("xrevrange", -4, Flags::READONLY, Group::Stream).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "5.0.0",
        COMPLEXITY,
        "Returns the entries of a stream in a range of IDs, the newest first.",
    ),
    |cx, args| xrange(cx, args, true),
);

fn xrange(cx: &mut Ctx<'_>, args: &[&[u8]], reverse: bool) -> CmdResult {
    let (start, end) = if reverse { (args[3], args[2]) } else { (args[2], args[3]) };
    let (start, end) = (interval_start(start)?, interval_end(end)?);
    let mut count = None;
    let mut rest = &args[4..];
    while let [word, n, more @ ..] = rest {
        if !options::is(word, "count") {
            return Err(Error::SYNTAX);
        }
        count = Some(options::int(n)?.max(0) as u64);
        rest = more;
    }
    if !rest.is_empty() {
        return Err(Error::SYNTAX);
    }
    let Some(stream) = cx.db.stream_read(args[1])? else {
        cx.out.array(0);
        return Ok(());
    };
    match count {
        Some(0) => cx.out.null_array(),
        _ if reverse => reply_entries(cx.out, stream.range_rev(start, end), count.unwrap_or(0)),
        _ => reply_entries(cx.out, stream.range(start, end), count.unwrap_or(0)),
    }
    Ok(())
}
