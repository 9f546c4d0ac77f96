//! The cluster: hash slots spread over nodes that watch each other.

use crate::config::enums::ENDPOINT;
use crate::config::kind::{Kind::*, any_text};
use crate::config::row::*;

const I32: i64 = i32::MAX as i64;

rows! {
    /// Be a node of a cluster.
    "cluster-enabled": Bool, = "no", IMMUTABLE, cluster_enabled -> bool;
    /// Databases of a node of a cluster.
    "cluster-databases": Int(1, I32), = "1", IMMUTABLE, cluster_databases -> usize;
    /// The file in which a node keeps its view of the cluster.
    "cluster-config-file": Text(config_file), = "nodes.conf", IMMUTABLE, cluster_config_file -> Vec<u8>;
    /// Milliseconds without answer after which a node counts as failed.
    "cluster-node-timeout": Int(0, i64::MAX), = "15000", MUTABLE, cluster_node_timeout -> i64;
    /// Milliseconds between pings, for tests.
    "cluster-ping-interval": Int(0, i64::MAX), = "0", MUTABLE | HIDDEN, cluster_ping_interval -> i64;
    /// The port of the cluster bus; 0 for the client port plus 10000.
    "cluster-port": Int(0, 65_535), = "0", IMMUTABLE, cluster_port -> u16;
    /// How stale a replica may be and still be elected; 0 for any.
    "cluster-replica-validity-factor" ["cluster-slave-validity-factor"]: Int(0, I32), = "10", MUTABLE, cluster_replica_validity_factor -> i64;
    /// Replicas that a primary keeps when others lack one.
    "cluster-migration-barrier": Int(0, I32), = "1", MUTABLE, cluster_migration_barrier -> usize;
    /// Let replicas move to primaries without one.
    "cluster-allow-replica-migration": Bool, = "yes", MUTABLE, cluster_allow_replica_migration -> bool;
    /// Answer only while every slot is served.
    "cluster-require-full-coverage": Bool, = "yes", MUTABLE, cluster_require_full_coverage -> bool;
    /// Never promote this replica by itself.
    "cluster-replica-no-failover" ["cluster-slave-no-failover"]: Bool, = "no", MUTABLE, cluster_replica_no_failover -> bool;
    /// Answer reads while the cluster is down.
    "cluster-allow-reads-when-down": Bool, = "no", MUTABLE, cluster_allow_reads_when_down -> bool;
    /// Deliver shard messages while the cluster is down.
    "cluster-allow-pubsubshard-when-down": Bool, = "yes", MUTABLE, cluster_allow_pubsubshard_when_down -> bool;
    /// Bytes that may wait on a link to another node; 0 for no limit.
    "cluster-link-sendbuf-limit": Memory(0, i64::MAX), = "0", MUTABLE, cluster_link_sendbuf_limit -> u64;
    /// Seconds for which a forgotten node stays forgotten.
    "cluster-blacklist-ttl": Int(0, i64::MAX), = "60", MUTABLE, cluster_blacklist_ttl -> i64;
    /// The address that others are told.
    "cluster-announce-ip": Text(any_text), = "", MUTABLE | OMIT_EMPTY, cluster_announce_ip -> Vec<u8>;
    /// The IPv4 address that clients are told.
    "cluster-announce-client-ipv4": Text(ipv4), = "", MUTABLE | OMIT_EMPTY, cluster_announce_client_ipv4 -> Vec<u8>;
    /// The IPv6 address that clients are told.
    "cluster-announce-client-ipv6": Text(ipv6), = "", MUTABLE | OMIT_EMPTY, cluster_announce_client_ipv6 -> Vec<u8>;
    /// The port that others are told; 0 for the real one.
    "cluster-announce-port": Int(0, 65_535), = "0", MUTABLE, cluster_announce_port -> u16;
    /// The TLS port that others are told; 0 for the real one.
    "cluster-announce-tls-port": Int(0, 65_535), = "0", MUTABLE, cluster_announce_tls_port -> u16;
    /// The bus port that others are told; 0 for the real one.
    "cluster-announce-bus-port": Int(0, 65_535), = "0", MUTABLE, cluster_announce_bus_port -> u16;
    /// The host name that clients are told.
    "cluster-announce-hostname": Text(hostname), = "", MUTABLE | OMIT_EMPTY, cluster_announce_hostname -> Vec<u8>;
    /// A name of this node for people.
    "cluster-announce-human-nodename": Text(nodename), = "", MUTABLE | OMIT_EMPTY, cluster_announce_human_nodename -> Vec<u8>;
    /// What redirections name a node by.
    "cluster-preferred-endpoint-type": Enum(ENDPOINT), = "ip", MUTABLE, cluster_preferred_endpoint_type -> u8;
    /// Nodes to meet, as host:port or host:port@busport with commas between; names are looked up again and again.
    "cluster-seeds": Text(seeds), = "", MUTABLE | OMIT_EMPTY, cluster_seeds -> Vec<u8>;
    /// How many moves of slots that are over CLUSTER GETSLOTMIGRATIONS remembers.
    "cluster-slot-migration-log-max-len": Int(0, I32), = "1000", MUTABLE, cluster_slot_migration_log_max_len -> usize;
    /// How many bytes of changes may be under way to the node that takes slots when writes to them are held back for the
    /// hand-over: 0 for as few as there can be, -1 for any number. More lets slots go that are written without a pause,
    /// and holds their writes back for longer.
    "slot-migration-max-failover-repl-bytes": Int(-1, i64::MAX), = "0", MUTABLE, slot_migration_max_failover_repl_bytes -> i64;
    /// Milliseconds for which writes to slots may be held back while another node takes them.
    "cluster-manual-failover-timeout": Int(1, I32), = "5000", MUTABLE, cluster_manual_failover_timeout -> i64;
    /// Count traffic by slot.
    "cluster-slot-stats-enabled": Bool, = "no", MUTABLE, cluster_slot_stats_enabled -> bool;
}

fn config_file(text: &[u8]) -> Result<(), &'static str> {
    if text.is_empty() { Err("cluster-config-file can't be empty") } else { Ok(()) }
}

fn ipv4(text: &[u8]) -> Result<(), &'static str> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse::<std::net::Ipv4Addr>().ok());
    if text.is_empty() || parsed.is_some() { Ok(()) } else { Err("Invalid IPv4 address") }
}

fn ipv6(text: &[u8]) -> Result<(), &'static str> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse::<std::net::Ipv6Addr>().ok());
    if text.is_empty() || parsed.is_some() { Ok(()) } else { Err("Invalid IPv6 address") }
}

fn hostname(text: &[u8]) -> Result<(), &'static str> {
    if text.len() >= 256 {
        return Err("Hostnames must be less than 256 characters");
    }
    if text.iter().all(|&c| c.is_ascii_alphanumeric() || c == b'-' || c == b'.') {
        Ok(())
    } else {
        Err("Hostnames may only contain alphanumeric characters, hyphens or dots")
    }
}

fn seeds(text: &[u8]) -> Result<(), &'static str> {
    let port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    let good = |seed: &str| match seed.rsplit_once(':') {
        Some((host, ports)) => {
            let (client, bus) = ports.split_once('@').unwrap_or((ports, "1"));
            // Without a bus port it is the client's and 10000.
            let has_bus = ports.contains('@') || client.parse::<u16>().is_ok_and(|port| port <= u16::MAX - 10_000);
            !host.is_empty() && port(client) && port(bus) && has_bus
        }
        None => false,
    };
    let text = std::str::from_utf8(text).map_err(|_| "cluster-seeds must be host:port,...")?;
    let mut seeds = text.split([',', ' ']).filter(|seed| !seed.is_empty());
    if seeds.all(good) { Ok(()) } else { Err("cluster-seeds must be host:port,...") }
}

fn nodename(text: &[u8]) -> Result<(), &'static str> {
    const FORBIDDEN: &[u8] = b"!#$%&()*+:;<>?@[]^{|}~\"'=,";
    if text.iter().all(|&c| c.is_ascii_graphic() && !FORBIDDEN.contains(&c)) {
        Ok(())
    } else {
        Err("Announced human node name contained invalid character")
    }
}
