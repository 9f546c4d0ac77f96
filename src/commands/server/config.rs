//! CONFIG: look at and change options.

use std::sync::atomic::Ordering::Relaxed;

use crate::commands::gate::bits;
use crate::commands::{CmdResult, Command, Ctx, help};
use crate::config::{Allow, is_fixed_while_loading};
use crate::resp::Error;
use crate::spec::{Flags, Group, Meta};

const ADMIN: Flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE);
const TO_ALL: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];
const PER_OPTION: &str = "O(N) when N is the number of configuration parameters provided";

/// <https://valkey.io/commands/config/>
pub static CONFIG: Command = Command::container(
    Meta::new("config", -2, Flags::NONE, Group::Server).doc(
        "2.0.0",
        "Depends on subcommand.",
        "A container for server configuration commands.",
    ),
    &[&GET, &HELP, &RESETSTAT, &REWRITE, &SET],
);

/// <https://valkey.io/commands/config-get/>
static GET: Command = Command::new(
    Meta::new("config|get", -3, ADMIN, Group::Server).doc("2.0.0", PER_OPTION, "Returns the values of options."),
    |cx, args| {
        let found = cx.config().get(&args[2..]);
        cx.out.map(found.len());
        for (name, value) in found {
            cx.out.bulk(&name);
            cx.out.bulk(&value);
        }
        Ok(())
    },
);

/// <https://valkey.io/commands/config-set/>
static SET: Command = Command::new(
    Meta::new("config|set", -4, ADMIN, Group::Server)
        .doc("2.0.0", PER_OPTION, "Changes options, all of those given or none.")
        .tips(TO_ALL),
    set,
);

fn set(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (pairs, rest) = args[2..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Error::SYNTAX);
    }
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|[name, value]| (*name, *value)).collect();
    if cx.server.gate.has(bits::LOADING | bits::ASIDE) && pairs.iter().any(|(name, _)| is_fixed_while_loading(name)) {
        return Err(Error::LOADING);
    }
    let protected = allowed(cx, cx.config().enable_protected_configs());
    cx.config().set(&pairs, protected).map_err(|why| Error::owned(format!("ERR {why}")))?;
    cx.out.ok();
    Ok(())
}

/// May this connection do what needs `allow`?
pub(super) fn allowed(cx: &Ctx<'_>, allow: Allow) -> bool {
    match allow {
        Allow::No => false,
        Allow::Yes => true,
        Allow::Local => is_local(&cx.session.client.addr),
    }
}

/// Is an address one of this machine's loopback addresses, or a Unix socket's?
fn is_local(addr: &str) -> bool {
    addr.starts_with('/')
        || addr.parse::<std::net::SocketAddr>().is_ok_and(|addr| addr.ip().to_canonical().is_loopback())
}

/// <https://valkey.io/commands/config-rewrite/>
static REWRITE: Command = Command::new(
    Meta::new("config|rewrite", 2, ADMIN, Group::Server)
        .doc("2.8.0", "O(1)", "Brings the configuration file up to date.")
        .tips(TO_ALL),
    |cx, _args| {
        cx.config().rewrite().map_err(|why| Error::owned(format!("ERR {why}")))?;
        cx.out.ok();
        Ok(())
    },
);

/// <https://valkey.io/commands/config-resetstat/>
static RESETSTAT: Command = Command::new(
    Meta::new("config|resetstat", 2, ADMIN, Group::Server)
        .doc("2.0.0", "O(1)", "Sets the statistics back to zero.")
        .tips(TO_ALL),
    |cx, _args| {
        // Not a statistic: what a snapshot lacks.
        let saved = &cx.server.snapshots.saved_changes;
        let unsaved = cx.server.dirty().wrapping_sub(saved.load(Relaxed));
        cx.server.metrics.reset();
        saved.store(cx.server.dirty().wrapping_sub(unsaved), Relaxed);
        cx.server.repl.counters.reset();
        cx.server.registry.reset_rejected();
        cx.server.scripts.reset_evicted();
        cx.server.rates.reset();
        cx.server.cluster.slot_stats.reset(0..crate::base::slot::SLOTS);
        cx.db.keyspace().lazy.reset();
        cx.out.ok();
        Ok(())
    },
);

/// <https://valkey.io/commands/config-help/>
static HELP: Command = Command::new(
    Meta::new("config|help", 2, Flags::LOADING.or(Flags::STALE), Group::Server).doc(
        "5.0.0",
        "O(1)",
        "Explains the subcommands.",
    ),
    |cx, _args| {
        help::reply(
            cx.out,
            "CONFIG",
            &[
                "GET <pattern>",
                "    Return parameters matching the glob-like <pattern> and their values.",
                "SET <directive> <value>",
                "    Set the configuration <directive> to <value>.",
                "RESETSTAT",
                "    Reset statistics reported by the INFO command.",
                "REWRITE",
                "    Rewrite the configuration file.",
            ],
        );
        Ok(())
    },
);

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn local_connections_come_from_loopback_or_a_socket() {
        assert!(is_local("127.0.0.1:5000") && is_local("[::1]:5000") && is_local("/tmp/d.sock:0"));
        assert!(is_local("[::ffff:127.0.0.1]:1"));
        assert!(!is_local("10.0.0.1:5000") && !is_local("[2001:db8::1]:5") && !is_local(""));
    }
}
