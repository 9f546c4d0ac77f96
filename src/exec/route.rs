//! Which node of the cluster serves a command.
//!
//! The view of the cluster tells the owner of a slot; nothing is locked for that. Two things are looked at again once
//! the locks are there: whether a newer view has come meanwhile, and, while a slot moves, whether its keys are here.
//! Texts and order of the checks: <https://valkey.io/topics/cluster-spec/#redirection-and-resharding>.

use super::Worker;
use super::call::Parts;
use crate::base::slot;
use crate::clients::Session;
use crate::cluster::{NodeInfo, State, View};
use crate::commands::Server;
use crate::commands::cluster::endpoint;
use crate::commands::gate::bits;
use crate::commands::lookup::Entry;
use crate::commands::replication::role::to_primary;
use crate::keyspace::{Db, Located};
use crate::resp::{Error, Out};
use crate::spec::{Flags, KeyFlags};

/// Where a command may run.
pub(super) enum Route {
    /// Here.
    Here,
    /// Here, if its keys are: its slot is on the move.
    IfPresent(Moving),
}

/// A command on a slot that is on the move.
pub(super) struct Moving {
    keys: Vec<Vec<u8>>,
    /// The slot leaves: who to ask for keys that are not here. Else it arrives, and must bring all of several keys.
    ask: Option<Error>,
}

impl Moving {
    /// The slot of its keys, if it has any.
    pub(super) fn slot(&self) -> Option<u16> {
        self.keys.first().map(|key| slot::key_slot(key))
    }
}

/// The cluster does not work.
pub(super) const DOWN: Error = Error::new("CLUSTERDOWN The cluster is down");
/// The cluster does not work, and takes no writes.
pub(super) const DOWN_READONLY: Error = Error::new("CLUSTERDOWN The cluster is down and only accepts read commands");
/// To a source that goes on sending.
const OVER: Error = Error::new("ERR This slot migration is over");
const TRYAGAIN: Error = Error::new("TRYAGAIN Multiple keys request during rehashing of slot");

/// The keys of a command or transaction, as far as routing goes.
#[derive(Default)]
struct Wanted {
    slot: Option<u16>,
    crossed: bool,
    keys: Vec<Vec<u8>>,
    /// Shard channels are hashed like keys, and are on no side of a migration.
    channels: bool,
}

impl Worker {
    /// Fetches the view if there is a newer one.
    #[inline]
    pub(super) fn look_at_cluster(&mut self) {
        let version = self.server.cluster.version();
        if version != self.view_version {
            self.view = self.server.cluster.view();
            self.view_version = self.view.as_ref().map_or(0, |view| view.version);
        }
    }

    /// Whether a plain command on `slot` runs here, with nothing to be looked at closer.
    #[inline]
    pub(super) fn is_settled_here(&self, slot: u16) -> bool {
        match &self.view {
            None => true,
            Some(view) => {
                view.state == State::Ok
                    && view.is_mine(slot)
                    && view.migrating().is_empty()
                    && view.importing().is_empty()
            }
        }
    }

    /// Where a command is to run; the error is a redirection or a refusal.
    #[inline]
    pub(super) fn route(&self, session: &Session, entry: &Entry, argv: &[&[u8]]) -> Result<Route, Error> {
        match &self.view {
            Some(view) if !session.internal => {
                let writes = self.does(session, entry, Flags::WRITE);
                Router { server: self.server, view }.route(session, entry, argv, writes)
            }
            _ if self.is_for_primary(session, entry) => Err(to_primary(self.server)),
            _ => Ok(Route::Here),
        }
    }

    /// Whether the client is to ask this replica's primary instead, as it said that it can (CLIENT CAPA redirect).
    #[inline]
    pub(super) fn is_for_primary(&self, session: &Session, entry: &Entry) -> bool {
        session.redirects
            && self.gate & bits::REPLICA != 0
            && !session.internal
            && !self.server.cluster.is_enabled()
            && (self.does(session, entry, Flags::WRITE)
                || !session.readonly && self.does(session, entry, Flags::READONLY))
    }

    /// Sends a client elsewhere. A transaction is gone then, or fails at its EXEC.
    #[cold]
    pub(super) fn redirect(
        &mut self,
        session: &mut Session,
        entry: &'static Entry,
        e: &Error,
        now: i64,
        out: &mut Out,
    ) {
        if entry.command.meta.name == "exec" {
            self.end_transaction(session, now);
            self.parts().reject(session, None, e, out);
        } else {
            self.parts().reject(session, Some(entry), e, out);
        }
    }
}

/// Knows where commands run.
pub(super) struct Router<'a> {
    pub server: &'static Server,
    pub view: &'a View,
}

impl Router<'_> {
    /// Where a command is to run; the error is a redirection or a refusal.
    pub(super) fn route(&self, session: &Session, entry: &Entry, argv: &[&[u8]], writes: bool) -> Result<Route, Error> {
        let view = self.view;
        let config = self.server.config;
        let moves = !view.migrating().is_empty() || !view.importing().is_empty();
        let mut wanted = Wanted::default();
        let mut add = |entry: &Entry, argv: &[&[u8]]| {
            if entry.command.meta.name == "clusterscan" && argv[1] == b"0" {
                // The beginning is everywhere.
                return;
            }
            // Arguments without a place for keys are refused by the handler.
            let keys = entry.command.meta.keys_of(argv).unwrap_or_default();
            for key in &keys {
                let name = argv[key.index];
                let at = slot::key_slot(name);
                wanted.crossed |= *wanted.slot.get_or_insert(at) != at;
                if key.flags.has(KeyFlags::NOT_KEY) {
                    wanted.channels = true;
                } else if moves {
                    wanted.keys.push(name.to_vec());
                }
            }
        };
        match &session.multi {
            Some(multi) if entry.command.meta.name == "exec" => {
                for q in &multi.queue {
                    add(self.server.lookup.get(q.command), &super::single::slices(&q.argv));
                }
            }
            _ => add(entry, argv),
        }
        let Some(at) = wanted.slot else { return Ok(Route::Here) };
        if let Some(import) = &session.import
            && !wanted.crossed
            && import.transfer.slots.contains(at)
        {
            return if import.transfer.is_open() { Ok(Route::Here) } else { Err(OVER) };
        }
        let Some(owner) = view.owner(at) else { return Err(Error::new("CLUSTERDOWN Hash slot not served")) };
        if wanted.crossed {
            return Err(Error::new("CROSSSLOT Keys in request don't hash to the same slot"));
        }
        if view.state != State::Ok && !(wanted.channels && config.cluster_allow_pubsubshard_when_down()) {
            if !config.cluster_allow_reads_when_down() {
                return Err(DOWN);
            }
            if writes {
                return Err(DOWN_READONLY);
            }
        }
        let migrates = entry.command.meta.name == "migrate";
        let mine = view.myself();
        let follows_owner = mine.is_replica() && mine.primary == Some(owner.id);
        // Replicas know what is on the move, too, and tell those who read from them.
        let (target, source) = match mine.is_primary() || session.readonly && !writes {
            true => (view.migrating_to(at), view.importing_from(at)),
            false => (None, None),
        };
        if migrates && mine.is_primary() && (target.is_some() || source.is_some()) {
            return Ok(Route::Here);
        }
        if let Some(target) = target.filter(|_| !wanted.channels && (view.is_mine(at) || follows_owner)) {
            return Ok(Route::IfPresent(Moving {
                keys: wanted.keys,
                ask: Some(self.redirection("ASK", at, target, session)),
            }));
        }
        if view.is_mine(at) {
            return Ok(Route::Here);
        }
        let asking = session.asking || entry.flags().has(Flags::ASKING);
        if source.is_some() && asking {
            return Ok(Route::IfPresent(Moving { keys: wanted.keys, ask: None }));
        }
        // Messages of a shard go to all of its nodes, so its replicas serve them, too.
        if (session.readonly || wanted.channels) && follows_owner && !writes {
            return Ok(Route::Here);
        }
        Err(self.redirection("MOVED", at, owner, session))
    }

    fn redirection(&self, word: &str, slot: u16, to: &NodeInfo, session: &Session) -> Error {
        // Clients show the address that they came to: one in brackets or with two colons is IPv6.
        let ipv6 = session.client.laddr.matches(':').count() > 1;
        let host = endpoint(self.server, to, ipv6);
        Error::owned(format!("{word} {slot} {host}:{}", to.client_port(false)))
    }
}

/// Why a command does not run on a slot that is on the move.
pub(super) enum Unsettled {
    /// What the client is told.
    Elsewhere(Error),
    /// A key was sent and is gone here since: whether the target keeps it is decided soon, and until then no client may
    /// meet it there.
    UnderWay,
}

impl From<Unsettled> for Error {
    fn from(why: Unsettled) -> Error {
        match why {
            Unsettled::Elsewhere(e) => e,
            Unsettled::UnderWay => TRYAGAIN,
        }
    }
}

impl Parts<'_> {
    /// Whether the keys of a slot on the move are here. The command's locks are held.
    pub(super) fn settle(&mut self, route: &Route, db: usize, now: i64) -> Result<(), Unsettled> {
        let Route::IfPresent(moving) = route else { return Ok(()) };
        let targets = &self.server.targets;
        let db = Db::new(self.server.keyspace, self.held, db, now, self.fx, self.stats, self.tuning, Located::NONE);
        let (present, gone): (Vec<_>, Vec<_>) = moving.keys.iter().partition(|key| db.exists(key));
        if gone.is_empty() {
            return Ok(());
        }
        match &moving.ask {
            Some(_) if gone.iter().any(|key| targets.is_under_way(key)) => Err(Unsettled::UnderWay),
            Some(_) if !present.is_empty() => Err(Unsettled::Elsewhere(TRYAGAIN)),
            Some(ask) => Err(Unsettled::Elsewhere(ask.clone())),
            None if moving.keys.iter().any(|key| *key != moving.keys[0]) => Err(Unsettled::Elsewhere(TRYAGAIN)),
            None => Ok(()),
        }
    }
}
