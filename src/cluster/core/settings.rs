//! The options that the core obeys, as plain values.

use super::{Core, Flags};
use crate::cluster::core::node::ME;

/// The options that concern the cluster. The names are those of the configuration file, without `cluster-`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Milliseconds without an answer after which a node is suspected.
    pub node_timeout: i64,
    /// Milliseconds between pings to one node; 0: half the node timeout.
    pub ping_interval: i64,
    /// How many node timeouts old a replica's data may be for it to take over; 0: any age.
    pub replica_validity_factor: i64,
    /// How many replicas a primary keeps when one migrates.
    pub migration_barrier: usize,
    /// Replicas may migrate to primaries without, and follow the slots of their primary.
    pub allow_replica_migration: bool,
    /// Do not serve while a slot has no owner.
    pub require_full_coverage: bool,
    /// Do not take over.
    pub replica_no_failover: bool,
    /// Seconds for which a forgotten node is not taken in again.
    pub blacklist_ttl: i64,
    /// Milliseconds that a manual failover may take.
    pub manual_failover_timeout: i64,
    /// `repl-ping-replica-period` in seconds.
    pub repl_ping_period: i64,
    /// The bus speaks TLS.
    pub tls_cluster: bool,
    /// Replication speaks TLS.
    pub tls_replication: bool,
    /// The port for clients; 0: none.
    pub port: u16,
    /// The port for clients with TLS; 0: none.
    pub tls_port: u16,
    /// The port of the bus; 0: 10,000 above the port for clients.
    pub bus_port: u16,
    /// The address to announce.
    pub announce_ip: Option<String>,
    /// The port to announce; 0: the real one.
    pub announce_port: u16,
    /// The port for TLS to announce; 0: the real one.
    pub announce_tls_port: u16,
    /// The port of the bus to announce; 0: the real one.
    pub announce_bus_port: u16,
    /// The address to announce for clients that come by IPv4; empty: none.
    pub announce_client_ipv4: String,
    /// The address to announce for clients that come by IPv6; empty: none.
    pub announce_client_ipv6: String,
    /// The host name to announce; empty: none.
    pub announce_hostname: String,
    /// The name for people to announce; empty: none.
    pub announce_human_nodename: String,
}

impl Default for Settings {
    /// The defaults of Valkey, on port 6379.
    fn default() -> Settings {
        Settings {
            node_timeout: 15_000,
            ping_interval: 0,
            replica_validity_factor: 10,
            migration_barrier: 1,
            allow_replica_migration: true,
            require_full_coverage: true,
            replica_no_failover: false,
            blacklist_ttl: 60,
            manual_failover_timeout: 5_000,
            repl_ping_period: 10,
            tls_cluster: false,
            tls_replication: false,
            port: 6379,
            tls_port: 0,
            bus_port: 0,
            announce_ip: None,
            announce_port: 0,
            announce_tls_port: 0,
            announce_bus_port: 0,
            announce_client_ipv4: String::new(),
            announce_client_ipv6: String::new(),
            announce_hostname: String::new(),
            announce_human_nodename: String::new(),
        }
    }
}

/// How far the bus is above the port for clients.
pub const BUS_OFFSET: u16 = 10_000;

impl Settings {
    /// The ports that others are told: for clients, for clients with TLS, of the bus.
    pub fn announced_ports(&self) -> (u16, u16, u16) {
        let or = |announced: u16, real: u16| if announced != 0 { announced } else { real };
        let port = or(self.announce_port, self.port);
        let tls_port = or(self.announce_tls_port, self.tls_port);
        let base = if self.tls_cluster { self.tls_port } else { self.port };
        let bus_port = or(self.announce_bus_port, or(self.bus_port, base.saturating_add(BUS_OFFSET)));
        (port, tls_port, bus_port)
    }
}

impl Core {
    /// Bring what this node says of itself in step with the settings.
    pub(super) fn announce(&mut self) {
        let settings = &self.settings;
        let me = &mut self.nodes[ME];
        let before = (me.flags, me.names.clone(), me.ip.clone(), me.port, me.tls_port, me.bus_port);
        (me.port, me.tls_port, me.bus_port) = settings.announced_ports();
        if let Some(ip) = &settings.announce_ip {
            me.ip = ip.as_str().into();
        }
        me.names.hostname = settings.announce_hostname.as_str().into();
        me.names.human = settings.announce_human_nodename.as_str().into();
        me.names.client_ipv4 = settings.announce_client_ipv4.as_str().into();
        me.names.client_ipv6 = settings.announce_client_ipv6.as_str().into();
        me.flags.set(Flags::NOFAILOVER, settings.replica_no_failover);
        me.flags |= Flags::LIGHT_HEADER | Flags::EXTENSIONS;
        if before != (me.flags, me.names.clone(), me.ip.clone(), me.port, me.tls_port, me.bus_port) {
            self.save();
        }
    }
}
