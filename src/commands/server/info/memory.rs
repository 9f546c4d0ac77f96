//! INFO memory, and the figures behind it that MEMORY STATS and DOCTOR use too.

use std::sync::atomic::Ordering::Relaxed;

use crate::base::{alloc, os};
use crate::clients::flags;
use crate::commands::Server;
use crate::commands::text::Text;

/// About what a key takes in the tables, beside its entry: an eighth-full share of a 64-byte bucket of seven.
const TABLE_BYTES_PER_KEY: usize = 11;

/// Where memory goes, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Overhead {
    /// Allocated.
    pub used: usize,
    /// Most ever allocated.
    pub peak: usize,
    /// Allocated when the server was ready.
    pub startup: usize,
    /// Connections, without links of replication.
    pub clients: usize,
    /// Tables of keys, estimated.
    pub tables: usize,
    /// The replication log, links of the cluster, the buffer of the append-only file, scripts and functions.
    pub buffers: usize,
    /// Resident.
    pub rss: usize,
    /// The allocator's view.
    pub allocator: alloc::Stats,
    /// Keys in all databases.
    pub keys: u64,
}

impl Overhead {
    /// Take the figures now.
    pub fn read(server: &'static Server) -> Overhead {
        let keys = (0..server.keyspace.databases()).map(|db| server.metrics.keys(db)).sum::<u64>();
        let clients = server.registry.all();
        let normal = clients.iter().filter(|client| !client.has(flags::REPLICA | flags::PRIMARY));
        Overhead {
            used: alloc::used_memory(),
            peak: alloc::peak_memory(),
            startup: server.startup_memory,
            clients: normal.map(|client| client.memory()).sum(),
            tables: keys as usize * TABLE_BYTES_PER_KEY,
            buffers: buffers(server),
            rss: os::resident_bytes(),
            allocator: alloc::stats(),
            keys,
        }
    }

    /// What is not data.
    pub fn total(&self) -> usize {
        self.startup + self.clients + self.tables + self.buffers
    }

    /// What is data.
    pub fn dataset(&self) -> usize {
        self.used.saturating_sub(self.total())
    }

    /// The data's share of what was allocated since the start, in percent.
    pub fn dataset_percent(&self) -> f64 {
        percent(self.dataset(), self.used.saturating_sub(self.startup))
    }

    /// What is used of the highest use ever, in percent.
    pub fn peak_percent(&self) -> f64 {
        percent(self.used, self.peak)
    }

    /// Bytes that a key takes on average.
    pub fn bytes_per_key(&self) -> usize {
        self.used.saturating_sub(self.startup) / (self.keys.max(1) as usize)
    }

    /// Pages in use for what is allocated: ratio and bytes.
    pub fn fragmentation(&self) -> (f64, i64) {
        overhead(self.allocator.active, self.allocator.allocated)
    }

    /// Resident pages of the allocator for those in use.
    pub fn allocator_rss(&self) -> (f64, i64) {
        overhead(self.allocator.resident, self.allocator.active)
    }

    /// The process's resident memory for the allocator's.
    pub fn rss_overhead(&self) -> (f64, i64) {
        overhead(self.rss, self.allocator.resident)
    }

    /// Resident memory for what is allocated.
    pub fn total_fragmentation(&self) -> (f64, i64) {
        overhead(self.rss, self.used)
    }
}

fn buffers(server: &Server) -> usize {
    let log = server.repl.log.kept().map_or(0, |kept| kept.len as usize);
    let file = server.aof.writer().map_or(0, |w| w.memory());
    log + file + server.cluster.link_memory() + server.scripts.memory() + server.libraries.memory()
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

fn overhead(outer: usize, inner: usize) -> (f64, i64) {
    (if inner == 0 { 0.0 } else { outer as f64 / inner as f64 }, outer as i64 - inner as i64)
}

/// INFO memory.
pub(super) fn write(server: &'static Server, text: &mut Text) {
    let o = Overhead::read(server);
    let config = server.config;
    text.section("Memory");
    text.bytes("used_memory", o.used);
    text.bytes("used_memory_rss", o.rss);
    text.bytes("used_memory_peak", o.peak);
    text.field("used_memory_peak_perc", format_args!("{:.2}%", o.peak_percent()));
    text.field("used_memory_overhead", o.total());
    text.field("used_memory_startup", o.startup);
    text.field("used_memory_dataset", o.dataset());
    text.field("used_memory_dataset_perc", format_args!("{:.2}%", o.dataset_percent()));
    text.field("allocator_allocated", o.allocator.allocated);
    text.field("allocator_active", o.allocator.active);
    text.field("allocator_resident", o.allocator.resident);
    text.field("allocator_muzzy", o.allocator.muzzy);
    text.bytes("total_system_memory", os::total_memory());
    scripts(server, text);
    text.bytes("maxmemory", config.maxmemory());
    text.field("maxmemory_policy", config.maxmemory_policy().name());
    for (name, (ratio, bytes)) in [
        ("allocator_frag", o.fragmentation()),
        ("allocator_rss", o.allocator_rss()),
        ("rss_overhead", o.rss_overhead()),
    ] {
        text.ratio(&format!("{name}_ratio"), ratio);
        text.field(&format!("{name}_bytes"), bytes);
    }
    let (ratio, bytes) = o.total_fragmentation();
    text.ratio("mem_fragmentation_ratio", ratio);
    text.field("mem_fragmentation_bytes", bytes);
    let kept = server.repl.log.kept().map_or(0, |k| k.len);
    let surplus = server.repl.log.surplus();
    text.field("mem_not_counted_for_evict", server.uncounted_memory());
    text.field("mem_replication_backlog", kept - surplus.min(kept));
    text.field("mem_total_replication_buffers", kept);
    text.field("mem_clients_slaves", surplus);
    text.field("mem_clients_normal", o.clients);
    text.field("mem_cluster_links", server.cluster.link_memory());
    text.field("mem_aof_buffer", server.aof.writer().map_or(0, |w| w.memory()));
    text.field("mem_allocator", alloc::version());
    text.zeros(&["mem_overhead_db_hashtable_rehashing", "active_defrag_running"]);
    text.field("lazyfree_pending_objects", server.keyspace.lazy.pending());
    text.field("lazyfreed_objects", server.keyspace.lazy.freed());
}

/// The fields of the script engine.
fn scripts(server: &Server, text: &mut Text) {
    let [eval, functions] = [0, 1].map(|i| server.interpreter_memory[i].load(Relaxed));
    let (libraries, registered) = server.libraries.count();
    let (cached, code) = (server.scripts.memory(), server.libraries.memory());
    text.bytes("used_memory_lua", eval);
    text.field("used_memory_vm_eval", eval);
    text.field("used_memory_scripts_eval", cached);
    text.field("number_of_cached_scripts", server.scripts.len());
    text.field("number_of_functions", registered);
    text.field("number_of_libraries", libraries);
    text.field("used_memory_vm_functions", functions);
    text.bytes("used_memory_vm_total", eval + functions);
    text.field("used_memory_functions", code);
    text.bytes("used_memory_scripts", cached + code);
}
