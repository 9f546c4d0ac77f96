//! The manifest: a line a file, `file <name> seq <number> type <b|i|h>`.
//!
//! It is replaced as a whole, by renaming, so a reader finds the old one or the new one.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Lines above this length are not ours.
const MAX_LINE: usize = 1024;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The data at some instant.
    Base,
    /// Writes after it.
    Incremental,
    /// Not needed any more, to be removed.
    History,
}

/// A file of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, in the manifest's directory.
    pub name: String,
    /// Its number among those of its role.
    pub seq: u64,
    /// What it is.
    pub role: Role,
}

/// Which files there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The base.
    pub base: Option<Entry>,
    /// Files of writes, oldest first.
    pub incrementals: Vec<Entry>,
    /// Files to be removed.
    pub history: Vec<Entry>,
    /// The highest number of a base so far.
    pub base_seq: u64,
    /// The highest number of a file of writes so far.
    pub incremental_seq: u64,
}

impl Manifest {
    /// Reads a manifest. The error says which line is wrong.
    pub fn parse(text: &[u8]) -> Result<Manifest, String> {
        let mut manifest = Manifest::default();
        if text.is_empty() {
            return Err("Found an empty AOF manifest file".into());
        }
        if !text.ends_with(b"\n") {
            return Err("The AOF manifest file contains an unfinished line".into());
        }
        let lines = text.split(|c| *c == b'\n').count();
        for (number, line) in text.split(|c| *c == b'\n').enumerate() {
            let at = |what: &str| format!("{what}, line {}", number + 1);
            let wrong = |why: &str| format!("Invalid AOF manifest file format, line {}: {why}", number + 1);
            if number + 1 == lines || line.first() == Some(&b'#') {
                // What follows the last line's end, or a remark.
                continue;
            }
            if line.len() > MAX_LINE {
                return Err(at("The AOF manifest file contains too long line"));
            }
            let words = crate::config::split::split(line).ok_or_else(|| wrong("unbalanced quotes"))?;
            let words: Vec<String> = words.iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect();
            let (mut name, mut seq, mut role) = (None, None, None);
            let (pairs, odd) = words.as_chunks::<2>();
            for [key, value] in pairs {
                match key.to_ascii_lowercase().as_str() {
                    "file" if value.contains('/') => return Err(wrong("a file name, not a path, is asked for")),
                    "file" => name = Some(value.clone()),
                    "seq" => seq = value.parse().ok().filter(|n| *n > 0u64),
                    "type" => {
                        role = match value.as_str() {
                            "b" => Some(Role::Base),
                            "i" => Some(Role::Incremental),
                            "h" => Some(Role::History),
                            _ => return Err(at("Unknown AOF file type")),
                        }
                    }
                    // Of a newer version.
                    _ => {}
                }
            }
            let (Some(name), Some(seq), Some(role), true) = (name, seq, role, odd.is_empty()) else {
                return Err(wrong("file, seq and type are needed"));
            };
            let entry = Entry { name, seq, role };
            match role {
                Role::Base if manifest.base.is_some() => return Err(at("Found duplicate base file information")),
                Role::Base => {
                    manifest.base_seq = seq;
                    manifest.base = Some(entry);
                }
                Role::Incremental if seq <= manifest.incremental_seq => {
                    return Err(at("Found a non-monotonic sequence number"));
                }
                Role::Incremental => {
                    manifest.incremental_seq = seq;
                    manifest.incrementals.push(entry);
                }
                Role::History => manifest.history.push(entry),
            }
        }
        // A name that a file of the history has is not given again while that may be there.
        let oldest_free = manifest.history.iter().map(|e| e.seq).max().unwrap_or(0);
        manifest.base_seq = manifest.base_seq.max(oldest_free);
        manifest.incremental_seq = manifest.incremental_seq.max(oldest_free);
        Ok(manifest)
    }

    /// The text.
    pub fn format(&self) -> String {
        let mut text = String::new();
        for e in self.base.iter().chain(&self.history).chain(&self.incrementals) {
            let role = match e.role {
                Role::Base => 'b',
                Role::Incremental => 'i',
                Role::History => 'h',
            };
            let quote = e.name.contains([' ', '"', '\'', '\\']);
            let name = if quote { format!("{:?}", e.name) } else { e.name.clone() };
            // Writing to a String does not fail.
            let _ = writeln!(text, "file {name} seq {} type {role}", e.seq);
        }
        text
    }

    /// The next base.
    pub fn next_base(&mut self, stem: &str, rdb: bool) -> Entry {
        self.base_seq += 1;
        let kind = if rdb { "rdb" } else { "aof" };
        Entry { name: format!("{stem}.{}.base.{kind}", self.base_seq), seq: self.base_seq, role: Role::Base }
    }
    /// The next file of writes.
    pub fn next_incremental(&mut self, stem: &str) -> Entry {
        self.incremental_seq += 1;
        let seq = self.incremental_seq;
        Entry { name: format!("{stem}.{seq}.incr.aof"), seq, role: Role::Incremental }
    }
    /// Names a file of writes, if it is not named yet.
    pub fn name(&mut self, incremental: Entry) {
        if self.incrementals.iter().all(|e| e.seq != incremental.seq) {
            self.incrementals.push(incremental);
        }
    }
    /// A new base makes all that came before it history, but for the newest `keep` files of writes.
    pub fn rebase(&mut self, base: Entry, keep: usize) {
        let old = self.incrementals.len().saturating_sub(keep);
        let gone = self.base.replace(base).into_iter().chain(self.incrementals.drain(..old));
        self.history.extend(gone.map(|e| Entry { role: Role::History, ..e }));
    }

    /// Where the manifest of a directory is.
    pub fn path(dir: &Path, stem: &str) -> PathBuf {
        dir.join(format!("{stem}.manifest"))
    }
    /// Reads the manifest of a directory. `None`: there is none.
    pub fn load(dir: &Path, stem: &str) -> Result<Option<Manifest>, String> {
        let path = Manifest::path(dir, stem);
        match fs::read(&path) {
            Ok(text) => Manifest::parse(&text).map(Some).map_err(|e| format!("{}: {e}", path.display())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(format!("{}: {e}", path.display())),
        }
    }
    /// Makes this the manifest of a directory, lastingly.
    pub fn store(&self, dir: &Path, stem: &str) -> io::Result<()> {
        let path = Manifest::path(dir, stem);
        let temporary = dir.join(format!("temp-{stem}.manifest"));
        let mut file = File::create(&temporary)?;
        file.write_all(self.format().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that was killed between two steps of a rewrite once could not start again: the next file got the name of
    /// one that was to be removed.
    #[test]
    fn names_of_the_history_are_not_given_again() {
        let text = b"file a.aof.2.base.rdb seq 2 type b\nfile a.aof.1.base.rdb seq 1 type h\n\
                     file a.aof.3.incr.aof seq 3 type h\n";
        let mut m = Manifest::parse(text).unwrap();
        assert_eq!(m.next_incremental("a.aof").name, "a.aof.4.incr.aof");
        assert_eq!(m.next_base("a.aof", true).name, "a.aof.4.base.rdb");
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let text = "file a.aof.2.base.rdb seq 2 type b\nfile a.aof.1.incr.aof seq 1 type h\n\
                    file a.aof.3.incr.aof seq 3 type i\nfile \"a b.4.incr.aof\" seq 4 type i\n";
        let mut m = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!((m.base_seq, m.incremental_seq, m.incrementals.len(), m.history.len()), (2, 4, 2, 1));
        assert_eq!(m.format(), text);
        let (incremental, base) = (m.next_incremental("a.aof"), m.next_base("a.aof", true));
        assert_eq!((incremental.name.as_str(), base.name.as_str()), ("a.aof.5.incr.aof", "a.aof.3.base.rdb"));
        m.incrementals.push(incremental);
        m.rebase(base, 1);
        assert_eq!(m.history.len(), 4);
        assert_eq!(m.incrementals[0].seq, 5);
        assert_eq!(Manifest::parse(m.format().as_bytes()).unwrap().format(), m.format());
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_the_line() {
        for (text, why) in [
            ("", "empty"),
            ("file a seq 1 type b", "unfinished"),
            ("# c\nfile a seq 0 type b\n", "line 2"),
            ("file a/b seq 1 type b\n", "path"),
            ("file a seq 1\n", "needed"),
            ("file a seq 1 type b\nfile b seq 2 type b\n", "duplicate base"),
            ("file a seq 1 type x\n", "Unknown AOF file type"),
            ("file a seq 1 type b\n\nfile b seq 2 type i\n", "line 2"),
            ("file a seq 2 type i\nfile b seq 1 type i\n", "non-monotonic"),
            ("file \"a seq 1 type b\n", "quotes"),
        ] {
            let error = Manifest::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
