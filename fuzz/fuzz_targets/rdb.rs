//! Any bytes as an RDB file: keys, or an error that says where; no panic, no more memory than the bytes call for.
#![no_main]

use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;

use dunlin::commands::Server;
use dunlin::config::Config;
use dunlin::exec::Worker;
use dunlin::persist::rdb::load::{Load, load};
use libfuzzer_sys::fuzz_target;

static SERVER: LazyLock<&'static Server> = LazyLock::new(|| Server::new(Box::leak(Box::new(Config::new()))));

thread_local! {
    static WORKER: std::cell::RefCell<Worker> = std::cell::RefCell::new(Worker::new(*SERVER, 0));
}

fuzz_target!(|bytes: &[u8]| {
    let server = *SERVER;
    let spare = server.metrics.spare();
    let how = Load {
        into: server.keyspace,
        tuning: server.tuning(),
        limits: server.limits(),
        now: 1_700_000_000_000,
        keep_expired: true,
        note_expired: false,
        replace: true,
        // Else nothing but its own seeds would get past the end.
        checksum: false,
        delay_us: 0,
        progress: &AtomicU64::new(0),
    };
    let _ = load(bytes, how, &[spare.stats]);
    WORKER.with_borrow_mut(|w| w.flush_all());
});
