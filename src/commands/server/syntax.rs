//! The arguments of commands, as COMMAND DOCS describes them: read from the lines of `syntax.txt`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::resp::Out;

/// What an argument is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A word that is written as it stands.
    Word,
    /// Something of this type.
    Plain(&'static str),
    /// One of several.
    OneOf(Vec<Arg>),
    /// Several that belong together.
    Block(Vec<Arg>),
}

/// An argument of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arg {
    name: String,
    /// What stands for it in a line of syntax, where that is not its name.
    display: Option<String>,
    token: Option<&'static str>,
    kind: Kind,
    optional: bool,
    multiple: bool,
    multiple_token: bool,
}

static LINES: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    let lines = include_str!("syntax.txt").lines().filter(|l| !l.starts_with('#'));
    lines.filter_map(|l| l.split_once(' ')).collect()
});

/// The arguments of a command by its full name; none if it has none.
pub(super) fn arguments(command: &str) -> Vec<Arg> {
    LINES.get(command).map_or_else(Vec::new, |line| Parser { rest: line }.sequence())
}

/// Reads a line. The lines are part of the program and checked by a test, so whatever is odd in one ends the reading.
struct Parser {
    rest: &'static str,
}

impl Parser {
    fn eat(&mut self, what: &str) -> bool {
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
    /// Up to the next character that has a meaning.
    fn word(&mut self) -> &'static str {
        let end =
            |c: char| matches!(c, ' ' | '[' | ']' | '{' | '}' | '<' | '>' | '|' | '=' | '!' | ':' | ',' | '.' | '@');
        // A sign may be a word itself.
        let from = usize::from(self.rest.starts_with("=!"));
        let n = self.rest[from..].find(end).map_or(self.rest.len(), |n| n + from);
        let (word, rest) = self.rest.split_at(n);
        self.rest = rest;
        word
    }
    fn sequence(&mut self) -> Vec<Arg> {
        let mut args = Vec::new();
        loop {
            while self.eat(" ") {}
            if self.rest.is_empty() || self.rest.starts_with([']', '}', '>', '|']) {
                return args;
            }
            args.push(self.argument());
        }
    }
    fn argument(&mut self) -> Arg {
        if self.eat("[") {
            let mut arg = self.argument();
            self.eat("]");
            arg.optional = true;
            return arg;
        }
        let mut word = self.word();
        let mut token = None;
        if self.eat("=") {
            token = Some(word);
            word = self.word();
        }
        let mut name = word.to_owned();
        let display = self.eat("@").then(|| self.word().replace(';', ":"));
        let kind = if self.eat("!") {
            token = Some(word);
            name = self.word().to_owned();
            Kind::Word
        } else if self.eat("<") {
            Kind::OneOf(self.alternatives())
        } else if self.eat("{") {
            let parts = self.sequence();
            self.eat("}");
            Kind::Block(parts)
        } else if self.eat(":") {
            Kind::Plain(match self.word() {
                "key" => "key",
                "int" => "integer",
                "double" => "double",
                "pattern" => "pattern",
                "time" => "unix-time",
                other => other,
            })
        } else if token.is_none() && word == word.to_uppercase() {
            token = Some(word);
            name = word.to_lowercase();
            Kind::Word
        } else {
            Kind::Plain("string")
        };
        let multiple_token = self.eat(",,,");
        let multiple = multiple_token || self.eat("...");
        Arg { name, display, token, kind, optional: false, multiple, multiple_token }
    }
    fn alternatives(&mut self) -> Vec<Arg> {
        let mut all = Vec::new();
        loop {
            all.extend(self.sequence());
            if !self.eat("|") {
                self.eat(">");
                return all;
            }
        }
    }
}

/// Writes arguments. `keys` counts the keys so far: which of the command's `specs` key specifications each belongs to.
pub(super) fn reply(out: &mut Out, args: &[Arg], keys: &mut usize, specs: usize) {
    out.array(args.len());
    for arg in args {
        let (kind, parts): (_, &[Arg]) = match &arg.kind {
            Kind::Word => ("pure-token", &[]),
            Kind::Plain(kind) => (*kind, &[]),
            Kind::OneOf(parts) => ("oneof", parts),
            Kind::Block(parts) => ("block", parts),
        };
        let spec = (kind == "key" && specs > 0).then(|| {
            *keys += 1;
            (*keys - 1).min(specs - 1)
        });
        let flags = [(arg.optional, "optional"), (arg.multiple, "multiple"), (arg.multiple_token, "multiple_token")];
        let flags: Vec<&str> = flags.into_iter().filter(|f| f.0).map(|f| f.1).collect();
        let some = [spec.is_some(), arg.token.is_some(), !flags.is_empty()].into_iter().filter(|x| *x).count();
        out.map(3 + some);
        let text = |out: &mut Out, field: &str, value: &str| {
            out.bulk(field.as_bytes());
            out.bulk(value.as_bytes());
        };
        text(out, "name", &arg.name);
        text(out, "type", kind);
        if parts.is_empty() {
            text(out, "display_text", arg.display.as_ref().unwrap_or(&arg.name));
        }
        if let Some(spec) = spec {
            out.bulk(b"key_spec_index");
            out.len_int(spec);
        }
        if let Some(token) = arg.token {
            text(out, "token", token);
        }
        if !flags.is_empty() {
            out.bulk(b"flags");
            out.set(flags.len());
            flags.iter().for_each(|f| out.simple(f));
        }
        if !parts.is_empty() {
            out.bulk(b"arguments");
            reply(out, parts, keys, specs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{Lookup, table};

    /// The line that arguments would be read from.
    fn show(args: &[Arg], between: &str) -> String {
        let one = |a: &Arg| {
            let mut s = match (&a.kind, a.token) {
                (Kind::Word, Some(t)) if t.to_lowercase() == a.name && t == t.to_uppercase() => t.to_owned(),
                (Kind::Word, t) => format!("{}!{}", t.unwrap_or_default(), a.name),
                (kind, t) => {
                    let shown = a.display.as_ref().map_or(String::new(), |d| format!("@{}", d.replace(':', ";")));
                    let name = format!("{}{shown}", a.name);
                    let body = match kind {
                        Kind::Plain("string") | Kind::Word => name,
                        Kind::Plain("integer") => format!("{name}:int"),
                        Kind::Plain("unix-time") => format!("{name}:time"),
                        Kind::Plain(kind) => format!("{name}:{kind}"),
                        Kind::OneOf(parts) => format!("{}<{}>", a.name, show(parts, "|")),
                        Kind::Block(parts) => format!("{}{{{}}}", a.name, show(parts, " ")),
                    };
                    t.map_or(body.clone(), |t| format!("{t}={body}"))
                }
            };
            s.push_str(if a.multiple_token {
                ",,,"
            } else if a.multiple {
                "..."
            } else {
                ""
            });
            if a.optional { format!("[{s}]") } else { s }
        };
        args.iter().map(one).collect::<Vec<_>>().join(between)
    }

    #[test]
    fn every_line_is_read_to_its_end() {
        for (name, line) in LINES.iter() {
            assert_eq!(show(&arguments(name), " "), *line, "{name}");
        }
    }

    #[test]
    fn every_command_that_takes_arguments_has_them_described() {
        for e in Lookup::new(&table::all(), |n| Some(n.to_owned())).all() {
            let m = &e.command.meta;
            let own = 1 + i16::from(m.name.contains('|'));
            let takes = m.arity > own || m.arity < -own;
            assert!(!takes || !e.command.subs.is_empty() || LINES.contains_key(m.name), "{}", m.name);
        }
    }
}
