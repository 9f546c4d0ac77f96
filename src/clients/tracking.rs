//! Client-side caching: which connections have read which keys, and how they hear that a key changed
//! (<https://valkey.io/topics/client-side-caching/>).
//!
//! A read notes its keys while it holds their slots; who changes one says so after it held them, so no change after a read is
//! missed. A change before the read may be told as well, which costs the client a second look and nothing else. Keys go by
//! their name alone, whatever their database, into tables by the hash slot: nobody waits for a lock that all share. While no
//! connection tracks, all of it costs a command one relaxed load.
//!
//! A table forgets a key once its change was told. The numbers of connections that are gone stay until then.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

use bytes::Bytes;
use indexmap::IndexMap;
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use super::mailbox::Mail;
use super::registry::{Client, Registry, flags};
use crate::base::{rng, slot};
use crate::keyspace::hooks::Hooks;
use crate::resp::{Out, Proto};

/// Tables; a slot's keys are all in one of them.
const TABLES: usize = 256;
/// Keys that one call of [`Tracking::limit`] gives up at the most.
const EFFORT: usize = 100;

/// Where messages for who speaks RESP2 go: to a connection that subscribed to this channel.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// What a connection asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mode {
    /// Every change under some prefixes is told, read or not.
    pub broadcast: bool,
    /// Only reads right after CLIENT CACHING YES count.
    pub opt_in: bool,
    /// Reads right after CLIENT CACHING NO do not count.
    pub opt_out: bool,
    /// What the connection changes itself is not told.
    pub no_loop: bool,
}

/// What others know of a connection's tracking.
#[derive(Debug, Default)]
pub struct Tracked {
    /// The connection that gets the messages; 0: itself.
    pub redirect: AtomicU64,
    /// [`Mode::no_loop`]
    no_loop: AtomicBool,
}

/// The connections that follow a prefix.
type Followers = BTreeMap<u64, Arc<Client>>;

/// Who read a key.
type Readers = SmallVec<[u64; 2]>;

/// Who has read the keys of some slots.
type Table = IndexMap<Vec<u8>, Readers>;

/// All of it.
pub struct Tracking {
    tables: Box<[Mutex<Table>]>,
    prefixes: RwLock<BTreeMap<Vec<u8>, Followers>>,
    /// Connections in one mode or another.
    clients: Mutex<usize>,
    /// Connections in broadcast mode.
    broadcasts: AtomicUsize,
    keys: AtomicUsize,
    items: AtomicUsize,
}

impl Default for Tracking {
    fn default() -> Tracking {
        Tracking {
            tables: (0..TABLES).map(|_| Mutex::default()).collect(),
            prefixes: RwLock::default(),
            clients: Mutex::new(0),
            broadcasts: AtomicUsize::new(0),
            keys: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
        }
    }
}

/// The prefixes of a connection that overlap.
#[derive(Debug, PartialEq, Eq)]
pub enum Overlap {
    /// This new one with this one that it follows already.
    Existing(Vec<u8>, Vec<u8>),
    /// These two new ones.
    Provided(Vec<u8>, Vec<u8>),
}

impl Tracking {
    /// Connections that track.
    pub fn clients(&self) -> usize {
        *self.clients.lock()
    }
    /// Keys in the tables, and readers of them together.
    pub fn sizes(&self) -> (usize, usize) {
        (self.keys.load(Relaxed), self.items.load(Relaxed))
    }
    /// Prefixes that somebody follows.
    pub fn prefixes(&self) -> usize {
        self.prefixes.read().len()
    }
    /// Bytes of the tables, about.
    pub fn memory(&self) -> usize {
        let (keys, items) = self.sizes();
        keys * (size_of::<(Vec<u8>, Readers)>() + 40) + items * 8
    }
    /// The prefixes that a connection follows.
    pub fn prefixes_of(&self, id: u64) -> Vec<Vec<u8>> {
        let prefixes = self.prefixes.read();
        prefixes.iter().filter(|(_, followers)| followers.contains_key(&id)).map(|(prefix, _)| prefix.clone()).collect()
    }
    /// Whether prefixes of one connection may stand together with those that it has.
    pub fn check_prefixes(&self, id: u64, new: &[&[u8]]) -> Result<(), Overlap> {
        let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        let have = self.prefixes_of(id);
        for (i, prefix) in new.iter().enumerate() {
            if let Some(other) = have.iter().find(|other| overlap(prefix, other)) {
                return Err(Overlap::Existing(prefix.to_vec(), other.clone()));
            }
            if let Some(other) = new[i + 1..].iter().find(|other| overlap(prefix, other)) {
                return Err(Overlap::Provided(prefix.to_vec(), other.to_vec()));
            }
        }
        Ok(())
    }
    /// A connection tracks from now on, or in another way. No change after the next of its reads is missed.
    pub fn enable(&self, hooks: &Hooks, client: &Arc<Client>, mode: Mode, redirect: u64, prefixes: &[&[u8]]) {
        client.tracked.redirect.store(redirect, Relaxed);
        client.tracked.no_loop.store(mode.no_loop, Relaxed);
        client.set(flags::TRACKING_BROKEN, false);
        if !client.has(flags::TRACKING) {
            let mut clients = self.clients.lock();
            *clients += 1;
            hooks.set_tracking(true);
        }
        if mode.broadcast {
            let mut all = self.prefixes.write();
            let every: &[&[u8]] = &[b""];
            for prefix in if prefixes.is_empty() { every } else { prefixes } {
                if all.entry(prefix.to_vec()).or_default().insert(client.id, client.clone()).is_none() {
                    client.hold_name(prefix);
                }
            }
            if !client.has(flags::TRACKING_BROADCAST) {
                self.broadcasts.fetch_add(1, Relaxed);
            }
        }
        client.set(flags::TRACKING_BROADCAST, mode.broadcast);
        client.set(flags::TRACKING, true);
    }
    /// A connection tracks no more.
    pub fn disable(&self, hooks: &Hooks, client: &Client) {
        if !client.has(flags::TRACKING) {
            return;
        }
        if client.has(flags::TRACKING_BROADCAST) {
            self.broadcasts.fetch_sub(1, Relaxed);
            self.prefixes.write().retain(|prefix, followers| {
                if followers.remove(&client.id).is_some() {
                    client.drop_name(prefix);
                }
                !followers.is_empty()
            });
        }
        client.set(flags::TRACKING | flags::TRACKING_BROADCAST | flags::TRACKING_BROKEN, false);
        let mut clients = self.clients.lock();
        *clients -= 1;
        hooks.set_tracking(*clients > 0);
    }

    fn table(&self, key: &[u8]) -> &Mutex<Table> {
        &self.tables[usize::from(slot::key_slot(key)) % TABLES]
    }
    /// A connection has read a key, whose slot is held.
    pub fn note(&self, key: &[u8], reader: u64) {
        let mut table = self.table(key).lock();
        match table.get_mut(key) {
            Some(readers) => {
                if !readers.contains(&reader) {
                    readers.push(reader);
                    self.items.fetch_add(1, Relaxed);
                }
            }
            None => {
                table.insert(key.to_vec(), SmallVec::from_slice(&[reader]));
                self.keys.fetch_add(1, Relaxed);
                self.items.fetch_add(1, Relaxed);
            }
        }
    }
    fn forget(&self, key: &[u8]) -> Readers {
        let readers = self.table(key).lock().swap_remove(key);
        let Some(readers) = readers else { return Readers::new() };
        self.keys.fetch_sub(1, Relaxed);
        self.items.fetch_sub(readers.len(), Relaxed);
        readers
    }
    /// Keys have changed, by the command of the connection `by` (0: of none). Of the first `told` their readers know already.
    pub fn changed(&self, registry: &Registry, keys: &[Vec<u8>], told: usize, by: u64) {
        self.tell_all_readers(registry, &keys[told.min(keys.len())..], by);
        if self.broadcasts.load(Relaxed) == 0 {
            return;
        }
        let mut seen = HashSet::new();
        let keys: Vec<&[u8]> = keys.iter().map(|k| &k[..]).filter(|k| seen.insert(*k)).collect();
        let prefixes = self.prefixes.read();
        for (prefix, followers) in prefixes.iter() {
            let under: Vec<&[u8]> = keys.iter().copied().filter(|k| k.starts_with(prefix)).collect();
            if under.is_empty() {
                continue;
            }
            for client in followers.values() {
                if !(client.id == by && client.tracked.no_loop.load(Relaxed)) {
                    send(registry, client, Some(&under));
                }
            }
        }
    }
    /// As [`Tracking::changed`], but for those only who have read the keys so far.
    pub fn tell_all_readers(&self, registry: &Registry, keys: &[Vec<u8>], by: u64) {
        keys.iter().for_each(|key| self.tell_readers(registry, key, by));
    }
    fn tell_readers(&self, registry: &Registry, key: &[u8], by: u64) {
        for id in self.forget(key) {
            let Some(client) = registry.get(id) else { continue };
            let tracks = client.has(flags::TRACKING) && !client.has(flags::TRACKING_BROADCAST);
            if tracks && !(id == by && client.tracked.no_loop.load(Relaxed)) {
                send(registry, &client, Some(&[key]));
            }
        }
    }
    /// A database was emptied: all that anybody knows is out of date.
    pub fn flushed(&self, registry: &Registry) {
        if self.clients() == 0 && self.keys.load(Relaxed) == 0 {
            return;
        }
        for table in &self.tables {
            let old = std::mem::take(&mut *table.lock());
            self.keys.fetch_sub(old.len(), Relaxed);
            self.items.fetch_sub(old.values().map(|r| r.len()).sum(), Relaxed);
        }
        for client in registry.all().iter().filter(|c| c.has(flags::TRACKING)) {
            send(registry, client, None);
        }
    }
    /// Gives up keys, which is told like a change, until there are no more than `most` (0: any number), or it has lasted long
    /// enough for once.
    pub fn limit(&self, registry: &Registry, most: usize) {
        if most == 0 || self.keys.load(Relaxed) <= most {
            return;
        }
        let mut tries = 0;
        while self.keys.load(Relaxed) > most && tries < EFFORT * TABLES {
            tries += 1;
            let random = rng::next_u64();
            let table = self.tables[random as usize % TABLES].lock();
            if table.is_empty() {
                continue;
            }
            let key = table.get_index((random >> 32) as usize % table.len()).map(|(key, _)| key.clone());
            drop(table);
            if let Some(key) = key {
                self.tell_readers(registry, &key, 0);
            }
        }
    }
}

/// Tells a connection, or the one that it named, that keys changed; `None`: all of them.
fn send(registry: &Registry, client: &Client, keys: Option<&[&[u8]]>) {
    let redirect = client.tracked.redirect.load(Relaxed);
    let other;
    let mut to = client;
    if redirect != 0 {
        match registry.get(redirect) {
            Some(found) => {
                other = found;
                to = &other;
            }
            None => {
                client.set(flags::TRACKING_BROKEN, true);
                if client.resp.load(Relaxed) > 2 {
                    let mut out = Out::new(Proto::Resp3);
                    out.push(2);
                    out.bulk(b"tracking-redir-broken");
                    out.int(redirect as i64);
                    client.mailbox.send(Mail::Push(Bytes::from(out.take_bytes())));
                }
                return;
            }
        }
    }
    let resp3 = to.resp.load(Relaxed) > 2;
    let mut out = Out::new(if resp3 { Proto::Resp3 } else { Proto::Resp2 });
    if resp3 {
        out.push(2);
        out.bulk(b"invalidate");
    } else if redirect != 0 && to.has(flags::PUBSUB) {
        out.array(3);
        out.bulk(b"message");
        out.bulk(CHANNEL);
    } else {
        return;
    }
    match keys {
        None => out.null(),
        Some(keys) => {
            out.array(keys.len());
            keys.iter().for_each(|k| out.bulk(k));
        }
    }
    to.mailbox.send(Mail::Push(registry.message(out.take_bytes())));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(registry: &Registry, resp: usize) -> Arc<Client> {
        let client = Arc::new(Client { id: registry.admit(), ..Client::default() });
        client.resp.store(resp, Relaxed);
        registry.add(client.clone());
        client
    }
    fn mail(client: &Client) -> Vec<String> {
        let text = |mail: Mail| match mail {
            Mail::Push(bytes) => String::from_utf8_lossy(&bytes).replace("\r\n", " ").trim_end().to_owned(),
            other => format!("{other:?}"),
        };
        client.mailbox.take().into_iter().map(text).collect()
    }
    const K: &str = ">2 $10 invalidate *1 $1 k";

    #[test]
    fn a_reader_hears_of_the_next_change_once() {
        let (registry, all) = (Registry::default(), Tracking::default());
        let hooks = Hooks::default();
        let (a, b) = (client(&registry, 3), client(&registry, 3));
        all.enable(&hooks, &a, Mode::default(), 0, &[]);
        all.enable(&hooks, &b, Mode { no_loop: true, ..Mode::default() }, 0, &[]);
        for _ in 0..2 {
            all.note(b"k", a.id);
            all.note(b"k", b.id);
        }
        assert_eq!(all.sizes(), (1, 2));
        // What one changes itself it hears of unless it said otherwise.
        for _ in 0..2 {
            all.changed(&registry, &[b"k".to_vec(), b"other".to_vec()], 0, b.id);
        }
        assert_eq!((mail(&a), mail(&b)), (vec![K.to_owned()], vec![]));
        all.note(b"k", a.id);
        all.changed(&registry, &[b"k".to_vec()], 0, a.id);
        assert_eq!(mail(&a), [K]);
        all.note(b"k", a.id);
        all.disable(&hooks, &a);
        all.changed(&registry, &[b"k".to_vec()], 0, 0);
        assert_eq!((mail(&a), all.sizes(), all.clients()), (vec![], (0, 0), 1));
        all.flushed(&registry);
        assert_eq!(mail(&b), [">2 $10 invalidate _"]);
    }

    #[test]
    fn prefixes_are_followed_in_one_message_and_must_not_overlap() {
        let (registry, all) = (Registry::default(), Tracking::default());
        let hooks = Hooks::default();
        let (a, b) = (client(&registry, 3), client(&registry, 3));
        let broadcast = Mode { broadcast: true, ..Mode::default() };
        all.enable(&hooks, &a, broadcast, 0, &[b"x:", b"y:"]);
        all.enable(&hooks, &b, Mode { no_loop: true, ..broadcast }, 0, &[]);
        assert_eq!((all.prefixes(), all.prefixes_of(a.id).len()), (3, 2));
        let keys = ["x:1", "y:1", "x:1", "x:2", "z"].map(|k| k.as_bytes().to_vec());
        all.changed(&registry, &keys, 0, b.id);
        assert_eq!(mail(&a), [">2 $10 invalidate *2 $3 x:1 $3 x:2", ">2 $10 invalidate *1 $3 y:1"]);
        assert!(mail(&b).is_empty());
        assert_eq!(all.check_prefixes(a.id, &[b"x"]), Err(Overlap::Existing(b"x".to_vec(), b"x:".to_vec())));
        assert_eq!(all.check_prefixes(b.id + 1, &[b"ab", b"a"]), Err(Overlap::Provided(b"ab".to_vec(), b"a".to_vec())));
        all.disable(&hooks, &a);
        all.disable(&hooks, &b);
        assert_eq!((all.prefixes(), all.clients()), (0, 0));
    }

    #[test]
    fn messages_go_where_they_are_sent_or_say_that_they_cannot() {
        let (registry, all) = (Registry::default(), Tracking::default());
        let hooks = Hooks::default();
        let (a, b) = (client(&registry, 3), client(&registry, 2));
        all.enable(&hooks, &a, Mode::default(), b.id, &[]);
        all.note(b"k", a.id);
        all.changed(&registry, &[b"k".to_vec()], 0, 0);
        // It has not subscribed.
        assert!(mail(&a).is_empty() && mail(&b).is_empty());
        b.set(flags::PUBSUB, true);
        all.note(b"k", a.id);
        all.changed(&registry, &[b"k".to_vec()], 0, 0);
        assert_eq!(mail(&b), ["*3 $7 message $20 __redis__:invalidate *1 $1 k"]);
        registry.remove(b.id);
        all.note(b"k", a.id);
        all.changed(&registry, &[b"k".to_vec()], 0, 0);
        assert_eq!(mail(&a), [format!(">2 $21 tracking-redir-broken :{}", b.id)]);
        assert!(a.has(flags::TRACKING_BROKEN));
    }

    #[test]
    fn tables_have_a_limit_and_what_they_give_up_is_told() {
        let (registry, all) = (Registry::default(), Tracking::default());
        let hooks = Hooks::default();
        let a = client(&registry, 3);
        all.enable(&hooks, &a, Mode::default(), 0, &[]);
        for i in 0..500 {
            all.note(format!("key:{i}").as_bytes(), a.id);
        }
        all.limit(&registry, 0);
        assert_eq!(all.sizes().0, 500);
        all.limit(&registry, 50);
        assert_eq!((all.sizes(), mail(&a).len()), ((50, 50), 450));
    }
}
