//! SLOWLOG and COMMANDLOG: the latest slow or large commands.

use crate::base::num;
use crate::commands::{CmdResult, Command, Ctx, help};
use crate::metrics::LogKind;
use crate::resp::Error;
use crate::spec::{Flags, Group, Meta};

const ADMIN: Flags = Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE);
const OPEN: Flags = Flags::LOADING.or(Flags::STALE);
const GET_TIPS: &[&str] = &["request_policy:all_nodes", "nondeterministic_output"];
const LEN_TIPS: &[&str] = &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"];
const RESET_TIPS: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

const fn meta(name: &'static str, arity: i16, flags: Flags, since: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, arity, flags, Group::Server).doc(since, "O(N) where N is the number of entries", summary)
}

/// <https://valkey.io/commands/slowlog/>
pub static SLOWLOG: Command = Command::container(
    meta("slowlog", -2, Flags::NONE, "2.2.12", "A container for slow log commands."),
    &[&SLOWLOG_GET, &SLOWLOG_HELP, &SLOWLOG_LEN, &SLOWLOG_RESET],
);

static SLOWLOG_GET: Command = Command::new(
    meta("slowlog|get", -2, ADMIN, "2.2.12", "Returns the latest slow commands.").tips(GET_TIPS),
    |cx, args| match args {
        [_, _] => get(cx, 10, LogKind::Slow),
        [_, _, count] => get(cx, parse_count(count)?, LogKind::Slow),
        _ => Err(cx.arity()),
    },
);

static SLOWLOG_LEN: Command = Command::new(
    meta("slowlog|len", 2, ADMIN, "2.2.12", "Returns the number of slow commands kept.").tips(LEN_TIPS),
    |cx, _args| len(cx, LogKind::Slow),
);

static SLOWLOG_RESET: Command = Command::new(
    meta("slowlog|reset", 2, ADMIN, "2.2.12", "Forgets the slow commands.").tips(RESET_TIPS),
    |cx, _args| reset(cx, LogKind::Slow),
);

static SLOWLOG_HELP: Command =
    Command::new(meta("slowlog|help", 2, OPEN, "6.2.0", "Explains the subcommands."), |cx, _args| {
        help::reply(
            cx.out,
            "SLOWLOG",
            &[
                "GET [<count>]",
                "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
                "    Entries are made of:",
                "    id, timestamp, time in microseconds, arguments array, client IP and port,",
                "    client name",
                "LEN",
                "    Return the length of the slowlog.",
                "RESET",
                "    Reset the slowlog.",
            ],
        );
        Ok(())
    });

/// <https://valkey.io/commands/commandlog/>
pub static COMMANDLOG: Command = Command::container(
    meta("commandlog", -2, Flags::NONE, "8.1.0", "A container for command log commands."),
    &[&GET, &HELP, &LEN, &RESET],
);

static GET: Command = Command::new(
    meta("commandlog|get", 4, ADMIN, "8.1.0", "Returns the latest commands of one of the logs.").tips(GET_TIPS),
    |cx, args| {
        let count = parse_count(args[2])?;
        get(cx, count, parse_kind(args[3])?)
    },
);

static LEN: Command = Command::new(
    meta("commandlog|len", 3, ADMIN, "8.1.0", "Returns the number of commands kept in one of the logs.").tips(LEN_TIPS),
    |cx, args| len(cx, parse_kind(args[2])?),
);

static RESET: Command = Command::new(
    meta("commandlog|reset", 3, ADMIN, "8.1.0", "Forgets the commands of one of the logs.").tips(RESET_TIPS),
    |cx, args| reset(cx, parse_kind(args[2])?),
);

static HELP: Command =
    Command::new(meta("commandlog|help", 2, OPEN, "8.1.0", "Explains the subcommands."), |cx, _args| {
        help::reply(
            cx.out,
            "COMMANDLOG",
            &[
                "GET <count> <type>",
                "    Return top <count> entries of the specified <type> from the commandlog (-1 mean all).",
                "    Entries are made of:",
                "    id, timestamp,",
                "        time in microseconds for type of slow,",
                "        or size in bytes for type of large-request,",
                "        or size in bytes for type of large-reply",
                "    arguments array, client IP and port,",
                "    client name",
                "LEN <type>",
                "    Return the length of the specified type of commandlog.",
                "RESET <type>",
                "    Reset the specified type of commandlog.",
            ],
        );
        Ok(())
    });

fn parse_kind(name: &[u8]) -> Result<LogKind, Error> {
    let found = LogKind::ALL.into_iter().find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(name));
    found.ok_or(Error::new("ERR type should be one of the following: slow, large-request, large-reply"))
}

/// A number of entries; -1 for all.
fn parse_count(count: &[u8]) -> Result<usize, Error> {
    const BAD: Error = Error::new("ERR count should be greater than or equal to -1");
    match num::parse_i64(count) {
        Some(-1) => Ok(usize::MAX),
        Some(n) => usize::try_from(n).map_err(|_| BAD),
        None => Err(BAD),
    }
}

fn get(cx: &mut Ctx<'_>, count: usize, kind: LogKind) -> CmdResult {
    let entries = cx.server.log.newest(kind, count);
    cx.out.array(entries.len());
    for entry in entries {
        cx.out.array(6);
        cx.out.int(entry.id as i64);
        cx.out.int(entry.time);
        cx.out.int(entry.value);
        cx.out.array(entry.argv.len());
        entry.argv.iter().for_each(|arg| cx.out.bulk(arg));
        cx.out.bulk(entry.addr.as_bytes());
        cx.out.bulk(&entry.name);
    }
    Ok(())
}

fn len(cx: &mut Ctx<'_>, kind: LogKind) -> CmdResult {
    cx.out.len_int(cx.server.log.len(kind));
    Ok(())
}

fn reset(cx: &mut Ctx<'_>, kind: LogKind) -> CmdResult {
    cx.server.log.reset(kind);
    cx.out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_kinds_are_read_strictly() {
        assert_eq!(parse_count(b"-1"), Ok(usize::MAX));
        assert_eq!(parse_count(b"3"), Ok(3));
        assert!(parse_count(b"-2").is_err() && parse_count(b"x").is_err());
        assert_eq!(parse_kind(b"LARGE-reply"), Ok(LogKind::LargeReply));
        assert!(parse_kind(b"fast").is_err());
    }
}
