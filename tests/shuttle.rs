//! The replication log and the snapshot's cut, in orders of threads that are drawn: `make shuttle`. A thread that waits for
//! ever, because nobody woke it, fails the test as a deadlock.
#![cfg(shuttle)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Wake, Waker};

use dunlin::keyspace::hooks::LogSink;
use dunlin::keyspace::snapshot::{Encode, Snapshot};
use dunlin::keyspace::{Db, Effects, EntryRef, Keyspace, Located, LogBuf, Target, Ttl, Tuning};
use dunlin::metrics::Metrics;
use dunlin::repl::Log;
use shuttle::thread;

fn runs() -> usize {
    std::env::var("SHUTTLE_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(500)
}

/// Wakes a thread.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn effect(name: String) -> LogBuf {
    let mut buf = LogBuf::default();
    buf.push(0, &[b"PING", name.as_bytes()], Target::All);
    buf.close_group();
    buf
}

#[test]
fn readers_of_the_log_miss_nothing_and_are_always_woken() {
    shuttle::check_random(
        || {
            let log = Arc::new(Log::default());
            log.set_backlog(1 << 20);
            log.start();
            let ids = [log.reader_at_end(), log.reader_at_end()];
            // SELECT, then two times three requests of 24 bytes.
            let total = 23 + 2 * 3 * 24;
            let readers: Vec<_> = ids
                .into_iter()
                .map(|id| {
                    let log = log.clone();
                    thread::spawn(move || {
                        let waker = Waker::from(Arc::new(Unpark(thread::current())));
                        let mut all = Vec::new();
                        while all.len() < total {
                            match log.poll_read(id, 0, &mut Context::from_waker(&waker)) {
                                Poll::Ready(parts) => all.extend(parts.concat()),
                                Poll::Pending => thread::park(),
                            }
                        }
                        all
                    })
                })
                .collect();
            let writers: Vec<_> = (0..2)
                .map(|w| {
                    let log = log.clone();
                    thread::spawn(move || {
                        for i in 0..3 {
                            log.append(&mut effect(format!("w{w}-{i}")));
                            log.wake();
                        }
                    })
                })
                .collect();
            writers.into_iter().for_each(|w| w.join().unwrap());
            let seen: Vec<Vec<u8>> = readers.into_iter().map(|r| r.join().unwrap()).collect();
            assert_eq!(seen[0], seen[1]);
            // A history begins at 1.
            assert_eq!((seen[0].len(), log.end()), (total, 1 + total as u64));
            let text = String::from_utf8(seen[0].clone()).unwrap();
            for w in 0..2 {
                let places: Vec<_> = (0..3).map(|i| text.find(&format!("w{w}-{i}")).unwrap()).collect();
                assert!(places.is_sorted());
            }
        },
        runs(),
    );
}

/// Writes keys as lines.
struct Lines;

impl Encode for Lines {
    fn select(&mut self, _db: usize, _out: &mut Vec<u8>) {}
    fn entry(&mut self, _db: usize, e: EntryRef<'_>, out: &mut Vec<u8>) {
        let text = e.text().map(|t| t.to_vec()).unwrap_or_default();
        out.extend_from_slice(&[e.key(), b"=", &text, b" "].concat());
    }
}

const TUNING: Tuning = Tuning {
    lfu: false,
    lfu_log_factor: 10,
    lfu_decay_time: 1,
    lazy_eviction: false,
    lazy_expire: false,
    lazy_server_del: false,
    lazy_user_del: false,
};

#[test]
fn a_snapshot_has_every_key_of_the_cut_once_with_its_value_then() {
    shuttle::check_random(
        || {
            let ks = Keyspace::new(1);
            let metrics: &'static Metrics = Box::leak(Box::new(Metrics::new(1, 0)));
            let keys: [&[u8]; 3] = [b"a", b"b", b"c"];
            let change = move |f: &mut dyn FnMut(&mut Db<'_>), key: &[u8]| {
                let (mut held, mut fx) = (ks.held(), Effects::default());
                let stats = metrics.thread();
                held.lock(&mut [Located::of(key).slot]);
                f(&mut Db::new(ks, &mut held, 0, 1000, &mut fx, stats, TUNING, Located::NONE));
                held.unlock();
            };
            for key in keys {
                change(&mut |db| db.set_text(key, b"0", Ttl::Clear), key);
            }
            // Twice: what the first leaves behind must not disturb the second.
            for round in 0..2 {
                let before = thread::spawn(move || change(&mut |db| db.set_text(b"a", b"1", Ttl::Clear), b"a"));
                let encoders = || Box::new(Lines) as Box<dyn Encode>;
                let mut expected = Vec::new();
                let (snapshot, ()) = Snapshot::begin(ks, &encoders, Arc::default(), |held| {
                    let (mut fx, stats) = (Effects::default(), metrics.thread());
                    let db = Db::new(ks, held, 0, 1000, &mut fx, stats, TUNING, Located::NONE);
                    for key in [&b"a"[..], b"b", b"c", b"d"] {
                        if let Some(e) = db.peek(key) {
                            Lines.entry(0, e, &mut expected);
                        }
                    }
                })
                .expect("no other");
                let writers = [
                    thread::spawn(move || {
                        change(&mut |db| db.set_text(b"b", format!("{round}-changed").as_bytes(), Ttl::Clear), b"b");
                        change(&mut |db| _ = db.delete(b"a", false), b"a");
                    }),
                    thread::spawn(move || {
                        change(&mut |db| db.set_text(b"d", b"new", Ttl::Clear), b"d");
                        change(&mut |db| _ = db.delete(b"c", false), b"c");
                        change(&mut |db| db.set_text(b"c", b"again", Ttl::Clear), b"c");
                    }),
                ];
                let mut seen = Vec::new();
                let run = snapshot.run(&AtomicBool::new(false), |chunk| {
                    seen.extend_from_slice(chunk);
                    Ok(())
                });
                run.expect("no error");
                writers.into_iter().for_each(|w| w.join().unwrap());
                before.join().unwrap();
                let sorted = |bytes: &[u8]| {
                    let text = String::from_utf8(bytes.to_vec()).unwrap();
                    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
                    words.sort();
                    words
                };
                assert_eq!(sorted(&seen), sorted(&expected), "round {round}");
            }
        },
        (runs() / 25).max(4),
    );
}
