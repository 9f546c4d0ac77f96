//! TIME, MODULE.

use crate::base::clock;
use crate::commands::{Command, help};
use crate::spec::{Flags, Group, Meta};

const OPEN: Flags = Flags::LOADING.or(Flags::STALE);

/// <https://valkey.io/commands/time/>
pub static TIME: Command = Command::new(
    Meta::new("time", 1, OPEN.or(Flags::FAST), Group::Server)
        .doc("2.6.0", "O(1)", "Returns the server's time: Unix seconds, and microseconds in this second.")
        .tips(&["nondeterministic_output"]),
    |cx, _args| {
        let now = cx.session.script.unwrap_or_else(clock::now_us);
        cx.out.array(2);
        cx.out.bulk_int(now / 1_000_000);
        cx.out.bulk_int(now % 1_000_000);
        Ok(())
    },
);

/// <https://valkey.io/commands/module/>: clients ask which modules there are, and there are none.
pub static MODULE: Command = Command::container(
    Meta::new("module", -2, Flags::NONE, Group::Server).doc(
        "4.0.0",
        "Depends on subcommand.",
        "A container for module commands.",
    ),
    &[&MODULE_HELP, &MODULE_LIST],
);

static MODULE_LIST: Command = Command::new(
    Meta::new("module|list", 2, Flags::ADMIN.or(Flags::NOSCRIPT), Group::Server)
        .doc("4.0.0", "O(N) where N is the number of loaded modules.", "Returns the loaded modules, which is none.")
        .tips(&["nondeterministic_output_order"]),
    |cx, _args| {
        cx.out.array(0);
        Ok(())
    },
);

static MODULE_HELP: Command = Command::new(
    Meta::new("module|help", 2, OPEN, Group::Server).doc("5.0.0", "O(1)", "Explains the subcommands."),
    |cx, _args| {
        help::reply(cx.out, "MODULE", &["LIST", "    Return a list of loaded modules."]);
        Ok(())
    },
);
