//! The rules of the house, checked on the source text: imports go down, `unsafe` stays in its rooms and argues for
//! itself, files stay readable.
//!
//! The text is read without a parser: comments and literals are blanked out first, then `crate::` paths are followed
//! to their first segment.

use std::path::{Path, PathBuf};

/// The modules and their layers (ARCHITECTURE.md draws them). A module imports from lower layers, and from those of
/// its own layer that are named here.
const LAYERS: &[(&str, usize, &[&str])] = &[
    ("base", 0, &[]),
    ("resp", 1, &[]),
    ("config", 1, &[]),
    ("metrics", 1, &[]),
    ("types", 1, &[]),
    ("keyspace", 2, &[]),
    ("spec", 2, &[]),
    ("acl", 3, &[]),
    ("clients", 3, &["acl", "cluster"]),
    ("cluster", 3, &[]),
    ("pubsub", 3, &["clients"]),
    ("persist", 3, &[]),
    ("repl", 3, &["clients", "persist"]),
    ("script", 3, &[]),
    ("commands", 4, &[]),
    ("exec", 5, &[]),
    ("server", 6, &[]),
    ("cli", 6, &[]),
    ("main", 7, &[]),
    ("lib", 7, &[]),
];

/// The files that may use `unsafe`.
const UNSAFE: &[&str] = &[
    "base/alloc.rs",
    "base/coroutine.rs",
    "base/os.rs",
    "base/sync.rs",
    "base/title.rs",
    "keyspace/db.rs",
    "keyspace/entry.rs",
    "keyspace/slots.rs",
    "keyspace/value.rs",
    "script/lua.rs",
    "script/vm.rs",
    "types/dict.rs",
    "types/dict/tests.rs",
    "types/fields.rs",
    "types/item.rs",
    "types/ranked.rs",
];

const MAX_LINES: usize = 1000;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut out = Vec::new();
    walk(&root, &mut out);
    out.sort();
    out.into_iter().map(|(path, text)| (path.strip_prefix(&root).unwrap().to_owned(), text)).collect()
}

/// The module of a file: its first directory, or its name.
fn module(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// `text` with comments, strings and character literals blanked out, line by line as long as before.
fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    let mut blank = |from: usize, to: usize| {
        out[from..to].iter_mut().filter(|c| **c != b'\n').for_each(|c| *c = b' ');
        to
    };
    while at < bytes.len() {
        let rest = &bytes[at..];
        at = if rest.starts_with(b"//") {
            blank(at, at + rest.iter().position(|&c| c == b'\n').unwrap_or(rest.len()))
        } else if rest.starts_with(b"/*") {
            blank(at, at + text[at..].find("*/").map_or(rest.len(), |end| end + 2))
        } else if let Some(len) = raw_string(rest) {
            blank(at, at + len)
        } else if rest[0] == b'"' {
            blank(at, at + quoted(rest, b'"'))
        } else if rest[0] == b'\'' && is_char_literal(rest) {
            blank(at, at + quoted(rest, b'\''))
        } else {
            at + 1
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The length of the raw string that `rest` starts with.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.strip_prefix(b"r")?.iter().take_while(|&&c| c == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let body = &rest[2 + hashes..];
    body.windows(end.len()).position(|window| window == end).map(|at| 2 + hashes + at + end.len())
}

/// The length of the literal that `rest` starts with, both quotes included.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `'x'` and `'\n'` are literals, `'a` in `&'a str` is not.
fn is_char_literal(rest: &[u8]) -> bool {
    rest.get(1) == Some(&b'\\') || rest.iter().skip(2).take(4).any(|&c| c == b'\'')
}

/// The modules that a text's `crate::` paths lead to.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let ident = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push(ident(rest)),
            Some(group) => {
                // The first segments of a group are those at its own depth.
                let mut depth = 0;
                let mut start = true;
                for (place, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && depth == 0 && (c.is_alphabetic() || c == '_') => {
                            found.push(ident(&group[place..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

#[test]
fn imports_go_down_the_layers() {
    let layer = |name: &str| LAYERS.iter().find(|(module, ..)| *module == name);
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let from = module(&path);
        let Some((_, rank, same_layer)) = layer(&from) else {
            wrong.push(format!("{}: the module {from} has no layer", path.display()));
            continue;
        };
        for to in imports(&code(&text)) {
            // Items at the crate's root (macros, re-exports) start no layer.
            let Some((_, target, _)) = layer(&to) else { continue };
            if to != from && target >= rank && !same_layer.contains(&to.as_str()) {
                wrong.push(format!("{}: {from} (layer {rank}) imports {to} (layer {target})", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_stays_in_its_files_and_argues() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let code = code(&text);
        let uses = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        if uses && !UNSAFE.iter().any(|allowed| path == Path::new(allowed)) {
            wrong.push(format!("{}: unsafe outside of the named files", path.display()));
        }
        if uses && !text.contains("// SAFETY:") {
            wrong.push(format!("{}: unsafe without an argument", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_say_what_they_are_for_and_stay_readable() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            wrong.push(format!("{}: no //! header", path.display()));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_sees_code_only() {
    let text = "// crate::a\nlet s = \"crate::b\"; let r = r#\"crate::c\"#; let q = '\"'; crate::d::e(&'a x, 'b');";
    assert_eq!(imports(&code(text)), ["d"]);
    let group = "use crate::{base::{num, glob}, types::x,\n resp, };";
    assert_eq!(imports(group), ["base", "types", "resp"]);
}
