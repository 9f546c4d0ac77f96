//! Behaviour of the core, on a network that loses nothing and takes no time. (The simulator in `tests/cluster_sim`
//! has the bad ones.)

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::cluster::wire;

/// Keys by slot, the same for everybody who asks.
#[derive(Default)]
struct Data(HashMap<u16, u64>);

impl Keys for Data {
    fn total(&self) -> u64 {
        self.0.values().sum()
    }
    fn in_slot(&self, slot: u16) -> u64 {
        self.0.get(&slot).copied().unwrap_or(0)
    }
}

struct Net {
    now: i64,
    cores: Vec<Core>,
    wires: HashMap<(usize, LinkId), (usize, LinkId)>,
    events: Vec<Vec<Event>>,
    dead: HashSet<usize>,
    facts: Vec<Facts>,
    data: Data,
    /// What each node last put on disk with an fsync.
    synced: Vec<String>,
    /// Packets of this type are lost.
    lost: Option<u16>,
    /// Nobody can connect to this node.
    unreachable: Option<usize>,
    /// Nodes whose writes of nodes.conf do not come to an end.
    slow_disks: HashSet<usize>,
}

fn ip(at: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, at as u8 + 1))
}

fn facts(offset: u64) -> Facts {
    Facts { repl_offset: offset, primary_link: PrimaryLink::Up { last_heard: i64::MAX } }
}

impl Net {
    fn new(size: usize) -> Net {
        let now = 1_700_000_000_000;
        let settings = Settings { node_timeout: 2000, port: 7000, ..Settings::default() };
        let mut rng = Rng::new(9);
        let cores = (0..size)
            .map(|at| Core::new(Boot::Fresh(NodeId::random(&mut rng)), settings.clone(), facts(0), now, at as u64))
            .collect();
        Net {
            now,
            cores,
            wires: HashMap::new(),
            events: vec![Vec::new(); size],
            dead: HashSet::new(),
            facts: vec![facts(0); size],
            data: Data::default(),
            synced: vec![String::new(); size],
            lost: None,
            unreachable: None,
            slow_disks: HashSet::new(),
        }
    }

    /// Primaries with equal shares of the slots, then replicas of them in turn; everybody knows everybody.
    fn cluster(primaries: usize, replicas: usize) -> Net {
        let mut net = Net::new(primaries + replicas);
        for at in 1..net.cores.len() {
            net.command(0, &format!("meet {} 7000", ip(at))).unwrap();
        }
        let share = 16_384 / primaries;
        for at in 0..primaries {
            let last = if at + 1 == primaries { 16_383 } else { (at + 1) * share - 1 };
            net.command(at, &format!("addslotsrange {} {last}", at * share)).unwrap();
        }
        net.run(3000);
        for at in 0..replicas {
            let id = net.cores[at % primaries].my_id();
            net.command(primaries + at, &format!("replicate {id}")).unwrap();
        }
        net.run(5000);
        net
    }

    fn command(&mut self, at: usize, text: &str) -> Result<Reply, String> {
        let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let command = Command::parse(&words, "test").expect("a command").map_err(|error| error.into_owned())?;
        let reply = self.cores[at].handle_command(self.now, command, &self.data).map_err(|error| error.into_owned());
        self.pump();
        reply
    }

    /// Carry out everything that the cores ask for, until none asks for more.
    fn pump(&mut self) {
        let mut busy = true;
        while std::mem::take(&mut busy) {
            for at in 0..self.cores.len() {
                busy |= self.pump_one(at);
            }
        }
    }

    fn pump_one(&mut self, at: usize) -> bool {
        if self.dead.contains(&at) {
            return false;
        }
        let mut busy = false;
        while let Some(event) = self.cores[at].poll_event() {
            if let Event::PauseWrites { .. } = event {
                let offset = self.facts[at].repl_offset;
                self.cores[at].handle_paused(self.now, offset);
            }
            self.events[at].push(event);
            busy = true;
        }
        if !self.slow_disks.contains(&at)
            && let Some(persist) = self.cores[at].poll_persist()
        {
            if persist.sync {
                self.synced[at] = self.cores[at].nodes_conf();
            }
            self.cores[at].persisted(persist.version);
            busy = true;
        }
        while let Some(transmit) = self.cores[at].poll_transmit() {
            busy = true;
            match transmit {
                Transmit::Connect { link, ip: address, port } => self.connect(at, link, &address, port),
                Transmit::Send { link, packet } => {
                    if let Some(&(peer, to)) = self.wires.get(&(at, link))
                        && !self.dead.contains(&peer)
                        && (self.lost.is_none() || self.lost != wire::frame::kind(&packet))
                    {
                        self.cores[peer].handle_packet(self.now, to, &packet);
                    }
                }
                Transmit::Close { link } => {
                    if let Some((peer, to)) = self.wires.remove(&(at, link)) {
                        self.wires.remove(&(peer, to));
                        self.cores[peer].link_down(self.now, to);
                    }
                }
            }
        }
        busy
    }

    fn connect(&mut self, at: usize, link: LinkId, address: &str, port: u16) {
        let peer = (0..self.cores.len()).find(|&peer| ip(peer).to_string() == address && port == 17000);
        match peer.filter(|peer| !self.dead.contains(peer) && self.unreachable != Some(*peer)) {
            Some(peer) => {
                let to = self.cores[peer].accept(self.now, ip(at), ip(peer));
                self.wires.insert((at, link), (peer, to));
                self.wires.insert((peer, to), (at, link));
                self.cores[at].link_up(self.now, link, ip(at));
            }
            None => self.cores[at].link_down(self.now, link),
        }
    }

    fn run(&mut self, ms: i64) {
        let end = self.now + ms;
        while self.now < end {
            self.now += 10;
            for at in 0..self.cores.len() {
                if !self.dead.contains(&at) && self.cores[at].poll_timeout() <= self.now {
                    self.cores[at].handle_facts(self.now, self.facts[at]);
                    self.cores[at].handle_timeout(self.now);
                }
            }
            self.pump();
        }
    }

    /// Run until `done`, at most a minute.
    fn run_until(&mut self, what: &str, done: impl Fn(&mut Net) -> bool) -> i64 {
        let start = self.now;
        while !done(self) {
            assert!(self.now - start < 60_000, "waited a minute for: {what}");
            self.run(10);
        }
        self.now - start
    }

    fn kill(&mut self, at: usize) {
        self.dead.insert(at);
        let wires: Vec<_> = self.wires.iter().filter(|((from, _), _)| *from == at).map(|(_, to)| *to).collect();
        for (peer, link) in wires {
            self.wires.remove(&(peer, link));
            self.cores[peer].link_down(self.now, link);
        }
    }

    fn id(&self, at: usize) -> NodeId {
        self.cores[at].my_id()
    }

    /// Everybody alive agrees about who owns what and who is what.
    fn agreed(&mut self) -> bool {
        let mut seen = HashSet::new();
        for at in 0..self.cores.len() {
            if self.dead.contains(&at) {
                continue;
            }
            let view = self.cores[at].view();
            let nodes: Vec<_> = view
                .nodes
                .iter()
                .map(|n| (n.id, n.shard_id, n.slots.clone(), n.primary, n.epoch, (n.flags & Flags(0b1011)).0))
                .collect();
            seen.insert((view.current_epoch, nodes));
            self.cores[at].nodes.check();
        }
        seen.len() == 1
    }
}

#[test]
fn nodes_that_meet_know_each_other_and_agree() {
    let mut net = Net::cluster(3, 3);
    net.run_until("agreement", |net| net.agreed());
    for at in 0..6 {
        let view = net.cores[at].view();
        assert_eq!((view.nodes.len(), view.size, view.slots_ok), (6, 3, 16_384));
        assert_eq!(view.state, State::Ok);
        assert_eq!(view.myself().ip, ip(at).to_string());
        assert!(view.nodes.iter().all(|node| node.connected && !node.flags.any(Flags::HANDSHAKE)));
    }
    let replica = net.cores[3].view();
    assert_eq!(replica.my_primary().id, net.id(0));
    assert_eq!(replica.myself().shard_id, replica.my_primary().shard_id);
    let follow = Event::Follow { id: net.id(0), ip: "10.0.0.1".to_owned(), port: 7000, full_sync: true };
    assert!(net.events[3].contains(&follow));
    // Epochs differ although nobody gave any.
    let epochs: HashSet<u64> = replica.nodes.iter().filter(|n| n.is_primary()).map(|n| n.config_epoch).collect();
    assert_eq!(epochs.len(), 3);
}

#[test]
fn a_dead_primary_is_replaced_and_comes_back_as_a_replica() {
    let mut net = Net::cluster(3, 3);
    net.kill(0);
    let took = net.run_until("a new owner", |net| net.cores[1].view().owner(0).unwrap().id == net.id(3));
    assert!((2_500..6_000).contains(&took), "{took}");
    assert!(net.events[3].contains(&Event::BecomePrimary));
    net.run_until("state ok", |net| (1..6).all(|at| net.cores[at].state() == State::Ok) && net.agreed());
    assert!(net.cores[2].view().node(&net.id(0)).unwrap().is_failed());
    net.dead.remove(&0);
    net.run_until("the old primary follows", |net| net.cores[0].view().my_primary().id == net.id(3) && net.agreed());
    // Within the shard: what it has is good to continue from.
    assert!(net.events[0].iter().any(|event| matches!(event, Event::Follow { full_sync: false, .. })));
    assert!(!net.events[0].iter().any(|event| matches!(event, Event::SlotsLost(_))));
}

#[test]
fn primaries_that_suspect_another_agree_at_once_and_its_replica_plans_at_once() {
    let mut net = Net::cluster(3, 3);
    let id = net.id(0);
    net.kill(0);
    let suspects =
        |net: &mut Net, at: usize| net.cores[at].view().node(&id).unwrap().flags.any(Flags::PFAIL | Flags::FAIL);
    net.run_until("the suspicion of both", |net| suspects(net, 1) && suspects(net, 2));
    assert!(net.cores[2].view().node(&id).unwrap().is_failed());
    assert!(net.cores[3].election_due().is_some());
}

#[test]
fn the_replica_with_more_of_the_data_takes_over() {
    let mut net = Net::cluster(3, 6);
    net.facts[3] = facts(10);
    net.facts[6] = facts(500);
    net.run(3000);
    net.kill(0);
    net.run_until("a new owner", |net| net.cores[1].view().owner(0).unwrap().id == net.id(6));
    net.run_until("agreement", |net| net.agreed());
    assert_eq!(net.cores[3].view().my_primary().id, net.id(6));
}

#[test]
fn replicas_that_may_not_take_over_do_not() {
    let mut net = Net::cluster(3, 3);
    let settings = Settings { replica_no_failover: true, ..net.cores[3].settings().clone() };
    net.cores[3].handle_settings(net.now, settings);
    net.run(2000);
    assert!(net.cores[1].view().node(&net.id(3)).unwrap().flags.any(Flags::NOFAILOVER));
    net.kill(0);
    net.run(15_000);
    assert!(net.cores[3].view().myself().is_replica());
    assert_eq!(net.cores[1].state(), State::Fail);
    // Nor does one whose data is old.
    let mut net = Net::cluster(3, 3);
    net.facts[3].primary_link = PrimaryLink::Down { since: net.now - 1_000_000 };
    net.kill(0);
    net.run(15_000);
    assert!(net.cores[3].view().myself().is_replica());
}

#[test]
fn a_minority_stops_serving() {
    let mut net = Net::cluster(3, 0);
    net.kill(1);
    net.kill(2);
    net.run_until("state fail", |net| net.cores[0].state() == State::Fail);
    assert_eq!(net.cores[0].view().reason, DownReason::Minority);
    assert!(net.events[0].contains(&Event::State(State::Fail, DownReason::Minority)));
}

#[test]
fn a_primary_that_hears_no_majority_stops_within_the_node_timeout() {
    for wait in [0, 130, 370, 610, 890] {
        let mut net = Net::cluster(5, 0);
        net.run(wait);
        (1..5).for_each(|at| net.kill(at));
        let took = net.run_until("state fail", |net| net.cores[0].state() == State::Fail);
        assert!((500..=2_000).contains(&took), "{took}");
        assert_eq!(net.cores[0].view().reason, DownReason::Minority);
        // Two that are back are a majority with it.
        net.dead.remove(&1);
        net.dead.remove(&2);
        net.run_until("a majority", |net| net.cores[0].view().reason != DownReason::Minority);
    }
}

#[test]
fn a_manual_failover_waits_for_the_stream() {
    let mut net = Net::cluster(3, 3);
    net.facts[0] = facts(1000);
    net.facts[3] = facts(900);
    net.command(3, "failover").unwrap();
    assert!(net.events[0].iter().any(|event| matches!(event, Event::PauseWrites { .. })));
    net.run(1000);
    assert!(net.cores[3].view().myself().is_replica());
    net.facts[3] = facts(1000);
    let took = net.run_until("the replica takes over", |net| net.cores[3].view().myself().is_primary());
    assert!(took <= 100, "{took}");
    net.run_until("agreement", |net| net.agreed());
    assert!(net.events[0].contains(&Event::ResumeWrites));
    assert_eq!(net.cores[0].view().my_primary().id, net.id(3));
}

#[test]
fn a_manual_failover_that_does_not_catch_up_is_given_up() {
    let mut net = Net::cluster(3, 3);
    net.facts[0] = facts(1000);
    net.command(3, "failover").unwrap();
    net.run(6000);
    assert!(net.cores[3].view().myself().is_replica());
    assert_eq!(net.cores[3].view().manual_failover_end, 0);
    assert!(net.events[0].contains(&Event::ResumeWrites));
}

#[test]
fn force_and_takeover_need_no_primary() {
    let mut net = Net::cluster(3, 3);
    net.command(3, "failover force").unwrap();
    net.run_until("force", |net| net.cores[3].view().myself().is_primary() && net.agreed());
    net.kill(1);
    net.kill(2);
    net.command(0, "failover takeover").unwrap();
    assert!(net.cores[0].view().myself().is_primary());
    net.run_until("takeover", |net| net.cores[3].view().myself().is_replica());
}

#[test]
fn a_slot_moves_under_a_new_epoch() {
    let mut net = Net::cluster(3, 3);
    let (source, target) = (net.id(0), net.id(1));
    net.command(1, &format!("setslot 5 importing {source}")).unwrap();
    net.command(0, &format!("setslot 5 migrating {target}")).unwrap();
    assert_eq!(net.cores[0].view().migrating_to(5).unwrap().id, target);
    assert!(line(&mut net.cores[1]).contains(&format!("[5-<-{source}]")));
    net.data.0.insert(5, 1);
    let refused = net.command(0, &format!("setslot 5 node {target}")).unwrap_err();
    assert_eq!(refused, "ERR Can't assign hashslot 5 to a different node while I still hold keys for this hash slot.");
    net.data.0.clear();
    let before = net.cores[1].view().my_epoch;
    net.command(1, &format!("setslot 5 node {target}")).unwrap();
    net.command(0, &format!("setslot 5 node {target}")).unwrap();
    net.run_until("agreement", |net| net.agreed());
    let view = net.cores[4].view();
    assert_eq!(view.owner(5).unwrap().id, target);
    assert!(view.my_epoch > before);
    assert!(net.cores[0].view().migrating().is_empty() && net.cores[1].view().importing().is_empty());
    assert!(net.events[2].iter().any(|event| matches!(event, Event::ChannelsLost(slots) if slots.contains(5))));
}

#[test]
fn setslot_says_what_is_wrong_with_its_timeout_last() {
    let mut net = Net::cluster(2, 1);
    let (b, unknown) = (net.id(1), "f".repeat(40));
    let mut check = |command: String, wanted: &str| {
        assert_eq!(net.command(0, &command).unwrap_err(), wanted, "{command}");
    };
    check(format!("setslot 1 migrating {b} timeout"), "ERR Missing timeout value");
    check(format!("setslot 1 migrating {b} TIMEOUT -1"), "ERR timeout is negative");
    check("setslot 1 stable timeout abc".into(), "ERR timeout is not an integer or out of range");
    check(format!("setslot 1 node {b} timeout 99999999999999999999"), "ERR timeout is not an integer or out of range");
    check(format!("setslot 1 node {b} timeout {}", i64::MAX), "ERR timeout is out of range");
    check(format!("setslot 1 node {unknown} timeout x"), &format!("ERR Unknown node {unknown}"));
    check(
        format!("setslot 1 timeout 100 migrating {b}"),
        "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
    );
    assert_eq!(net.command(0, &format!("setslot 1 migrating {b} timeout 0 what timeout 5")), Ok(Reply::Ok));
    assert_eq!(net.cores[0].view().migrating().len(), 1);
}

/// As the primary's stream brings it to a replica.
fn from_primary(net: &mut Net, at: usize, text: &str) -> Result<Reply, String> {
    let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
    let mut command = Command::parse(&words, "").unwrap().unwrap();
    if let Command::SetSlot { from_primary, .. } = &mut command {
        *from_primary = true;
    }
    let reply = net.cores[at].handle_command(net.now, command, &net.data).map_err(|e| e.into_owned());
    net.pump();
    reply
}

#[test]
fn a_move_of_a_slot_survives_the_failure_of_either_side() {
    // What a failover of the primary used to lose: its replicas knew nothing of the open slots.
    let mut net = Net::cluster(3, 3);
    let (source, target) = (net.id(0), net.id(1));
    let (migrating, importing) = (format!("setslot 5 migrating {target}"), format!("setslot 5 importing {source}"));
    for (primary, replica, text) in [(0, 3, &migrating), (1, 4, &importing)] {
        let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let command = Command::parse(&words, "").unwrap().unwrap();
        assert_eq!(net.cores[primary].may_set_slot(&command, &net.data), Ok(true));
        assert!(net.cores[replica].may_set_slot(&command, &net.data).is_err(), "a client may not");
        from_primary(&mut net, replica, text).unwrap();
        net.command(primary, text).unwrap();
    }
    for dead in [0, 1] {
        let heir = dead + 3;
        net.kill(dead);
        net.run_until("a new owner", |net| {
            net.cores[2].view().my_primary().is_primary() && {
                let heir = net.id(heir);
                net.cores[2].view().node(&heir).unwrap().is_primary()
            }
        });
        net.dead.remove(&dead);
        net.run_until("agreement", |net| net.agreed());
    }
    let (source, target) = (net.id(3), net.id(4));
    for at in [0, 3] {
        assert_eq!(net.cores[at].view().migrating(), [(5, target)], "{at}");
    }
    for at in [1, 4] {
        assert_eq!(net.cores[at].view().importing(), [(5, source)], "{at}");
    }
    // The heirs end the move.
    let end = format!("setslot 5 node {target}");
    from_primary(&mut net, 1, &end).unwrap();
    net.command(4, &end).unwrap();
    from_primary(&mut net, 0, &end).unwrap();
    net.command(3, &end).unwrap();
    net.run_until("agreement", |net| net.agreed());
    for at in 0..6 {
        let view = net.cores[at].view();
        assert_eq!(view.owner(5).unwrap().id, target, "{at}");
        assert!(view.migrating().is_empty() && view.importing().is_empty(), "{at}");
    }
}

/// The old target came back while a late packet had made its heir a replica again: the slot was given to it for good.
#[test]
fn a_slot_on_its_way_follows_a_failover_of_its_target_whatever_comes_late() {
    let mut net = Net::cluster(3, 3);
    let (old, heir) = (net.id(1), net.id(4));
    net.command(0, &format!("setslot 5 migrating {old}")).unwrap();
    let ping = |core: &Core| {
        let bitmap = core.claimed_bitmap();
        wire::ping(core.header(wire::Kind::Ping, &bitmap), &[], &[])
    };
    let (late, claims) = (ping(&net.cores[4]), ping(&net.cores[1]));
    net.kill(1);
    net.run_until("a failover", |net| net.cores[0].view().migrating() == [(5, heir)]);
    net.dead.remove(&1);
    net.run_until("agreement", |net| net.agreed());
    // The heir as it was, the old target as it came back, and as it is.
    let demotion = ping(&net.cores[1]);
    for (sender, packet) in [(4, &late), (1, &claims), (1, &demotion)] {
        let link = net.cores[0].accept(net.now, ip(sender), ip(0));
        net.cores[0].handle_packet(net.now, link, packet);
    }
    net.run_until("agreement", |net| net.agreed());
    assert_eq!(net.cores[0].view().migrating(), [(5, heir)]);
}

#[test]
fn open_slots_reach_a_new_replica_with_its_data() {
    let mut net = Net::cluster(3, 3);
    let (a, b) = (net.id(0), net.id(1));
    net.command(0, &format!("setslot 5 migrating {b}")).unwrap();
    net.command(0, &format!("setslot 16000 importing {b}")).unwrap();
    let text = net.cores[0].open_slots().unwrap();
    assert_eq!(text, format!("16000<{b},5>{b},"));
    assert_eq!(net.cores[3].open_slots(), None);
    net.cores[3].learn_open_slots(net.now, &text).unwrap();
    let view = net.cores[3].view();
    assert_eq!((view.migrating(), view.importing()), (&[(5, b)][..], &[(16_000, b)][..]));
    // What is no slot state is an error.
    let unknown = "f".repeat(40);
    for wrong in ["x".to_owned(), format!("16384>{a},"), format!("5={a},"), format!("5>{},", &unknown[1..]), ",".into()]
    {
        assert!(net.cores[4].learn_open_slots(net.now, &wrong).is_err(), "{wrong}");
    }
}

/// They were left out: a replica that took over before it had heard of the other node did not go on with the move.
#[test]
fn open_slots_of_a_node_that_is_not_known_yet_are_kept() {
    let mut net = Net::new(3);
    net.command(0, &format!("meet {} 7000", ip(1))).unwrap();
    net.run(3000);
    let (a, b) = (net.id(0), net.id(1));
    net.cores[2].learn_open_slots(net.now, &format!("7>{b},8<{a},")).unwrap();
    let slots = (&[(7, b)][..], &[(8, a)][..]);
    let view = net.cores[2].view();
    assert_eq!((view.migrating(), view.importing()), slots);
    let node = view.node(&b).unwrap();
    assert_eq!((node.ip.as_str(), node.is_primary(), node.is_replica()), ("", false, false));
    // As it is on disk, too.
    let stored = nodes_conf::parse(&net.cores[2].nodes_conf(), false).unwrap();
    let again = Core::new(Boot::Stored(stored.unwrap()), Settings::default(), facts(0), net.now, 1).view();
    assert_eq!((again.migrating(), again.importing()), slots);
    // Until it meets the cluster nobody can tell it where they are.
    net.run(10_000);
    net.command(2, &format!("meet {} 7000", ip(0))).unwrap();
    net.run_until("the nodes", |net| {
        let view = net.cores[2].view();
        let known = |id: &NodeId| view.node(id).is_some_and(|node| node.connected && node.is_primary());
        view.nodes.len() == 3 && known(&a) && known(&b)
    });
    let view = net.cores[2].view();
    assert_eq!(
        (view.migrating(), view.importing(), view.node(&b).unwrap().ip.clone()),
        (slots.0, slots.1, ip(1).to_string())
    );
    assert!(net.cores.iter_mut().all(|core| core.view().nodes.iter().all(|node| !node.is_failed())));
}

#[test]
fn a_meet_is_sent_until_the_other_node_opens_a_link() {
    let mut net = Net::new(2);
    net.lost = Some(wire::Kind::Meet as u16);
    net.command(0, "meet 10.0.0.2 7000").unwrap();
    net.run(1000);
    let sent = net.cores[0].fresh_view().stats.sent[wire::Kind::Meet as usize];
    assert_eq!(sent, 2);
    assert_eq!(net.cores[1].fresh_view().nodes.len(), 1);
    net.lost = None;
    net.run_until("both know both", |net| net.agreed() && net.cores[1].view().nodes.len() == 2);
    // The other one answers, but its own link does not come about, and it gives up: it used to stay out for good.
    let mut net = Net::new(2);
    net.unreachable = Some(0);
    net.command(0, "meet 10.0.0.2 7000").unwrap();
    net.run(6000);
    assert!(net.cores[0].view().nodes.iter().all(|node| !node.flags.any(Flags::HANDSHAKE)));
    net.unreachable = None;
    net.run_until("both know both", |net| net.agreed() && net.cores[1].view().nodes.len() == 2);
    let sent = net.cores[0].fresh_view().stats.sent[wire::Kind::Meet as usize];
    net.run(10_000);
    assert_eq!(net.cores[0].fresh_view().stats.sent[wire::Kind::Meet as usize], sent, "no more of them");
}

#[test]
fn a_view_tells_which_replicas_have_data() {
    let mut net = Net::cluster(3, 3);
    let replica = net.id(3);
    net.run(3000);
    assert!(!net.cores[0].view().node(&replica).unwrap().is_available());
    net.facts[3] = facts(7);
    net.run_until("it has", |net| net.cores[0].view().node(&replica).unwrap().is_available());
    assert!(net.cores[3].view().myself().is_available());
    net.facts[3] = facts(0);
    net.run_until("it has not", |net| !net.cores[0].view().node(&replica).unwrap().is_available());
    assert!(!net.cores[3].view().myself().is_available());
}

fn line(core: &mut Core) -> String {
    crate::cluster::line::cluster_nodes(&core.fresh_view(), false, false)
}

#[test]
fn whole_slots_that_were_received_are_claimed() {
    let mut net = Net::cluster(3, 3);
    let slots = SlotSet::range(0, 5460);
    net.cores[1].handle_command(net.now, Command::ClaimSlots(slots), &Data::default()).unwrap();
    net.pump();
    net.run_until("agreement", |net| net.agreed());
    // The source lost everything: it and its replica follow the new owner.
    assert_eq!(net.cores[0].view().my_primary().id, net.id(1));
    assert_eq!(net.cores[3].view().my_primary().id, net.id(1));
}

#[test]
fn whole_slots_are_passed_on_by_who_hears_of_their_owner() {
    let mut net = Net::cluster(3, 3);
    let (a, b, replica, nobody) = (net.id(0), net.id(1), net.id(5), NodeId::parse(&[b'f'; 40]).unwrap());
    let mut pass = |at: usize, slots: SlotSet, to: NodeId| {
        let order = Command::PassSlots { slots, to };
        let reply = net.cores[at].handle_command(net.now, order, &Data::default()).map_err(|e| e.into_owned());
        let view = net.cores[at].view();
        (reply, view.owner(3000).unwrap().id, view.owner(3001).unwrap().id, view.my_primary().id)
    };
    // A replica of the new owner goes on following it.
    assert_eq!(pass(4, SlotSet::range(0, 5460), b), (Ok(Reply::Ok), b, b, b));
    assert_eq!(pass(0, SlotSet::range(0, 1), nobody).0, Err(format!("ERR Unknown node {}", "f".repeat(40))));
    assert_eq!(pass(0, SlotSet::range(0, 1), replica).0, Err("ERR Target node is not a master".to_owned()));
    // Whose slots they were gives some of them, then the last.
    assert_eq!(pass(0, SlotSet::range(0, 3000), b), (Ok(Reply::Ok), b, a, a));
    assert_eq!(pass(0, SlotSet::range(0, 5460), b), (Ok(Reply::Ok), b, b, b));
}

#[test]
fn a_forgotten_node_is_forgotten_by_everybody_and_stays_away() {
    let mut net = Net::cluster(3, 2);
    let gone = net.id(4);
    net.command(0, &format!("forget {gone}")).unwrap();
    net.run_until("everybody forgets", |net| (0..4).all(|at| net.cores[at].view().node(&gone).is_none() || at == 1));
    assert_eq!(net.command(2, &format!("forget {gone}")), Ok(Reply::Ok));
    net.run(3000);
    assert!(net.cores[0].view().node(&gone).is_none());
}

#[test]
fn an_orphaned_primary_gets_a_replica() {
    let mut net = Net::cluster(3, 4);
    net.kill(4);
    net.run_until("a replica migrates", |net| {
        let view = net.cores[2].view();
        let primary = view.node(&net.cores[1].my_id()).unwrap();
        view.replicas_of(primary).any(|node| !node.is_failed())
    });
}

#[test]
fn replicas_do_not_leave_where_the_barrier_holds_them() {
    let mut net = Net::cluster(3, 4);
    for at in 0..7 {
        let settings = Settings { migration_barrier: 2, ..net.cores[at].settings().clone() };
        net.cores[at].handle_settings(net.now, settings);
    }
    net.kill(4);
    net.run(15_000);
    let view = net.cores[2].view();
    assert_eq!(view.node(&net.id(0)).unwrap().replicas.len(), 2);
}

#[test]
fn a_node_that_moved_is_found_again() {
    let mut net = Net::cluster(3, 1);
    let settings = Settings { announce_port: 7777, ..net.cores[0].settings().clone() };
    net.cores[0].handle_settings(net.now, settings);
    net.run_until("the new port", |net| (1..4).all(|at| net.cores[at].view().node(&net.id(0)).unwrap().port == 7777));
    assert!(net.events[3].iter().any(|event| matches!(event, Event::Follow { port: 7777, full_sync: false, .. })));
}

#[test]
fn a_restart_from_nodes_conf_changes_nothing() {
    let mut net = Net::cluster(3, 3);
    net.run_until("agreement", |net| net.agreed());
    let text = net.cores[3].nodes_conf();
    net.kill(3);
    net.run(500);
    let stored = nodes_conf::parse(&text, false).unwrap().unwrap();
    let settings = net.cores[3].settings().clone();
    net.cores[3] = Core::new(Boot::Stored(stored), settings, facts(0), net.now, 77);
    assert_eq!(net.cores[3].nodes_conf().lines().count(), text.lines().count());
    net.dead.remove(&3);
    net.run_until("agreement", |net| net.agreed());
    net.run(200);
    assert_eq!(net.cores[3].view().my_primary().id, net.id(0));
    assert!(net.events[3].iter().any(|event| matches!(event, Event::Follow { full_sync: false, .. })));
}

#[test]
fn a_primary_that_lost_power_knows_the_shard_of_its_replicas() {
    let mut net = Net::cluster(3, 3);
    net.run_until("agreement", |net| net.agreed());
    let stored = nodes_conf::parse(&net.synced[0], false).unwrap().unwrap();
    let mut back = Core::new(Boot::Stored(stored), net.cores[0].settings().clone(), facts(0), net.now, 77);
    let (replica, view) = (net.id(3), back.view());
    let known = view.nodes.iter().find(|node| node.id == replica).unwrap();
    assert_eq!(known.shard_id, view.myself().shard_id);
}

#[test]
fn a_vote_waits_for_the_disk() {
    let mut net = Net::cluster(3, 3);
    net.kill(0);
    net.run_until("an election", |net| {
        net.events[1].iter().any(|event| matches!(event, Event::Log(_, text) if text.contains("auth granted")))
    });
    // The same again by hand: an answer is queued, and comes out only once the state is durable.
    let core = &mut net.cores[2];
    core.save_durably();
    let link = core.nodes.iter().find_map(|(_, node)| node.link).unwrap();
    core.send_bare(link, wire::Kind::AuthAck);
    assert_eq!(core.poll_transmit(), None);
    let persist = core.poll_persist().unwrap();
    assert!(persist.sync);
    assert_eq!(core.poll_transmit(), None);
    core.persisted(persist.version);
    assert!(matches!(core.poll_transmit(), Some(Transmit::Send { .. })));
}

#[test]
fn a_meeting_is_not_given_up_while_a_disk_is_slow() {
    // Both nodes wait for an fsync when the order comes: nothing can leave for ten seconds, and nothing did afterwards.
    let mut net = Net::new(2);
    net.slow_disks = [0, 1].into();
    for at in [0, 1] {
        net.command(at, &format!("set-config-epoch {}", at + 1)).unwrap();
    }
    net.command(0, "meet 10.0.0.2 7000").unwrap();
    net.run(10_000);
    assert!(net.cores[1].view().nodes.len() == 1 && net.cores[0].view().nodes.len() == 2);
    net.slow_disks.clear();
    net.run_until("both know both", |net| net.agreed() && net.cores[1].view().nodes.len() == 2);
    // One that does not answer is given up as ever.
    net.command(0, "meet 10.0.0.9 7000").unwrap();
    net.run_until("it is given up", |net| net.cores[0].view().nodes.len() == 2);
}

#[test]
fn resets_forget_the_cluster() {
    let mut net = Net::cluster(3, 3);
    let old = net.id(3);
    net.command(3, "reset soft").unwrap();
    assert_eq!((net.cores[3].view().nodes.len(), net.id(3)), (1, old));
    let flushed = net.events[3].iter().filter(|event| **event == Event::FlushAll).count();
    assert_eq!(flushed, 1);
    net.command(3, "reset hard").unwrap();
    assert_ne!(net.id(3), old);
    assert_eq!(net.cores[3].view().current_epoch, 0);
    net.data.0.insert(1, 1);
    assert_eq!(
        net.command(0, "reset").unwrap_err(),
        "ERR CLUSTER RESET can't be called with master nodes containing keys"
    );
}

#[test]
fn a_replica_can_leave_its_shard() {
    let mut net = Net::cluster(3, 3);
    net.command(3, "replicate no one").unwrap();
    net.run_until("agreement", |net| net.agreed());
    let view = net.cores[0].view();
    let left = view.node(&net.id(3)).unwrap();
    assert!(left.is_primary() && left.slots.is_empty() && left.shard_id != view.myself().shard_id);
    assert!(net.events[3].contains(&Event::FlushAll));
}

#[test]
fn messages_reach_everybody_or_the_shard() {
    let mut net = Net::cluster(3, 3);
    net.cores[0].publish(net.now, b"news", b"hello", false);
    net.cores[0].publish(net.now, b"shard", b"hi", true);
    net.pump();
    let received = |net: &Net, at: usize, name: &[u8], shard: bool| {
        net.events[at]
            .iter()
            .any(|event| matches!(event, Event::Published { channel, shard: s, .. } if channel == name && *s == shard))
    };
    for at in 1..6 {
        assert!(received(&net, at, b"news", false));
        assert_eq!(received(&net, at, b"shard", true), at == 3);
    }
}

#[test]
fn errors_are_those_of_valkey() {
    let mut net = Net::cluster(2, 1);
    net.run_until("agreement", |net| net.agreed());
    let (a, b, r) = (net.id(0), net.id(1), net.id(2));
    let unknown = "f".repeat(40);
    let mut check = |at: usize, command: String, wanted: &str| {
        assert_eq!(net.command(at, &command).unwrap_err(), wanted, "{command}");
    };
    check(0, "addslots 1".into(), "ERR Slot 1 is already busy");
    check(0, "addslots x".into(), "ERR Invalid or out of range slot");
    check(0, "addslots 16384".into(), "ERR Invalid or out of range slot");
    check(0, "addslotsrange 5 4".into(), "ERR start slot number 5 is greater than end slot number 4");
    check(0, "delslots 1 1".into(), "ERR Slot 1 specified multiple times");
    check(0, "setslot 1 fly".into(), "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP");
    check(0, format!("setslot 16383 migrating {b}"), "ERR I'm not the owner of hash slot 16383");
    check(0, format!("setslot 1 importing {b}"), "ERR I'm already the owner of hash slot 1");
    check(0, format!("setslot 1 migrating {unknown}"), &format!("ERR I don't know about node {unknown}"));
    check(0, format!("setslot 1 node {unknown}"), &format!("ERR Unknown node {unknown}"));
    check(0, format!("setslot 1 migrating {r}"), "ERR Target node is not a master");
    check(2, format!("setslot 1 migrating {b}"), "ERR Please use SETSLOT only with masters.");
    check(0, format!("forget {a}"), "ERR I tried hard but I can't forget myself...");
    check(2, format!("forget {a}"), "ERR Can't forget my master!");
    check(0, format!("forget {unknown}"), &format!("ERR Unknown node {unknown}"));
    check(0, format!("replicate {a}"), "ERR Can't replicate myself");
    check(0, format!("replicate {r}"), "ERR I can only replicate a master, not a replica.");
    check(0, format!("replicate {b}"), "ERR To set a master the node must be empty and without assigned slots.");
    check(0, "failover".into(), "ERR You should send CLUSTER FAILOVER to a replica");
    check(0, "failover now".into(), "ERR syntax error");
    check(0, "meet 1.2.3 7000".into(), "ERR Invalid node address specified: 1.2.3:7000");
    check(0, "meet 1.2.3.4 70000".into(), "ERR Invalid node address specified: 1.2.3.4:70000");
    check(0, "meet 1.2.3.4 x".into(), "ERR Invalid base port specified: x");
    check(0, "meet 1.2.3.4 1 x".into(), "ERR Invalid bus port specified: x");
    check(0, "set-config-epoch -1".into(), "ERR Invalid config epoch specified: -1");
    check(
        0,
        "set-config-epoch 1".into(),
        "ERR The user can assign a config epoch only when the node does not know any other node.",
    );
    check(0, "reset later".into(), "ERR syntax error");
    net.data.0.insert(3, 1);
    let mut check = |at: usize, command: &str, wanted: &str| {
        assert_eq!(net.command(at, command).unwrap_err(), wanted);
    };
    check(0, "flushslots", "ERR DB must be empty to perform CLUSTER FLUSHSLOTS.");
    net.kill(0);
    net.run_until("the link is gone", |net| net.cores[2].view().node(&a).is_some_and(|node| !node.connected));
    assert_eq!(
        net.command(2, "failover").unwrap_err(),
        "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE"
    );
    assert!(Command::parse(&[b"nodes"], "").is_none() && Command::parse(&[b"addslots"], "").is_none());
}

#[test]
fn epochs_are_bumped_and_set() {
    let mut net = Net::new(1);
    assert_eq!(net.command(0, "set-config-epoch 7"), Ok(Reply::Ok));
    assert_eq!(net.command(0, "set-config-epoch 8").unwrap_err(), "ERR Node config epoch is already non-zero");
    assert_eq!(net.command(0, "bumpepoch"), Ok(Reply::Status("STILL 7".to_owned())));
    let mut net = Net::new(1);
    assert_eq!(net.command(0, "bumpepoch"), Ok(Reply::Status("BUMPED 1".to_owned())));
    assert_eq!(net.command(0, &format!("count-failure-reports {}", net.id(0))), Ok(Reply::Int(0)));
}

#[test]
fn a_node_told_to_meet_itself_stays_alone() {
    let mut net = Net::new(1);
    net.command(0, "meet 10.0.0.1 7000").unwrap();
    net.run(5000);
    assert_eq!(net.cores[0].view().nodes.len(), 1);
}

#[test]
fn strangers_that_do_not_meet_are_not_taken_in() {
    let mut net = Net::cluster(2, 0);
    // The third of these nodes is none of the first two.
    let stranger = &Net::new(3).cores[2];
    let bitmap = stranger.claimed_bitmap();
    let packet = wire::ping(stranger.header(wire::Kind::Ping, &bitmap), &[], &[]);
    let link = net.cores[0].accept(net.now, ip(9), ip(0));
    net.cores[0].handle_packet(net.now, link, &packet);
    for garbage in [&packet[..100], b"", b"RCmb", &[0; 3000][..]] {
        net.cores[0].handle_packet(net.now, link, garbage);
    }
    let fail = wire::fail(&stranger.header(wire::Kind::Fail, &bitmap), &net.id(1));
    net.cores[0].handle_packet(net.now, link, &fail);
    let view = net.cores[0].fresh_view();
    assert_eq!((view.nodes.len(), view.stats.dropped), (2, 5));
    assert!(!view.node(&net.id(1)).unwrap().is_failed());
}

#[test]
fn links_are_listed_and_cut() {
    let mut net = Net::cluster(2, 0);
    let links = net.cores[0].links();
    assert_eq!(
        links.iter().map(|link| (link.node, link.inbound)).collect::<Vec<_>>(),
        [(net.id(1), false), (net.id(1), true)]
    );
    let id = net.id(1).to_string();
    net.cores[0].kill_links(net.now, Direction::All, id.as_bytes()).unwrap();
    assert!(net.cores[0].links().is_empty());
    net.run_until("new links", |net| net.cores[0].links().len() == 2);
    let me = net.id(0).to_string();
    assert!(net.cores[0].kill_links(net.now, Direction::To, me.as_bytes()).is_err());
}

#[test]
fn data_without_an_owner_is_taken_and_that_of_others_dropped() {
    let mut net = Net::new(2);
    net.command(0, "meet 10.0.0.2 7000").unwrap();
    net.command(1, "addslots 7").unwrap();
    net.run_until("the slot is known", |net| net.cores[0].view().owner(7).is_some());
    net.cores[0].reconcile_with_data(net.now, |slot| slot == 7 || slot == 8);
    net.pump();
    assert!(net.cores[0].view().is_mine(8));
    assert!(net.events[0].contains(&Event::SlotsLost(SlotSet::range(7, 7))));
}
