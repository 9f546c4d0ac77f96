//! COMMAND: what commands there are, and where their keys are.

use super::docs;
use crate::base::glob;
use crate::commands::options::is;
use crate::commands::{CmdResult, Command, Ctx, Entry, Lookup, help};
use crate::resp::{Error, Out};
use crate::spec::{Begin, CATEGORIES, Find, Flags, Group, KeyFlags, KeySpec, Meta, extract};

const OPEN: Flags = Flags::LOADING.or(Flags::STALE);
const UNORDERED: &[&str] = &["nondeterministic_output_order"];

const fn meta(name: &'static str, arity: i16, since: &'static str, summary: &'static str) -> Meta {
    Meta::new(name, arity, OPEN, Group::Server).cat(crate::spec::Cat::CONNECTION).doc(
        since,
        "O(N) where N is the number of commands to look up",
        summary,
    )
}

/// <https://valkey.io/commands/command/>
pub static COMMAND: Command =
    Command::new(meta("command", -1, "2.8.13", "Returns information about all commands.").tips(UNORDERED), all)
        .subs(&[&COUNT, &docs::DOCS, &GETKEYS, &GETKEYSANDFLAGS, &HELP, &INFO, &LIST]);

fn all(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    if let Some(unknown) = args.get(1) {
        return Err(Error::subcommand("command", unknown));
    }
    let lookup = &cx.server.lookup;
    cx.out.array(lookup.commands().count());
    lookup.commands().for_each(|entry| info(cx.out, lookup, entry));
    Ok(())
}

static COUNT: Command =
    Command::new(meta("command|count", 2, "2.8.13", "Returns the number of commands."), |cx, _args| {
        cx.out.len_int(cx.server.lookup.commands().count());
        Ok(())
    });

static INFO: Command = Command::new(
    meta("command|info", -2, "2.8.13", "Returns information about some or all commands.").tips(UNORDERED),
    |cx, args| {
        let lookup = &cx.server.lookup;
        if args.len() == 2 {
            return all(cx, &args[..1]);
        }
        cx.out.array(args.len() - 2);
        for name in &args[2..] {
            match by_full_name(lookup, name) {
                Some(entry) => info(cx.out, lookup, entry),
                None => cx.out.null_array(),
            }
        }
        Ok(())
    },
);

/// The command of a name such as `get` or `config|get`.
pub(super) fn by_full_name<'a>(lookup: &'a Lookup, name: &[u8]) -> Option<&'a Entry> {
    match name.iter().position(|&c| c == b'|') {
        None => lookup.command(name),
        Some(bar) => lookup.sub(lookup.command(&name[..bar])?, &name[bar + 1..]),
    }
}

/// The name that clients call it by: the present one of a renamed command, `container|sub` of a subcommand.
pub(super) fn shown_name(entry: &Entry) -> &str {
    if entry.parent.is_some() { entry.command.meta.name } else { &entry.name }
}

fn statuses<'a>(out: &mut Out, names: impl Iterator<Item = &'a str> + Clone) {
    out.set(names.clone().count());
    names.for_each(|name| out.simple(name));
}

/// What COMMAND INFO tells of a command.
fn info(out: &mut Out, lookup: &Lookup, entry: &Entry) {
    let meta = &entry.command.meta;
    let (first, last, step) = legacy_range(meta.keys);
    out.array(10);
    out.bulk(shown_name(entry).as_bytes());
    out.int(i64::from(meta.arity));
    statuses(out, Flags::ALL.iter().filter(|(flag, name)| meta.flags.has(*flag) && !name.is_empty()).map(|(_, n)| *n));
    out.int(first);
    out.int(last);
    out.int(step);
    let names: Vec<String> = meta.acl.names().map(|name| format!("@{name}")).collect();
    statuses(out, names.iter().map(String::as_str));
    out.array(meta.tips.len());
    meta.tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    out.array(meta.keys.len());
    meta.keys.iter().for_each(|spec| key_spec(out, spec));
    let subs = lookup.subs(entry);
    out.array(subs.len());
    subs.iter().for_each(|sub| info(out, lookup, sub));
}

fn key_flags(out: &mut Out, flags: KeyFlags) {
    statuses(out, KeyFlags::ALL.iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, name)| *name));
}

fn key_spec(out: &mut Out, spec: &KeySpec) {
    let pair = |out: &mut Out, name: &str, n: i64| {
        out.bulk(name.as_bytes());
        out.int(n);
    };
    let kind = |out: &mut Out, name: &str, fields: usize| {
        out.map(2);
        out.bulk(b"type");
        out.bulk(name.as_bytes());
        out.bulk(b"spec");
        out.map(fields);
    };
    out.map(3);
    out.bulk(b"flags");
    key_flags(out, spec.flags);
    out.bulk(b"begin_search");
    match spec.begin {
        Begin::Unknown => {
            kind(out, "unknown", 0);
            out.bulk(b"find_keys");
            kind(out, "unknown", 0);
            return;
        }
        Begin::Index(index) => {
            kind(out, "index", 1);
            pair(out, "index", index as i64);
        }
        Begin::Keyword(word, from) => {
            kind(out, "keyword", 2);
            out.bulk(b"keyword");
            out.bulk(word.as_bytes());
            pair(out, "startfrom", i64::from(from));
        }
    }
    out.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            kind(out, "range", 3);
            pair(out, "lastkey", i64::from(last));
            pair(out, "keystep", step as i64);
            pair(out, "limit", limit as i64);
        }
        Find::Count { at, first, step } => {
            kind(out, "keynum", 3);
            pair(out, "keynumidx", at as i64);
            pair(out, "firstkey", first as i64);
            pair(out, "keystep", step as i64);
        }
    }
}

/// First key, last key and step, as clients older than key specifications want them: the one range of a command, or
/// ranges that follow one another without a gap made one; zeros where keys cannot be told that way.
fn legacy_range(specs: &[KeySpec]) -> (i64, i64, i64) {
    let range = |spec: &KeySpec| match (spec.begin, spec.find) {
        (Begin::Index(first), Find::Range { last, step, .. }) => {
            let first = first as i64;
            let last = i64::from(last);
            Some((first, if last >= 0 { first + last } else { last }, step as i64))
        }
        _ => None,
    };
    if let [only] = specs {
        return range(only).unwrap_or((0, 0, 0));
    }
    let mut whole: Option<(i64, i64, i64)> = None;
    for (first, last, step) in specs.iter().filter_map(range) {
        whole = match whole {
            None => Some((first, last, step)),
            // A last key counted from the end reaches further than any that is counted from the front.
            Some((start, end, 1)) if step == 1 && first == end + 1 => {
                Some((start, if end < 0 { end } else { last }, 1))
            }
            Some(_) => return (0, 0, 0),
        };
    }
    whole.unwrap_or((0, 0, 0))
}

static LIST: Command = Command::new(
    meta("command|list", -2, "7.0.0", "Returns the names of all commands, or of those that a filter leaves.")
        .tips(UNORDERED),
    list,
);

fn list(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let wanted: Box<dyn Fn(&Entry) -> bool> = match &args[2..] {
        [] => Box::new(|_| true),
        [by, what, value] if is(by, "FILTERBY") && is(what, "PATTERN") => {
            Box::new(|entry| glob::matches(value, shown_name(entry).as_bytes(), true))
        }
        [by, what, value] if is(by, "FILTERBY") && is(what, "ACLCAT") => {
            let bit = CATEGORIES.iter().position(|name| is(value, name));
            Box::new(move |entry| bit.is_some_and(|bit| entry.command.meta.acl.0 & (1 << bit) != 0))
        }
        // There are no modules, so none of the commands is of one.
        [by, what, _] if is(by, "FILTERBY") && is(what, "MODULE") => Box::new(|_| false),
        _ => return Err(Error::SYNTAX),
    };
    let lookup = &cx.server.lookup;
    let found: Vec<&Entry> = lookup
        .commands()
        .flat_map(|entry| std::iter::once(entry).chain(lookup.subs(entry)))
        .filter(|entry| wanted(entry))
        .collect();
    cx.out.array(found.len());
    found.iter().for_each(|entry| cx.out.bulk(shown_name(entry).as_bytes()));
    Ok(())
}

static GETKEYS: Command =
    Command::new(meta("command|getkeys", -3, "2.8.13", "Returns the keys of a command."), |cx, args| {
        let keys = keys_of(cx, &args[2..])?;
        cx.out.array(keys.len());
        keys.iter().for_each(|(key, _)| cx.out.bulk(key));
        Ok(())
    });

static GETKEYSANDFLAGS: Command = Command::new(
    meta("command|getkeysandflags", -3, "7.0.0", "Returns the keys of a command, and what it does with them."),
    |cx, args| {
        let keys = keys_of(cx, &args[2..])?;
        cx.out.array(keys.len());
        for (key, flags) in keys {
            cx.out.array(2);
            cx.out.bulk(key);
            key_flags(cx.out, flags);
        }
        Ok(())
    },
);

fn keys_of<'a>(cx: &Ctx<'_>, args: &[&'a [u8]]) -> Result<Vec<(&'a [u8], KeyFlags)>, Error> {
    let entry = cx.server.lookup.resolve(args).ok_or(Error::new("ERR Invalid command specified"))?;
    let meta = &entry.command.meta;
    if args.len() > 1 && !cx.server.lookup.subs(entry).is_empty() {
        return Err(Error::new("ERR Invalid command specified"));
    }
    if meta.getkeys.is_none() && meta.keys.iter().all(|spec| spec.flags.has(KeyFlags::NOT_KEY)) {
        return Err(Error::new("ERR The command has no key arguments"));
    }
    if !meta.arity_fits(args.len()) {
        return Err(Error::new("ERR Invalid number of arguments specified for command"));
    }
    // Where keys are optional, a wrong number of them is none.
    let keys = meta.keys_of(args).unwrap_or_default();
    // A count of keys that is 0 is as wrong as one that is too great.
    let none = |spec: &KeySpec| {
        matches!(spec.find, Find::Count { .. })
            && extract(std::slice::from_ref(spec), args).is_none_or(|k| k.is_empty())
    };
    if (keys.is_empty() || meta.keys.iter().any(none)) && !meta.flags.has(Flags::NO_MANDATORY_KEYS) {
        return Err(Error::new("ERR Invalid arguments specified for command"));
    }
    Ok(keys.iter().map(|key| (args[key.index], key.flags)).collect())
}

static HELP: Command = Command::new(meta("command|help", 2, "5.0.0", "Explains the subcommands."), |cx, _args| {
    help::reply(
        cx.out,
        "COMMAND",
        &[
            "(no subcommand)",
            "    Return details about all commands.",
            "COUNT",
            "    Return the total number of commands in this server.",
            "LIST",
            "    Return a list of all commands in this server.",
            "INFO [<command-name> ...]",
            "    Return details about multiple commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "DOCS [<command-name> ...]",
            "    Return documentation details about multiple commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "GETKEYS <full-command>",
            "    Return the keys from a full command.",
            "GETKEYSANDFLAGS <full-command>",
            "    Return the keys and the access flags from a full command.",
        ],
    );
    Ok(())
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clients_get_one_range_where_one_can_be_told() {
        let ro = KeyFlags::RO;
        assert_eq!(legacy_range(&[]), (0, 0, 0));
        assert_eq!(legacy_range(&[KeySpec::one(1, ro)]), (1, 1, 1));
        assert_eq!(legacy_range(&[KeySpec::range(1, -1, 2, ro)]), (1, -1, 2));
        assert_eq!(legacy_range(&[KeySpec::count(1, ro)]), (0, 0, 0));
        assert_eq!(legacy_range(&[KeySpec::one(1, ro), KeySpec::one(2, ro)]), (1, 2, 1));
        assert_eq!(legacy_range(&[KeySpec::one(1, ro), KeySpec::range(2, -1, 1, ro)]), (1, -1, 1));
        assert_eq!(legacy_range(&[KeySpec::one(1, ro), KeySpec::count(2, ro)]), (1, 1, 1));
        assert_eq!(legacy_range(&[KeySpec::one(1, ro), KeySpec::one(3, ro)]), (0, 0, 0));
    }
}
