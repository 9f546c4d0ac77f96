//! What operators ask for: the CLUSTER commands that change something (<https://valkey.io/commands/#cluster>).
//!
//! [`Command::parse`] reads the arguments; [`Core::handle_command`] checks and carries out. Commands that only read
//! (NODES, SLOTS, SHARDS, INFO, ...) are answered from a view.

use std::borrow::Cow;
use std::net::IpAddr;

use super::message::Audience;
use super::node::{ME, Node};
use super::settings::BUS_OFFSET;
use super::{Core, Flags, Level, NodeId, SlotSet};
use crate::base::slot::SLOTS;

/// What a command answers when it fails: the whole text, `ERR` included.
pub type Error = Cow<'static, str>;

/// What a command answers when it succeeds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// `OK`.
    Ok,
    /// A number.
    Int(i64),
    /// Another simple string.
    Status(String),
}

/// What a command has to know of the data.
pub trait Keys {
    /// How many keys database 0 holds.
    fn total(&self) -> u64;
    /// How many keys a slot holds.
    fn in_slot(&self, slot: u16) -> u64;
}

/// How a failover is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailoverKind {
    /// Together with the primary: no write is lost.
    Plain,
    /// By election, without the primary.
    Force,
    /// Without the primary, and without asking anybody.
    Takeover,
}

/// What is to be done with a slot. Nodes are given as the client wrote them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SlotAction {
    /// It is being given to this node.
    Migrating(Vec<u8>),
    /// It is being received from this node.
    Importing(Vec<u8>),
    /// It is neither.
    Stable,
    /// It belongs to this node.
    Node(Vec<u8>),
}

/// A CLUSTER command that changes something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// MEET: take a node into the cluster.
    Meet {
        /// Its address as the client wrote it.
        ip: String,
        /// Its port as the client wrote it.
        port_text: String,
        /// The same, as a number.
        port: i64,
        /// The port of its bus.
        bus_port: i64,
    },
    /// ADDSLOTS and ADDSLOTSRANGE (`add`), DELSLOTS and DELSLOTSRANGE.
    Slots {
        /// Take them; else give them up.
        add: bool,
        /// The slots; one alone is a range of one.
        ranges: Vec<(u16, u16)>,
    },
    /// FLUSHSLOTS: give all slots up.
    FlushSlots,
    /// SETSLOT.
    SetSlot {
        /// Which slot.
        slot: u16,
        /// What is to be done.
        action: SlotAction,
        /// How many milliseconds replicas have to hear of it before; 0: as long as they need. Or what is wrong with the
        /// number, which is said only if nothing else is wrong.
        timeout: Result<i64, &'static str>,
        /// It comes with the replication stream, from this replica's primary.
        from_primary: bool,
    },
    /// These slots were received as a whole, with everything in them: they belong to this node, under a new epoch.
    ClaimSlots(SlotSet),
    /// These slots were moved as a whole to this node, another than this one, as it says itself or the primary of this replica.
    PassSlots {
        /// Which slots.
        slots: SlotSet,
        /// Their owner.
        to: NodeId,
    },
    /// These slots are this node's, and another may think that they are its own since the last epoch: this node's claim is
    /// made to outrank that.
    ReclaimSlots(SlotSet),
    /// BUMPEPOCH.
    BumpEpoch,
    /// SET-CONFIG-EPOCH.
    SetConfigEpoch(i64),
    /// FORGET.
    Forget(Vec<u8>),
    /// REPLICATE.
    Replicate(Vec<u8>),
    /// REPLICATE NO ONE.
    ReplicateNoOne,
    /// COUNT-FAILURE-REPORTS.
    CountFailureReports(Vec<u8>),
    /// FAILOVER.
    Failover {
        /// How.
        kind: FailoverKind,
        /// Who asks, for the log.
        client: String,
        /// Only the node of this name is meant: a primary says so to all of its replicas.
        only: Option<Vec<u8>>,
    },
    /// RESET.
    Reset {
        /// With a new id.
        hard: bool,
    },
    /// SAVECONFIG. The state is on disk once what [`Core::poll_persist`] asked for is done.
    SaveConfig,
}

fn unknown_node(text: &[u8]) -> Error {
    format!("ERR Unknown node {}", String::from_utf8_lossy(text)).into()
}

fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let number: i64 = text.parse().ok()?;
    // One spelling a number: no plus sign, no zeros in front.
    (number.to_string() == text).then_some(number)
}

fn slot(text: &[u8]) -> Result<u16, Error> {
    let number = number(text).and_then(|number| u16::try_from(number).ok()).filter(|&slot| slot < SLOTS);
    number.ok_or(Cow::Borrowed("ERR Invalid or out of range slot"))
}

impl Command {
    /// The command that `args` spell: everything behind CLUSTER, the name of the subcommand first. `None`: it is none
    /// of these, or has a number of arguments that none of them takes.
    ///
    /// # Errors
    /// As Valkey words them.
    pub fn parse(args: &[&[u8]], client: &str) -> Option<Result<Command, Error>> {
        let (name, args) = args.split_first()?;
        let name = name.to_ascii_lowercase();
        let failover = |kind| Command::Failover { kind, client: client.to_owned(), only: None };
        Some(match (name.as_slice(), args) {
            (b"meet", [ip, port]) => meet(ip, port, None),
            (b"meet", [ip, port, bus_port]) => meet(ip, port, Some(bus_port)),
            (b"addslots", [_, ..]) => single_slots(true, args),
            (b"delslots", [_, ..]) => single_slots(false, args),
            (b"addslotsrange", [_, _, ..]) if args.len() % 2 == 0 => slot_ranges(true, args),
            (b"delslotsrange", [_, _, ..]) if args.len() % 2 == 0 => slot_ranges(false, args),
            (b"flushslots", []) => Ok(Command::FlushSlots),
            (b"setslot", [slot, action, rest @ ..]) => set_slot(slot, action, rest),
            (b"bumpepoch", []) => Ok(Command::BumpEpoch),
            (b"set-config-epoch", [epoch]) => match number(epoch) {
                None => Err("ERR value is not an integer or out of range".into()),
                Some(epoch) if epoch < 0 => Err(format!("ERR Invalid config epoch specified: {epoch}").into()),
                Some(epoch) => Ok(Command::SetConfigEpoch(epoch)),
            },
            (b"forget", [node]) => Ok(Command::Forget(node.to_vec())),
            (b"replicate", [no, one]) if no.eq_ignore_ascii_case(b"no") && one.eq_ignore_ascii_case(b"one") => {
                Ok(Command::ReplicateNoOne)
            }
            (b"replicate", [node]) => Ok(Command::Replicate(node.to_vec())),
            (b"count-failure-reports", [node]) => Ok(Command::CountFailureReports(node.to_vec())),
            (b"failover", []) => Ok(failover(FailoverKind::Plain)),
            (b"failover", [kind]) => match kind.to_ascii_lowercase().as_slice() {
                b"force" => Ok(failover(FailoverKind::Force)),
                b"takeover" => Ok(failover(FailoverKind::Takeover)),
                _ => Err("ERR syntax error".into()),
            },
            (b"failover", [kind, word, id])
                if kind.eq_ignore_ascii_case(b"force") && word.eq_ignore_ascii_case(b"replicaid") =>
            {
                Ok(Command::Failover { kind: FailoverKind::Force, client: client.to_owned(), only: Some(id.to_vec()) })
            }
            (b"reset", []) => Ok(Command::Reset { hard: false }),
            (b"reset", [how]) => match how.to_ascii_lowercase().as_slice() {
                b"soft" => Ok(Command::Reset { hard: false }),
                b"hard" => Ok(Command::Reset { hard: true }),
                _ => Err("ERR syntax error".into()),
            },
            (b"saveconfig", []) => Ok(Command::SaveConfig),
            _ => return None,
        })
    }
}

fn meet(ip: &[u8], port: &[u8], bus_port: Option<&[u8]>) -> Result<Command, Error> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let base = number(port).ok_or_else(|| format!("ERR Invalid base port specified: {}", text(port)))?;
    let bus_port = match bus_port {
        None => base.saturating_add(i64::from(BUS_OFFSET)),
        Some(bus) => number(bus).ok_or_else(|| format!("ERR Invalid bus port specified: {}", text(bus)))?,
    };
    Ok(Command::Meet { ip: text(ip), port_text: text(port), port: base, bus_port })
}

fn single_slots(add: bool, args: &[&[u8]]) -> Result<Command, Error> {
    let slots: Result<Vec<u16>, Error> = args.iter().map(|text| slot(text)).collect();
    Ok(Command::Slots { add, ranges: slots?.into_iter().map(|slot| (slot, slot)).collect() })
}

fn slot_ranges(add: bool, args: &[&[u8]]) -> Result<Command, Error> {
    let mut ranges = Vec::with_capacity(args.len() / 2);
    for pair in args.chunks_exact(2) {
        let (first, last) = (slot(pair[0])?, slot(pair[1])?);
        if first > last {
            return Err(format!("ERR start slot number {first} is greater than end slot number {last}").into());
        }
        ranges.push((first, last));
    }
    Ok(Command::Slots { add, ranges })
}

fn set_slot(place: &[u8], action: &[u8], rest: &[&[u8]]) -> Result<Command, Error> {
    let slot = slot(place)?;
    let (action, options) = match (action.to_ascii_lowercase().as_slice(), rest) {
        (b"migrating", [node, rest @ ..]) => (SlotAction::Migrating(node.to_vec()), rest),
        (b"importing", [node, rest @ ..]) => (SlotAction::Importing(node.to_vec()), rest),
        (b"stable", rest) => (SlotAction::Stable, rest),
        (b"node", [node, rest @ ..]) => (SlotAction::Node(node.to_vec()), rest),
        _ => return Err("ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP".into()),
    };
    Ok(Command::SetSlot { slot, action, timeout: timeout(options), from_primary: false })
}

/// Replicas have so many milliseconds to hear of a SETSLOT, if nothing else is said.
const SETSLOT_TIMEOUT: i64 = 2_000;

/// The last TIMEOUT of SETSLOT's options. Other words between them mean nothing, as with Valkey.
fn timeout(options: &[&[u8]]) -> Result<i64, &'static str> {
    let mut out = SETSLOT_TIMEOUT;
    for (at, _) in options.iter().enumerate().filter(|(_, word)| word.eq_ignore_ascii_case(b"timeout")) {
        let text = options.get(at + 1).ok_or("ERR Missing timeout value")?;
        out = match number(text).ok_or("ERR timeout is not an integer or out of range")? {
            n if n < 0 => return Err("ERR timeout is negative"),
            n if n > i64::MAX / 2 => return Err("ERR timeout is out of range"),
            n => n,
        };
    }
    Ok(out)
}

impl Core {
    /// Carry out a command. What it asks for may go on afterwards: OK for MEET and FAILOVER says that it began.
    ///
    /// # Errors
    /// The text that the client gets. Nothing was changed then.
    pub fn handle_command(&mut self, now: i64, command: Command, keys: &dyn Keys) -> Result<Reply, Error> {
        self.begin(now);
        let result = self.command(command, keys);
        self.settle();
        result
    }

    /// The node that an argument names.
    pub(super) fn lookup(&self, text: &[u8]) -> Option<usize> {
        self.nodes.find(&NodeId::parse(text)?)
    }

    fn command(&mut self, command: Command, keys: &dyn Keys) -> Result<Reply, Error> {
        match command {
            Command::Meet { ip, port_text, port, bus_port } => self.meet(&ip, &port_text, port, bus_port),
            Command::Slots { add, ranges } => self.change_slots(add, &ranges),
            Command::FlushSlots => self.flush_slots(keys),
            Command::SetSlot { slot, action, timeout, from_primary } => {
                self.check_set_slot(slot, &action, from_primary, keys)?;
                timeout?;
                self.set_slot(slot, &action, keys)
            }
            Command::ClaimSlots(slots) => self.claim_slots(&slots),
            Command::PassSlots { slots, to } => self.pass_slots(&slots, &to),
            Command::ReclaimSlots(slots) => self.reclaim_slots(&slots),
            Command::BumpEpoch => {
                let word = if self.bump_epoch() { "BUMPED" } else { "STILL" };
                Ok(Reply::Status(format!("{word} {}", self.nodes[ME].config_epoch)))
            }
            Command::SetConfigEpoch(epoch) => self.set_config_epoch(epoch),
            Command::Forget(node) => self.forget_command(&node),
            Command::Replicate(node) => self.replicate(&node, keys),
            Command::ReplicateNoOne => {
                if self.nodes[ME].is_replica() {
                    self.leave_shard();
                    self.broadcast_pong(Audience::All);
                }
                Ok(Reply::Ok)
            }
            Command::CountFailureReports(node) => {
                let at = self.lookup(&node).ok_or_else(|| unknown_node(&node))?;
                Ok(Reply::Int(self.count_reports(at) as i64))
            }
            Command::Failover { only: Some(id), .. } if id != self.my_id().to_string().as_bytes() => Ok(Reply::Ok),
            Command::Failover { kind, client, .. } => self.failover_command(kind, &client),
            Command::Reset { hard } => {
                if self.nodes[ME].is_primary() && keys.total() != 0 {
                    return Err("ERR CLUSTER RESET can't be called with master nodes containing keys".into());
                }
                self.reset(hard);
                Ok(Reply::Ok)
            }
            Command::SaveConfig => {
                self.save_durably();
                Ok(Reply::Ok)
            }
        }
    }

    fn meet(&mut self, ip: &str, port_text: &str, port: i64, bus_port: i64) -> Result<Reply, Error> {
        let invalid = || Error::from(format!("ERR Invalid node address specified: {ip}:{port_text}"));
        let address: IpAddr = ip.parse().map_err(|_| invalid())?;
        let port = u16::try_from(port).ok().filter(|&port| port > 0).ok_or_else(invalid)?;
        let bus_port = u16::try_from(bus_port).ok().filter(|&port| port > 0).ok_or_else(invalid)?;
        let ip: Box<str> = address.to_string().into();
        let tls = self.settings.tls_cluster;
        let going_on = self
            .handshakes()
            .any(|(_, node)| node.ip == ip && node.main_port(tls) == port && node.bus_port == bus_port);
        self.forgotten.remove(&(ip.clone(), port));
        if going_on {
            return Ok(Reply::Ok);
        }
        let mut node = Node::new(NodeId::random(&mut self.rng), Flags::HANDSHAKE | Flags::MEET, self.now);
        node.ip = ip;
        (node.port, node.tls_port) = if tls { (0, port) } else { (port, 0) };
        node.bus_port = bus_port;
        self.nodes.add(node);
        self.todo.view = true;
        Ok(Reply::Ok)
    }

    /// The slots of `ranges`, none of them twice, all with (`add`: without) an owner.
    fn change_slots(&mut self, add: bool, ranges: &[(u16, u16)]) -> Result<Reply, Error> {
        let mut slots = SlotSet::new();
        for &(first, last) in ranges {
            for slot in first..=last {
                match (add, self.nodes.owner(slot)) {
                    (true, Some(_)) => return Err(format!("ERR Slot {slot} is already busy").into()),
                    (false, None) => return Err(format!("ERR Slot {slot} is already unassigned").into()),
                    _ => {}
                }
                if !slots.insert(slot) {
                    return Err(format!("ERR Slot {slot} specified multiple times").into());
                }
            }
        }
        for slot in slots.iter() {
            self.importing.remove(&slot);
            if add {
                self.assign_slot(slot, ME);
            } else {
                self.release_slot(slot);
            }
        }
        self.save();
        self.todo.state = true;
        Ok(Reply::Ok)
    }

    fn flush_slots(&mut self, keys: &dyn Keys) -> Result<Reply, Error> {
        if keys.total() != 0 {
            return Err("ERR DB must be empty to perform CLUSTER FLUSHSLOTS.".into());
        }
        for slot in self.nodes[ME].slots.clone().iter() {
            self.release_slot(slot);
        }
        self.save();
        self.todo.state = true;
        Ok(Reply::Ok)
    }

    fn set_config_epoch(&mut self, epoch: i64) -> Result<Reply, Error> {
        let Ok(epoch) = u64::try_from(epoch) else {
            return Err(format!("ERR Invalid config epoch specified: {epoch}").into());
        };
        if self.nodes.len() > 1 {
            return Err(
                "ERR The user can assign a config epoch only when the node does not know any other node.".into()
            );
        }
        if self.nodes[ME].config_epoch != 0 {
            return Err("ERR Node config epoch is already non-zero".into());
        }
        self.nodes[ME].config_epoch = epoch;
        self.current_epoch = self.current_epoch.max(epoch);
        self.log(Level::Notice, || format!("configEpoch set to {epoch} via CLUSTER SET-CONFIG-EPOCH"));
        self.save();
        self.todo.state = true;
        Ok(Reply::Ok)
    }

    fn forget_command(&mut self, node: &[u8]) -> Result<Reply, Error> {
        let Some(at) = self.lookup(node) else {
            // Gossip may have been faster than the operator.
            let known = NodeId::parse(node).is_some_and(|id| self.is_blacklisted(&id));
            return if known { Ok(Reply::Ok) } else { Err(unknown_node(node)) };
        };
        if at == ME {
            return Err("ERR I tried hard but I can't forget myself...".into());
        }
        if self.nodes[ME].is_replica() && self.nodes[ME].primary == Some(at) {
            return Err("ERR Can't forget my master!".into());
        }
        self.forget(at);
        Ok(Reply::Ok)
    }

    fn replicate(&mut self, node: &[u8], keys: &dyn Keys) -> Result<Reply, Error> {
        let at = self.lookup(node).ok_or_else(|| unknown_node(node))?;
        if at == ME {
            return Err("ERR Can't replicate myself".into());
        }
        if self.nodes[at].is_replica() {
            return Err("ERR I can only replicate a master, not a replica.".into());
        }
        let me = &self.nodes[ME];
        if me.is_primary() && (!me.slots.is_empty() || keys.total() != 0) {
            return Err("ERR To set a master the node must be empty and without assigned slots.".into());
        }
        if me.primary == Some(at) {
            return Ok(Reply::Ok);
        }
        // Whatever this node was, it has another history than its new primary.
        self.follow(at, true, true);
        self.broadcast_pong(Audience::All);
        self.todo.state = true;
        Ok(Reply::Ok)
    }

    fn failover_command(&mut self, kind: FailoverKind, client: &str) -> Result<Reply, Error> {
        let me = &self.nodes[ME];
        if me.is_primary() {
            return Err("ERR You should send CLUSTER FAILOVER to a replica".into());
        }
        let Some(primary) = me.primary else {
            return Err("ERR I'm a replica but my master is unknown to me".into());
        };
        let link = self.nodes[primary].link;
        if kind == FailoverKind::Plain && (self.nodes[primary].is_failed() || link.is_none()) {
            return Err("ERR Master is down or failed, please use CLUSTER FAILOVER FORCE".into());
        }
        self.begin_manual_failover();
        match kind {
            FailoverKind::Takeover => {
                self.log(Level::Notice, || format!("Taking over the primary (user request from '{client}')."));
                self.bump_epoch();
                self.take_over(primary);
            }
            FailoverKind::Force => {
                self.log(Level::Notice, || {
                    format!("Forced failover user request accepted (user request from '{client}').")
                });
                self.manual.can_start = true;
                self.todo.failover = true;
            }
            FailoverKind::Plain => {
                self.log(Level::Notice, || {
                    format!("Manual failover user request accepted (user request from '{client}').")
                });
                if let Some(link) = link {
                    self.send_bare(link, crate::cluster::wire::Kind::MfStart);
                }
            }
        }
        Ok(Reply::Ok)
    }
}
