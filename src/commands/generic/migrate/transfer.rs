//! Carries keys over.
//!
//! A key is written out under the lock of its slot, with a watch on it, and sent with the lock dropped. Once the target
//! has it, the lock is taken again: a key that nobody touched is removed here. One that was touched is sent again, over
//! the copy that is ours; one that is gone here is removed there. A key that changes all the time is sent in the end
//! with its slot locked. So at every moment one of the two servers has the last value, and no write is lost.

use std::sync::Arc;

use super::super::deleted_in;
use super::super::dump::payload;
use super::target::{Answers, Errand, Failure, Targets};
use crate::clients::Reach;
use crate::keyspace::{Db, NO_EXPIRY, Watch, encode_request};
use crate::resp::{Error, Out};

/// Rounds without the lock before a round with it.
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
}

/// Moves the keys, and replies.
pub fn carry(targets: &Targets, order: &Order, reach: &mut dyn Reach, out: &mut Out) -> Result<(), Error> {
    let mut parcels: Vec<Parcel<'_>> = order.keys.iter().map(|key| Parcel::new(key, false)).collect();
    let mut refusal = None;
    for round in 0.. {
        let Some(outcome) = round_of(targets, order, reach, parcels, (round == 0, round >= ROUNDS)) else {
            out.simple("NOKEY");
            return Ok(());
        };
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
    (first, locked): (bool, bool),
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
        if locked && !parcels.is_empty() {
            let (answers, failure) = send(&parcels, &bytes);
            outcome = Some(settle(db, order, std::mem::take(&mut parcels), answers, failure));
        }
    });
    if outcome.is_some() {
        return outcome;
    }
    if parcels.is_empty() {
        return (!first).then(Outcome::default);
    }
    let (answers, failure) = send(&parcels, &bytes);
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
    outcome
}

/// Writes out what the keys hold now, and watches them. Those that have nothing to send fall away.
fn pack(db: &mut Db<'_>, order: &Order, parcels: &mut Vec<Parcel<'_>>, first: bool, bytes: &mut Vec<u8>) {
    parcels.retain_mut(|parcel| {
        let (key, now) = (parcel.key, db.now);
        let entry = if first { db.read(key) } else { db.peek(key) };
        match entry {
            Some(e) => {
                let verb: &[u8] = if order.asking { b"RESTORE-ASKING" } else { b"RESTORE" };
                let ttl = if e.expiry() == NO_EXPIRY { 0 } else { (e.expiry() - now).max(1) }.to_string();
                let payload = payload(e, order.compress);
                let mut argv: Vec<&[u8]> = vec![verb, key, ttl.as_bytes(), &payload];
                if order.replace || parcel.sent_before {
                    argv.push(b"REPLACE");
                }
                encode_request(&argv, bytes);
                parcel.requests = 1;
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
        if !order.copy {
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
        if order.copy {
            continue;
        }
        db.unwatch(parcel.key, &parcel.watch);
        if !arrived {
            continue;
        }
        if parcel.watch.is_touched() {
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
        Parcel { key, watch: Arc::default(), sent_before, requests: 0 }
    }
}
