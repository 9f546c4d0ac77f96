//! Memory: the limit, eviction, expiry, lazy freeing.

use crate::config::enums::*;
use crate::config::kind::Kind::*;
use crate::config::row::*;

const I32: i64 = i32::MAX as i64;

rows! {
    /// The most memory that data and buffers may take; 0 for no limit.
    "maxmemory": Memory(0, i64::MAX), = "0", MUTABLE, maxmemory -> usize;
    /// Which keys to evict when the limit is reached.
    "maxmemory-policy": Enum(POLICY), = "noeviction", MUTABLE, maxmemory_policy -> Policy;
    /// How many keys are looked at to find one to evict: more is more exact and slower.
    "maxmemory-samples": Int(1, 64), = "5", MUTABLE, maxmemory_samples -> usize;
    /// How hard a command tries to evict before it goes on: 0 for least delay, 100
    /// for no care about delay.
    "maxmemory-eviction-tenacity": Int(0, 100), = "10", MUTABLE, maxmemory_eviction_tenacity -> u32;
    /// Let a replica leave evicting to its primary.
    "replica-ignore-maxmemory" ["slave-ignore-maxmemory"]: Bool, = "yes", MUTABLE, replica_ignore_maxmemory -> bool;
    /// Neither remove keys whose time is over nor evict while a tool imports data; clients that said
    /// CLIENT IMPORT-SOURCE ON see such keys. Turn it off when the data are there: meanwhile memory only grows.
    "import-mode": Bool, = "no", MUTABLE, import_mode -> bool;
    /// How fast a key's access counter saturates: with 10, after about a million accesses.
    "lfu-log-factor": Int(0, I32), = "10", MUTABLE, lfu_log_factor -> u32;
    /// Minutes without access that take one off a key's access counter; 0 for none.
    "lfu-decay-time": Int(0, I32), = "1", MUTABLE, lfu_decay_time -> u32;
    /// How much effort goes into removing expired keys that nobody reads (1 to 10).
    "active-expire-effort": Int(1, 10), = "1", MUTABLE, active_expire_effort -> u32;
    /// Free evicted values in the background.
    "lazyfree-lazy-eviction": Bool, = "yes", MUTABLE, lazyfree_lazy_eviction -> bool;
    /// Free expired values in the background.
    "lazyfree-lazy-expire": Bool, = "yes", MUTABLE, lazyfree_lazy_expire -> bool;
    /// Free values that commands overwrite in the background.
    "lazyfree-lazy-server-del": Bool, = "yes", MUTABLE, lazyfree_lazy_server_del -> bool;
    /// Let DEL free in the background, as UNLINK does.
    "lazyfree-lazy-user-del": Bool, = "yes", MUTABLE, lazyfree_lazy_user_del -> bool;
    /// Let FLUSHDB and FLUSHALL free in the background unless told otherwise.
    "lazyfree-lazy-user-flush": Bool, = "yes", MUTABLE, lazyfree_lazy_user_flush -> bool;
    /// Let a replica free its old data in the background before a full resynchronisation.
    "replica-lazy-flush" ["slave-lazy-flush"]: Bool, = "yes", MUTABLE | DORMANT;
    /// Return unused memory to the system from background threads.
    "jemalloc-bg-thread": Bool, = "yes", MUTABLE, jemalloc_bg_thread -> bool;
    /// Move values together when memory is fragmented.
    "activedefrag": Bool, = "no", MUTABLE => only(["no"], "Active defragmentation cannot be enabled: it requires a server compiled with a modified Jemalloc like the one shipped by default with the source distribution");
    /// Least waste that starts defragmentation.
    "active-defrag-ignore-bytes": Memory(1, i64::MAX), = "104857600", MUTABLE | DORMANT;
    /// Least percentage of fragmentation that starts defragmentation.
    "active-defrag-threshold-lower": Int(0, 1000), = "10", MUTABLE | DORMANT;
    /// The percentage at which defragmentation uses its full effort.
    "active-defrag-threshold-upper": Int(0, 1000), = "100", MUTABLE | DORMANT;
    /// Least effort of defragmentation, in percent of CPU.
    "active-defrag-cycle-min": Int(1, 99), = "1", MUTABLE | DORMANT;
    /// Most effort of defragmentation, in percent of CPU.
    "active-defrag-cycle-max": Int(1, 99), = "25", MUTABLE | DORMANT;
    /// Fields of a collection that defragmentation handles at a time.
    "active-defrag-max-scan-fields": Int(1, i64::MAX), = "1000", MUTABLE | DORMANT;
}
