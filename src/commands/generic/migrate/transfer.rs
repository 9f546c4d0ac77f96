//! Carries keys over.
//!
//! A key is written out under the lock of its slot, with a watch on it, and sent with the lock dropped. Once the target
//! has it, the lock is taken again: a key that nobody touched is removed here. One that was touched is sent again, over
//! the copy that is ours; one that is gone here is removed there. For a key that changes all the time the writes to its
//! slot are held back in the end: their clients wait, and nobody else. (The slot was locked for that once, also while the
//! target took its time: whole workers waited.) So at every moment one of the two servers has the last value, and no write
//! is lost.
//!
//! A big value is written out in steps, with the lock dropped in between: one that is touched meanwhile begins anew.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::deleted_in;
use super::super::dump::{Written, payload, sealed, write_some};
use super::target::{Answers, Errand, Failure, Targets};
use crate::clients::Reach;
use crate::keyspace::{Db, EntryRef, NO_EXPIRY, Watch, encode_request};
use crate::persist::rdb::{self, Steps};
use crate::resp::{Error, Out};

/// Rounds before writes are held back.
const ROUNDS: usize = 3;

/// What the client asked for.
pub struct Order {
    pub host: Vec<u8>,
    pub port: Vec<u8>,
    pub db: i64,
    pub timeout_ms: u64,
    pub copy: bool,
    pub replace: bool,
    pub auth: Vec<Vec<u8>>,
    pub keys: Vec<Vec<u8>>,
    /// Both are nodes of a cluster: the target's slot is just arriving.
    pub asking: bool,
    pub compress: bool,
}

/// A key on its way.
struct Parcel<'a> {
    key: &'a [u8],
    watch: Arc<Watch>,
    /// The target has an older copy of ours.
    sent_before: bool,
    /// Requests that it took: its answer is the last one.
    requests: usize,
    /// What is written out of it so far, where that goes in steps.
    steps: Option<Steps>,
}

/// What a round led to.
#[derive(Default)]
struct Outcome<'a> {
    /// The first error of the target.
    refusal: Option<Vec<u8>>,
    failure: Option<Failure>,
    /// This node may not write any more.
    barred: bool,
    /// Keys that changed while they were under way.
    touched: Vec<Parcel<'a>>,
    /// How many keys the target took, and keeps.
    arrived: u64,
}

/// Moves the keys, and replies.
pub fn carry(targets: &Targets, order: &Order, reach: &mut dyn Reach, out: &mut Out) -> Result<(), Error> {
    let mut parcels: Vec<Parcel<'_>> = order.keys.iter().map(|key| Parcel::new(key, false)).collect();
    let mut refusal = None;
    for round in 0.. {
        if round >= ROUNDS {
            reach.hold_writes(&parcels.iter().map(|p| p.key).collect::<Vec<_>>());
        }
        let Some(outcome) = round_of(targets, order, reach, parcels, round == 0) else {
            out.simple("NOKEY");
            return Ok(());
        };
        targets.keys.fetch_add(outcome.arrived, Relaxed);
        refusal = refusal.or(outcome.refusal);
        if outcome.barred {
            return Err(Error::READONLY);
        }
        parcels = outcome.touched;
        if let Some(text) = refusal.take_if(|_| parcels.is_empty() || outcome.failure.is_some()) {
            return Err(Error::general(&[b"Target instance replied with error: ", &text[..]].concat()));
        }
        if let Some(failure) = outcome.failure {
            return Err(failure.error());
        }
        if parcels.is_empty() {
            break;
        }
    }
    out.ok();
    Ok(())
}

/// Sends the keys once. `None`: none of them is there.
fn round_of<'a>(
    targets: &Targets,
    order: &Order,
    reach: &mut dyn Reach,
    mut parcels: Vec<Parcel<'a>>,
    first: bool,
) -> Option<Outcome<'a>> {
    let names: Vec<&[u8]> = parcels.iter().map(|p| p.key).collect();
    let send = |parcels: &[Parcel<'_>], bytes: &[u8]| {
        let errand = Errand {
            host: &order.host,
            port: &order.port,
            db: order.db,
            timeout_ms: order.timeout_ms,
            auth: &order.auth,
        };
        targets.send(&errand, bytes, parcels.iter().map(|p| p.requests).sum())
    };
    let (mut bytes, mut outcome) = (Vec::new(), None);
    reach.with(&names, &mut |db, writable| {
        if !writable && !order.copy {
            outcome = Some(Outcome { barred: true, ..Outcome::default() });
            return;
        }
        pack(db, order, &mut parcels, first, &mut bytes);
    });
    if outcome.is_some() {
        return outcome;
    }
    if parcels.is_empty() {
        return (!first).then(Outcome::default);
    }
    // Those that were touched before they were written out wait for the next round.
    let mut late = Vec::new();
    // The others are behind those that are written out already, as their requests are.
    let (mut parcels, big): (Vec<_>, Vec<_>) = parcels.into_iter().partition(|p| p.steps.is_none());
    for mut parcel in big {
        let written = pack_in_steps(reach, order, &mut parcel, &mut bytes);
        if written { &mut parcels } else { &mut late }.push(parcel);
    }
    let (answers, failure) = if parcels.is_empty() { Default::default() } else { send(&parcels, &bytes) };
    let mut sent = Some((parcels, answers));
    reach.with(&names, &mut |db, writable| {
        let Some((parcels, answers)) = sent.take() else { return };
        if writable || order.copy {
            outcome = Some(settle(db, order, parcels, answers, failure));
        } else {
            parcels.iter().for_each(|p| db.unwatch(p.key, &p.watch));
            outcome = Some(Outcome { barred: true, ..Outcome::default() });
        }
    });
    if let Some(outcome) = &mut outcome {
        outcome.touched.extend(late);
    }
    outcome
}

/// The request that makes the target have a value.
fn restore(order: &Order, parcel: &Parcel<'_>, expiry: i64, now: i64, payload: &[u8], bytes: &mut Vec<u8>) {
    let verb: &[u8] = if order.asking { b"RESTORE-ASKING" } else { b"RESTORE" };
    let ttl = if expiry == NO_EXPIRY { 0 } else { (expiry - now).max(1) }.to_string();
    let mut argv: Vec<&[u8]> = vec![verb, parcel.key, ttl.as_bytes(), payload];
    if order.replace || parcel.sent_before {
        argv.push(b"REPLACE");
    }
    encode_request(&argv, bytes);
}

/// Goes on with a value that is written out in steps, to its end. False if it was touched before that, or is gone.
fn pack_in_steps(reach: &mut dyn Reach, order: &Order, parcel: &mut Parcel<'_>, bytes: &mut Vec<u8>) -> bool {
    let Some(mut steps) = parcel.steps.take() else { return true };
    loop {
        steps.make_room();
        let (mut written, mut now) = (Written::Touched, 0);
        reach.with(&[parcel.key], &mut |db, _| {
            (written, now) = (write_some(&mut steps, db, parcel.key, &parcel.watch), db.now);
            let ends = matches!(written, Written::Touched) || matches!(written, Written::All(_)) && order.copy;
            if ends {
                db.unwatch(parcel.key, &parcel.watch);
            }
        });
        match written {
            Written::Some => {}
            Written::All(expiry) => {
                let (body, version) = steps.finish();
                restore(order, parcel, expiry, now, &sealed(body, version), bytes);
                return true;
            }
            Written::Touched => {
                *parcel = Parcel::new(parcel.key, parcel.sent_before);
                return false;
            }
        }
    }
}

/// Begins to write a value out in steps, if it is big.
fn in_steps(e: EntryRef<'_>, compress: bool) -> Option<Steps> {
    rdb::is_big(e.view()).then(|| Steps::new(compress))
}

/// Writes out what the keys hold now, or begins to, and watches them. Those that have nothing to send fall away.
fn pack(db: &mut Db<'_>, order: &Order, parcels: &mut Vec<Parcel<'_>>, first: bool, bytes: &mut Vec<u8>) {
    parcels.retain_mut(|parcel| {
        let (key, now) = (parcel.key, db.now);
        let entry = if first { db.read(key) } else { db.peek(key) };
        match entry {
            Some(e) => {
                parcel.requests = 1;
                parcel.steps = in_steps(e, order.compress);
                if parcel.steps.is_none() {
                    restore(order, parcel, e.expiry(), now, &payload(e, order.compress), bytes);
                }
            }
            None if parcel.sent_before => {
                parcel.requests = 1;
                if order.asking {
                    encode_request(&[b"ASKING"], bytes);
                    parcel.requests = 2;
                }
                encode_request(&[b"DEL", key], bytes);
            }
            None => return false,
        }
        if !order.copy || parcel.steps.is_some() {
            db.watch(key, &parcel.watch);
        }
        true
    });
}

/// Removes the keys that the target has as they are here.
fn settle<'a>(
    db: &mut Db<'_>,
    order: &Order,
    parcels: Vec<Parcel<'a>>,
    answers: Answers,
    failure: Option<Failure>,
) -> Outcome<'a> {
    let mut outcome = Outcome { failure, ..Outcome::default() };
    let mut answers = answers.into_iter();
    let mut gone: Vec<&[u8]> = vec![b"DEL"];
    for parcel in parcels {
        let mut taken = 0;
        let mut refusal = None;
        for answer in answers.by_ref().take(parcel.requests) {
            taken += 1;
            refusal = refusal.or(answer.err());
        }
        let arrived = taken == parcel.requests && refusal.is_none();
        outcome.refusal = outcome.refusal.or(refusal);
        outcome.arrived += u64::from(arrived);
        if order.copy {
            continue;
        }
        db.unwatch(parcel.key, &parcel.watch);
        if !arrived {
            continue;
        }
        if parcel.watch.is_touched() {
            outcome.arrived -= 1;
            outcome.touched.push(Parcel::new(parcel.key, true));
        } else if db.delete(parcel.key, true) {
            deleted_in(db, parcel.key);
            gone.push(parcel.key);
        }
    }
    if gone.len() > 1 {
        db.effect(&gone);
    }
    outcome
}

impl Parcel<'_> {
    fn new(key: &[u8], sent_before: bool) -> Parcel<'_> {
        Parcel { key, watch: Arc::default(), sent_before, requests: 0, steps: None }
    }
}
