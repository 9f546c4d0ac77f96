//! PUBSUB: what is subscribed.

use super::super::{CmdResult, Command, Ctx, help};
use crate::spec::{Flags, Group, Meta};

const LOOK: Flags = Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE);

/// `PUBSUB` <https://valkey.io/commands/pubsub/>
pub static PUBSUB: Command = Command::container(
    Meta::new("pubsub", -2, Flags::NONE, Group::Pubsub).doc(
        "2.8.0",
        "Depends on subcommand.",
        "A container for the commands that look at subscriptions.",
    ),
    &[&CHANNELS, &HELP, &NUMPAT, &NUMSUB, &SHARDCHANNELS, &SHARDNUMSUB],
);
static CHANNELS: Command = Command::new(
    Meta::new("pubsub|channels", -2, LOOK, Group::Pubsub).doc(
        "2.8.0",
        "O(N) where N is the number of active channels.",
        "Returns the channels that have subscribers.",
    ),
    channels,
);
static NUMSUB: Command = Command::new(
    Meta::new("pubsub|numsub", -2, LOOK, Group::Pubsub).doc(
        "2.8.0",
        "O(N) for N channels asked for.",
        "Returns the number of subscribers of channels.",
    ),
    |cx, args| {
        cx.out.array((args.len() - 2) * 2);
        for channel in &args[2..] {
            cx.out.bulk(channel);
            cx.out.len_int(cx.server.pubsub.subscribers(channel));
        }
        Ok(())
    },
);
static SHARDCHANNELS: Command = Command::new(
    Meta::new("pubsub|shardchannels", -2, LOOK, Group::Pubsub).doc(
        "7.0.0",
        "O(N) where N is the number of active shard channels.",
        "Returns the shard channels that have subscribers.",
    ),
    |cx, args| {
        if args.len() > 3 {
            return Err(cx.arity());
        }
        let list = cx.server.pubsub.shard_channels(args.get(2).copied());
        cx.out.array(list.len());
        list.iter().for_each(|c| cx.out.bulk(c));
        Ok(())
    },
);
static SHARDNUMSUB: Command = Command::new(
    Meta::new("pubsub|shardnumsub", -2, LOOK, Group::Pubsub).doc(
        "7.0.0",
        "O(N) for N shard channels asked for.",
        "Returns the number of subscribers of shard channels.",
    ),
    |cx, args| {
        cx.out.array((args.len() - 2) * 2);
        for channel in &args[2..] {
            cx.out.bulk(channel);
            cx.out.len_int(cx.server.pubsub.shard_subscribers(channel));
        }
        Ok(())
    },
);
static NUMPAT: Command = Command::new(
    Meta::new("pubsub|numpat", 2, LOOK, Group::Pubsub).doc(
        "2.8.0",
        "O(1)",
        "Returns the number of subscribed patterns.",
    ),
    |cx, _| {
        cx.out.len_int(cx.server.pubsub.pattern_count());
        Ok(())
    },
);
static HELP: Command = Command::new(
    Meta::new("pubsub|help", 2, Flags::LOADING.or(Flags::STALE), Group::Pubsub)
        .doc("6.2.0", "O(1)", "Returns a text about the subcommands.")
        .not_cat(crate::spec::Cat::PUBSUB),
    |cx, _| {
        help::reply(
            cx.out,
            "PUBSUB",
            &[
                "CHANNELS [<pattern>]",
                "    Return the channels that have subscribers, and match <pattern> if given.",
                "NUMPAT",
                "    Return the number of patterns that have subscribers.",
                "NUMSUB [<channel> ...]",
                "    Return the number of subscribers of each channel, patterns apart.",
                "SHARDCHANNELS [<pattern>]",
                "    Return the shard channels that have subscribers, and match <pattern> if given.",
                "SHARDNUMSUB [<shardchannel> ...]",
                "    Return the number of subscribers of each shard channel.",
            ],
        );
        Ok(())
    },
);

fn channels(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    if args.len() > 3 {
        return Err(cx.arity());
    }
    let list = cx.server.pubsub.channels(args.get(2).copied());
    cx.out.array(list.len());
    list.iter().for_each(|c| cx.out.bulk(c));
    Ok(())
}
