//! GEOADD, GEOPOS, GEOHASH, GEODIST.

use super::super::collections::{RO_ACCESS, RW_UPDATE};
use super::super::zset::zadd;
use super::super::{CmdResult, Command, Ctx, options};
use super::{parse_place, parse_unit, reply_distance, reply_place};
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};
use crate::types::geo::Place;

/// `GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]`
pub static GEOADD: Command = Command::new(
    Meta::new("geoadd", -5, Flags::WRITE.or(Flags::DENYOOM), Group::Geo).keys(&[KeySpec::one(1, RW_UPDATE)]).doc(
        "3.2.0",
        "O(log(N)) for each place, where N is the number of places.",
        "Adds places to a sorted set, or moves them, making the set if need be.",
    ),
    geoadd,
);
/// `GEOPOS key [member [member ...]]`
pub static GEOPOS: Command = Command::new(
    Meta::new("geopos", -2, Flags::READONLY, Group::Geo).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "3.2.0",
        "O(1) for each member.",
        "Returns longitudes and latitudes of places.",
    ),
    |cx, args| {
        each(cx, args, |cx, place| match place {
            Some(place) => reply_place(cx.out, place),
            None => cx.out.null_array(),
        })
    },
);
/// `GEOHASH key [member [member ...]]`
pub static GEOHASH: Command = Command::new(
    Meta::new("geohash", -2, Flags::READONLY, Group::Geo).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "3.2.0",
        "O(1) for each member.",
        "Returns the geohashes of places as text.",
    ),
    |cx, args| {
        each(cx, args, |cx, place| match place {
            Some(place) => cx.out.bulk(&place.geohash()),
            None => cx.out.null(),
        })
    },
);
/// `GEODIST key member1 member2 [M | KM | FT | MI]`
pub static GEODIST: Command = Command::new(
    Meta::new("geodist", -4, Flags::READONLY, Group::Geo).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "3.2.0",
        "O(1)",
        "Returns the distance between two places.",
    ),
    geodist,
);

/// Replies with something for each member.
fn each(cx: &mut Ctx<'_>, args: &[&[u8]], reply: fn(&mut Ctx<'_>, Option<Place>)) -> CmdResult {
    let set = cx.db.zset_read(args[1])?;
    let places: Vec<Option<Place>> =
        args[2..].iter().map(|m| set.and_then(|s| s.score(m)).map(Place::from_score)).collect();
    cx.out.array(places.len());
    places.into_iter().for_each(|place| reply(cx, place));
    Ok(())
}

fn geoadd(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let mut at = 2;
    let (mut nx, mut xx) = (false, false);
    while let Some(word) = args.get(at) {
        nx |= options::is(word, "nx");
        xx |= options::is(word, "xx");
        if !["nx", "xx", "ch"].iter().any(|w| options::is(word, w)) {
            break;
        }
        at += 1;
    }
    let (triples, odd) = args[at..].as_chunks::<3>();
    if !odd.is_empty() || nx && xx {
        return Err(Error::SYNTAX);
    }
    let scores: Vec<String> = triples
        .iter()
        .map(|[lon, lat, _]| Ok(parse_place(lon, lat)?.score().to_string()))
        .collect::<Result<_, Error>>()?;
    // From here on it is a ZADD, also for replicas.
    let key = args[1];
    let mut words: Vec<&[u8]> = args[2..at].to_vec();
    for (score, [_, _, member]) in scores.iter().zip(triples) {
        words.extend([score.as_bytes(), member]);
    }
    zadd::run(cx, key, &words)?;
    if cx.db.fx.dirty > 0 {
        let command: Vec<&[u8]> = [&b"ZADD"[..], key].into_iter().chain(words).collect();
        cx.db.effect(&command);
    }
    Ok(())
}

fn geodist(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let unit = match args {
        [_, _, _, _] => 1.0,
        [_, _, _, _, unit] => parse_unit(unit)?,
        _ => return Err(Error::SYNTAX),
    };
    let places = cx.db.zset_read(args[1])?.and_then(|s| Some((s.score(args[2])?, s.score(args[3])?)));
    match places {
        Some((a, b)) => reply_distance(cx.out, Place::from_score(a).distance(Place::from_score(b)) / unit),
        None => cx.out.null(),
    }
    Ok(())
}
