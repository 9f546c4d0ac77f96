//! Where the first values come from: a file, standard input, the command line.
//!
//! The command line is that of redis-server: `dunlin [file] [-] [--option value ...]`. The file comes first, then
//! standard input (`-` as the first or last argument), then the options; what comes later wins. An option and its
//! values are put together to a line of the file's syntax, so both are read by the same code, and an error names the
//! place: file and line, or the option.

use super::kind::Kind;
use super::row::Row;
use super::split::{push_quoted, split};
use super::{Config, doc, find, os_error, parse_line, table};
use crate::base::{alloc, glob};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

/// Options of old versions that have no meaning left: read and forgotten.
const FORGOTTEN: [&[u8]; 4] =
    [b"list-max-ziplist-entries", b"list-max-ziplist-value", b"lua-replicate-commands", b"io-threads-do-reads"];

/// How deep files may include one another.
const MAX_INCLUDES: usize = 16;

const COMMAND_LINE: &str = "Reading the command line";

/// What the command line asks for.
#[derive(Debug)]
pub enum Start {
    /// Run with this configuration.
    Run(Box<Config>),
    /// Print this and exit with success.
    Print(String),
}

/// A `user` line. What it says is looked at when there are commands to look it up in.
#[derive(Clone, Debug, Default)]
pub struct UserLine {
    /// The name and the rules.
    pub words: Vec<Vec<u8>>,
    /// Where it stands.
    place: String,
    line: Vec<u8>,
}

impl UserLine {
    /// The text for standard error if it is wrong.
    pub fn fatal(&self, why: String) -> String {
        fatal(&self.place, &self.line, why).0
    }
}

/// Why the server cannot start: the text for standard error; the exit status is 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Fatal(pub String);

impl std::fmt::Display for Fatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fatal {}

/// `dunlin --version`.
pub fn version() -> String {
    format!("Dunlin server v={} malloc={} bits=64\n", env!("CARGO_PKG_VERSION"), alloc::version())
}

/// Read the command line `args` (without the program's name); `stdin` is read if they say so.
pub fn from_args(args: &[&OsStr], stdin: &mut dyn Read) -> Result<Start, Fatal> {
    let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
    match args.first() {
        Some(&b"-v" | &b"--version") => return Ok(Start::Print(version())),
        Some(&b"-h" | &b"--help") => return Ok(Start::Print(doc::help())),
        Some(&b"--annotated-config") => return Ok(Start::Print(doc::annotated())),
        _ => {}
    }
    let config = Config::new();
    let (file, args) = match args.split_first() {
        Some((first, rest)) if !first.starts_with(b"-") => (Some(Path::new(OsStr::from_bytes(first))), rest),
        _ => (None, &args[..]),
    };
    if let Some(file) = file {
        let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        read_file(&config, &absolute, 0)?;
        // Set once, here: the configuration is new.
        let _ = config.file.set(absolute);
    }
    let (from_stdin, lines) = lines_of(args, file.is_some());
    if from_stdin {
        let mut text = Vec::new();
        stdin.read_to_end(&mut text).map_err(|e| Fatal(format!("Can't read standard input: {}", os_error(&e))))?;
        read_text(&config, &text, "standard input", 0)?;
    }
    for line in &lines {
        read_line(&config, line, 0).map_err(|why| fatal(COMMAND_LINE, line, why))?;
        note_place(&config, line, || COMMAND_LINE.to_owned());
    }
    check_log_file(&config)?;
    Ok(Start::Run(Box::new(config)))
}

/// Put options and values together to lines. True if standard input is to be read.
fn lines_of(args: &[&[u8]], has_file: bool) -> (bool, Vec<Vec<u8>>) {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut from_stdin = false;
    // Is the last option complete? Its first value may start with "--" too.
    let mut complete = true;
    for (at, arg) in args.iter().enumerate() {
        let last = at + 1 == args.len();
        let first = at == 0 && !has_file;
        if *arg == b"-" && (first || last) {
            from_stdin = true;
        } else if complete && arg.starts_with(b"--") {
            let mut line = arg[2..].to_vec();
            line.push(b' ');
            complete = split(arg).is_some_and(|words| words.len() != 1);
            // `--save` without a value means none, as a list from a script that happens to be empty does.
            let bare_save = !complete && arg.eq_ignore_ascii_case(b"--save");
            if bare_save && (last || args[at + 1].starts_with(b"--")) {
                line.extend_from_slice(b"\"\"");
                complete = true;
            }
            lines.push(line);
        } else {
            let mut start = Vec::new();
            let line = lines.last_mut().unwrap_or(&mut start);
            push_quoted(arg, line);
            line.push(b' ');
            if !start.is_empty() {
                lines.push(start);
            }
            complete = true;
        }
    }
    (from_stdin, lines)
}

fn fatal(place: &str, line: &[u8], why: String) -> Fatal {
    let version = env!("CARGO_PKG_VERSION");
    let line = String::from_utf8_lossy(line.trim_ascii()).into_owned();
    Fatal(format!("\n*** FATAL CONFIG FILE ERROR (Dunlin {version}) ***\n{place}\n>>> '{line}'\n{why}\n"))
}

/// What is wrong with a line: a reason, or an error that an included file already reported.
enum LineError {
    Why(String),
    Included(Fatal),
}

impl From<String> for LineError {
    fn from(why: String) -> LineError {
        LineError::Why(why)
    }
}

impl From<&str> for LineError {
    fn from(why: &str) -> LineError {
        LineError::Why(why.to_owned())
    }
}

fn read_file(config: &Config, path: &Path, depth: usize) -> Result<(), Fatal> {
    let text = std::fs::read(path)
        .map_err(|e| Fatal(format!("Fatal error, can't open config file '{}': {}\n", path.display(), os_error(&e))))?;
    read_text(config, &text, &path.display().to_string(), depth)
}

fn read_text(config: &Config, text: &[u8], source: &str, depth: usize) -> Result<(), Fatal> {
    for (at, line) in text.split(|&c| c == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let place = || format!("Reading the configuration file, at line {} ({source})", at + 1);
        read_line_at(config, line, depth).map_err(|error| match error {
            LineError::Included(fatal) => fatal,
            LineError::Why(why) => fatal(&place(), line, why),
        })?;
        note_place(config, line, place);
    }
    Ok(())
}

/// Notes where the `user` line stood that was just read, if one was.
fn note_place(config: &Config, line: &[u8], place: impl FnOnce() -> String) {
    if let Some(user) = config.users.lock().last_mut().filter(|user| user.place.is_empty()) {
        (user.place, user.line) = (place(), line.to_vec());
    }
}

fn read_line(config: &Config, line: &[u8], depth: usize) -> Result<(), String> {
    read_line_at(config, line, depth).map_err(|error| match error {
        LineError::Why(why) => why,
        LineError::Included(Fatal(text)) => text,
    })
}

fn read_line_at(config: &Config, line: &[u8], depth: usize) -> Result<(), LineError> {
    let words = split(line).ok_or("Unbalanced quotes in configuration line")?;
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let Some((name, values)) = words.split_first() else { return Ok(()) };
    if let Some(at) = find(name) {
        let row: &Row = table()[at];
        let named = |why: String| LineError::Why(format!("{}: {why}", row.name));
        // The first `save` takes the place of the default, others come to it.
        let adds = !matches!(row.kind, Kind::Save) || config.saves.swap(true, Relaxed);
        let current = if adds { config.text(at) } else { Vec::new() };
        let value = parse_line(row, values, &current).map_err(named)?;
        return config.assign(at, value).map_err(named);
    }
    let name = name.to_ascii_lowercase();
    match (name.as_slice(), values) {
        (b"include", [path]) => include(config, path, depth).map_err(LineError::Included),
        (b"rename-command", [from, to]) => {
            config.renames.lock().push((from.to_ascii_lowercase(), to.to_ascii_lowercase()));
            Ok(())
        }
        (b"user", [_, ..]) => {
            let words = values.iter().map(|word| word.to_vec()).collect();
            config.users.lock().push(UserLine { words, ..UserLine::default() });
            Ok(())
        }
        (b"loadmodule", [_, ..]) => Err("loadmodule: modules are not supported".into()),
        (b"sentinel", [_, ..]) => Err("sentinel directive while not in sentinel mode".into()),
        (forgotten, [_]) if FORGOTTEN.contains(&forgotten) => Ok(()),
        _ => Err(format!("Bad directive or wrong number of arguments: '{}'", String::from_utf8_lossy(&name)).into()),
    }
}

/// Read the file `path`, or every file that it matches as a pattern: no match is no error, so that an empty conf.d
/// directory can be included.
fn include(config: &Config, path: &[u8], depth: usize) -> Result<(), Fatal> {
    if depth >= MAX_INCLUDES {
        let path = String::from_utf8_lossy(path).into_owned();
        return Err(Fatal(format!("Fatal error, config files include one another too deep at '{path}'\n")));
    }
    let path = Path::new(OsStr::from_bytes(path));
    if !has_pattern(path.as_os_str().as_bytes()) {
        return read_file(config, path, depth + 1);
    }
    expand(path).iter().try_for_each(|path| read_file(config, path, depth + 1))
}

fn has_pattern(text: &[u8]) -> bool {
    text.iter().any(|c| b"*?[".contains(c))
}

/// The existing paths that match `pattern`, sorted, as a shell expands it: a `*` does not cross a `/` nor match a
/// leading dot.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern {
        if !has_pattern(part.as_bytes()) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut next = Vec::new();
        for dir in &found {
            let here = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
            let Ok(entries) = std::fs::read_dir(here) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let hidden = name.as_bytes().starts_with(b".") && !part.as_bytes().starts_with(b".");
                if !hidden && glob::matches(part.as_bytes(), name.as_bytes(), false) {
                    next.push(dir.join(name));
                }
            }
        }
        found = next;
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

/// A log file that cannot be opened is found out now, not when the first line is to be written.
fn check_log_file(config: &Config) -> Result<(), Fatal> {
    let path = config.logfile();
    if path.is_empty() {
        return Ok(());
    }
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(OsStr::from_bytes(&path));
    opened.map(drop).map_err(|e| {
        let line = [b"logfile ".as_slice(), &path].concat();
        fatal("Reading the configuration", &line, format!("logfile: Can't open the log file: {}", os_error(&e)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(args: &[&str], stdin: &str) -> Result<Box<Config>, Fatal> {
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        match from_args(&args, &mut stdin.as_bytes())? {
            Start::Run(config) => Ok(config),
            Start::Print(text) => panic!("{text}"),
        }
    }

    fn dir() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("dunlin-load-{}", crate::base::rng::hex_id()));
        std::fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn options_of_the_command_line_take_their_values() {
        let config = start(&["--port", "7000", "--maxmemory", "1gb", "--appendonly", "no"], "").unwrap();
        assert_eq!((config.port(), config.maxmemory()), (7000, 1 << 30));
        let config = start(&["--port 7001", "--bind", "127.0.0.1", "::1"], "").unwrap();
        assert_eq!((config.port(), config.bind()), (7001, b"127.0.0.1 ::1".to_vec()));
        let save = |args: &[&str], text: &str| start(args, text).unwrap().save_points();
        assert_eq!(save(&["-"], "save 900 1\nsave 300 10\n"), [(900, 1), (300, 10)]);
        assert_eq!(save(&["-", "--save", "100", "2"], "save 900 1\n"), [(900, 1), (100, 2)]);
        assert_eq!(save(&["-", "--save", "", "--save", "5", "6"], "save 900 1\n"), [(5, 6)]);
        assert_eq!(start(&["--SAVE", "", "--port", "1"], "").unwrap().port(), 1);
        assert_eq!(start(&["--save", "--port", "2"], "").unwrap().port(), 2);
        assert_eq!(start(&["--requirepass", "--x"], "").unwrap().requirepass(), b"--x");
        assert!(start(&["--port", "1", "--save"], "").is_ok());
        assert_eq!(start(&["--worker-threads", "3"], "").unwrap().workers(), 3);
    }

    #[test]
    fn standard_input_is_read_between_file_and_options() {
        let dir = dir();
        let file = dir.join("d.conf");
        std::fs::write(&file, "port 1\nhz 50\ntimeout 9\n").unwrap();
        let config = start(&[file.to_str().unwrap(), "--hz", "70", "-"], "hz 60\ntimeout 10\n").unwrap();
        assert_eq!((config.port(), config.hz(), config.timeout()), (1, 70, 10));
        assert_eq!(config.file(), Some(file.as_path()));
        assert_eq!(start(&["-", "--hz", "3"], "port 5").unwrap().port(), 5);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_error_names_file_line_and_option() {
        let dir = dir();
        let file = dir.join("d.conf");
        std::fs::write(&file, "# comment\n\nmaxclients abc\n").unwrap();
        let Fatal(text) = start(&[file.to_str().unwrap()], "").unwrap_err();
        let place = format!("Reading the configuration file, at line 3 ({})", file.display());
        assert!(text.contains("*** FATAL CONFIG FILE ERROR") && text.contains(&place), "{text}");
        assert!(
            text.contains(">>> 'maxclients abc'\nmaxclients: argument couldn't be parsed into an integer"),
            "{text}"
        );
        let Fatal(text) = start(&["--no-such", "1"], "").unwrap_err();
        assert!(text.contains("Reading the command line\n>>> 'no-such \"1\"'\nBad directive"), "{text}");
        let Fatal(text) = start(&["/no/such/file"], "").unwrap_err();
        assert_eq!(text, "Fatal error, can't open config file '/no/such/file': No such file or directory\n");
        for bad in [["--port", "65536"], ["--hz", "\"1"], ["--daemonize", "perhaps"], ["--loadmodule", "x.so"]] {
            assert!(start(&bad, "").is_err(), "{bad:?}");
        }
        assert!(start(&["--loglevel"], "").unwrap_err().0.contains("loglevel: wrong number of arguments"));
        assert!(start(&["--port", "1", "2"], "").unwrap_err().0.contains("port: wrong number of arguments"));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_not_there_is_refused_and_what_leaves_it_off_is_taken() {
        for bad in [["--tls-port", "6380"], ["--supervised", "upstart"]] {
            let Fatal(text) = start(&bad, "").unwrap_err();
            assert!(text.contains("not supported"), "{text}");
        }
        let off = "appendonly no\nsave \"\"\nreplicaof no one\ncluster-enabled no\ntls-port 0\naclfile \"\"\n";
        start(&["-"], off).unwrap();
    }

    #[test]
    fn files_include_files_and_patterns() {
        let dir = dir();
        std::fs::create_dir(dir.join("conf.d")).unwrap();
        std::fs::write(dir.join("conf.d/1.conf"), "port 11\nhz 11\n").unwrap();
        std::fs::write(dir.join("conf.d/2.conf"), "hz 22\n").unwrap();
        std::fs::write(dir.join("conf.d/.hidden.conf"), "hz 99\n").unwrap();
        let main = dir.join("main.conf");
        let d = dir.display();
        std::fs::write(&main, format!("hz 1\ninclude {d}/conf.d/*.conf\ninclude {d}/none/*.conf\n")).unwrap();
        let config = start(&[main.to_str().unwrap()], "").unwrap();
        assert_eq!((config.port(), config.hz()), (11, 22));
        std::fs::write(&main, format!("include {d}/missing.conf\n")).unwrap();
        assert!(start(&[main.to_str().unwrap()], "").unwrap_err().0.contains("missing.conf"));
        std::fs::write(&main, format!("include {d}/main.conf\n")).unwrap();
        assert!(start(&[main.to_str().unwrap()], "").unwrap_err().0.contains("too deep"));
        std::fs::write(&main, format!("include {d}/conf.d/2.conf\nhz x\n")).unwrap();
        assert!(start(&[main.to_str().unwrap()], "").unwrap_err().0.contains("at line 2"));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn renamed_commands_are_kept_for_the_command_table() {
        let config = start(&["-"], "rename-command CONFIG b840fc02\nrename-command flushall \"\"\n").unwrap();
        let expected = [(b"config".to_vec(), b"b840fc02".to_vec()), (b"flushall".to_vec(), b"".to_vec())];
        assert_eq!(config.renames(), expected);
    }

    #[test]
    fn help_and_version_print() {
        let print = |arg: &str| match from_args(&[OsStr::new(arg)], &mut std::io::empty()).unwrap() {
            Start::Print(text) => text,
            Start::Run(_) => panic!("{arg} runs"),
        };
        assert!(print("-v").starts_with("Dunlin server v=") && print("--version") == print("-v"));
        assert!(print("--help").contains("--maxmemory-policy"));
    }
}
