//! A bench for handlers: runs commands on a keyspace, without sockets and without `exec`.
//!
//! All tests share one server, so a [`Bench`] holds a lock for its life and begins with empty databases.

use std::sync::LazyLock;

use parking_lot::{Mutex, MutexGuard};

use super::{Ctx, Server};
use crate::clients::Session;
use crate::config::Config;
use crate::keyspace::{Db, Effects, Held, Located};
use crate::resp::{Out, Proto};

static SERVER: LazyLock<&'static Server> = LazyLock::new(|| Server::new(Box::leak(Box::new(Config::new()))));
static TURN: Mutex<()> = Mutex::new(());

/// A connection to the shared server.
pub struct Bench {
    held: Held,
    session: Session,
    proto: Proto,
    options: Vec<(&'static str, Vec<u8>)>,
    /// The time that commands see, Unix ms.
    pub now: i64,
    /// What the last command logged, a line each, the database left out.
    pub log: Vec<String>,
    /// The notifications of the last command: `event key`.
    pub events: Vec<String>,
    /// Whether the last command waits.
    pub blocked: bool,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    /// A connection in RESP2, alone with empty databases.
    pub fn new() -> Bench {
        let turn = TURN.lock();
        let mut bench = Bench {
            held: SERVER.keyspace.held(),
            session: Session::new(Default::default(), true),
            proto: Proto::Resp2,
            options: Vec::new(),
            now: 1_000_000,
            log: Vec::new(),
            events: Vec::new(),
            blocked: false,
            _turn: turn,
        };
        bench.run("flushall");
        bench
    }
    /// From now on in RESP3.
    pub fn resp3(&mut self) {
        self.proto = Proto::Resp3;
    }
    /// Whether commands run as for a client that is being served after a wait.
    pub fn serving(&mut self, on: bool) {
        self.session.serving = on;
    }
    /// Sets an option until the bench goes.
    pub fn config(&mut self, name: &'static str, value: &str) {
        self.options.push((name, SERVER.config.text_of(name)));
        SERVER.config.set(&[(name.as_bytes(), value.as_bytes())], false).expect("a good value");
    }
    /// Runs a command given as words with single spaces between; the reply comes back with spaces for line ends.
    pub fn run(&mut self, line: &str) -> String {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.run_args(&args)
    }
    /// Runs a command.
    pub fn run_args(&mut self, args: &[&[u8]]) -> String {
        let entry = SERVER.lookup.resolve(args).expect("a command");
        assert!(entry.command.meta.arity_fits(args.len()), "arity of {}", entry.name);
        let mut fx = Effects { logging: true, notify_mask: u32::MAX, ..Effects::default() };
        let mut out = Out::new(self.proto);
        self.held.lock_all();
        let mut cx = Ctx {
            db: Db::new(
                SERVER.keyspace,
                &mut self.held,
                self.session.db,
                self.now,
                &mut fx,
                SERVER.metrics.thread(),
                SERVER.tuning(),
                Located::NONE,
            ),
            out: &mut out,
            session: &mut self.session,
            server: *SERVER,
            entry,
            stats: SERVER.metrics.thread(),
            samplers: &mut Vec::new(),
            interpreters: &mut Default::default(),
        };
        if let Err(e) = (entry.command.run)(&mut cx, args) {
            out.clear();
            out.error(&e);
        }
        self.held.unlock();
        let text = |words: &[&[u8]]| words.iter().map(|w| String::from_utf8_lossy(w)).collect::<Vec<_>>().join(" ");
        self.log = fx.log.iter().map(|l| String::from_utf8_lossy(&words(l.request).join(&b' ')).into_owned()).collect();
        if !fx.replaced && fx.dirty > 0 {
            self.log.push(text(args));
        }
        self.events = fx.events.iter().map(|e| format!("{} {}", e.name, String::from_utf8_lossy(&e.key))).collect();
        self.blocked = self.session.block.take().is_some();
        String::from_utf8_lossy(&out.take_bytes()).trim_end().replace("\r\n", " ")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for (name, value) in self.options.drain(..) {
            let _ = SERVER.config.set(&[(name.as_bytes(), &value)], false);
        }
    }
}

/// The arguments of an encoded request.
pub fn words(request: &[u8]) -> Vec<Vec<u8>> {
    let mut buf = request.to_vec();
    let (mut pos, mut args) = (0, Vec::new());
    let step = crate::resp::Decoder::default().next(&mut buf, &mut pos, &mut args, &crate::resp::Limits::default());
    assert!(matches!(step, Ok(crate::resp::Step::Request(_))) && pos == buf.len());
    args.iter().map(|a| a.of(&buf).to_vec()).collect()
}
