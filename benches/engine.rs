//! The engine without sockets: requests decoded and executed in batches of 16, on one and two threads.
//!
//! `cargo bench --bench engine`. Each measurement is a fixed amount of work shared by the threads, so the rate of two
//! threads divided by that of one is the speed-up.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dunlin::base::{clock, rng};
use dunlin::clients::Session;
use dunlin::commands::Server;
use dunlin::config::Config;
use dunlin::exec::{Turn, Worker};
use dunlin::resp::{Arg, Decoder, Limits, Out, Step};

const KEYS: u64 = 100_000;
const BATCH: usize = 16;

/// The bytes of a batch of requests on keys that `key` draws.
fn batch(verb: &str, mut key: impl FnMut() -> u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..BATCH {
        let key = format!("key:{:012}", key());
        let value = if verb == "SET" { format!("$64\r\n{}\r\n", "x".repeat(64)) } else { String::new() };
        let argc = if verb == "SET" { 3 } else { 2 };
        bytes.extend_from_slice(format!("*{argc}\r\n$3\r\n{verb}\r\n${}\r\n{key}\r\n{value}", key.len()).as_bytes());
    }
    bytes
}

/// One thread's engine.
struct Engine {
    worker: Worker,
    session: Session,
    decoder: Decoder,
    args: Vec<Arg>,
    out: Out,
}

impl Engine {
    fn new(server: &'static Server, id: usize) -> Engine {
        Engine {
            worker: Worker::new(server, id),
            session: Session::new(Default::default(), true),
            decoder: Decoder::default(),
            args: Vec::new(),
            out: Out::default(),
        }
    }
    fn run(&mut self, bytes: &mut [u8], now: i64) {
        let (mut pos, mut counts) = (0, [0u32; BATCH]);
        self.args.clear();
        for n in &mut counts {
            match self.decoder.next(bytes, &mut pos, &mut self.args, &Limits::default()) {
                Ok(Step::Request(argc)) => *n = argc as u32,
                other => panic!("{other:?}"),
            }
        }
        let turn = Turn { buf: bytes, args: &self.args, counts: &counts, inline: &[], now, stream: None };
        self.worker.run(&mut self.session, &turn, &mut self.out);
        self.out.clear();
    }
}

/// How long it takes `threads` threads to execute `batches` batches together.
#[allow(clippy::disallowed_methods, reason = "criterion measures by Instant")]
fn measure(server: &'static Server, threads: usize, batches: u64, verb: &str, hot: bool) -> Duration {
    let barrier = Barrier::new(threads + 1);
    std::thread::scope(|s| {
        for id in 0..threads {
            let barrier = &barrier;
            s.spawn(move || {
                let mut engine = Engine::new(server, id);
                let key = || if hot { 1 } else { rng::below(KEYS) };
                let mut pool: Vec<Vec<u8>> = (0..512).map(|_| batch(verb, key)).collect();
                let now = clock::now_ms();
                barrier.wait();
                for i in 0..batches / threads as u64 {
                    let at = i as usize % pool.len();
                    engine.run(&mut pool[at], now);
                }
                barrier.wait();
            });
        }
        barrier.wait();
        let start = Instant::now();
        barrier.wait();
        start.elapsed()
    })
}

fn engine(c: &mut Criterion) {
    let config: &'static Config = Box::leak(Box::new(Config::new()));
    let server = Server::new(config);
    let mut fill = Engine::new(server, 9);
    let mut next = 0;
    for _ in 0..KEYS.div_ceil(BATCH as u64) {
        let mut bytes = batch("SET", || {
            next += 1;
            next - 1
        });
        fill.run(&mut bytes, clock::now_ms());
    }
    for (what, hot) in [("uniform", false), ("hot-key", true)] {
        let mut group = c.benchmark_group(what);
        group.throughput(Throughput::Elements(BATCH as u64)).sample_size(20);
        for verb in ["GET", "SET"] {
            for threads in [1, 2] {
                group.bench_function(format!("{verb}/{threads}-threads"), |b| {
                    b.iter_custom(|n| {
                        // Enough work for the start of the threads not to count.
                        let scale = 2000;
                        measure(server, threads, n * scale, verb, hot) / scale as u32
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, engine);
criterion_main!(benches);
