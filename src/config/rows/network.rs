//! Network and connections.

use crate::config::kind::{Kind::*, any_text};
use crate::config::row::*;

rows! {
    /// The addresses to listen on. A leading '-' means that it is no error if the
    /// address does not exist on this machine. '*' is every IPv4 address, '::*'
    /// every IPv6 address. An empty value listens on no TCP address at all.
    "bind": Bind, = "* -::*", MUTABLE, bind -> Vec<u8>;
    /// The TCP port to listen on; 0 for none.
    "port": Int(0, 65_535), = "6379", MUTABLE, port -> u16;
    /// Refuse connections from other machines as long as the server listens on
    /// every address and the default user has no password.
    "protected-mode": Bool, = "yes", MUTABLE, protected_mode -> bool;
    /// How many connections may wait in the kernel to be accepted.
    "tcp-backlog": Int(0, I32), = "511", IMMUTABLE, tcp_backlog -> i32;
    /// A path to listen on as a Unix socket; empty for none.
    "unixsocket": Text(any_text), = "", IMMUTABLE | OMIT_EMPTY, unixsocket -> Vec<u8>;
    /// The group that owns the Unix socket; empty for the process's own.
    "unixsocketgroup": Text(any_text), = "", IMMUTABLE | OMIT_EMPTY, unixsocketgroup -> Vec<u8>;
    /// The permissions of the Unix socket; 0 leaves them to the umask.
    "unixsocketperm": Octal(0o777), = "0", IMMUTABLE, unixsocketperm -> u32;
    /// Close a connection that was idle for this many seconds; 0 for never.
    "timeout": Int(0, I32), = "0", MUTABLE, timeout -> u64;
    /// Seconds between TCP keep-alive probes on an idle connection; 0 for none.
    "tcp-keepalive": Int(0, I32), = "300", MUTABLE, tcp_keepalive -> u64;
    /// How many clients may be connected at a time. More are told so and closed.
    "maxclients": Int(1, U32), = "10000", MUTABLE, maxclients -> usize;
    /// How many new connections a worker accepts before it turns to its clients.
    "max-new-connections-per-cycle": Int(1, 1000), = "10", MUTABLE | DORMANT;
    /// The same for TLS connections.
    "max-new-tls-connections-per-cycle": Int(1, 1000), = "1", MUTABLE | DORMANT;
    /// Mark outgoing sockets with this SO_MARK; 0 for none.
    "socket-mark-id": Int(0, U32), = "0", IMMUTABLE => only(["0"], "socket marks are not supported");
    /// The address from which to connect to a primary and to the nodes of the cluster; if it cannot be used, the system
    /// chooses one.
    "bind-source-addr": Text(any_text), = "", MUTABLE | OMIT_EMPTY, bind_source_addr -> Vec<u8>;
    /// How many worker threads share the memory and serve clients; 0 for one on
    /// each CPU. A connection stays with its worker.
    "io-threads" ["worker-threads"]: Int(0, 256), = "0", IMMUTABLE, io_threads -> usize;
    /// How many events an I/O thread takes before another is woken. Workers
    /// execute what they read, so there is nothing to tune.
    "events-per-io-thread": Int(0, I32), = "2", MUTABLE | DORMANT;
    /// How many commands of one pipeline run together, with their keys prefetched: at
    /// most 32, however many are set; 0 and 1 turn prefetching off.
    "prefetch-batch-max-size": Int(0, 128), = "32", MUTABLE, prefetch_batch_max_size -> usize;
    /// The most bytes of a client's unparsed input.
    "client-query-buffer-limit": Memory(1 << 20, i64::MAX), = "1073741824", MUTABLE, client_query_buffer_limit -> usize;
    /// The most bytes of one argument of a command.
    "proto-max-bulk-len": Memory(1 << 20, i64::MAX), = "536870912", MUTABLE, proto_max_bulk_len -> usize;
    /// Close a client whose pending replies exceed the hard limit, or exceed the
    /// soft limit for so many seconds; 0 for no limit. Classes: normal, replica,
    /// pubsub. Each group of four words sets one class.
    "client-output-buffer-limit": OutputLimits,
        = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", MUTABLE;
    /// The most memory that clients' buffers may take together, in bytes or in
    /// percent of maxmemory; beyond it the largest clients are closed. 0 for no limit.
    "maxmemory-clients": MemoryOrPercent, = "0", MUTABLE;
}

const I32: i64 = i32::MAX as i64;
const U32: i64 = u32::MAX as i64;
