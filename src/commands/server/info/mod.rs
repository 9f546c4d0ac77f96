//! INFO: the state of the server in sections of `field:value` lines.
//!
//! Names and order are Redis's and Valkey's, since monitoring agents parse them. Fields of subsystems that do not exist
//! (scripts, replicas, snapshots) are there with the value that says so. `used_memory` stands before every
//! `used_memory_*`, because some agents take the first field that begins so.

mod memory;
mod sections;
mod tables;

use crate::commands::options::is;
use crate::commands::{CmdResult, Command, Ctx};
use crate::spec::{Cat, Flags, Group, Meta};
use std::fmt::{Display, Write};

pub use memory::Overhead;

/// The version of Redis whose commands and replies we have: `redis_version` of INFO, `version` of HELLO.
pub const COMPATIBLE_VERSION: &str = "7.2.4";

/// <https://valkey.io/commands/info/>
pub static INFO: Command = Command::new(
    Meta::new("info", -1, Flags::LOADING.or(Flags::STALE), Group::Server)
        .cat(Cat::DANGEROUS)
        .doc("1.0.0", "O(1)", "Returns facts and figures about the server.")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    info,
);

/// What writes a section.
type Section = fn(&Ctx<'_>, &mut Text);

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
    ("keyspace", true, tables::keyspace),
];

fn info(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let text = text(cx, &args[1..]);
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// The sections that `names` ask for, the default ones if there are none.
pub fn text(cx: &Ctx<'_>, names: &[&[u8]]) -> String {
    let asked = |wanted: &str| names.iter().any(|name| is(name, wanted));
    let all = asked("all") || asked("everything");
    let default = names.is_empty() || asked("default");
    let mut text = Text(String::with_capacity(4096));
    for (name, in_default, write) in SECTIONS {
        let alias = *name == "modules" && asked("module_list");
        if all || (default && *in_default) || asked(name) || alias {
            write(cx, &mut text);
        }
    }
    text.0
}

/// The text being put together.
pub struct Text(String);

impl Text {
    /// Begin a section.
    pub fn section(&mut self, title: &str) {
        if !self.0.is_empty() {
            self.0.push_str("\r\n");
        }
        self.put(format_args!("# {title}\r\n"));
    }

    /// A line.
    pub fn field(&mut self, name: &str, value: impl Display) {
        self.put(format_args!("{name}:{value}\r\n"));
    }

    /// A number of bytes, and again for people.
    pub fn bytes(&mut self, name: &str, bytes: usize) {
        self.field(name, bytes);
        self.put(format_args!("{name}_human:{}\r\n", human(bytes)));
    }

    /// A number with two decimals.
    pub fn ratio(&mut self, name: &str, value: f64) {
        self.put(format_args!("{name}:{value:.2}\r\n"));
    }

    /// Fields whose value is zero.
    pub fn zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.field(name, 0));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.0.write_fmt(text);
    }
}

/// Bytes for people: `512B`, `1.50K`, `2.00G`.
fn human(bytes: usize) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let power = ((bytes.ilog2() / 10) as usize).min(UNITS.len());
    format!("{:.2}{}", bytes as f64 / (1u64 << (10 * power)) as f64, UNITS[power - 1])
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
    fn bytes_are_shown_for_people() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(1024), "1.00K");
        assert_eq!(human(1_572_864), "1.50M");
        assert_eq!(human(3 << 40), "3.00T");
        assert_eq!(human(usize::MAX), "16384.00P");
    }

    #[test]
    fn names_cannot_break_the_lines() {
        assert_eq!(safe(b"a:b\r\n#c"), "a_b___c");
    }
}
