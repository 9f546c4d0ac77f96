//! The HELP subcommands: a list of simple strings, framed as redis-cli users know it.

use crate::resp::Out;

/// Reply with the lines of a container's help.
pub fn reply(out: &mut Out, container: &str, lines: &[&str]) {
    out.array(lines.len() + 3);
    out.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    lines.iter().for_each(|line| out.simple(line));
    out.simple("HELP");
    out.simple("    Print this help.");
}
