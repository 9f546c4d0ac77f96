//! COMMAND DOCS: the commands' metadata as documentation.

use super::command::{by_full_name, shown_name};
use super::syntax;
use crate::commands::{CmdResult, Command, Ctx, Entry, Lookup};
use crate::resp::Out;
use crate::spec::{Cat, Flags, Group, Meta};

/// <https://valkey.io/commands/command-docs/>
pub(super) static DOCS: Command = Command::new(
    Meta::new("command|docs", -2, Flags::LOADING.or(Flags::STALE), Group::Server)
        .cat(Cat::CONNECTION)
        .doc(
            "7.0.0",
            "O(N) where N is the number of commands to look up",
            "Returns the documentation of some or all commands.",
        )
        .tips(&["nondeterministic_output_order"]),
    docs,
);

fn docs(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let lookup = &cx.server.lookup;
    let entries: Vec<&Entry> = match &args[2..] {
        [] => lookup.commands().collect(),
        names => names.iter().filter_map(|name| by_full_name(lookup, name)).collect(),
    };
    cx.out.map(entries.len());
    entries.iter().for_each(|entry| describe(cx.out, lookup, entry));
    Ok(())
}

fn describe(out: &mut Out, lookup: &Lookup, entry: &Entry) {
    let meta = &entry.command.meta;
    let subs = lookup.subs(entry);
    let deprecation = meta.deprecated.map_or(0, |_| 3);
    let arguments = syntax::arguments(meta.name);
    out.bulk(shown_name(entry).as_bytes());
    out.map(4 + deprecation + usize::from(!arguments.is_empty()) + usize::from(!subs.is_empty()));
    for (name, value) in [
        ("summary", meta.summary),
        ("since", meta.since),
        ("group", meta.group.name()),
        ("complexity", meta.complexity),
    ] {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
    if let Some((since, instead)) = meta.deprecated {
        out.bulk(b"doc_flags");
        out.set(1);
        out.simple("deprecated");
        out.bulk(b"deprecated_since");
        out.bulk(since.as_bytes());
        out.bulk(b"replaced_by");
        out.bulk(instead.as_bytes());
    }
    if !arguments.is_empty() {
        out.bulk(b"arguments");
        syntax::reply(out, &arguments, &mut 0, meta.keys.len());
    }
    if !subs.is_empty() {
        out.bulk(b"subcommands");
        out.map(subs.len());
        subs.iter().for_each(|sub| describe(out, lookup, sub));
    }
}
