//! The thresholds at which a collection leaves its packed encoding: the `*-max-*` options, by value.

/// Encoding thresholds, handed to every operation that may grow a collection.
///
/// A changed option takes effect with the next write to a key; nothing is converted behind the client's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `list-max-listpack-size`: entries a node when positive, a size class when negative (-1: 4 KB ... -5: 64 KB).
    pub list_max_listpack_size: i32,
    /// `list-compress-depth`: how many nodes at either end stay uncompressed; 0 turns compression off.
    pub list_compress_depth: u32,
    /// `DEBUG QUICKLIST-PACKED-THRESHOLD`: elements of at least this many bytes get a plain node; 0 leaves it to the size.
    pub list_packed_threshold: usize,
    /// `hash-max-listpack-entries`.
    pub hash_max_listpack_entries: usize,
    /// `hash-max-listpack-value`, in bytes.
    pub hash_max_listpack_value: usize,
    /// `set-max-intset-entries`.
    pub set_max_intset_entries: usize,
    /// `set-max-listpack-entries`.
    pub set_max_listpack_entries: usize,
    /// `set-max-listpack-value`, in bytes.
    pub set_max_listpack_value: usize,
    /// `zset-max-listpack-entries`.
    pub zset_max_listpack_entries: usize,
    /// `zset-max-listpack-value`, in bytes.
    pub zset_max_listpack_value: usize,
}

impl Limits {
    /// The defaults of the configuration table.
    pub const DEFAULT: Limits = Limits {
        list_max_listpack_size: -2,
        list_compress_depth: 0,
        list_packed_threshold: 0,
        hash_max_listpack_entries: 512,
        hash_max_listpack_value: 64,
        set_max_intset_entries: 512,
        set_max_listpack_entries: 128,
        set_max_listpack_value: 64,
        zset_max_listpack_entries: 128,
        zset_max_listpack_value: 64,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
