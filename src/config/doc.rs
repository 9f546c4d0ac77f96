//! The table as documentation: `dunlin --help` and the annotated dunlin.conf.

use super::kind::Value;
use super::row::{DORMANT, HIDDEN, MUTABLE, OMIT_EMPTY, Row};
use super::rows::SECTIONS;
use std::fmt::Write;

const USAGE: &str = "\
Usage: dunlin [/path/to/dunlin.conf] [options] [-]
       dunlin -                (read the configuration from standard input)
       dunlin -v | --version
       dunlin -h | --help
       dunlin --annotated-config   (print a configuration file that explains every option)

Examples:
       dunlin                                 (run with the default configuration)
       dunlin /etc/dunlin/dunlin.conf
       dunlin --port 7000 --maxmemory 1gb --maxmemory-policy allkeys-lru
       echo 'maxmemory 128mb' | dunlin -
       dunlin /etc/dunlin/dunlin.conf --loglevel verbose -

An option of the configuration file is an option of the command line with '--' in front; what is given later wins.
";

fn visible(rows: &'static [Row]) -> impl Iterator<Item = &'static Row> {
    rows.iter().filter(|row| !row.is(HIDDEN))
}

fn doc_lines(row: &'static Row) -> impl Iterator<Item = &'static str> {
    row.doc.lines().map(str::trim)
}

/// The text of `dunlin --help`.
pub fn help() -> String {
    let mut out = USAGE.to_owned();
    for (title, rows) in SECTIONS {
        let _ = writeln!(out, "\n{title}:");
        for row in visible(rows) {
            let default = if row.default.is_empty() { "\"\"" } else { row.default };
            let _ = writeln!(out, "  --{} {}   [{default}]", row.name, row.kind.describe());
            for line in doc_lines(row).map(str::to_owned).chain(notes(row)) {
                let _ = writeln!(out, "        {line}");
            }
        }
    }
    out
}

/// What else is to be said of an option.
fn notes(row: &Row) -> Vec<String> {
    let mut notes = Vec::new();
    if !row.aliases.is_empty() {
        notes.push(format!("Also: {}.", row.aliases.join(", ")));
    }
    if let Some(only) = row.only {
        notes.push(format!("In this version {}.", only.missing));
    }
    if row.is(DORMANT) {
        notes.push("Without effect in this version.".into());
    }
    if !row.is(MUTABLE) {
        notes.push("Fixed at start.".into());
    }
    notes
}

/// The text of dunlin.conf: every option with its documentation, at its default.
pub fn annotated() -> String {
    let mut out = String::from(
        "# Dunlin's configuration, every option at its default.\n\
         #\n\
         # Written by `dunlin --annotated-config` from the table in src/config/rows. Start the server with this file as\n\
         # its first argument: dunlin /path/to/dunlin.conf\n\
         #\n\
         # Bytes take units: 1k is 1000, 1kb is 1024; likewise m, mb, g, gb, in any case.\n\
         # `include /path/to/other.conf` reads another file (or all that match a pattern) at that place; later lines win.\n\
         # `rename-command NAME OTHER` renames a command, `rename-command NAME \"\"` removes it.\n",
    );
    for (title, rows) in SECTIONS {
        let bar = "#".repeat(title.len() + 6);
        let _ = write!(out, "\n{bar}\n## {title} ##\n{bar}\n");
        for row in visible(rows) {
            out.push('\n');
            for line in doc_lines(row) {
                let _ = writeln!(out, "# {line}");
            }
            let _ = writeln!(out, "# Values: {}", row.kind.describe());
            notes(row).iter().for_each(|note| {
                let _ = writeln!(out, "# {note}");
            });
            out.push_str(&setting(row));
        }
    }
    out
}

/// The line that sets an option to its default, as a comment where a default cannot be spelled.
fn setting(row: &Row) -> String {
    use super::kind::Kind;
    match row.kind {
        Kind::Dir => format!("# {} ./\n", row.name),
        _ if row.is(OMIT_EMPTY) => format!("# {} <unset>\n", row.name),
        kind => {
            let value = kind.parse(&words(row), b"").unwrap_or_else(|_| Value::default());
            format!("{} {}\n", row.name, String::from_utf8_lossy(&kind.in_file(&value)).replace(" slave ", " replica "))
        }
    }
}

fn words(row: &Row) -> Vec<&[u8]> {
    if row.kind.takes_words() {
        row.default.split(' ').map(str::as_bytes).collect()
    } else {
        vec![row.default.as_bytes()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Start, from_args};
    use crate::config::{Config, table};

    #[test]
    fn the_annotated_file_in_the_repository_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/dunlin.conf");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, annotated()).unwrap();
        }
        let text = std::fs::read_to_string(path).unwrap_or_default();
        assert!(text == annotated(), "dunlin.conf is out of date: run `make conf`");
    }

    #[test]
    fn the_annotated_file_loads_to_the_defaults() {
        let args = [std::ffi::OsStr::new("-")];
        let Start::Run(config) = from_args(&args, &mut annotated().as_bytes()).unwrap() else { panic!() };
        assert_eq!(config.get(&[b"*"]), Config::new().get(&[b"*"]));
    }

    #[test]
    fn every_option_but_the_hidden_ones_is_explained() {
        let (help, annotated) = (help(), annotated());
        for row in table().iter().filter(|row| !row.is(HIDDEN)) {
            assert!(help.contains(&format!("--{} ", row.name)), "{}", row.name);
            assert!(
                annotated.contains(&format!("\n{} ", row.name)) || annotated.contains(&format!("\n# {} ", row.name))
            );
            assert!(row.doc.trim().len() > 10 && row.doc.trim().ends_with('.'), "{}", row.name);
        }
    }
}
