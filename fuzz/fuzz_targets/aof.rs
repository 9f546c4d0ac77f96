//! Any bytes as an append-only file and as its manifest: commands that are executed, or an error that says where.
#![no_main]

use std::sync::LazyLock;

use dunlin::commands::Server;
use dunlin::config::Config;
use dunlin::exec::Worker;
use dunlin::persist::aof::Manifest;
use dunlin::server::replay::Replay;
use libfuzzer_sys::fuzz_target;

static SERVER: LazyLock<&'static Server> = LazyLock::new(|| Server::new(Box::leak(Box::new(Config::new()))));

thread_local! {
    static WORKER: std::cell::RefCell<Worker> = std::cell::RefCell::new(Worker::new(*SERVER, 0));
}

/// What would end the process, write files or make it wait.
const BARRED: [&str; 16] = [
    "shutdown", "debug", "save", "config", "replicaof", "slaveof", "failover", "client", "bgrewriteaof", "monitor",
    "memory", "psync", "sync", "latency", "blpop", "wait",
];

fuzz_target!(|bytes: &[u8]| {
    // One of nothing but remarks is as good as none.
    if let Ok(manifest) = Manifest::parse(bytes)
        && !manifest.format().is_empty()
    {
        assert_eq!(Manifest::parse(manifest.format().as_bytes()).map(|m| m.format()), Ok(manifest.format()));
    }
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    if BARRED.iter().any(|word| text.contains(word)) {
        return;
    }
    WORKER.with_borrow_mut(|worker| {
        let mut replay = Replay::new(*SERVER, 0);
        let (one, two) = bytes.split_at(bytes.len() / 2);
        let mut buf = one.to_vec();
        if replay.take(worker, &mut buf, &"fuzz").is_ok() {
            buf.extend_from_slice(two);
            let _ = replay.take(worker, &mut buf, &"fuzz");
        }
        worker.flush_all();
    });
});
