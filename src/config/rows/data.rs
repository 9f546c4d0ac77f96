//! Encodings of values, and notifications about them.

use crate::config::enums::SANITIZE;
use crate::config::kind::Kind::*;
use crate::config::row::*;

const I32: i64 = i32::MAX as i64;

rows! {
    /// A hash of at most this many fields is kept packed.
    "hash-max-listpack-entries" ["hash-max-ziplist-entries"]: Int(0, i64::MAX), = "512", MUTABLE,
        hash_max_listpack_entries -> usize;
    /// A hash is kept packed while its fields and values are at most this long.
    "hash-max-listpack-value" ["hash-max-ziplist-value"]: Memory(0, i64::MAX), = "64", MUTABLE,
        hash_max_listpack_value -> usize;
    /// The size of a list's nodes: -1 to -5 for 4, 8, 16, 32, 64 KiB, a positive
    /// number for that many elements.
    "list-max-listpack-size" ["list-max-ziplist-size"]: Int(i32::MIN as i64, I32), = "-2", MUTABLE,
        list_max_listpack_size -> i32;
    /// Compress the nodes of a list that are further from its ends than this; 0 for none.
    "list-compress-depth": Int(0, I32), = "0", MUTABLE, list_compress_depth -> u32;
    /// A set of at most this many integers is kept as a sorted array.
    "set-max-intset-entries": Int(0, i64::MAX), = "512", MUTABLE, set_max_intset_entries -> usize;
    /// A set of at most this many members is kept packed.
    "set-max-listpack-entries": Int(0, i64::MAX), = "128", MUTABLE, set_max_listpack_entries -> usize;
    /// A set is kept packed while its members are at most this long.
    "set-max-listpack-value": Int(0, i64::MAX), = "64", MUTABLE, set_max_listpack_value -> usize;
    /// A sorted set of at most this many members is kept packed.
    "zset-max-listpack-entries" ["zset-max-ziplist-entries"]: Int(0, i64::MAX), = "128", MUTABLE,
        zset_max_listpack_entries -> usize;
    /// A sorted set is kept packed while its members are at most this long.
    "zset-max-listpack-value" ["zset-max-ziplist-value"]: Memory(0, i64::MAX), = "64", MUTABLE,
        zset_max_listpack_value -> usize;
    /// A HyperLogLog of at most this many bytes is kept sparse.
    "hll-sparse-max-bytes": Memory(0, i64::MAX), = "3000", MUTABLE, hll_sparse_max_bytes -> usize;
    /// The most bytes of a stream's node; 0 for no limit.
    "stream-node-max-bytes": Memory(0, i64::MAX), = "4096", MUTABLE, stream_node_max_bytes -> usize;
    /// The most entries of a stream's node; 0 for no limit.
    "stream-node-max-entries": Int(0, i64::MAX), = "100", MUTABLE, stream_node_max_entries -> usize;
    /// Check all of a RESTORE payload before it is used. Payloads are always checked.
    "sanitize-dump-payload": Enum(SANITIZE), = "no", MUTABLE | DORMANT;
    /// Publish changes of keys. K: by key, E: by event; g $ l s h z t d: classes of
    /// commands; x expired, e evicted, n new, m missed; A: all but n and m.
    "notify-keyspace-events": Events, = "", MUTABLE, notify_keyspace_events -> i64;
    /// How many keys client-side caching remembers; 0 for no limit.
    "tracking-table-max-keys": Int(0, i64::MAX), = "1000000", MUTABLE, tracking_table_max_keys -> usize;
}
