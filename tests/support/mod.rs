//! A server of its own for each test, and a client that shows replies as they came.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod cluster;
pub mod nodes;
pub mod replicas;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; it ends with the value.
pub struct Server {
    child: Child,
    pub port: u16,
    /// The lines of its log, as they come.
    log: mpsc::Receiver<String>,
}

/// A port that nobody listens on: see [`free_ports`].
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `n` ports that nobody listens on now, nor on those 10,000 above, where cluster buses are. All are below
/// those that the system gives to outgoing connections: one of these took a port between the look and its use. Other tests
/// leave them alone, also while nobody listens there: locks on files of their names are held until this process ends.
pub fn free_ports(n: u16) -> u16 {
    use std::hash::{BuildHasher, RandomState};
    static TAKEN: std::sync::Mutex<Vec<std::fs::File>> = std::sync::Mutex::new(Vec::new());
    let locks = std::env::temp_dir().join("dunlin-test-ports");
    std::fs::create_dir_all(&locks).unwrap();
    let is_free = |port: u16| std::net::TcpListener::bind(("0.0.0.0", port)).is_ok();
    let take = |port: u16| {
        let lock = std::fs::File::create(locks.join(port.to_string())).unwrap();
        (lock.try_lock().is_ok() && is_free(port) && is_free(port + 10_000)).then_some(lock)
    };
    for _ in 0..1000 {
        let first = 12_000 + (RandomState::new().hash_one(std::process::id()) % 10_000) as u16;
        if let Some(all) = (first..first + n).map(take).collect::<Option<Vec<_>>>() {
            TAKEN.lock().unwrap().extend(all);
            return first;
        }
    }
    panic!("no {n} ports in a row are free");
}

/// A directory of this process, where servers leave what they leave.
pub fn workplace() -> std::path::PathBuf {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("run-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// The binary under test.
pub fn dunlin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    command.current_dir(workplace());
    command
}

/// Redis, to compare and to work with.
pub fn redis() -> Command {
    let mut command = Command::new("redis-server");
    command.current_dir(workplace());
    command
}

impl Server {
    /// A redis-server, ready.
    pub fn redis() -> Server {
        let (mut command, port) = (redis(), free_port());
        command.args(["--port", &port.to_string(), "--save", ""]);
        Server::run(command, port)
    }

    /// A server with `args`, ready.
    pub fn start(args: &[&str]) -> Server {
        Server::start_on(free_port(), args)
    }

    /// The same on a given port.
    pub fn start_on(port: u16, args: &[&str]) -> Server {
        let mut command = dunlin();
        command.args(["--port", &port.to_string(), "--enable-debug-command", "yes", "--save", ""]).args(args);
        Server::run(command, port)
    }

    /// What `command` starts, once it says that it is ready.
    pub fn run(command: Command, port: u16) -> Server {
        let server = Server::spawn(command, port);
        server.wait_for_log("Ready to accept connections");
        server
    }

    /// Wait for a line with `text` in the log.
    pub fn wait_for_log(&self, text: &str) -> String {
        let mut seen = Vec::new();
        let start = dunlin::base::clock::mono_ns();
        loop {
            // Others may come again and again.
            let gone = std::time::Duration::from_nanos(dunlin::base::clock::mono_ns() - start);
            match self.log.recv_timeout((3 * PATIENCE).saturating_sub(gone)) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("the log has no {text:?}:\n{}", seen.join("\n")),
            }
        }
    }

    /// What `command` starts, before it is ready.
    pub fn spawn(mut command: Command, port: u16) -> Server {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the server starts");
        let stdout = child.stdout.take().unwrap();
        let (to, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if to.send(line).is_err() {
                    break;
                }
            }
        });
        Server { child, port, log }
    }

    /// A connection.
    pub fn connect(&self) -> Conn {
        Conn::open(self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Wait until the process has ended by itself; its exit code.
    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Send the process a signal, by the name that `kill` knows.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
        // A process of several threads takes a moment to stop.
        while name == "STOP" && !stopped(&pid) {
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether every thread of a process stands still.
fn stopped(pid: &str) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.map(|t| std::fs::read_to_string(t.path().join("stat")).unwrap_or_default()).all(|stat| {
        let state = stat.rfind(')').and_then(|end| stat[end + 1..].trim_start().chars().next());
        state.is_none_or(|s| s == 'T')
    })
}

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Nil,
    NilArray,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Double(String),
    Bool(bool),
    Big(String),
    Verbatim(String, Vec<u8>),
}

impl Value {
    /// Its text, of whatever type that holds one.
    pub fn text(&self) -> String {
        match self {
            Value::Simple(text) | Value::Error(text) | Value::Double(text) | Value::Big(text) => text.clone(),
            Value::Int(n) => n.to_string(),
            Value::Bulk(bytes) | Value::Verbatim(_, bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// Its text, or this in place of nothing.
    pub fn text_or(&self, other: &str) -> String {
        if *self == Value::Nil { other.to_owned() } else { self.text() }
    }

    /// Its elements.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => items,
            other => panic!("no elements: {other:?}"),
        }
    }

    /// Its elements as texts.
    pub fn texts(&self) -> Vec<String> {
        self.items().iter().map(Value::text).collect()
    }

    pub fn int(&self) -> i64 {
        match self {
            Value::Int(n) => *n,
            other => panic!("no integer: {other:?}"),
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }
}

/// A connection that sends requests and reads replies.
pub struct Conn {
    read: BufReader<TcpStream>,
}

impl Conn {
    pub fn open(port: u16) -> Conn {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Conn { read: BufReader::new(stream) }
    }

    /// Send a command of words without spaces in them, and read its reply.
    pub fn run(&mut self, line: &str) -> Value {
        let words: Vec<&[u8]> = line.split_ascii_whitespace().map(str::as_bytes).collect();
        self.command(&words)
    }

    /// Send a command, and read its reply.
    pub fn command(&mut self, args: &[&[u8]]) -> Value {
        self.send(args);
        self.read()
    }

    /// Send a command.
    pub fn send(&mut self, args: &[&[u8]]) {
        let mut out = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            out.extend_from_slice(arg);
            out.extend_from_slice(b"\r\n");
        }
        self.send_raw(&out);
    }

    /// Send bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.read.get_mut().write_all(bytes).unwrap();
    }

    /// Read a reply.
    pub fn read(&mut self) -> Value {
        self.try_read().expect("a reply")
    }

    /// Read on until the server closes the connection, or for ever: whether it did.
    pub fn is_closed(&mut self) -> bool {
        let mut buf = [0; 65536];
        loop {
            match self.read.read(&mut buf) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return e.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    /// Read a reply; nothing if the server closed the connection.
    pub fn try_read(&mut self) -> Option<Value> {
        let mut line = Vec::new();
        match self.read.read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
            read => read.expect("a line"),
        };
        assert!(line.ends_with(b"\r\n"), "{:?}", String::from_utf8_lossy(&line));
        let rest = String::from_utf8_lossy(&line[1..line.len() - 2]).into_owned();
        let len = || rest.parse::<i64>().expect("a length");
        Some(match line[0] {
            b'+' => Value::Simple(rest),
            b'-' => Value::Error(rest),
            b':' => Value::Int(len()),
            b',' => Value::Double(rest),
            b'(' => Value::Big(rest),
            b'#' => Value::Bool(rest == "t"),
            b'_' => Value::Nil,
            b'$' if len() < 0 => Value::Nil,
            b'$' => Value::Bulk(self.bytes(len())),
            b'=' => {
                let text = self.bytes(len());
                Value::Verbatim(String::from_utf8_lossy(&text[..3]).into_owned(), text[4..].to_vec())
            }
            b'*' if len() < 0 => Value::NilArray,
            b'*' => Value::Array(self.many(len())),
            b'~' => Value::Set(self.many(len())),
            b'>' => Value::Push(self.many(len())),
            b'%' => Value::Map((0..len()).map(|_| (self.read(), self.read())).collect()),
            b'|' => {
                // An attribute belongs to the reply that follows.
                (0..len() * 2).for_each(|_| drop(self.read()));
                self.read()
            }
            other => panic!("no RESP type: {}", other as char),
        })
    }

    fn many(&mut self, n: i64) -> Vec<Value> {
        (0..n).map(|_| self.read()).collect()
    }

    fn bytes(&mut self, n: i64) -> Vec<u8> {
        let mut bytes = vec![0; n as usize + 2];
        self.read.read_exact(&mut bytes).expect("a whole string");
        assert!(bytes.ends_with(b"\r\n"));
        bytes.truncate(n as usize);
        bytes
    }

    /// A field of INFO.
    pub fn info(&mut self, field: &str) -> String {
        let text = self.run("INFO everything").text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.unwrap_or_else(|| panic!("INFO has no {field}")).to_owned()
    }

    /// An option.
    pub fn config(&mut self, name: &str) -> String {
        self.run(&format!("CONFIG GET {name}")).texts()[1].clone()
    }

    /// Ask until the answer is right; others get their turn between two questions.
    pub fn until(&mut self, what: &str, mut right: impl FnMut(&mut Conn) -> bool) {
        let start = std::process::id();
        for _ in 0..200_000 {
            if right(self) {
                return;
            }
            std::thread::yield_now();
        }
        panic!("{what} did not come about (process {start})");
    }
}

/// A directory of this build that `fill` has put packages into; nothing, and a word about it, where it could not. It is made
/// once: tests that want it at the same time wait for each other.
fn packages(name: &str, fill: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let lock = std::fs::File::create(dir.join("lock")).unwrap();
    lock.lock().unwrap();
    let ready = dir.join("ready");
    if !ready.exists() {
        if !fill(&dir) {
            eprintln!("SKIP: the packages of {name} are not to be had");
            return None;
        }
        std::fs::write(ready, "").unwrap();
    }
    Some(dir)
}

fn succeeds(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

/// A Python with redis-py.
pub fn redis_py() -> Option<PathBuf> {
    let python = |dir: &Path| dir.join("bin/python");
    let dir = packages("pip-clients", |dir| {
        succeeds(Command::new("python3").args(["-m", "venv"]).arg(dir))
            && succeeds(Command::new(python(dir)).args(["-m", "pip", "install", "-q", "redis==8.*"]))
    })?;
    Some(python(&dir))
}

/// A directory in which Node finds ioredis and node-redis.
pub fn node_clients() -> Option<PathBuf> {
    let options = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
    packages("npm-clients", |dir| succeeds(Command::new("npm").args(options).arg(dir).args(["ioredis@6", "redis@6"])))
}

/// A script of `tests/` with a port for its argument, copied into `dir`: Node looks for packages from where a script is.
pub fn script(program: impl AsRef<std::ffi::OsStr>, dir: &Path, name: &str, port: u16) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    let here = dir.join(name.replace('/', "_"));
    std::fs::copy(path, &here).unwrap();
    let mut command = Command::new(program);
    command.arg(here).arg(port.to_string());
    command
}

/// A directory that is removed in the end.
pub struct TempDir(pub std::path::PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        TempDir::below(&std::env::temp_dir())
    }

    /// In memory, if the system has such a place. An fsync on a disk that is busy with something else takes seconds, more
    /// than the node timeout of a test.
    pub fn in_memory() -> TempDir {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { TempDir::below(memory) } else { TempDir::new() }
    }

    fn below(parent: &Path) -> TempDir {
        let mut bytes = [0u8; 8];
        std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
        let path = parent.join(format!("dunlin-test-{:016x}", u64::from_ne_bytes(bytes)));
        std::fs::create_dir(&path).unwrap();
        TempDir(path)
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
