//! The last times that somebody was refused. Similar entries that follow each other soon are counted as one.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::check::Reason;

/// Entries closer than this may be one, ms.
const NEAR_MS: i64 = 60_000;
/// So many bytes of a name are kept: a key can be long.
const SHOWN: usize = 1024;
/// How many of the newest entries are looked through for a similar one.
const LOOK: usize = 10;

/// Where the command came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// A client.
    TopLevel,
    /// A transaction.
    Multi,
    /// A script.
    Lua,
}

impl Context {
    /// Its name in ACL LOG.
    pub fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

/// What was refused.
#[derive(Debug, Clone)]
pub struct Event {
    /// For lack of what right.
    pub reason: Reason,
    /// In what context.
    pub context: Context,
    /// The command, key, channel or database.
    pub object: Vec<u8>,
    /// To whom.
    pub user: Vec<u8>,
    /// The client, as CLIENT LIST shows it.
    pub client: Vec<u8>,
}

/// An entry of the log.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number since the start.
    pub id: u64,
    /// How often it happened.
    pub count: u64,
    /// What, the last time.
    pub event: Event,
    /// The first time, unix ms.
    pub created: i64,
    /// The last time, unix ms.
    pub updated: i64,
}

/// The log, newest entry first.
#[derive(Debug, Default)]
pub struct Log {
    entries: Mutex<(VecDeque<Entry>, u64)>,
}

impl Log {
    /// Adds an event that happened at `now` (unix ms), and forgets what is more than `max` entries.
    pub fn add(&self, mut event: Event, now: i64, max: usize) {
        for name in [&mut event.object, &mut event.user] {
            name.truncate(SHOWN);
            name.shrink_to_fit();
        }
        let mut guard = self.entries.lock();
        let (entries, next) = &mut *guard;
        if max == 0 {
            entries.clear();
            return;
        }
        let similar = |e: &Entry| {
            let old = &e.event;
            old.reason == event.reason
                && old.context == event.context
                && old.object == event.object
                && old.user == event.user
                && (now - e.updated).abs() <= NEAR_MS
        };
        let entry = match entries.iter().take(LOOK).position(similar).and_then(|at| entries.remove(at)) {
            Some(old) => Entry { count: old.count + 1, event, updated: now, ..old },
            None => {
                *next += 1;
                Entry { id: *next - 1, count: 1, event, created: now, updated: now }
            }
        };
        entries.push_front(entry);
        entries.truncate(max);
    }
    /// The newest entries, at most so many.
    pub fn newest(&self, most: usize) -> Vec<Entry> {
        self.entries.lock().0.iter().take(most).cloned().collect()
    }
    /// Forgets all entries.
    pub fn clear(&self) {
        self.entries.lock().0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(object: &str) -> Event {
        Event {
            reason: Reason::Key,
            context: Context::TopLevel,
            object: object.into(),
            user: b"u".to_vec(),
            client: b"id=1".to_vec(),
        }
    }
    fn shown(log: &Log) -> Vec<(String, u64, u64)> {
        log.newest(usize::MAX)
            .iter()
            .map(|e| (String::from_utf8_lossy(&e.event.object).into_owned(), e.count, e.id))
            .collect()
    }

    #[test]
    fn similar_entries_within_a_minute_are_counted_as_one_and_come_to_the_front() {
        let log = Log::default();
        log.add(event("a"), 0, 128);
        log.add(event("b"), 1, 128);
        log.add(event("a"), 60_000, 128);
        assert_eq!(shown(&log), [("a".into(), 2, 0), ("b".into(), 1, 1)]);
        let newest = log.newest(1);
        assert_eq!((newest[0].created, newest[0].updated), (0, 60_000));
        log.add(event("a"), 120_001, 128);
        assert_eq!(shown(&log), [("a".into(), 1, 2), ("a".into(), 2, 0), ("b".into(), 1, 1)]);
        log.add(Event { context: Context::Lua, ..event("a") }, 120_002, 128);
        assert_eq!(log.newest(10).len(), 4);
    }

    #[test]
    fn long_names_are_cut() {
        let log = Log::default();
        log.add(event(&"k".repeat(1 << 20)), 0, 128);
        log.add(event(&"k".repeat(2 << 20)), 0, 128);
        assert_eq!((log.newest(9).len(), log.newest(1)[0].event.object.len()), (1, 1024));
    }

    #[test]
    fn only_ten_entries_are_searched_and_only_so_many_kept() {
        let log = Log::default();
        (0..11).for_each(|i| log.add(event(&i.to_string()), 0, 128));
        log.add(event("0"), 0, 128);
        assert_eq!(log.newest(99).len(), 12);
        log.add(event("x"), 0, 3);
        assert_eq!(log.newest(99).len(), 3);
        log.clear();
        log.add(event("y"), 0, 3);
        assert_eq!(shown(&log), [("y".into(), 1, 13)], "numbers go on");
        log.add(event("z"), 0, 0);
        assert_eq!(log.newest(99).len(), 0);
    }
}
