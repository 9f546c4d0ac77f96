//! A node of a cluster to which anything may be sent over the bus, and what must hold of it afterwards; the fuzz target
//! and a bounded test both use it.
//!
//! The input is a list of steps: time passes, strangers open links, and packets come in over any link. A packet is a
//! valid one of any kind, in the name of a node that is known or not, with fields out of the input, and then some of its
//! bytes are overwritten. So most of them get past the decoder into the state machine.

use std::net::{IpAddr, Ipv4Addr};

use dunlin::cluster::core::{Boot, Core, Facts, LinkId, PrimaryLink, Settings, Transmit};
use dunlin::cluster::wire::{self, Body, Entry, Extension, Header, Kind, MessageFlags, frame};
use dunlin::cluster::{Flags, NodeId, SlotSet, State, nodes_conf};

/// Steps that are taken at most.
const STEPS: usize = 200;

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }
    fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }
    /// Small, mostly; seldom anything.
    fn epoch(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX - u64::from(self.byte()),
            small => u64::from(small % 16),
        }
    }
    /// One of the nodes, or somebody that nobody knows.
    fn node(&mut self) -> NodeId {
        id(self.byte() % 8)
    }
}

/// Nodes 0 (the victim) to 3 are known.
fn id(number: u8) -> NodeId {
    NodeId::parse(format!("{:040x}", 0xabc0 + u32::from(number)).as_bytes()).unwrap()
}

struct Victim {
    core: Core,
    now: i64,
    links: Vec<LinkId>,
}

fn facts(now: i64) -> Facts {
    Facts { repl_offset: 1000, primary_link: PrimaryLink::Up { last_heard: now } }
}

impl Victim {
    fn new(replica: bool) -> Victim {
        let now = 1_700_000_000_000;
        let line = |number: u8, me: bool, role: &str, of: &str, slots: &str| {
            let (me, port) = (if me { "myself," } else { "" }, 7000 + u16::from(number));
            format!(
                "{} 10.0.0.{number}:{port}@1{port},,tls-port=0,shard-id={} {me}{role} {of} 0 0 {} connected{slots}\n",
                id(number),
                id(number % 2),
                number % 2 + 1
            )
        };
        let text = [
            line(0, !replica, "master", "-", " 0-8191"),
            line(1, false, "master", "-", " 8192-16383"),
            line(2, replica, "slave", id(0).as_str(), ""),
            line(3, false, "slave", id(1).as_str(), ""),
            "vars currentEpoch 2 lastVoteEpoch 0\n".to_owned(),
        ]
        .concat();
        let stored = nodes_conf::parse(&text, false).unwrap().unwrap();
        let settings = Settings { node_timeout: 1000, port: 7000, ..Settings::default() };
        let mut core = Core::new(Boot::Stored(stored), settings, facts(now), now, 1);
        let somewhere = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
        let links = (0..3).map(|_| core.accept(now, somewhere, somewhere)).collect();
        Victim { core, now, links }
    }

    /// Does what a driver does.
    fn settle(&mut self) {
        while self.core.poll_event().is_some() {}
        if let Some(persist) = self.core.poll_persist() {
            self.core.persisted(persist.version);
        }
        let here = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0));
        while let Some(transmit) = self.core.poll_transmit() {
            match transmit {
                Transmit::Connect { link, .. } => {
                    self.core.link_up(self.now, link, here);
                    self.links.push(link);
                }
                Transmit::Send { packet, .. } => {
                    assert!(wire::decode(&packet).is_ok(), "it sent what nobody can read");
                }
                Transmit::Close { link } => self.links.retain(|other| *other != link),
            }
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0 | 1 => {
                self.now += i64::from(input.byte()) * 20;
                self.core.handle_facts(self.now, facts(self.now));
                self.core.handle_timeout(self.now);
            }
            2 if self.links.len() < 64 => {
                let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, input.byte() % 6));
                self.links.push(self.core.accept(self.now, peer, peer));
            }
            3 if !self.links.is_empty() => {
                let link = self.links.swap_remove(usize::from(input.byte()) % self.links.len());
                self.core.link_down(self.now, link);
            }
            _ if !self.links.is_empty() => {
                let link = self.links[usize::from(input.byte()) % self.links.len()];
                let packet = packet(input);
                // The driver hands on what the frame allows.
                if frame::need(&packet, 1 << 20) == Ok(frame::Need::Packet(packet.len())) {
                    self.core.handle_packet(self.now, link, &packet);
                }
            }
            _ => {}
        }
        self.settle();
    }

    fn check(&mut self) {
        let view = self.core.view();
        let owned: usize = view.nodes.iter().map(|node| usize::from(node.slots.len())).sum();
        assert!(owned <= 16_384, "slots have two owners");
        assert!(view.nodes.iter().filter(|node| node.flags.any(Flags::MYSELF)).count() == 1);
        // A few steps cannot make it remember more than was told: forty entries a packet at most.
        assert!(view.nodes.len() <= 4 + STEPS * 41);
        let text = self.core.nodes_conf();
        let stored = nodes_conf::parse(&text, false).unwrap_or_else(|e| panic!("{e:?} in\n{text}"));
        let again =
            Core::new(Boot::Stored(stored.unwrap()), self.core.settings().clone(), facts(self.now), self.now, 2);
        assert_eq!(again.my_id(), self.core.my_id());
    }
}

fn packet(input: &mut Input<'_>) -> Vec<u8> {
    let mut slots = SlotSet::new();
    for _ in 0..input.byte() % 3 {
        let (first, len) = (input.short() % 16_384, input.short() % 9000);
        (first..first.saturating_add(len).min(16_384)).for_each(|slot| {
            slots.insert(slot);
        });
    }
    let mut bitmap = [0; SlotSet::BITMAP];
    slots.write_bitmap(&mut bitmap);
    let kinds = [
        Kind::Ping,
        Kind::Pong,
        Kind::Meet,
        Kind::Fail,
        Kind::Publish,
        Kind::AuthRequest,
        Kind::AuthAck,
        Kind::Update,
        Kind::MfStart,
    ];
    let kind = kinds[usize::from(input.byte()) % kinds.len()];
    let mut message_flags = MessageFlags::default();
    for flag in [MessageFlags::PAUSED, MessageFlags::FORCE_ACK] {
        if input.byte().is_multiple_of(8) {
            message_flags.add(flag);
        }
    }
    let header = Header {
        kind,
        port: 7000 + u16::from(input.byte() % 6),
        other_port: 0,
        bus_port: 17_000 + u16::from(input.byte() % 6),
        current_epoch: input.epoch(),
        config_epoch: input.epoch(),
        offset: input.epoch(),
        sender: input.node(),
        slots: &bitmap,
        primary: input.byte().is_multiple_of(2).then(|| input.node()),
        ip: ["", "10.0.0.1", "10.0.0.7", "::1"][usize::from(input.byte() % 4)],
        flags: Flags(input.short()),
        state: if input.byte().is_multiple_of(2) { State::Ok } else { State::Fail },
        message_flags,
    };
    let mut bytes = match kind {
        Kind::Ping | Kind::Pong | Kind::Meet => {
            let ips = ["10.0.0.1", "10.0.0.2", "", "fe80::1", "no address"];
            let entries: Vec<Entry<'_>> = (0..input.byte() % 5)
                .map(|_| Entry {
                    id: input.node(),
                    ping_sent: u32::from(input.short()),
                    pong_received: 1_700_000_000 + u32::from(input.byte()),
                    ip: ips[usize::from(input.byte()) % ips.len()],
                    port: input.short(),
                    bus_port: input.short(),
                    flags: Flags(input.short()),
                    other_port: 0,
                })
                .collect();
            let mut extensions = Vec::new();
            for _ in 0..input.byte() % 3 {
                extensions.push(match input.byte() % 4 {
                    0 => Extension::Hostname("a.example.org"),
                    1 => Extension::HumanNodename("a b"),
                    2 => Extension::ShardId(input.node()),
                    _ => Extension::Forgotten { id: input.node(), ttl: u64::from(input.short()) },
                });
            }
            wire::ping(header, &entries, &extensions)
        }
        Kind::Fail => wire::fail(&header, &input.node()),
        Kind::Update => wire::update(&header, &input.node(), input.epoch(), &slots),
        Kind::Publish => wire::publish(&header, b"channel", b"message"),
        _ => wire::bare(&header),
    };
    for _ in 0..input.byte() % 4 {
        let at = usize::from(input.short()) % bytes.len();
        bytes[at] = input.byte();
    }
    bytes
}

/// Takes the steps of an input; panics if something does not hold.
pub fn run(input: &[u8]) {
    // What the decoder makes of the bytes as they are.
    let mut at = input;
    while let Ok(frame::Need::Packet(len)) = frame::need(at, 1 << 20)
        && len <= at.len()
    {
        if let Ok(packet) = wire::decode(&at[..len])
            && let Body::Ping { gossip, extensions } = packet.body
        {
            gossip.iter().for_each(drop);
            extensions.iter().for_each(drop);
        }
        at = &at[len..];
    }
    let mut input = Input(input);
    let mut victim = Victim::new(input.byte() % 2 == 1);
    let mut steps = 0;
    while !input.0.is_empty() && steps < STEPS {
        victim.step(&mut input);
        steps += 1;
    }
    victim.check();
}
