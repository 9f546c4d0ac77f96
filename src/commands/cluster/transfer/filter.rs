//! Which part of the log goes to the target of a move.
//!
//! The exporter walks the slots and writes out key by key, under the lock of the slot, and notes where the log was then.
//! An effect on a key goes to the target if it came after that; before, the key's value has it. Effects on keys that the
//! walk has not reached yet are left out, except that their keys are noted: what appears behind the walk's back is
//! written out at the end of the slot. An effect whose keys are in different conditions goes as the values of its keys.

use std::collections::{BTreeSet, HashMap};

use crate::base::slot::key_slot;
use crate::cluster::SlotSet;
use crate::commands::lookup::Lookup;
use crate::keyspace::encode_request;
use crate::resp::{Decoder, Limits, Step};

/// A key and its database.
pub type Place = (usize, Vec<u8>);

/// What cannot be passed on: the reason.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped(pub String);

/// What an effect is to one key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The target needs it.
    Forward,
    /// The target has it, or will, with the value.
    Contained,
    /// Nobody has written the key out yet, and the walk may be past it.
    Unknown,
}

/// Reads the log.
pub struct Filter {
    lookup: &'static Lookup,
    slots: SlotSet,
    /// Slots of which everything was written out.
    done: SlotSet,
    /// The slot that is being walked through.
    walking: Option<u16>,
    /// Where the log was when a key was written out: for keys of the slot under way, and others that are written anew.
    captured: HashMap<Place, u64>,
    pending: BTreeSet<Place>,
    /// The database of the log.
    db: usize,
    /// The offset of what comes next.
    at: u64,
    buf: Vec<u8>,
    group: Option<Vec<(usize, Vec<Vec<u8>>)>>,
    /// What goes to the target.
    pub out: Outgoing,
}

/// Requests for the target.
#[derive(Default)]
pub struct Outgoing {
    /// Encoded.
    pub bytes: Vec<u8>,
    /// How many replies follow.
    pub requests: u64,
    selected: Option<usize>,
}

impl Outgoing {
    /// Appends a request to a database.
    pub fn push(&mut self, db: usize, argv: &[&[u8]]) {
        if self.selected != Some(db) {
            self.push_plain(&[b"SELECT", db.to_string().as_bytes()]);
            self.selected = Some(db);
        }
        self.push_plain(argv);
    }
    /// Appends a request that is to none.
    pub fn push_plain(&mut self, argv: &[&[u8]]) {
        encode_request(argv, &mut self.bytes);
        self.requests += 1;
    }
}

impl Filter {
    /// For the log from `at` on, which names its database before the first effect.
    pub fn new(lookup: &'static Lookup, slots: SlotSet, at: u64) -> Filter {
        Filter {
            lookup,
            slots,
            done: SlotSet::new(),
            walking: None,
            captured: HashMap::new(),
            pending: BTreeSet::new(),
            db: 0,
            at,
            buf: Vec::new(),
            group: None,
            out: Outgoing::default(),
        }
    }
    /// Up to where the log was read.
    pub fn offset(&self) -> u64 {
        self.at + self.buf.len() as u64
    }
    /// The walk enters a slot.
    pub fn enter(&mut self, slot: u16) {
        self.walking = Some(slot);
    }
    /// The walk is through with its slot, and the log was read up to where it was then, with nothing pending.
    pub fn leave(&mut self) {
        if let Some(slot) = self.walking.take() {
            self.done.insert(slot);
        }
        self.captured.clear();
    }
    /// Whether a key is written out already, or is to be for another reason.
    pub fn has(&self, place: &Place) -> bool {
        self.captured.contains_key(place) || self.pending.contains(place)
    }
    /// A key was written out when the log was at `offset`.
    pub fn captured(&mut self, place: Place, offset: u64) {
        self.pending.remove(&place);
        self.captured.insert(place, offset);
    }
    /// A key that is to be written out.
    pub fn next_pending(&self) -> Option<Place> {
        self.pending.first().cloned()
    }
    /// What was noted of keys that are written out is of no use where the log is past that.
    pub fn forget_old(&mut self) {
        if self.walking.is_none() && self.pending.is_empty() {
            let at = self.at;
            self.captured.retain(|_, offset| *offset > at);
        }
    }

    /// Reads on in the log.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        self.buf.extend_from_slice(bytes);
        let mut buf = std::mem::take(&mut self.buf);
        let (mut pos, mut args) = (0, Vec::new());
        let mut read = 0;
        let limits = Limits { bulk: u64::from(u32::MAX), ..Limits::default() };
        let result = loop {
            args.clear();
            let start = pos;
            match Decoder::default().next(&mut buf, &mut pos, &mut args, &limits) {
                Ok(Step::Request(_) | Step::Inline(_)) => {
                    let argv: Vec<&[u8]> = args.iter().map(|arg| arg.of(&buf)).collect();
                    if let Err(e) = self.effect(&argv, self.at + start as u64) {
                        break Err(e);
                    }
                }
                Ok(Step::Nothing) => {}
                Ok(Step::More) => break Ok(()),
                Err(_) => break Err(Stopped("the log is damaged".to_owned())),
            }
            read = pos;
        };
        buf.drain(..read);
        self.at += read as u64;
        self.buf = buf;
        result
    }

    fn fate(&self, place: &Place, slot: u16, at: u64) -> Option<Fate> {
        let done = self.done.contains(slot);
        if !done && self.walking != Some(slot) {
            return None;
        }
        Some(match self.captured.get(place) {
            _ if self.pending.contains(place) => Fate::Contained,
            Some(&offset) if at >= offset => Fate::Forward,
            Some(_) => Fate::Contained,
            None if done => Fate::Forward,
            None => Fate::Unknown,
        })
    }

    fn effect(&mut self, argv: &[&[u8]], at: u64) -> Result<(), Stopped> {
        let Some(entry) = self.lookup.resolve(argv) else { return Ok(()) };
        let name = entry.command.meta.name;
        match name {
            "select" => {
                self.db = argv.get(1).and_then(|n| std::str::from_utf8(n).ok()?.parse().ok()).unwrap_or(self.db);
                return Ok(());
            }
            "multi" => {
                self.group = Some(Vec::new());
                return Ok(());
            }
            "exec" => {
                let group = self.group.take().unwrap_or_default();
                let together = group.len() > 1;
                if together {
                    // The database is named before: within, it would be one more reply of another kind.
                    let first = group[0].0;
                    self.out.push(first, &[b"MULTI"]);
                }
                for (db, argv) in &group {
                    self.out.push(*db, &argv.iter().map(|arg| &arg[..]).collect::<Vec<_>>());
                }
                if together {
                    self.out.push_plain(&[b"EXEC"]);
                }
                return Ok(());
            }
            "flushall" | "flushdb" | "swapdb" => {
                return Err(Stopped(format!("{} was executed meanwhile", name.to_ascii_uppercase())));
            }
            _ => {}
        }
        let keys = entry.command.meta.keys_of(argv).unwrap_or_default();
        let mut places: Vec<(Place, u16)> =
            keys.iter().map(|key| ((self.db, argv[key.index].to_vec()), key_slot(argv[key.index]))).collect();
        places.retain(|(_, slot)| self.slots.contains(*slot));
        if places.is_empty() {
            return Ok(());
        }
        // What reaches another database, or a slot that stays, is not for the target as it is.
        let crosses = places.len() != keys.len() || reaches_another_database(name, argv);
        let fates: Vec<Option<Fate>> = places.iter().map(|(place, slot)| self.fate(place, *slot, at)).collect();
        let all = |fate: Fate| fates.iter().all(|f| *f == Some(fate));
        if fates.iter().all(Option::is_none) || all(Fate::Contained) {
            // Not reached yet, or contained.
        } else if all(Fate::Forward) && !crosses {
            match &mut self.group {
                Some(group) => group.push((self.db, argv.iter().map(|arg| arg.to_vec()).collect())),
                None => self.out.push(self.db, argv),
            }
        } else {
            let known = places.into_iter().zip(fates).filter(|(_, fate)| fate.is_some());
            for ((place, _), _) in known {
                self.captured.remove(&place);
                self.pending.insert(place);
            }
        }
        if let Some(db) = other_database(name, argv) {
            let key = argv[if name == "copy" { 2 } else { 1 }].to_vec();
            let (slot, place) = (key_slot(&key), (db, key));
            if self.slots.contains(slot) && self.fate(&place, slot, at).is_some() {
                self.captured.remove(&place);
                self.pending.insert(place);
            }
        }
        Ok(())
    }
}

/// The other database of MOVE, or of COPY with DB.
fn other_database(name: &str, argv: &[&[u8]]) -> Option<usize> {
    let number = |arg: &[u8]| std::str::from_utf8(arg).ok()?.parse().ok();
    match name {
        "move" => number(argv.get(2)?),
        "copy" => {
            let at = argv.iter().skip(3).position(|arg| arg.eq_ignore_ascii_case(b"db"))? + 3;
            number(argv.get(at + 1)?)
        }
        _ => None,
    }
}

fn reaches_another_database(name: &str, argv: &[&[u8]]) -> bool {
    other_database(name, argv).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::slot;
    use crate::commands::table;

    /// A filter for the slot of `{a}`, walked through or not, with a log that begins at 0.
    struct Bench {
        filter: Filter,
        log: Vec<u8>,
        slot: u16,
    }

    impl Bench {
        fn new() -> Bench {
            let lookup: &'static Lookup = Box::leak(Box::new(Lookup::new(&table::all(), |name| Some(name.to_owned()))));
            let slot = slot::key_slot(b"a");
            let slots: SlotSet = [slot].into_iter().collect();
            Bench { filter: Filter::new(lookup, slots, 0), log: Vec::new(), slot }
        }
        /// Something is done: the log goes on.
        fn done(&mut self, line: &str) -> &mut Bench {
            encode_request(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut self.log);
            self
        }
        /// The walk writes a key out, now.
        fn write_out(&mut self, key: &str) {
            self.filter.captured((0, key.as_bytes().to_vec()), self.log.len() as u64);
        }
        /// What goes to the target, once the log was read to its end.
        fn read(&mut self) -> Vec<String> {
            let from = self.filter.offset() as usize;
            self.filter.read(&self.log[from..]).unwrap();
            let mut bytes = std::mem::take(&mut self.filter.out.bytes);
            let (mut pos, mut lines) = (0, Vec::new());
            loop {
                let mut args = Vec::new();
                match Decoder::default().next(&mut bytes, &mut pos, &mut args, &Limits::default()) {
                    Ok(Step::Request(_)) => {
                        let words = args.iter().map(|a| String::from_utf8_lossy(a.of(&bytes)).into_owned());
                        lines.push(words.collect::<Vec<_>>().join(" "));
                    }
                    _ => return lines.into_iter().filter(|line| !line.starts_with("SELECT")).collect(),
                }
            }
        }
        fn pending(&self) -> Vec<String> {
            self.filter.pending.iter().map(|(_, key)| String::from_utf8_lossy(key).into_owned()).collect()
        }
    }

    #[test]
    fn effects_go_on_from_where_a_key_was_written_out() {
        let mut b = Bench::new();
        b.done("SET {a}1 before the walk").done("SET elsewhere x");
        assert_eq!(b.read(), [""; 0]);
        b.filter.enter(b.slot);
        b.done("APPEND {a}1 contained");
        b.write_out("{a}1");
        b.done("APPEND {a}1 follows").done("SET elsewhere y");
        assert_eq!(b.read(), ["APPEND {a}1 follows"]);
    }

    #[test]
    fn keys_that_appear_behind_the_walk_are_written_out_at_its_end() {
        let mut b = Bench::new();
        b.filter.enter(b.slot);
        b.done("SET {a}new x").done("APPEND {a}new y");
        assert_eq!(b.read(), [""; 0]);
        assert_eq!(b.pending(), ["{a}new"]);
        assert!(b.filter.has(&(0, b"{a}new".to_vec())));
        b.write_out("{a}new");
        b.done("APPEND {a}new z");
        assert_eq!((b.read(), b.pending().len()), (vec!["APPEND {a}new z".to_owned()], 0));
        // Afterwards everything in the slot goes on as it is.
        b.filter.leave();
        b.done("SET {a}later 1").done("DEL {a}1 {a}2");
        assert_eq!(b.read(), ["SET {a}later 1", "DEL {a}1 {a}2"]);
    }

    #[test]
    fn an_effect_on_keys_in_different_conditions_goes_as_their_values() {
        let mut b = Bench::new();
        b.filter.enter(b.slot);
        b.write_out("{a}1");
        b.done("RENAME {a}1 {a}2").done("APPEND {a}1 again");
        assert_eq!(b.read(), [""; 0]);
        assert_eq!(b.pending(), ["{a}1", "{a}2"]);
        b.write_out("{a}1");
        b.write_out("{a}2");
        b.done("RENAME {a}2 {a}1");
        assert_eq!(b.read(), ["RENAME {a}2 {a}1"]);
    }

    #[test]
    fn other_databases_are_told_apart_and_reached() {
        let mut b = Bench::new();
        b.filter.enter(b.slot);
        b.write_out("{a}1");
        b.done("SELECT 3").done("SET {a}1 of three");
        assert_eq!(b.read(), [""; 0]);
        assert_eq!(b.filter.next_pending(), Some((3, b"{a}1".to_vec())));
        b.filter.captured((3, b"{a}1".to_vec()), b.log.len() as u64);
        b.filter.leave();
        b.done("SELECT 0").done("MOVE {a}1 3").done("COPY {a}x {a}y DB 5");
        assert_eq!(b.read(), [""; 0]);
        let pending: Vec<Place> = b.filter.pending.iter().cloned().collect();
        let place = |db: usize, key: &str| (db, key.as_bytes().to_vec());
        let wanted = [place(0, "{a}1"), place(0, "{a}x"), place(0, "{a}y"), place(3, "{a}1"), place(5, "{a}y")];
        assert_eq!(pending, wanted);
    }

    #[test]
    fn a_transaction_stays_one_as_far_as_it_concerns_the_slots() {
        let mut b = Bench::new();
        b.filter.enter(b.slot);
        b.filter.leave();
        b.done("MULTI").done("SET {a}1 x").done("SET elsewhere y").done("SET {a}2 z").done("EXEC");
        b.done("MULTI").done("SET {a}3 alone").done("SET elsewhere y").done("EXEC");
        b.done("MULTI").done("SET elsewhere y").done("EXEC").done("PING");
        assert_eq!(b.read(), ["MULTI", "SET {a}1 x", "SET {a}2 z", "EXEC", "SET {a}3 alone"]);
    }

    #[test]
    fn what_empties_databases_ends_the_move_and_pieces_of_requests_are_put_together() {
        for line in ["FLUSHALL", "FLUSHDB", "SWAPDB 0 1"] {
            let mut b = Bench::new();
            b.done(line);
            assert!(b.filter.read(&b.log).is_err(), "{line}");
        }
        let mut b = Bench::new();
        b.filter.enter(b.slot);
        b.filter.leave();
        b.done("SET {a}1 some-value");
        for i in 0..b.log.len() {
            assert_eq!(b.filter.offset() as usize, i);
            b.filter.read(&b.log[i..=i]).unwrap();
        }
        assert_eq!(b.read(), ["SET {a}1 some-value"]);
    }
}
