//! INFO: the state of the server in sections of `field:value` lines.
//!
//! Names and order are Redis's and Valkey's, since monitoring agents parse them. Fields of subsystems that do not exist
//! (scripts, replicas, snapshots) are there with the value that says so. `used_memory` stands before every
//! `used_memory_*`, because some agents take the first field that begins so.

mod memory;
mod sections;
mod tables;

use crate::commands::options::is;
use crate::commands::text::Text;
use crate::commands::{CmdResult, Command, Ctx, Scope, Server};
use crate::spec::{Cat, Flags, Group, Meta};

pub use memory::Overhead;

/// <https://valkey.io/commands/info/>
pub static INFO: Command = Command::new(
    Meta::new("info", -1, Flags::LOADING.or(Flags::STALE), Group::Server)
        .cat(Cat::DANGEROUS)
        .doc("1.0.0", "O(1)", "Returns facts and figures about the server.")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    info,
)
.scope(Scope::Own);

/// What writes a section.
type Section = fn(&'static Server, &mut Text);

/// All sections in order: name, whether plain INFO shows it, how it is written.
const SECTIONS: &[(&str, bool, Section)] = &[
    ("server", true, sections::server),
    ("clients", true, sections::clients),
    ("memory", true, memory::write),
    ("persistence", true, crate::commands::persistence::info::write),
    ("stats", true, sections::stats),
    ("replication", true, crate::commands::replication::info::write),
    ("cpu", true, sections::cpu),
    ("modules", true, sections::modules),
    ("commandstats", false, tables::commands),
    ("errorstats", true, tables::errors),
    ("latencystats", false, tables::latencies),
    ("cluster", true, sections::cluster),
];

fn info(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let mut text = sections_of(cx.server, &args[1..]);
    if asks_for(&args[1..], "keyspace", true) {
        tables::keyspace(cx, &mut text);
    }
    cx.out.verbatim("txt", text.into_string().as_bytes());
    Ok(())
}

/// The sections that `names` ask for, the default ones if there are none; but for the last, that of the keyspace.
pub fn text(server: &'static Server, names: &[&[u8]]) -> String {
    sections_of(server, names).into_string()
}

fn asks_for(names: &[&[u8]], section: &str, in_default: bool) -> bool {
    let asked = |wanted: &str| names.iter().any(|name| is(name, wanted));
    let all = asked("all") || asked("everything");
    let default = names.is_empty() || asked("default");
    let alias = section == "modules" && asked("module_list");
    all || (default && in_default) || asked(section) || alias
}

fn sections_of(server: &'static Server, names: &[&[u8]]) -> Text {
    let mut text = Text::default();
    for (name, in_default, write) in SECTIONS {
        if asks_for(names, name, *in_default) {
            write(server, &mut text);
        }
    }
    text
}

/// A name in which nothing can be mistaken for the syntax around it.
fn safe(name: &[u8]) -> String {
    let safe = name.iter().map(|c| if b"#:\r\n".contains(c) { b'_' } else { *c }).collect::<Vec<u8>>();
    String::from_utf8_lossy(&safe).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_lines() {
        assert_eq!(safe(b"a:b\r\n#c"), "a_b___c");
    }
}
