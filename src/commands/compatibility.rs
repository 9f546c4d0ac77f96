//! COMPATIBILITY.md: every command, since which version it exists, and where it differs from Valkey.
//!
//! Names and versions come from the command table, so a command cannot be forgotten; what differs is told below, and what
//! else is to be said stands in `compatibility.md` beside this file. A test holds the file in the repository against it;
//! `make compatibility` writes it.

use super::{Command, table};
use std::fmt::Write;

/// What differs from Valkey 9.1, by command. A container speaks for its subcommands.
const DIFFERENCES: &[(&str, &str)] = &[
    ("bgrewriteaof", "Without fork; waits for a snapshot that is under way instead of being scheduled after it."),
    ("bgsave", "Without fork: memory grows by what is written meanwhile, not by copied pages."),
    (
        "cluster|migrateslots",
        "Between Dunlin nodes. The target asks for keys and log in Dunlin's own way; a Valkey 9 node is not spoken to.",
    ),
    (
        "cluster|setslot",
        "A replica that has begun to follow another primary meanwhile counts as one that has heard of it.",
    ),
    ("cluster|slot-stats", "An inline request counts the bytes that it would have as a list of bulk strings."),
    ("cluster|syncslots", "What Dunlin nodes say to each other while slots move."),
    ("command|docs", "The texts are Dunlin's own."),
    ("config", "dunlin.conf says which options are without effect here, and which are Dunlin's own."),
    (
        "debug",
        "DEBUG HELP lists what there is. Nothing that crashes, leaks or corrupts on purpose, nothing about jemalloc. RELOAD \
         and LOADAOF are refused in a transaction.",
    ),
    ("fcall", "Variables that a library keeps between calls are one set for each worker thread."),
    ("function|load", "A library's own variables are one set for each worker thread."),
    ("info", "Fields about fork, rehashing and defragmentation are 0; keysizes are left out."),
    ("latency|doctor", "Words of its own."),
    ("lolwut", "Art of its own."),
    ("memory|doctor", "Words of its own."),
    ("memory|malloc-stats", "What jemalloc prints, which differs with its version."),
    ("memory|stats", "Sizes of Dunlin's own structures, which are smaller."),
    (
        "memory|usage",
        "Sizes of Dunlin's own structures, which are smaller. SAMPLES makes no difference to small values.",
    ),
    ("module", "There are no modules: the list is empty, and nothing can be loaded."),
    ("monitor", "Commands of different worker threads may show in another order than the one they took effect in."),
    ("restore", "The payload is always checked in full, whatever `sanitize-dump-payload` says."),
    ("save", "Other clients are served meanwhile."),
    ("scan", "Cursors are Dunlin's own and mean nothing elsewhere."),
    (
        "script|debug",
        "YES works on a snapshot in memory, not in a forked process: it is refused where it does not fit (maxmemory), in a transaction, and beyond 16 sessions; in a cluster it does not look at slots. In a session of SYNC others wait for busy-reply-threshold and then hear BUSY, where Valkey stands still, and SCRIPT KILL ends it.",
    ),
];

/// What Valkey 9.1 has and Dunlin has not.
const ABSENT: &[(&str, &str, &str)] = &[
    ("module load", "4.0.0", "There are no modules."),
    ("module loadex", "7.0.0", "There are no modules."),
    ("module unload", "4.0.0", "There are no modules."),
    ("sentinel", "2.8.4", "All of it: Dunlin is no Sentinel. The cluster fails over by itself."),
];

/// What is written by hand.
const NOTES: &str = include_str!("compatibility.md");

fn difference(name: &str) -> Option<&'static str> {
    DIFFERENCES.iter().find(|(of, _)| *of == name).map(|(_, text)| *text)
}

fn row(out: &mut String, name: &str, since: &str, status: &str, text: &str) {
    let _ = writeln!(out, "| {} | {since} | {status} | {text} |", name.replace('|', " ").to_uppercase());
}

fn command(out: &mut String, command: &Command) {
    let meta = &command.meta;
    let text = difference(meta.name).unwrap_or("");
    let status = if text.is_empty() { "same" } else { "differs" };
    let replaced = meta.deprecated.map(|(since, instead)| format!("Deprecated since {since}: {instead}."));
    let text = [Some(text.to_owned()).filter(|text| !text.is_empty()), replaced];
    row(out, meta.name, meta.since, status, &text.into_iter().flatten().collect::<Vec<_>>().join(" "));
    command.subs.iter().for_each(|sub| self::command(out, sub));
}

/// The text of COMPATIBILITY.md.
pub fn page() -> String {
    let mut commands = table::all();
    commands.sort_by_key(|command| (command.meta.group.name(), command.meta.name));
    let all = commands.iter().map(|command| 1 + command.subs.len()).sum::<usize>();
    let mut out = format!(
        "# Compatibility\n\n\
         Written by `make compatibility` from the table of commands; change src/commands/compatibility.rs and \
         compatibility.md instead.\n\n\
         {all} commands and subcommands are here, {} of Valkey 9.1 are not. \"Since\" is the version of Redis, or from \
         7.2.5 on of Valkey, that brought the command. \"Same\" means: as documented for Valkey 9.1, error texts and corner \
         cases included.\n",
        ABSENT.len(),
    );
    let mut group = "";
    for shown in commands {
        if shown.meta.group.name() != group {
            group = shown.meta.group.name();
            let _ = write!(out, "\n## {group}\n\n| command | since | status | difference |\n|---|---|---|---|\n");
        }
        command(&mut out, shown);
    }
    out.push_str("\n## Not there\n\n| command | since | status | why |\n|---|---|---|---|\n");
    ABSENT.iter().for_each(|(name, since, why)| row(&mut out, name, since, "absent", why));
    out.push('\n');
    out.push_str(NOTES);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn names() -> BTreeSet<&'static str> {
        let all = table::all();
        let subs = all.iter().flat_map(|command| command.subs).map(|sub| sub.meta.name);
        all.iter().map(|command| command.meta.name).chain(subs).collect()
    }

    #[test]
    fn the_page_in_the_repository_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/COMPATIBILITY.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let text = std::fs::read_to_string(path).unwrap_or_default();
        assert!(text == page(), "COMPATIBILITY.md is out of date: run `make compatibility`");
    }

    #[test]
    fn what_the_page_tells_of_is_in_the_table_and_what_it_calls_absent_is_not() {
        let names = names();
        for (name, text) in DIFFERENCES {
            assert!(names.contains(name), "a difference of {name}, which does not exist");
            assert!(text.ends_with('.'), "{name}");
        }
        for (name, ..) in ABSENT {
            assert!(!names.contains(name.replace(' ', "|").as_str()), "{name} is there");
        }
    }

    #[test]
    fn every_command_is_on_the_page_once() {
        let page = page();
        for name in names() {
            let shown = format!("\n| {} | ", name.replace('|', " ").to_uppercase());
            assert_eq!(page.matches(&shown).count(), 1, "{name}");
        }
    }

    /// Each reason that a test of Valkey's suite cannot pass here is one line; there may not be many.
    #[test]
    fn fewer_than_thirty_tests_of_the_suite_are_excused() {
        let excused = NOTES.lines().filter(|line| line.starts_with("| unit/") || line.starts_with("| integration/"));
        assert!((1..30).contains(&excused.count()));
    }
}
