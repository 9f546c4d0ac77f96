//! Loads the append-only file: the base, then the writes since, each executed as a client's command would be.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::Ordering::*;

use crate::base::clock;
use crate::clients::Session;
use crate::commands::Server;
use crate::commands::persistence::{aof, load};
use crate::exec::{Stop, Turn, Worker};
use crate::persist::aof::Manifest;
use crate::resp::{Arg, Decoder, Limits, Out, Step};

/// Bytes read at once.
const READ: usize = 1 << 20;

/// Loads what is in the directory. False: there is nothing.
pub fn load(server: &'static Server) -> Result<bool, String> {
    let Some(manifest) = aof::prepare(server)? else { return Ok(false) };
    load_files(server, &manifest)?;
    Ok(true)
}

/// Loads the files of a manifest.
pub fn load_files(server: &'static Server, manifest: &Manifest) -> Result<(), String> {
    let dir = aof::directory(server);
    let files: Vec<_> = manifest.base.iter().chain(&manifest.incrementals).collect();
    let mut total = 0;
    for e in &files {
        let path = dir.join(&e.name);
        let length =
            fs::metadata(&path).map_err(|e| format!("The AOF file {} can't be opened: {e}", path.display()))?;
        total += length.len();
    }
    let _announced = load::Announced::begin(server, total, false);
    let start = clock::mono_ns();
    let spare = server.metrics.spare();
    let mut worker = Worker::with_stats(server, 0, spare.stats);
    for (i, e) in files.iter().enumerate() {
        let path = dir.join(&e.name);
        replay(server, &mut worker, &path, i + 1 == files.len())?;
    }
    let seconds = (clock::mono_ns() - start) as f64 / 1e9;
    tracing::info!("DB loaded from append only file: {seconds:.3} seconds");
    server.snapshots.saved_changes.store(server.dirty(), Release);
    Ok(())
}

/// Loads one file. Only the last may end in the middle of something.
fn replay(server: &'static Server, worker: &mut Worker, path: &Path, last: bool) -> Result<(), String> {
    let shown = path.display();
    let io = |e: io::Error| format!("Error reading the append only file {shown}: {e}");
    let mut file = File::open(path).map_err(io)?;
    let mut magic = [0; 9];
    let n = file.read(&mut magic).map_err(io)?;
    file = File::open(path).map_err(io)?;
    let (mut buf, mut offset) = (Vec::new(), 0);
    if magic[..n].starts_with(b"REDIS0") || magic[..n].starts_with(b"VALKEY0") {
        let into = (server.keyspace, &server.metrics);
        let how = load::How { keep_expired: true, ..load::How::default() };
        let loaded = load::into(server, into, &mut file, how)
            .map_err(|e| format!("Error reading the RDB preamble of the AOF file {shown}, AOF loading aborted: {e}"))?;
        offset = loaded.bytes;
        buf = loaded.rest;
    }
    let mut r = Replay::new(server, offset);
    loop {
        r.take(worker, &mut buf, &shown)?;
        buf.reserve(READ);
        let n = (&mut file).take(READ as u64).read_to_end(&mut buf).map_err(io)?;
        server.loading.done.fetch_add(n as u64, Relaxed);
        if n == 0 {
            break;
        }
    }
    if buf.is_empty() {
        return Ok(());
    }
    // The end is missing: of a request, or of a transaction, which then did not happen.
    let valid = r.offset;
    if !last {
        return Err(format!(
            "Unexpected end of file reading the append only file {shown} at offset {valid}, and it is not the last one"
        ));
    }
    if !server.config.aof_load_truncated() {
        return Err(format!(
            "Unexpected end of file reading the append only file {shown} at offset {valid}. You can: 1) Make a backup of \
             your AOF file, then use redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the \
             'aof-load-truncated' configuration option to yes and restart the server."
        ));
    }
    tracing::warn!("!!! Warning: short read while loading the AOF file {shown}!!!");
    tracing::warn!("Truncating the AOF {shown} at offset {valid}");
    let file = fs::OpenOptions::new().write(true).open(path).map_err(io)?;
    file.set_len(valid).and_then(|()| file.sync_all()).map_err(io)
}

/// The file on its way through. Everything before `offset` of it was executed; the buffer begins there.
pub struct Replay {
    server: &'static Server,
    offset: u64,
    session: Session,
    decoder: Decoder,
    out: Out,
    args: Vec<Arg>,
    /// Whole requests that wait to be executed: how many arguments each has.
    counts: Vec<u32>,
    /// Where they end in the buffer.
    end: usize,
    /// Where decoding goes on.
    pos: usize,
    /// A transaction is open among them.
    open: bool,
}

impl Replay {
    /// A file of which what comes before `offset` is loaded.
    pub fn new(server: &'static Server, offset: u64) -> Replay {
        let mut session = Session::internal(0);
        session.replaying = true;
        Replay {
            server,
            offset,
            session,
            decoder: Decoder::default(),
            out: Out::default(),
            args: Vec::new(),
            counts: Vec::new(),
            end: 0,
            pos: 0,
            open: false,
        }
    }

    /// Executes the whole requests in the buffer, transactions only when their end is there, and takes them out.
    pub fn take(
        &mut self,
        worker: &mut Worker,
        buf: &mut Vec<u8>,
        name: &impl std::fmt::Display,
    ) -> Result<(), String> {
        let limits = Limits { bulk: u64::MAX, ..Limits::default() };
        loop {
            if !self.decoder.is_partial() {
                match buf.get(self.pos) {
                    Some(b'#') => {
                        // A note, such as of the time.
                        let Some(n) = buf[self.pos..].iter().position(|c| *c == b'\n') else { break };
                        self.pos += n + 1;
                        self.end = self.pos;
                        continue;
                    }
                    Some(b'*') => {}
                    Some(_) => return Err(self.malformed(self.pos, name)),
                    None => break,
                }
            }
            match self.decoder.next(buf, &mut self.pos, &mut self.args, &limits) {
                Ok(Step::Request(n) | Step::Inline(n)) => {
                    let verb = self.args[self.args.len() - n].of(buf);
                    let (multi, exec) = (verb.eq_ignore_ascii_case(b"multi"), verb.eq_ignore_ascii_case(b"exec"));
                    if multi && !self.open {
                        // What came before it is through, whether or not its end is there.
                        let own = self.args.split_off(self.args.len() - n);
                        self.execute(worker, buf, name)?;
                        let gone = self.end;
                        self.shift(buf, gone);
                        self.args = own.iter().map(|a| shifted(*a, gone)).collect();
                        self.open = true;
                    }
                    self.open &= !exec;
                    self.counts.push(n as u32);
                    self.end = self.pos;
                    if !self.open && self.counts.len() >= 64 {
                        self.execute(worker, buf, name)?;
                    }
                }
                Ok(Step::Nothing) => {}
                Ok(Step::More) => break,
                Err(_) => return Err(self.malformed(self.pos, name)),
            }
        }
        if !self.open {
            let partial = self.args.split_off(self.args.len() - self.decoder.partial_args());
            self.execute(worker, buf, name)?;
            let gone = self.end;
            self.shift(buf, gone);
            self.args = partial.iter().map(|a| shifted(*a, gone)).collect();
        }
        Ok(())
    }

    /// The first `gone` bytes of the buffer are done with.
    fn shift(&mut self, buf: &mut Vec<u8>, gone: usize) {
        buf.drain(..gone);
        self.offset += gone as u64;
        self.pos -= gone;
        self.end = 0;
    }

    /// Executes the requests that wait; their arguments are all that is in the list.
    fn execute(&mut self, worker: &mut Worker, buf: &[u8], name: &impl std::fmt::Display) -> Result<(), String> {
        if self.counts.is_empty() {
            return Ok(());
        }
        let (args, counts) = (&self.args[..], &self.counts[..]);
        let turn = Turn { buf, args, counts, inline: &[], now: clock::now_ms(), stream: None };
        let (done, stop) = worker.run(&mut self.session, &turn, &mut self.out);
        if done != self.counts.len() || stop != Stop::No {
            return Err(format!("A command in the append only file {name} cannot be executed there"));
        }
        let replies = self.out.take_bytes();
        if let Some(error) = replies.split(|c| *c == b'\n').find(|line| line.starts_with(b"-ERR unknown command")) {
            let text = String::from_utf8_lossy(error).into_owned();
            let command = text.split('\'').nth(1).unwrap_or_default();
            return Err(format!("Unknown command '{command}' reading the append only file {name}"));
        }
        self.args.clear();
        self.counts.clear();
        if self.server.is_stopping() {
            return Err("the server is ending".into());
        }
        Ok(())
    }

    fn malformed(&self, at: usize, name: &impl std::fmt::Display) -> String {
        format!(
            "Bad file format reading the append only file {name} at offset {}: make a backup of your AOF file, then use \
             redis-check-aof --fix <filename.manifest>",
            self.offset + at as u64
        )
    }
}

fn shifted(a: Arg, by: usize) -> Arg {
    Arg { start: a.start - by as u32, end: a.end - by as u32 }
}
