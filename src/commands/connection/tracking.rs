//! CLIENT TRACKING and what belongs to it: a connection hears which of the keys that it has read were changed.

use std::sync::atomic::Ordering::Relaxed;

use super::client::{SUB, on_off, sub};
use crate::clients::tracking::Overlap;
use crate::clients::{Mode, flags};
use crate::commands::options::{int, is};
use crate::commands::{CmdResult, Command, Ctx};
use crate::resp::Error;

/// `CLIENT TRACKING (ON | OFF) [REDIRECT client-id] [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]`
/// <https://valkey.io/commands/client-tracking/>
pub static TRACKING: Command = Command::new(
    sub(
        "client|tracking",
        -3,
        SUB,
        "6.0.0",
        "Controls the messages about changes of keys that the connection has read.",
    ),
    tracking,
);

fn tracking(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (mut mode, mut redirect, mut prefixes) = (Mode::default(), 0, Vec::new());
    let mut rest = args[3..].iter();
    while let Some(option) = rest.next() {
        match () {
            () if is(option, "REDIRECT") => {
                let id = rest.next().ok_or(Error::SYNTAX)?;
                if redirect != 0 {
                    return Err(Error::new("ERR A client can only redirect to a single other client"));
                }
                redirect = int(id)? as u64;
                if cx.server.registry.get(redirect).is_none() {
                    return Err(Error::new("ERR The client ID you want redirect to does not exist"));
                }
            }
            () if is(option, "BCAST") => mode.broadcast = true,
            () if is(option, "OPTIN") => mode.opt_in = true,
            () if is(option, "OPTOUT") => mode.opt_out = true,
            () if is(option, "NOLOOP") => mode.no_loop = true,
            () if is(option, "PREFIX") => prefixes.push(*rest.next().ok_or(Error::SYNTAX)?),
            () => return Err(Error::SYNTAX),
        }
    }
    if on_off(args[2])? {
        check(cx, mode, &prefixes)?;
        let client = cx.session.client.clone();
        cx.server.tracking.enable(&cx.server.keyspace.hooks, &client, mode, redirect, &prefixes);
        cx.session.tracking = Some(mode);
    } else {
        disable(cx);
    }
    cx.out.ok();
    Ok(())
}

/// Whether the options go together, and with what the connection asked for before.
fn check(cx: &Ctx<'_>, mode: Mode, prefixes: &[&[u8]]) -> CmdResult {
    let refuse = |text| Err(Error::new(text));
    if !mode.broadcast && !prefixes.is_empty() {
        return refuse("ERR PREFIX option requires BCAST mode to be enabled");
    }
    let old = cx.session.tracking;
    if old.is_some_and(|old| old.broadcast != mode.broadcast) {
        return refuse(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with \
             a different mode.",
        );
    }
    if mode.broadcast && (mode.opt_in || mode.opt_out) {
        return refuse("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if mode.opt_in && mode.opt_out {
        return refuse("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    if old.is_some_and(|old| mode.opt_in && old.opt_out || mode.opt_out && old.opt_in) {
        return refuse(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with \
             a different mode.",
        );
    }
    let (a, b, what) = match cx.server.tracking.check_prefixes(cx.session.client.id, prefixes) {
        Ok(()) => return Ok(()),
        Err(Overlap::Existing(a, b)) => (a, b, "an existing prefix"),
        Err(Overlap::Provided(a, b)) => (a, b, "another provided prefix"),
    };
    let text = [
        &b"Prefix '"[..],
        &a,
        b"' overlaps with ",
        what.as_bytes(),
        b" '",
        &b,
        b"'. Prefixes for a single client must not overlap.",
    ];
    Err(Error::general(&text.concat()))
}

/// Ends the tracking of the connection.
pub fn disable(cx: &mut Ctx<'_>) {
    cx.server.tracking.disable(&cx.server.keyspace.hooks, &cx.session.client);
    (cx.session.tracking, cx.session.caching) = (None, false);
}

/// `CLIENT CACHING (YES | NO)` <https://valkey.io/commands/client-caching/>
pub static CACHING: Command = Command::new(
    sub("client|caching", 3, SUB, "6.0.0", "Says whether keys of the next command are to be tracked."),
    |cx, args| {
        let Some(mode) = cx.session.tracking else {
            return Err(Error::new(
                "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
                 enabled",
            ));
        };
        match () {
            () if is(args[2], "YES") && !mode.opt_in => {
                return Err(Error::new("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."));
            }
            () if is(args[2], "NO") && !mode.opt_out => {
                return Err(Error::new("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."));
            }
            () if is(args[2], "YES") || is(args[2], "NO") => cx.session.caching = true,
            () => return Err(Error::SYNTAX),
        }
        cx.out.ok();
        Ok(())
    },
);

/// Where messages go: -1 without tracking, 0 for the connection itself.
fn redirect(cx: &Ctx<'_>) -> i64 {
    cx.session.tracking.map_or(-1, |_| cx.session.client.tracked.redirect.load(Relaxed) as i64)
}

/// <https://valkey.io/commands/client-getredir/>
pub static GETREDIR: Command = Command::new(
    sub("client|getredir", 2, SUB, "6.0.0", "Returns the client that invalidation messages are sent to, or -1."),
    |cx, _args| {
        let to = redirect(cx);
        cx.out.int(to);
        Ok(())
    },
);

/// <https://valkey.io/commands/client-trackinginfo/>
pub static TRACKINGINFO: Command = Command::new(
    sub("client|trackinginfo", 2, SUB, "6.2.0", "Describes the client-side caching of the connection."),
    |cx, _args| {
        let mode = cx.session.tracking.unwrap_or_default();
        let (on, caching) = (cx.session.tracking.is_some(), cx.session.caching);
        let names = [
            (!on, "off"),
            (on, "on"),
            (mode.broadcast, "bcast"),
            (mode.opt_in, "optin"),
            (mode.opt_in && caching, "caching-yes"),
            (mode.opt_out, "optout"),
            (mode.opt_out && caching, "caching-no"),
            (mode.no_loop, "noloop"),
            (cx.session.client.has(flags::TRACKING_BROKEN), "broken_redirect"),
        ];
        let (to, prefixes) = (redirect(cx), cx.server.tracking.prefixes_of(cx.session.client.id));
        let names: Vec<&str> = names.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
        cx.out.map(3);
        cx.out.bulk(b"flags");
        cx.out.set(names.len());
        names.iter().for_each(|name| cx.out.bulk(name.as_bytes()));
        cx.out.bulk(b"redirect");
        cx.out.int(to);
        cx.out.bulk(b"prefixes");
        cx.out.array(prefixes.len());
        prefixes.iter().for_each(|prefix| cx.out.bulk(prefix));
        Ok(())
    },
);
