//! ACL LOG: who was refused what.

use super::ADMIN;
use crate::base::clock;
use crate::commands::options::{int, is};
use crate::commands::{CmdResult, Command, Ctx};
use crate::resp::Error;
use crate::spec::{Group, Meta};

/// How many entries are shown unless asked otherwise.
const SHOWN: i64 = 10;

/// <https://valkey.io/commands/acl-log/>
pub(super) static LOG: Command = Command::new(
    Meta::new("acl|log", -2, ADMIN, Group::Server).doc(
        "6.0.0",
        "O(N) with N being the number of entries shown.",
        "Returns the last refusals, or forgets them.",
    ),
    log,
);

fn log(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let log = &cx.server.acl.log;
    let count = match &args[2..] {
        [] => SHOWN,
        [reset] if is(reset, "RESET") => {
            log.clear();
            cx.out.ok();
            return Ok(());
        }
        [count] => int(count)?,
        _ => return Err(Error::usage("ACL", args[1])),
    };
    let entries = log.newest(usize::try_from(count).unwrap_or(0));
    let now = clock::now_ms();
    cx.out.array(entries.len());
    for entry in entries {
        let event = &entry.event;
        cx.out.map(10);
        cx.out.bulk(b"count");
        cx.out.int(entry.count as i64);
        let texts: [(&str, &[u8]); 4] = [
            ("reason", event.reason.name().as_bytes()),
            ("context", event.context.name().as_bytes()),
            ("object", &event.object),
            ("username", &event.user),
        ];
        for (name, text) in texts {
            cx.out.bulk(name.as_bytes());
            cx.out.bulk(text);
        }
        cx.out.bulk(b"age-seconds");
        cx.out.double((now - entry.updated) as f64 / 1000.0);
        cx.out.bulk(b"client-info");
        cx.out.bulk(&event.client);
        for (name, n) in [
            ("entry-id", entry.id as i64),
            ("timestamp-created", entry.created),
            ("timestamp-last-updated", entry.updated),
        ] {
            cx.out.bulk(name.as_bytes());
            cx.out.int(n);
        }
    }
    Ok(())
}
