//! nodes.conf: the cluster as this node remembers it.
//!
//! A line for each node (see [`line`](super::line)), handshakes left out, then
//! `vars currentEpoch 5 lastVoteEpoch 4`. Redis 7, Valkey and Dunlin read each other's files: auxiliary fields may be
//! missing or come in any order, ports may stand in them or in the address.

use std::fmt;

use super::line::{self, FLAG_NAMES, Reader};
use super::{Flags, NodeId, NodeInfo, SlotSet, View};
use crate::base::slot::SLOTS;

/// What a file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The id of the node whose file it is.
    pub me: NodeId,
    /// All nodes; `primary_at`, `replicas` and `epoch` are not filled in.
    pub nodes: Vec<NodeInfo>,
    /// Slots that the node gives away, and to whom.
    pub migrating: Vec<(u16, NodeId)>,
    /// Slots that the node receives, and from whom.
    pub importing: Vec<(u16, NodeId)>,
    /// The greatest epoch that it saw.
    pub current_epoch: u64,
    /// The last epoch in which it voted.
    pub last_vote_epoch: u64,
    /// Names of variables that are not known here, for the log.
    pub unknown_vars: Vec<String>,
}

/// A file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The line, counted from 1; 0: the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.reason) } else { write!(f, "line {}: {}", self.line, self.reason) }
    }
}

impl std::error::Error for Damaged {}

/// The file that remembers `view`.
pub fn print(view: &View, tls_cluster: bool) -> String {
    let mut out = String::with_capacity(view.nodes.len() * 200 + 100);
    for node in view.nodes.iter().filter(|node| !node.flags.any(Flags::HANDSHAKE)) {
        line::node(&mut out, view, node, Reader::File { tls: tls_cluster });
        out.push('\n');
    }
    out.push_str(&format!("vars currentEpoch {} lastVoteEpoch {}\n", view.current_epoch, view.last_vote_epoch));
    out
}

/// Read a file. An empty one is none: nothing was stored yet.
///
/// # Errors
/// If a line is damaged, a node appears twice, a slot has two owners, or no line is about this node.
pub fn parse(text: &str, tls_cluster: bool) -> Result<Option<Stored>, Damaged> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut file = File::default();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let result = match words.first() {
            // Left by a writer that was stopped before it cut the file.
            None => Ok(()),
            Some(first) if first.eq_ignore_ascii_case("vars") => file.vars(&words[1..]),
            Some(_) => file.node(&words, tls_cluster),
        };
        result.map_err(|reason| Damaged { line: number + 1, reason })?;
    }
    file.finish().map(Some).map_err(|reason| Damaged { line: 0, reason })
}

#[derive(Default)]
struct File {
    me: Option<NodeId>,
    nodes: Vec<NodeInfo>,
    owned: SlotSet,
    migrating: Vec<(u16, NodeId)>,
    importing: Vec<(u16, NodeId)>,
    current_epoch: u64,
    last_vote_epoch: u64,
    unknown_vars: Vec<String>,
}

impl File {
    fn vars(&mut self, words: &[&str]) -> Result<(), String> {
        if !words.len().is_multiple_of(2) {
            return Err("a variable has no value".to_owned());
        }
        for pair in words.chunks_exact(2) {
            let value = || pair[1].parse().map_err(|_| format!("{} is no epoch", pair[1]));
            match pair[0].to_ascii_lowercase().as_str() {
                "currentepoch" => self.current_epoch = value()?,
                "lastvoteepoch" => self.last_vote_epoch = value()?,
                _ => self.unknown_vars.push(pair[0].to_owned()),
            }
        }
        Ok(())
    }

    fn node(&mut self, words: &[&str], tls: bool) -> Result<(), String> {
        let [id, address, flags, primary, sent, received, epoch, _link, slots @ ..] = words else {
            return Err(format!("a node has at least 8 fields, this line {}", words.len()));
        };
        let id = node_id(id)?;
        if self.nodes.iter().any(|node| node.id == id) {
            return Err(format!("node {id} is there twice"));
        }
        let mut info = blank(id);
        read_address(&mut info, address, tls)?;
        info.flags = read_flags(flags)?;
        info.primary = if primary.starts_with('-') { None } else { Some(node_id(primary)?) };
        let time = |text: &str| text.parse::<i64>().map_err(|_| format!("{text} is no time"));
        (info.ping_sent, info.pong_received) = (time(sent)?, time(received)?);
        info.config_epoch = epoch.parse().map_err(|_| format!("{epoch} is no epoch"))?;
        // The epoch of a replica's line is that of its primary.
        if info.is_replica() && info.primary.is_some() {
            info.config_epoch = 0;
        }
        if info.flags.any(Flags::MYSELF) && self.me.replace(id).is_some() {
            return Err("two nodes are called myself".to_owned());
        }
        for word in slots {
            self.slots(&mut info, word)?;
        }
        self.nodes.push(info);
        Ok(())
    }

    /// `5`, `5-9`, `[5->-node]`, `[5-<-node]`.
    fn slots(&mut self, info: &mut NodeInfo, word: &str) -> Result<(), String> {
        let invalid = || format!("{word} is no slot");
        let slot = |text: &str| text.parse::<u16>().ok().filter(|&slot| slot < SLOTS).ok_or_else(invalid);
        if let Some(open) = word.strip_prefix('[') {
            let open = open.strip_suffix(']').ok_or_else(invalid)?;
            if let Some((number, node)) = open.split_once("->-") {
                self.migrating.push((slot(number)?, node_id(node)?));
            } else if let Some((number, node)) = open.split_once("-<-") {
                self.importing.push((slot(number)?, node_id(node)?));
            } else {
                return Err(invalid());
            }
            return Ok(());
        }
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (first, last) = (slot(first)?, slot(last)?);
        if first > last {
            return Err(invalid());
        }
        for slot in first..=last {
            if !self.owned.insert(slot) {
                return Err(format!("slot {slot} has two owners"));
            }
            info.slots.insert(slot);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Stored, String> {
        let me = self.me.ok_or("no line is about this node itself")?;
        // Nodes that are only mentioned: as primaries, or at the other end of a slot that moves.
        let primaries = self.nodes.iter().filter_map(|node| node.primary);
        let ends = self.migrating.iter().chain(&self.importing).map(|&(_, id)| id);
        let mentioned: Vec<NodeId> = primaries.chain(ends).collect();
        for id in mentioned {
            if !self.nodes.iter().any(|node| node.id == id) {
                let mut info = blank(id);
                info.flags = Flags::NOADDR;
                self.nodes.push(info);
            }
        }
        // A file of Redis 7.0 has no shards: a primary is one. A replica is of its primary's, whatever its own line says:
        // it may have been written before the news about one of the two arrived.
        for node in self.nodes.iter_mut().filter(|node| node.shard_id.is_null()) {
            node.shard_id = node.id;
        }
        let shards: Vec<(NodeId, NodeId)> = self.nodes.iter().map(|node| (node.id, node.shard_id)).collect();
        for node in &mut self.nodes {
            let primary = node.primary.and_then(|primary| shards.iter().find(|(id, _)| *id == primary));
            if let Some((_, shard)) = primary {
                node.shard_id = *shard;
            }
        }
        self.migrating.sort();
        self.importing.sort();
        let greatest = self.nodes.iter().map(|node| node.config_epoch).max().unwrap_or(0);
        Ok(Stored {
            me,
            nodes: self.nodes,
            migrating: self.migrating,
            importing: self.importing,
            current_epoch: self.current_epoch.max(greatest),
            last_vote_epoch: self.last_vote_epoch,
            unknown_vars: self.unknown_vars,
        })
    }
}

fn node_id(text: &str) -> Result<NodeId, String> {
    NodeId::parse(text.as_bytes()).ok_or_else(|| format!("{text} is no node id"))
}

fn blank(id: NodeId) -> NodeInfo {
    NodeInfo {
        id,
        shard_id: NodeId::NULL,
        ip: String::new(),
        port: 0,
        tls_port: 0,
        bus_port: 0,
        hostname: String::new(),
        human_nodename: String::new(),
        client_ipv4: String::new(),
        client_ipv6: String::new(),
        flags: Flags::NONE,
        primary: None,
        primary_at: None,
        replicas: Vec::new(),
        ping_sent: 0,
        pong_received: 0,
        ping_time: None,
        config_epoch: 0,
        epoch: 0,
        connected: false,
        slots: SlotSet::new(),
        repl_offset: 0,
    }
}

/// `ip:port[@busport][,hostname[,name=value]*]`
fn read_address(info: &mut NodeInfo, text: &str, tls: bool) -> Result<(), String> {
    let mut fields = text.split(',');
    let address = fields.next().unwrap_or_default();
    let (ip, ports) = address.rsplit_once(':').ok_or_else(|| format!("{address} is no address"))?;
    let (port, bus_port) = match ports.split_once('@') {
        Some((port, bus_port)) => (port, Some(bus_port)),
        None => (ports, None),
    };
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("{text} is no port"));
    info.ip = ip.to_owned();
    info.hostname = fields.next().unwrap_or_default().to_owned();
    let (mut has_tcp, mut has_tls) = (false, false);
    for field in fields {
        let (name, value) = field.split_once('=').ok_or_else(|| format!("{field} is no name=value"))?;
        match name {
            "shard-id" => info.shard_id = node_id(value)?,
            "nodename" => info.human_nodename = value.to_owned(),
            "tcp-port" => (info.port, has_tcp) = (number(value)?, true),
            "tls-port" => (info.tls_port, has_tls) = (number(value)?, true),
            "client-ipv4" => info.client_ipv4 = value.to_owned(),
            "client-ipv6" => info.client_ipv6 = value.to_owned(),
            _ => return Err(format!("unknown field {name}")),
        }
    }
    let main = number(port)?;
    // The port in the address is the one that no field has; in old files, that of the bus's kind.
    if !has_tcp && (has_tls || !tls) {
        info.port = main;
    } else if !has_tls {
        info.tls_port = main;
    }
    info.bus_port = match bus_port {
        Some(bus_port) => number(bus_port)?,
        None => info.client_port(tls).saturating_add(super::core::BUS_OFFSET),
    };
    Ok(())
}

fn read_flags(text: &str) -> Result<Flags, String> {
    let mut flags = Flags::NONE;
    for word in text.split(',') {
        let word = word.to_ascii_lowercase();
        let known = FLAG_NAMES.iter().find(|(_, name)| *name == word).map(|(flag, _)| *flag);
        flags |= match (known, word.as_str()) {
            (Some(flag), _) => flag,
            (None, "primary") => Flags::PRIMARY,
            (None, "replica") => Flags::REPLICA,
            (None, "noflags") => Flags::NONE,
            _ => return Err(format!("unknown flag {word}")),
        };
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{node, view};
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn a_file_comes_back_as_it_went() {
        let mut me = node('a', Flags::PRIMARY | Flags::MYSELF);
        me.slots = [1, 2, 3, 9].into_iter().collect();
        me.config_epoch = 6;
        me.hostname = "h.example".to_owned();
        me.client_ipv6 = "fe80::1".to_owned();
        let mut replica = node('b', Flags::REPLICA | Flags::FAIL);
        (replica.primary, replica.shard_id) = (Some(me.id), me.shard_id);
        replica.human_nodename = "rack_7".to_owned();
        replica.tls_port = 7001;
        replica.ip = "::1".to_owned();
        let handshake = node('c', Flags::HANDSHAKE);
        let other = node('d', Flags::PRIMARY);
        let view = view(vec![me.clone(), replica.clone(), handshake, other.clone()], vec![(3, other.id)]);
        for tls in [false, true] {
            let text = print(&view, tls);
            let stored = parse(&text, tls).unwrap().unwrap();
            let wanted: Vec<NodeInfo> = [&me, &replica, &other]
                .into_iter()
                .map(|node| NodeInfo { connected: false, repl_offset: 0, ..node.clone() })
                .collect();
            assert_eq!(stored.nodes, wanted);
            assert_eq!((stored.me, stored.migrating.clone()), (me.id, vec![(3, other.id)]));
            assert_eq!((stored.current_epoch, stored.last_vote_epoch), (6, 2));
        }
    }

    #[test]
    fn a_file_of_redis_7_0_is_read() {
        let text = format!(
            "{A} 127.0.0.1:7001@17001 slave,fail? {B} 1700000000000 1700000000001 3 disconnected\n\
             {B} 127.0.0.1:7000@17000 myself,master - 0 1700000000000 3 connected 0-5460 [77-<-{A}]\n\
             vars currentEpoch 3 lastVoteEpoch 0\n\n\n"
        );
        let stored = parse(&text, false).unwrap().unwrap();
        assert_eq!(stored.me.as_str(), B);
        assert_eq!((stored.nodes[0].config_epoch, stored.nodes[0].port), (0, 7001));
        assert_eq!((stored.nodes[0].shard_id.as_str(), stored.nodes[1].shard_id.as_str()), (B, B));
        assert_eq!(stored.nodes[1].slots.len(), 5461);
        assert_eq!(stored.importing, [(77, stored.nodes[0].id)]);
    }

    #[test]
    fn older_files_without_bus_port_and_nodes_only_mentioned_are_read() {
        let text = format!("{A} 10.0.0.1:7000 myself,slave {B} 0 0 0 connected\n");
        let stored = parse(&text, false).unwrap().unwrap();
        assert_eq!((stored.nodes[0].bus_port, stored.nodes[1].id.as_str()), (17000, B));
        assert_eq!(stored.nodes[1].flags, Flags::NOADDR);
        assert_eq!(parse("", false), Ok(None));
    }

    #[test]
    fn damage_is_told_with_its_line() {
        let good = format!("{A} 10.0.0.1:7000@17000 myself,master - 0 0 0 connected 0-9\n");
        let check = |line: &str, at: usize, reason: &str| {
            let damaged = parse(&format!("{good}{line}"), false).unwrap_err();
            assert_eq!((damaged.line, damaged.reason.as_str()), (at, reason), "{line}");
        };
        check(&format!("{B} 1.2.3.4:1 master - 0 0 0"), 2, "a node has at least 8 fields, this line 7");
        check("xyz 1.2.3.4:1 master - 0 0 0 connected", 2, "xyz is no node id");
        check(&format!("{B} 1.2.3.4 master - 0 0 0 connected"), 2, "1.2.3.4 is no address");
        check(&format!("{B} 1.2.3.4:99999 master - 0 0 0 connected"), 2, "99999 is no port");
        check(&format!("{B} 1.2.3.4:1,,x=y master - 0 0 0 connected"), 2, "unknown field x");
        check(&format!("{B} 1.2.3.4:1 king - 0 0 0 connected"), 2, "unknown flag king");
        check(&format!("{B} 1.2.3.4:1 master zz 0 0 0 connected"), 2, "zz is no node id");
        check(&format!("{B} 1.2.3.4:1 master - 0 0 x connected"), 2, "x is no epoch");
        check(&format!("{B} 1.2.3.4:1 master - 0 0 0 connected 16384"), 2, "16384 is no slot");
        check(&format!("{B} 1.2.3.4:1 master - 0 0 0 connected 9-5"), 2, "9-5 is no slot");
        check(&format!("{B} 1.2.3.4:1 master - 0 0 0 connected 9"), 2, "slot 9 has two owners");
        check(&format!("{B} 1.2.3.4:1 master - 0 0 0 connected [9->-]"), 2, " is no node id");
        check(&format!("{B} 1.2.3.4:1 myself,master - 0 0 0 connected"), 2, "two nodes are called myself");
        check("\n\nvars currentEpoch", 4, "a variable has no value");
        check("vars currentEpoch x", 2, "x is no epoch");
        check(good.trim_end(), 2, &format!("node {A} is there twice"));
        let nobody = parse(&good.replace("myself,", ""), false).unwrap_err();
        assert_eq!(nobody.to_string(), "no line is about this node itself");
    }

    proptest::proptest! {
        #[test]
        fn spoiled_files_never_panic(at in 0usize..200, text in "\\PC{0,12}") {
            let mut file = format!(
                "{A} 10.0.0.1:7000@17000,,tls-port=0,shard-id={A} myself,master - 0 0 1 connected 0-9 [3->-{B}]\n\
                 vars currentEpoch 3 lastVoteEpoch 0\n"
            );
            file.insert_str(at.min(file.len()), &text);
            let _ = parse(&file, false);
        }
    }
}
