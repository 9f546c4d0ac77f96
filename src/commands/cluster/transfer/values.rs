//! Writing out values: the keys of a slot one after the other, big ones in steps, and those again that have to be.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::export::{Export, FLUSH};
use super::filter::{Outgoing, Place, Stopped};
use crate::base::slot::key_slot;
use crate::commands::generic::dump::{Written, payload, sealed, write_some};
use crate::keyspace::{Db, NO_EXPIRY, Watch};
use crate::persist::rdb::{self, Steps};

/// About so many bytes of values are written out under one lock.
const STEP: usize = 64 << 10;
/// So often a big value is written out while it may change; then writes to its slot are held back.
const ROUNDS: usize = 3;

impl Export {
    /// Writes out all keys of a slot.
    pub(super) fn walk(&mut self, slot: u16) -> Result<(), Stopped> {
        self.check()?;
        self.filter.enter(slot);
        for db in 0..self.server.keyspace.databases() {
            let (mut pos, mut big) = (0, Vec::new());
            loop {
                let (server, filter, transfer) = (self.server, &mut self.filter, &self.transfer);
                let compress = server.config.rdbcompression();
                pos = self.hands.with(slot, db, |view| {
                    if !view.is_used() || view.slot_len(slot) == 0 {
                        return 0;
                    }
                    let (offset, now) = (server.repl.log.end(), view.now);
                    let (start, mut at) = (filter.out.bytes.len(), pos);
                    loop {
                        at = view.scan_slot_raw(slot, at, |e| {
                            let place: Place = (db, e.key().to_vec());
                            if e.is_expired(now) || filter.has(&place) {
                                return;
                            }
                            if rdb::is_big(e.view()) {
                                big.push(place);
                                return;
                            }
                            restore(&mut filter.out, &place, e.expiry(), &payload(e, compress));
                            filter.captured(place, offset);
                            transfer.keys.fetch_add(1, Relaxed);
                        });
                        if at == 0 || filter.out.bytes.len() - start > STEP {
                            return at;
                        }
                    }
                });
                if self.filter.out.bytes.len() >= FLUSH {
                    self.flush()?;
                    self.check()?;
                }
                self.drain()?;
                for place in big.drain(..) {
                    if !self.filter.has(&place) {
                        self.write_out(place)?;
                    }
                }
                if pos == 0 {
                    break;
                }
            }
        }
        self.write_pending()?;
        self.filter.leave();
        Ok(())
    }

    /// Writes out what is pending, until the log is read past it and there is nothing more.
    pub(super) fn write_pending(&mut self) -> Result<(), Stopped> {
        loop {
            // The log's end, read after the last value was: all that those values contain is before it.
            self.drain()?;
            let Some(place) = self.filter.next_pending() else { return Ok(()) };
            self.write_out(place)?;
        }
    }

    /// Writes out what a key holds now; that it is gone, if it is.
    fn write_out(&mut self, place: Place) -> Result<(), Stopped> {
        let (server, slot) = (self.server, key_slot(&place.1));
        let (mut round, mut held) = (0, None);
        while !self.try_write_out(&place)? {
            round += 1;
            if round >= ROUNDS && held.is_none() {
                // If somebody else holds them back, the next round will do.
                held = server.pause.try_hold(&server.registry, &[slot], i64::MAX);
            }
        }
        self.transfer.keys.fetch_add(1, Relaxed);
        if self.filter.out.bytes.len() >= FLUSH {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes out a key, a big one in steps, with the slot free in between. False if it was touched before all was written.
    fn try_write_out(&mut self, place: &Place) -> Result<bool, Stopped> {
        let (server, compress) = (self.server, self.server.config.rdbcompression());
        let slot = key_slot(&place.1);
        let (filter, watch) = (&mut self.filter, Arc::<Watch>::default());
        let mut steps = self.hands.with(slot, place.0, |view: &mut Db<'_>| {
            let offset = server.repl.log.end();
            match view.peek(&place.1) {
                Some(e) if rdb::is_big(e.view()) => {
                    view.watch(&place.1, &watch);
                    return Some(Steps::new(compress));
                }
                Some(e) => restore(&mut filter.out, place, e.expiry(), &payload(e, compress)),
                None => filter.out.push(place.0, &[b"DEL", &place.1]),
            }
            filter.captured(place.clone(), offset);
            None
        });
        while let Some(under_way) = &mut steps {
            let checked = self.check();
            under_way.make_room();
            let filter = &mut self.filter;
            let written = self.hands.with(slot, place.0, |view: &mut Db<'_>| {
                let offset = server.repl.log.end();
                let written = match checked {
                    Ok(()) => write_some(under_way, view, &place.1, &watch),
                    Err(_) => Written::Touched,
                };
                if !matches!(written, Written::Some) {
                    view.unwatch(&place.1, &watch);
                }
                if matches!(written, Written::All(_)) {
                    filter.captured(place.clone(), offset);
                }
                written
            });
            checked?;
            match written {
                Written::Some => {}
                Written::Touched => return Ok(false),
                Written::All(expiry) => {
                    let (body, version) = steps.take().map(Steps::finish).unwrap_or_default();
                    restore(&mut self.filter.out, place, expiry, &sealed(body, version));
                    self.big_until = self.sent + self.filter.out.requests;
                }
            }
        }
        Ok(true)
    }
}

fn restore(out: &mut Outgoing, place: &Place, expiry: i64, payload: &[u8]) {
    let at = if expiry == NO_EXPIRY { 0 } else { expiry }.to_string();
    out.push(place.0, &[b"RESTORE", &place.1, at.as_bytes(), payload, b"ABSTTL", b"REPLACE"]);
}
