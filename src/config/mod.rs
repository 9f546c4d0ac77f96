//! Every option Dunlin knows, in one table, and the ways to read and change them.
//!
//! An option is a [`row::Row`] in `rows/`. Everything follows from the rows:
//!
//! - [`Config`] holds the values. What commands and workers read often is an atomic number behind a typed accessor
//!   (`config.maxmemory()`: one relaxed load at an index known at compile time); texts stand behind a lock.
//! - [`load`] reads redis.conf files, standard input and the command line.
//! - [`Config::get`], [`Config::set`] and [`rewrite`] are CONFIG GET, SET and REWRITE.
//! - [`doc`] prints `--help` and the annotated dunlin.conf.
//!
//! Changing a value at run time may need work elsewhere (rebinding a port, say). The server registers one hook for
//! that, [`Config::on_change`]; if it fails, CONFIG SET puts every option of its call back. Values of options that are
//! not built yet are in the table too, so that a redis.conf written for Redis loads and CONFIG GET answers; a value
//! that asks for what is not there is refused, never taken in silence.

pub mod doc;
pub mod enums;
pub mod events;
pub mod kind;
pub mod load;
pub mod rewrite;
pub mod row;
mod rows;
pub mod split;

pub use enums::{Allow, LogFormat, LogLevel, LogTimestamp, Policy, Supervised};
pub use kind::OutputLimit;

use crate::base::glob;
use kind::{Kind, Value};
use parking_lot::{Mutex, RwLock};
use row::{HIDDEN, MUTABLE, PROTECTED, Row};
use rows::SECTIONS;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, OnceLock};

/// How many options there are.
pub const COUNT: usize = {
    let (mut section, mut count) = (0, 0);
    while section < SECTIONS.len() {
        count += SECTIONS[section].1.len();
        section += 1;
    }
    count
};

/// The number of the option `name`; a name that is not in the table does not compile.
pub(in crate::config) const fn index_of(name: &str) -> usize {
    let (mut section, mut at) = (0, 0);
    while section < SECTIONS.len() {
        let rows = SECTIONS[section].1;
        let mut row = 0;
        while row < rows.len() {
            if same(rows[row].name, name) {
                return at + row;
            }
            row += 1;
        }
        at += rows.len();
        section += 1;
    }
    panic!("no such option");
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// All rows, in the table's order; an option's number is its place here.
pub fn table() -> &'static [&'static Row] {
    static ROWS: LazyLock<Vec<&'static Row>> =
        LazyLock::new(|| SECTIONS.iter().flat_map(|(_, rows)| rows.iter()).collect());
    &ROWS
}

/// Number of the option that has or answers to `name`, in any case.
pub fn find(name: &[u8]) -> Option<usize> {
    static NAMES: LazyLock<HashMap<&'static [u8], usize>> = LazyLock::new(|| {
        let names = |(at, row): (usize, &&'static Row)| {
            let row: &'static Row = row;
            std::iter::once(row.name).chain(row.aliases.iter().copied()).map(move |name| (name.as_bytes(), at))
        };
        table().iter().enumerate().flat_map(names).collect()
    });
    NAMES.get(name.to_ascii_lowercase().as_slice()).copied()
}

/// Aliases that only Dunlin has. Patterns do not find them: tools that set every option they read back to its value know
/// which of the others are fixed.
const UNLISTED: [&str; 1] = ["worker-threads"];

/// Is the value of the option `name` to be kept out of logs?
pub fn is_sensitive(name: &[u8]) -> bool {
    find(name).is_some_and(|at| table()[at].is(row::SENSITIVE))
}

/// Whether the option `name` stays as it is while data are loaded.
pub fn is_fixed_while_loading(name: &[u8]) -> bool {
    find(name).is_some_and(|at| table()[at].is(row::NOT_WHILE_LOADING))
}

/// Called when CONFIG SET changed an option, with its name; an error undoes the change.
pub type ChangeHook = Box<dyn Fn(&Config, &'static str) -> Result<(), String> + Send + Sync>;

/// Tells the users as they are now, each as the words of a `user` line.
pub type UserSource = Box<dyn Fn() -> Vec<Vec<Vec<u8>>> + Send + Sync>;

/// The value of every option. One for a process, shared by reference.
pub struct Config {
    /// The number of each option.
    nums: [AtomicI64; COUNT],
    /// The text of each option.
    texts: RwLock<Vec<Vec<u8>>>,
    /// `client-output-buffer-limit`: hard, soft and seconds of each class.
    output: [[AtomicU64; 3]; 3],
    /// `latency-tracking-info-percentiles`, parsed.
    percentiles: RwLock<Vec<f64>>,
    /// `rename-command` lines: old and new name (empty to remove the command).
    renames: Mutex<Vec<(Vec<u8>, Vec<u8>)>>,
    /// `user` lines.
    users: Mutex<Vec<load::UserLine>>,
    /// What `user` lines CONFIG REWRITE writes.
    user_source: OnceLock<UserSource>,
    /// The file that CONFIG REWRITE writes.
    file: OnceLock<PathBuf>,
    hook: OnceLock<ChangeHook>,
    /// A `save` line was read: others come to it.
    saves: AtomicBool,
    /// Held by whoever changes options, so that a set of changes is not mixed with another.
    changing: Mutex<()>,
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("file", &self.file.get()).finish_non_exhaustive()
    }
}

impl Config {
    /// Every option at its default.
    pub fn new() -> Config {
        let config = Config {
            nums: [const { AtomicI64::new(0) }; COUNT],
            texts: RwLock::new(vec![Vec::new(); COUNT]),
            output: [const { [const { AtomicU64::new(0) }; 3] }; 3],
            percentiles: RwLock::new(Vec::new()),
            renames: Mutex::new(Vec::new()),
            users: Mutex::new(Vec::new()),
            user_source: OnceLock::new(),
            file: OnceLock::new(),
            hook: OnceLock::new(),
            saves: AtomicBool::new(false),
            changing: Mutex::new(()),
        };
        for (at, row) in table().iter().enumerate() {
            if !matches!(row.kind, Kind::Dir) {
                // The defaults parse: a test goes over the table.
                let value = parse_line(row, &[row.default.as_bytes()], b"").unwrap_or_default();
                config.store(at, value);
            }
        }
        config
    }

    /// The canonical text of option number `at`.
    fn text(&self, at: usize) -> Vec<u8> {
        if matches!(table()[at].kind, Kind::Dir) {
            use std::os::unix::ffi::OsStringExt;
            return std::env::current_dir().map(|dir| dir.into_os_string().into_vec()).unwrap_or_default();
        }
        self.texts.read()[at].clone()
    }

    fn value(&self, at: usize) -> Value {
        Value { text: self.text(at), num: self.nums[at].load(Relaxed) }
    }

    fn store(&self, at: usize, value: Value) {
        match table()[at].kind {
            Kind::OutputLimits => {
                for (cells, limit) in self.output.iter().zip(kind::read_output_limits(&value.text)) {
                    cells[0].store(limit.hard, Relaxed);
                    cells[1].store(limit.soft, Relaxed);
                    cells[2].store(limit.soft_seconds, Relaxed);
                }
            }
            Kind::Percentiles => *self.percentiles.write() = kind::read_percentiles(&value.text),
            _ => {}
        }
        self.nums[at].store(value.num, Relaxed);
        self.texts.write()[at] = value.text;
    }

    /// Make the value of option number `at` be `value`, as far as this process is concerned.
    fn assign(&self, at: usize, value: Value) -> Result<(), String> {
        if matches!(table()[at].kind, Kind::Dir) {
            use std::os::unix::ffi::OsStrExt;
            return std::env::set_current_dir(std::ffi::OsStr::from_bytes(&value.text)).map_err(|e| os_error(&e));
        }
        self.store(at, value);
        Ok(())
    }

    /// The text of the option `name`; empty if there is none.
    pub fn text_of(&self, name: &str) -> Vec<u8> {
        find(name.as_bytes()).map(|at| self.text(at)).unwrap_or_default()
    }

    /// The output buffer limits of class 0 (normal), 1 (replica) or 2 (pubsub).
    pub fn output_limit(&self, class: usize) -> OutputLimit {
        let cells = &self.output[class.min(2)];
        OutputLimit { hard: cells[0].load(Relaxed), soft: cells[1].load(Relaxed), soft_seconds: cells[2].load(Relaxed) }
    }

    /// The limits of what may wait for a replica of this node: as in Redis none is below the backlog, which is kept anyway.
    pub fn replica_output_limit(&self) -> OutputLimit {
        let limit = self.output_limit(1);
        let floor = self.repl_backlog_size() as u64;
        let raised = |bytes: u64| if bytes > 0 { bytes.max(floor) } else { 0 };
        OutputLimit { hard: raised(limit.hard), soft: raised(limit.soft), ..limit }
    }

    /// `save`: seconds and changes after which a snapshot is made.
    pub fn save_points(&self) -> Vec<(i64, u64)> {
        const AT: usize = index_of("save");
        let text = self.texts.read()[AT].clone();
        let numbers: Vec<i64> =
            String::from_utf8_lossy(&text).split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
        numbers.as_chunks::<2>().0.iter().map(|[seconds, changes]| (*seconds, (*changes).max(0) as u64)).collect()
    }

    /// `replicaof`: host and port of the primary to follow, if there is to be one.
    pub fn primary_to_follow(&self) -> Option<(String, u16)> {
        let text = String::from_utf8_lossy(&self.replicaof()).into_owned();
        let (host, port) = text.split_once(' ')?;
        Some((host.to_owned(), port.parse().ok()?))
    }

    /// Sets an option that follows from what the server does, so that CONFIG GET and REWRITE show how it is. The text is
    /// canonical.
    pub fn keep_in_step(&self, name: &str, text: &[u8]) {
        let _changing = self.changing.lock();
        if let Some(at) = find(name.as_bytes()) {
            self.store(at, Value { text: text.to_vec(), num: 0 });
        }
    }

    /// The most bytes that clients may take together (`maxmemory-clients`, a percentage already turned into bytes);
    /// 0 for no limit.
    pub fn maxmemory_clients(&self) -> usize {
        const AT: usize = index_of("maxmemory-clients");
        match self.nums[AT].load(Relaxed) {
            percent @ ..0 => (self.maxmemory() as f64 * (-percent) as f64 / 100.0) as usize,
            bytes => bytes as usize,
        }
    }

    /// The percentiles that INFO latencystats shows.
    pub fn latency_percentiles(&self) -> Vec<f64> {
        self.percentiles.read().clone()
    }

    /// The addresses of `bind`.
    pub fn bind_addresses(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.bind()).into_owned();
        text.split_ascii_whitespace().map(str::to_owned).collect()
    }

    /// How many workers to run: `io-threads`, or one for each CPU.
    pub fn workers(&self) -> usize {
        match self.io_threads() {
            0 => crate::base::os::cpus(),
            n => n,
        }
    }

    /// The commands that `rename-command` renames: old name, new name (empty: the command is gone).
    pub fn renames(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.renames.lock().clone()
    }

    /// The `user` lines, in the order they were read.
    pub fn users(&self) -> Vec<load::UserLine> {
        self.users.lock().clone()
    }

    /// The configuration file, if the server was started with one.
    pub fn file(&self) -> Option<&std::path::Path> {
        self.file.get().map(PathBuf::as_path)
    }

    /// Names of options that were set to something else than their default and have no effect in this version.
    pub fn without_effect(&self) -> Vec<&'static str> {
        let texts = self.texts.read();
        let set = table().iter().zip(texts.iter()).filter(|(row, text)| {
            row.is(row::DORMANT) && parse_line(row, &[row.default.as_bytes()], b"").is_ok_and(|v| v.text != **text)
        });
        set.map(|(row, _)| row.name).collect()
    }

    /// Register what to do when CONFIG SET changes an option; only the first hook counts.
    pub fn on_change(&self, hook: ChangeHook) {
        // A second server in one process would be a mistake in the caller; the first one stays in charge.
        let _ = self.hook.set(hook);
    }

    /// Registers where CONFIG REWRITE gets the users from; only the first one counts.
    pub fn rewrite_users_from(&self, source: UserSource) {
        let _ = self.user_source.set(source);
    }

    /// CONFIG GET: names and values that match one of `patterns`, each name once, in the table's order. An exact name
    /// answers as it was asked for; a pattern finds aliases too, and no hidden option.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut add = |at: usize, name: &[u8]| {
            if !found.iter().any(|(_, known)| known.eq_ignore_ascii_case(name)) {
                found.push((at, name.to_vec()));
            }
        };
        for pattern in patterns {
            if !pattern.iter().any(|c| b"[*?".contains(c)) {
                if let Some(at) = find(pattern) {
                    add(at, pattern);
                }
                continue;
            }
            for (at, row) in table().iter().enumerate().filter(|(_, row)| !row.is(HIDDEN)) {
                let names = std::iter::once(&row.name).chain(row.aliases).filter(|name| !UNLISTED.contains(name));
                names.filter(|name| glob::matches(pattern, name.as_bytes(), true)).for_each(|n| add(at, n.as_bytes()));
            }
        }
        found.sort_by(|(_, a), (_, b)| a.cmp(b));
        found.into_iter().map(|(at, name)| (name, self.text(at))).collect()
    }

    /// CONFIG SET: all of `pairs` or none. The error is the reply's text, without `-ERR `.
    pub fn set(&self, pairs: &[(&[u8], &[u8])], protected_allowed: bool) -> Result<(), String> {
        let _alone = self.changing.lock();
        let options = self.check_names(pairs, protected_allowed)?;
        let old: Vec<Value> = options.iter().map(|&at| self.value(at)).collect();
        let failed = |at: usize, why: String| {
            format!("CONFIG SET failed (possibly related to argument '{}') - {why}", table()[at].name)
        };
        let undo = |done: usize| {
            for (&at, value) in options.iter().zip(&old).take(done) {
                // It was so a moment ago: where even that fails (a directory that vanished) nothing is left to do.
                let _ = self.assign(at, value.clone());
            }
        };
        for (done, (&at, (_, text))) in options.iter().zip(pairs).enumerate() {
            let set = parse_set(table()[at], text, &old[done].text).and_then(|value| self.assign(at, value));
            if let Err(why) = set {
                undo(done + 1);
                return Err(failed(at, why));
            }
        }
        let Some(hook) = self.hook.get() else { return Ok(()) };
        let changed: Vec<usize> =
            options.iter().zip(&old).filter(|(at, old)| self.value(**at) != **old).map(|(at, _)| *at).collect();
        for &at in &changed {
            if let Err(why) = hook(self, table()[at].name) {
                undo(options.len());
                changed.iter().for_each(|&at| drop(hook(self, table()[at].name)));
                return Err(failed(at, why));
            }
        }
        Ok(())
    }

    /// The numbers of the options that CONFIG SET names, if it may set them.
    fn check_names(&self, pairs: &[(&[u8], &[u8])], protected_allowed: bool) -> Result<Vec<usize>, String> {
        let failed = |name: &[u8], why: &str| {
            let name = String::from_utf8_lossy(name);
            Err(format!("CONFIG SET failed (possibly related to argument '{name}') - {why}"))
        };
        let mut options = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let Some(at) = find(name) else {
                let name = String::from_utf8_lossy(name);
                return Err(format!("Unknown option or number of arguments for CONFIG SET - '{name}'"));
            };
            let row = table()[at];
            if !row.is(MUTABLE) {
                return failed(name, "can't set immutable config");
            }
            if row.is(PROTECTED) && !protected_allowed {
                return failed(name, "can't set protected config");
            }
            if options.contains(&at) {
                return failed(name, "duplicate parameter");
            }
            options.push(at);
        }
        Ok(options)
    }
}

/// Parse the value of CONFIG SET: one text, which options of several words split at spaces.
fn parse_set(row: &Row, text: &[u8], current: &[u8]) -> Result<Value, String> {
    let words: Vec<&[u8]> = match text {
        _ if !row.kind.takes_words() => vec![text],
        b"" => Vec::new(),
        _ => text.split(|&c| c == b' ').collect(),
    };
    let words = if words.is_empty() && matches!(row.kind, Kind::ReplicaOf) { vec![&b""[..]] } else { words };
    // What is set takes the place of all that was; only lines of a file add to one another.
    let current = if matches!(row.kind, Kind::Save) { b"" } else { current };
    let value = row.kind.parse(&words, current)?;
    row.allow(&value.text)?;
    Ok(value)
}

/// Parse the words of a configuration line. One word for an option of several is split again, so that
/// `--save "60 1"` works.
fn parse_line(row: &Row, words: &[&[u8]], current: &[u8]) -> Result<Value, String> {
    let value = match words {
        [word] if row.kind.takes_words() && !word.is_empty() => {
            let inner = split::split(word).ok_or("Unbalanced quotes in configuration line")?;
            row.kind.parse(&inner.iter().map(Vec::as_slice).collect::<Vec<_>>(), current)?
        }
        _ => row.kind.parse(words, current)?,
    };
    row.allow(&value.text)?;
    Ok(value)
}

/// An I/O error as C's strerror words it.
pub(in crate::config) fn os_error(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests;
