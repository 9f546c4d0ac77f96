//! The replication log: one ordered stream of bytes, which replicas read at their own pace.
//!
//! Effects come in under the locks of their keys, so the order of the stream explains every reply. The stream is kept in
//! blocks: what a reader takes is a share of the block, not a copy, and a block goes when it is older than
//! `repl-backlog-size` and every reader is past it. Nothing of it exists while nobody follows.
//!
//! Offsets count the bytes of the stream since the history began; offset n is the place after n bytes. On a replica the
//! stream is the primary's, byte for byte, and local effects do not enter it.
//!
//! The append-only file takes the same effects, but keeps its own count of which database was selected last, since it
//! starts and ends at other places.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::*;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};

use crate::base::sync::{AtomicU64, AtomicUsize, Mutex};
use crate::keyspace::hooks::LogSink;
use crate::keyspace::{LogBuf, Logged, Target};

/// The size of blocks.
const BLOCK: usize = 16 << 10;
/// What a block costs beside its bytes: who shares it is counted in an allocation of its own.
const SHARED: u64 = 40;
/// The size that what is used again and again keeps.
const SCRATCH: usize = 64 << 10;
/// The most that a reader gets at once.
const READ: usize = 512 << 10;

/// Takes the effects for the append-only file. Called under the log's lock, in the order of the log: it only copies.
pub trait FileSink: Send + Sync {
    /// Appends whole requests. `offset` is the log's end after them.
    fn append(&self, requests: &[u8], offset: u64);
    /// The stream is at `offset` and has nothing more for the file up to there.
    fn reach(&self, offset: u64);
}

/// Names a reader of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReaderId(pub u64);

struct Reader {
    id: ReaderId,
    offset: u64,
    /// Bytes before `offset` that it still holds, as it last said.
    unsent: u64,
    waker: Option<Waker>,
}

/// The history that is kept.
#[derive(Default)]
struct Stream {
    blocks: VecDeque<Bytes>,
    /// The offset at which `blocks` begin.
    start: u64,
    tail: BytesMut,
    /// The database of the last command, if the next one may rely on it.
    selected: Option<usize>,
}

#[derive(Default)]
struct State {
    /// The end of the stream.
    end: u64,
    stream: Option<Stream>,
    readers: Vec<Reader>,
    next_reader: u64,
    backlog: u64,
    /// The stream is our primary's: the generation of the link to it.
    follows: Option<u64>,
    file: Option<Arc<dyn FileSink>>,
    file_selected: Option<usize>,
    scratch: Vec<u8>,
}

/// The log. Its methods may be called from any thread.
#[derive(Default)]
pub struct Log {
    state: Mutex<State>,
    end: AtomicU64,
    /// Readers that wait for more.
    sleeping: AtomicUsize,
}

/// What is kept of the history: the offset of the first byte, and the number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The offset at which it begins.
    pub start: u64,
    /// Bytes.
    pub len: u64,
}

/// What the allocations cost beside so many bytes of the stream that they hold.
fn headers(bytes: u64) -> u64 {
    (bytes / BLOCK as u64 + 1) * SHARED
}

impl Stream {
    fn starting_at(offset: u64) -> Stream {
        Stream { start: offset, ..Stream::default() }
    }
    fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.tail.len() == self.tail.capacity() {
                self.seal();
                self.tail = BytesMut::with_capacity(BLOCK);
            }
            let room = self.tail.capacity() - self.tail.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.tail.extend_from_slice(now);
            bytes = later;
        }
    }
    /// What is written so far becomes a block that can be shared.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.blocks.push_back(self.tail.split().freeze());
        }
    }
    /// Drops what is before `offset`.
    fn trim(&mut self, offset: u64) {
        while let Some(b) = self.blocks.front()
            && self.start + b.len() as u64 <= offset
        {
            self.start += b.len() as u64;
            self.blocks.pop_front();
        }
        if self.blocks.is_empty() && self.start < offset {
            self.seal();
        }
        if let Some(b) = self.blocks.front_mut()
            && self.start < offset
        {
            b.advance((offset - self.start) as usize);
            self.start = offset;
        }
    }
    /// The bytes from `offset` on, at least one block of them if there are any. The stream ends at `end`.
    fn read(&mut self, offset: u64, mut end: u64) -> Vec<Bytes> {
        self.seal();
        let (mut out, mut total) = (Vec::new(), 0);
        // Readers are near the end, as a rule.
        let mut first = self.blocks.len();
        while first > 0 && end > offset {
            first -= 1;
            end -= self.blocks[first].len() as u64;
        }
        let mut skip = (offset - end) as usize;
        for b in self.blocks.iter().skip(first) {
            let part = b.slice(skip..);
            skip = 0;
            total += part.len();
            out.push(part);
            if total >= READ {
                break;
            }
        }
        out
    }
}

/// Writes `SELECT db`.
fn select(db: usize, out: &mut Vec<u8>) {
    crate::keyspace::encode_request(&[b"SELECT", db.to_string().as_bytes()], out);
}

/// The stream's form of effects, for a follower whose last database was `selected`.
fn encode(effects: &LogBuf, wanted: impl Fn(&Logged<'_>) -> bool, selected: &mut Option<usize>, out: &mut Vec<u8>) {
    // A group may lose members that go elsewhere, but not its end. What selects a database is inside of it, as Valkey's is.
    for l in effects.iter() {
        let wants = wanted(&l);
        if l.opens {
            out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
        }
        if wants && *selected != Some(l.db) {
            select(l.db, out);
            *selected = Some(l.db);
        }
        if wants {
            out.extend_from_slice(l.request);
        }
        if l.closes {
            out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
        }
    }
}

impl State {
    /// The stream goes on by `bytes`, which are kept if history is kept.
    fn push(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        if let Some(stream) = &mut self.stream {
            stream.push(bytes);
            let kept = self.end - stream.start;
            if kept > self.backlog + BLOCK as u64 {
                self.trim();
            }
        }
    }
    /// One long command, which becomes a block of its own.
    fn push_long(&mut self, db: usize, request: Vec<u8>) {
        let Some(stream) = &mut self.stream else { return };
        if stream.selected != Some(db) {
            let mut head = Vec::new();
            select(db, &mut head);
            stream.push(&head);
            stream.selected = Some(db);
            self.end += head.len() as u64;
        }
        self.end += request.len() as u64;
        stream.seal();
        stream.blocks.push_back(request.into());
        self.trim();
    }
    /// Drops what is older than the backlog and read by all.
    fn trim(&mut self) {
        if let Some(stream) = &mut self.stream {
            let slowest = self.readers.iter().map(|r| r.offset).min().unwrap_or(u64::MAX);
            stream.trim(slowest.min(self.end.saturating_sub(self.backlog)));
        }
    }
}

impl LogSink for Log {
    fn append(&self, effects: &mut LogBuf) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.file.is_none()
            && state.follows.is_none()
            && state.stream.is_some()
            && let Some((db, request)) = effects.take_long()
        {
            state.push_long(db, request);
            self.end.store(state.end, Release);
            return;
        }
        let mut scratch = std::mem::take(&mut state.scratch);
        if state.follows.is_none()
            && let Some(stream) = &mut state.stream
        {
            scratch.clear();
            encode(effects, |l| l.to != Target::File, &mut stream.selected, &mut scratch);
            state.push(&scratch);
        }
        if let Some(file) = &state.file {
            if state.stream.is_none() && state.follows.is_none() {
                // Something must tell the writes of clients apart, for WAITAOF, also where nobody follows.
                state.end += 1;
            }
            scratch.clear();
            encode(effects, |l| l.to != Target::Replicas, &mut state.file_selected, &mut scratch);
            if !scratch.is_empty() {
                file.append(&scratch, state.end);
            }
        }
        scratch.shrink_to(SCRATCH);
        state.scratch = scratch;
        self.end.store(state.end, Release);
    }
    fn wake(&self) {
        if self.sleeping.load(Acquire) == 0 {
            return;
        }
        let wakers: Vec<Waker> = {
            let mut state = self.state.lock();
            let end = state.end;
            let ready = state.readers.iter_mut().filter(|r| r.offset < end);
            ready.filter_map(|r| r.waker.take()).collect()
        };
        self.sleeping.fetch_sub(wakers.len(), AcqRel);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Log {
    /// The end of the stream.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end.load(Acquire)
    }
    /// Bytes of memory that are held only because a reader is slow, beyond the backlog.
    pub fn surplus(&self) -> u64 {
        let state = self.state.lock();
        let slowest = state.readers.iter().map(|r| r.offset.saturating_sub(r.unsent)).min();
        let (Some(stream), Some(slowest)) = (&state.stream, slowest) else { return 0 };
        let held = state.end - slowest.min(stream.start);
        let unused = (stream.tail.capacity() - stream.tail.len()) as u64;
        let list = (stream.blocks.capacity() * size_of::<Bytes>()) as u64;
        let backlog = state.backlog + headers(state.backlog);
        (held + unused + headers(held) + list).saturating_sub(backlog)
    }
    /// Whether history is kept.
    pub fn is_kept(&self) -> bool {
        self.state.lock().stream.is_some()
    }
    /// Which part of the history is there.
    pub fn kept(&self) -> Option<Kept> {
        let state = self.state.lock();
        state.stream.as_ref().map(|s| Kept { start: s.start, len: state.end - s.start })
    }
    /// Begins to keep history at the present end. The next command names its database. All slots are held, or the
    /// stream is the primary's. True if nothing was kept before.
    ///
    /// Offset 0 is that of a node without data: as with Redis, a history begins at 1.
    pub fn start(&self) -> bool {
        let mut state = self.state.lock();
        if state.follows.is_none() && state.stream.is_none() && state.end == 0 {
            state.end = 1;
            self.end.store(1, Release);
        }
        let end = state.end;
        match &mut state.stream {
            Some(stream) => {
                stream.selected = None;
                false
            }
            none => {
                *none = Some(Stream::starting_at(end));
                true
            }
        }
    }
    /// Drops the history, unless somebody reads. Whether it is gone.
    pub fn stop(&self) -> bool {
        let mut state = self.state.lock();
        if !state.readers.is_empty() {
            return false;
        }
        state.stream = None;
        true
    }
    /// Begins another history, of which the data at hand is the state at `offset`. Readers must not be left.
    pub fn restart(&self, offset: u64) {
        let mut state = self.state.lock();
        state.end = offset;
        self.end.store(offset, Release);
        if state.stream.is_some() {
            state.stream = Some(Stream::starting_at(offset));
        }
    }
    /// Whose stream it is from now on: a primary's, known by the link's generation, or ours. All slots are held.
    pub fn set_follows(&self, follows: Option<u64>) {
        let mut state = self.state.lock();
        state.follows = follows;
        if let Some(stream) = &mut state.stream {
            stream.selected = None;
        }
    }
    /// Sets `repl-backlog-size`.
    pub fn set_backlog(&self, bytes: u64) {
        self.state.lock().backlog = bytes;
    }
    /// Attaches or detaches the append-only file. All slots are held. The next command names its database.
    pub fn set_file(&self, file: Option<Arc<dyn FileSink>>) {
        let mut state = self.state.lock();
        state.file = file;
        state.file_selected = None;
    }
    /// Whether an append-only file takes the effects.
    pub fn has_file(&self) -> bool {
        self.state.lock().file.is_some()
    }
    /// The next command for the file names its database: a new file begins. All slots are held.
    pub fn reselect_file(&self) {
        self.state.lock().file_selected = None;
    }
    /// Appends bytes that are no effect: a PING, the primary's stream on a replica.
    pub fn append_raw(&self, bytes: &[u8]) {
        let mut state = self.state.lock();
        state.push(bytes);
        if let Some(file) = &state.file {
            // Nothing of this goes there: who waits for the end of the log waits for no more than what came before.
            file.reach(state.end);
        }
        self.end.store(state.end, Release);
        drop(state);
        self.wake();
    }
    /// Appends the primary's stream, under the locks of what it did. Does nothing if that primary, known by the link's
    /// generation, is not followed any more.
    pub fn append_stream(&self, bytes: &[u8], generation: u64) {
        let mut state = self.state.lock();
        if state.follows == Some(generation) {
            state.push(bytes);
            if let Some(file) = &state.file {
                // The effects went to the file before the stream got here.
                file.reach(state.end);
            }
            self.end.store(state.end, Release);
        }
    }
    /// A reader at the present end.
    pub fn reader_at_end(&self) -> ReaderId {
        let mut state = self.state.lock();
        let end = state.end;
        state.add_reader(end)
    }
    /// A reader at `offset`, if history goes back so far.
    pub fn reader_at(&self, offset: u64) -> Option<ReaderId> {
        let mut state = self.state.lock();
        let start = state.stream.as_ref()?.start;
        (start..=state.end).contains(&offset).then(|| state.add_reader(offset))
    }
    /// Bytes that wait for a reader; none if it is not there any more.
    pub fn behind(&self, id: ReaderId) -> u64 {
        let state = self.state.lock();
        state.readers.iter().find(|r| r.id == id).map_or(0, |r| state.end - r.offset)
    }
    /// Removes a reader.
    pub fn remove_reader(&self, id: ReaderId) {
        let mut state = self.state.lock();
        if let Some(at) = state.readers.iter().position(|r| r.id == id) {
            let reader = state.readers.swap_remove(at);
            if reader.waker.is_some() {
                self.sleeping.fetch_sub(1, AcqRel);
            }
            state.trim();
        }
    }
    /// What comes next for a reader, which is past it then. Pending until there is something.
    ///
    /// `unsent` says how many bytes of what it took the reader still holds.
    pub fn poll_read(&self, id: ReaderId, unsent: u64, cx: &mut Context<'_>) -> Poll<Vec<Bytes>> {
        let mut state = self.state.lock();
        let State { readers, stream, end, .. } = &mut *state;
        let (Some(reader), Some(stream)) = (readers.iter_mut().find(|r| r.id == id), stream.as_mut()) else {
            return Poll::Pending;
        };
        reader.unsent = unsent;
        if reader.offset == *end {
            if reader.waker.replace(cx.waker().clone()).is_none() {
                self.sleeping.fetch_add(1, AcqRel);
            }
            return Poll::Pending;
        }
        if reader.waker.take().is_some() {
            self.sleeping.fetch_sub(1, AcqRel);
        }
        let bytes = stream.read(reader.offset, *end);
        let taken = bytes.iter().map(|b| b.len() as u64).sum::<u64>();
        reader.offset += taken;
        reader.unsent += taken;
        Poll::Ready(bytes)
    }
}

impl State {
    fn add_reader(&mut self, offset: u64) -> ReaderId {
        self.next_reader += 1;
        let id = ReaderId(self.next_reader);
        self.readers.push(Reader { id, offset, unsent: 0, waker: None });
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(list: &[(usize, &[&[u8]])]) -> LogBuf {
        let mut buf = LogBuf::default();
        for (db, argv) in list {
            buf.push(*db, argv, Target::All);
        }
        buf.close_group();
        buf
    }
    fn read(log: &Log, id: ReaderId) -> Vec<u8> {
        match log.poll_read(id, 0, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(parts) => parts.concat(),
            Poll::Pending => Vec::new(),
        }
    }

    #[test]
    fn the_stream_names_databases_and_brackets_groups() {
        let log = Log::default();
        log.append(&mut effects(&[(0, &[b"SET", b"a", b"1"])]));
        assert_eq!((log.end(), log.kept()), (0, None), "nobody follows");
        assert!(log.start() && !log.start());
        let id = log.reader_at_end();
        log.append(&mut effects(&[(0, &[b"PING"])]));
        log.append(&mut effects(&[(0, &[b"DEL", b"a"]), (3, &[b"PING"])]));
        let expected: &[u8] =
            b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*1\r\n$4\r\nPING\r\n*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n\
            *2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nEXEC\r\n";
        assert_eq!(String::from_utf8_lossy(&read(&log, id)), String::from_utf8_lossy(expected));
        // A history begins at 1.
        assert_eq!((log.end(), log.behind(id)), (expected.len() as u64 + 1, 0));
        assert!(read(&log, id).is_empty());
        log.append(&mut effects(&[(7, &[b"PING"]), (7, &[b"PING"])]));
        let text = String::from_utf8_lossy(&read(&log, id)).into_owned();
        assert!(text.starts_with("*1\r\n$5\r\nMULTI\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n7\r\n"), "{text}");
    }

    #[test]
    fn history_is_kept_for_the_backlog_and_for_slow_readers() {
        let log = Log::default();
        log.set_backlog(100_000);
        log.start();
        let slow = log.reader_at_end();
        let value = vec![b'x'; 1000];
        for i in 0..1000u32 {
            log.append_raw(&value);
            if i == 499 {
                assert_eq!(log.kept(), Some(Kept { start: 1, len: 500_000 }), "the slow one needs it");
                assert_eq!(read(&log, slow).len(), 500_000);
            }
        }
        let kept = log.kept().unwrap();
        assert!(kept.start <= 500_001 && kept.start > 400_000, "{kept:?}");
        log.remove_reader(slow);
        log.append_raw(&value);
        let kept = log.kept().unwrap();
        assert!(kept.start + kept.len == 1_001_001 && (100_000..100_000 + BLOCK as u64).contains(&kept.len));
        assert!(log.reader_at(kept.start - 1).is_none() && log.reader_at(1_001_002).is_none());
        let id = log.reader_at(kept.start + 7).unwrap();
        let mut total = 0;
        loop {
            let n = read(&log, id).len();
            if n == 0 {
                break;
            }
            total += n as u64;
        }
        assert_eq!(total, kept.len - 7);
    }

    /// What came in one piece after other blocks was once kept whole, so that replicas went on from before it.
    #[test]
    fn history_is_cut_in_the_middle_of_a_long_piece() {
        let log = Log::default();
        log.set_backlog(16 << 10);
        log.start();
        let id = log.reader_at_end();
        log.append_raw(b"short");
        assert_eq!(read(&log, id), b"short");
        log.remove_reader(id);
        log.append_raw(&vec![b'x'; 8 << 20]);
        assert_eq!(log.kept().unwrap().len, 16 << 10);
        assert!(log.reader_at(6).is_none());
    }

    #[test]
    fn what_a_reader_has_not_sent_counts_as_surplus() {
        let log = Log::default();
        log.set_backlog(1000);
        log.start();
        log.append_raw(&[b'x'; 5000]);
        assert_eq!(log.surplus(), 0, "nobody is slow");
        let id = log.reader_at_end();
        log.append_raw(&vec![b'x'; 1 << 20]);
        let (all, slack) = ((1 << 20) - 1000, 2 * BLOCK as u64);
        assert!((all..all + slack).contains(&log.surplus()), "{}", log.surplus());
        let n = read(&log, id).len() as u64;
        assert!(log.surplus() >= all, "it took {n} bytes, and holds them");
        while !read(&log, id).is_empty() {}
        // What all have read goes with the next write.
        log.append_raw(b"x");
        assert!(log.surplus() < slack, "{}", log.surplus());
    }

    /// The end was once read before the reader's place, which was past it by then.
    #[test]
    fn how_far_a_reader_is_behind_never_underflows() {
        let log = Log::default();
        log.set_backlog(1 << 20);
        log.start();
        let id = log.reader_at_end();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                for _ in 0..20_000 {
                    log.append_raw(b"0123456789");
                    read(&log, id);
                }
                done.store(true, Release);
            });
            while !done.load(Acquire) {
                assert!(log.behind(id) <= 10);
            }
        });
    }

    #[test]
    fn every_reader_gets_the_same_bytes_in_the_same_order_under_concurrency() {
        let log = Log::default();
        log.set_backlog(1 << 30);
        log.start();
        let ids = [log.reader_at_end(), log.reader_at_end()];
        let total = 2 * 20_000 * 16u64;
        let texts: Vec<Vec<u8>> = std::thread::scope(|s| {
            for t in 0..2u64 {
                let log = &log;
                s.spawn(move || (0..20_000u64).for_each(|i| log.append_raw(format!("{t}{i:015}").as_bytes())));
            }
            let readers: Vec<_> = ids
                .map(|id| {
                    let log = &log;
                    s.spawn(move || {
                        let mut all = Vec::new();
                        while (all.len() as u64) < total {
                            all.extend(read(log, id));
                        }
                        all
                    })
                })
                .into_iter()
                .collect();
            readers.into_iter().map(|r| r.join().unwrap()).collect()
        });
        assert!(texts[0] == texts[1]);
        for t in [b'0', b'1'] {
            let of = texts[0].chunks(16).filter(|c| c[0] == t);
            assert!(of.enumerate().all(|(i, c)| c[1..] == *format!("{i:015}").as_bytes()));
        }
    }
}
