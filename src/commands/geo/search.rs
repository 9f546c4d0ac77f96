//! GEOSEARCH, GEOSEARCHSTORE, and the older GEORADIUS and GEORADIUSBYMEMBER with their read-only forms.

use smallvec::SmallVec;

use super::super::collections::{OW_UPDATE, RO_ACCESS, limits, store};
use super::super::{CmdResult, Command, Ctx, options};
use super::{parse_place, parse_unit, reply_distance, reply_place};
use crate::base::num;
use crate::keyspace::{Value, notify};
use crate::resp::{Error, Out};
use crate::spec::{Flags, Group, KeySpec, KeyUse, Meta};
use crate::types::ZSet;
use crate::types::geo::{Area, Form, Place};
use crate::types::zset::ScoreRange;

const COMPLEXITY: &str =
    "O(N+log(M)) where N is the number of places in the cells around the area and M the number of all places.";
const WRITES: Flags = Flags::WRITE.or(Flags::DENYOOM);

/// `GEOSEARCH key FROMMEMBER member | FROMLONLAT longitude latitude BYRADIUS radius unit | BYBOX width height unit |
/// BYPOLYGON num-vertices longitude latitude ... [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]`
pub static GEOSEARCH: Command = Command::new(
    Meta::new("geosearch", -7, Flags::READONLY, Group::Geo).keys(&[KeySpec::one(1, RO_ACCESS)]).doc(
        "6.2.0",
        COMPLEXITY,
        "Returns the places in a circle, a box or a polygon.",
    ),
    |cx, args| search(cx, args, Verb::Search),
);
/// `GEOSEARCHSTORE destination source ...` as GEOSEARCH, `[STOREDIST]`
pub static GEOSEARCHSTORE: Command = Command::new(
    Meta::new("geosearchstore", -8, WRITES, Group::Geo)
        .keys(&[KeySpec::one(1, OW_UPDATE), KeySpec::one(2, RO_ACCESS)])
        .doc("6.2.0", COMPLEXITY, "Stores the places in a circle, a box or a polygon."),
    |cx, args| search(cx, args, Verb::SearchStore),
);
/// `GEORADIUS key longitude latitude radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]
/// [STORE key | STOREDIST key]`
pub static GEORADIUS: Command = Command::new(
    Meta::new("georadius", -6, WRITES.or(Flags::MOVABLEKEYS), Group::Geo)
        .keys(&[
            KeySpec::one(1, RO_ACCESS),
            KeySpec::after("STORE", 6, OW_UPDATE),
            KeySpec::after("STOREDIST", 6, OW_UPDATE),
        ])
        .getkeys(|args| find_keys(args, 5))
        .doc("3.2.0", COMPLEXITY, "Returns the places in a circle, or stores them.")
        .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument"),
    |cx, args| search(cx, args, Verb::Radius { by_member: false, read_only: false }),
);
/// `GEORADIUS_RO key longitude latitude radius unit ...` as GEORADIUS, storing nothing
pub static GEORADIUS_RO: Command = Command::new(
    Meta::new("georadius_ro", -6, Flags::READONLY, Group::Geo)
        .keys(&[KeySpec::one(1, RO_ACCESS)])
        .doc("3.2.10", COMPLEXITY, "Returns the places in a circle.")
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument"),
    |cx, args| search(cx, args, Verb::Radius { by_member: false, read_only: true }),
);
/// `GEORADIUSBYMEMBER key member radius unit ...` as GEORADIUS
pub static GEORADIUSBYMEMBER: Command = Command::new(
    Meta::new("georadiusbymember", -5, WRITES.or(Flags::MOVABLEKEYS), Group::Geo)
        .keys(&[
            KeySpec::one(1, RO_ACCESS),
            KeySpec::after("STORE", 5, OW_UPDATE),
            KeySpec::after("STOREDIST", 5, OW_UPDATE),
        ])
        .getkeys(|args| find_keys(args, 4))
        .doc("3.2.0", COMPLEXITY, "Returns the places in a circle around a place, or stores them.")
        .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments"),
    |cx, args| search(cx, args, Verb::Radius { by_member: true, read_only: false }),
);
/// `GEORADIUSBYMEMBER_RO key member radius unit ...` as GEORADIUS, storing nothing
pub static GEORADIUSBYMEMBER_RO: Command = Command::new(
    Meta::new("georadiusbymember_ro", -5, Flags::READONLY, Group::Geo)
        .keys(&[KeySpec::one(1, RO_ACCESS)])
        .doc("3.2.10", COMPLEXITY, "Returns the places in a circle around a place.")
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"),
    |cx, args| search(cx, args, Verb::Radius { by_member: true, read_only: true }),
);

/// The key, and the destination of the last STORE or STOREDIST behind the first `fixed` arguments.
fn find_keys(args: &[&[u8]], fixed: usize) -> Option<SmallVec<[KeyUse; 4]>> {
    let mut keys = SmallVec::new();
    keys.push(KeyUse { index: 1, flags: RO_ACCESS });
    let mut last = None;
    let mut i = fixed + 1;
    while i + 1 < args.len() {
        if options::is(args[i], "store") || options::is(args[i], "storedist") {
            last = Some(i + 1);
            i += 1;
        }
        i += 1;
    }
    keys.extend(last.map(|index| KeyUse { index, flags: OW_UPDATE }));
    Some(keys)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Search,
    SearchStore,
    Radius { by_member: bool, read_only: bool },
}

/// What a search asks for.
#[derive(Debug)]
struct Request<'a> {
    /// Where to search; none where there is no key and so no member to search around.
    centre: Option<Place>,
    form: Option<Form>,
    /// Meters of the unit that distances are given in.
    unit: f64,
    descending: Option<bool>,
    count: usize,
    any: bool,
    with_place: bool,
    with_distance: bool,
    with_hash: bool,
    /// Where to store, and whether with distances as scores.
    store: Option<(&'a [u8], bool)>,
}

fn radius(number: &[u8], unit: &[u8]) -> Result<(Form, f64), Error> {
    let n = num::parse_f64(number).ok_or(Error::new("ERR need numeric radius"))?;
    if n < 0.0 {
        return Err(Error::new("ERR radius cannot be negative"));
    }
    let unit = parse_unit(unit)?;
    Ok((Form::Circle(n * unit), unit))
}

fn rectangle(width: &[u8], height: &[u8], unit: &[u8]) -> Result<(Form, f64), Error> {
    let width = num::parse_f64(width).ok_or(Error::new("ERR need numeric width"))?;
    let height = num::parse_f64(height).ok_or(Error::new("ERR need numeric height"))?;
    if width < 0.0 || height < 0.0 {
        return Err(Error::new("ERR height or width cannot be negative"));
    }
    let unit = parse_unit(unit)?;
    Ok((Form::Box(width * unit, height * unit), unit))
}

/// The corners of a polygon, `words` beginning with their number; how many words they are.
fn corners(words: &[&[u8]]) -> Result<(Vec<Place>, usize), Error> {
    let n = words.first().ok_or(Error::SYNTAX)?;
    let n = num::parse_i64(n).ok_or(Error::new("ERR value is not an integer or out of range"))?;
    if n < 3 {
        return Err(Error::new("ERR BYPOLYGON must have at least 3 vertices"));
    }
    let n = usize::try_from(n).map_err(|_| Error::SYNTAX)?;
    let (pairs, _) = words[1..].as_chunks::<2>();
    let pairs = pairs.get(..n).ok_or(Error::SYNTAX)?;
    let places = pairs.iter().map(|[lon, lat]| parse_place(lon, lat)).collect::<Result<_, _>>()?;
    Ok((places, 1 + 2 * n))
}

/// The place of a member of the set that is searched; none if there is no set.
fn member(cx: &mut Ctx<'_>, key: &[u8], member: &[u8]) -> Result<Option<Place>, Error> {
    match cx.db.zset_read(key)? {
        None => Ok(None),
        Some(set) => match set.score(member) {
            Some(score) => Ok(Some(Place::from_score(score))),
            None => Err(Error::new("ERR could not decode requested zset member")),
        },
    }
}

fn parse<'a>(cx: &mut Ctx<'_>, args: &[&'a [u8]], verb: Verb) -> Result<Request<'a>, Error> {
    let mut r = Request {
        centre: None,
        form: None,
        unit: 1.0,
        descending: None,
        count: 0,
        any: false,
        with_place: false,
        with_distance: false,
        with_hash: false,
        store: None,
    };
    let source = args[if verb == Verb::SearchStore { 2 } else { 1 }];
    let (mut from_member, mut from_place) = (false, false);
    let mut rest = match verb {
        Verb::Search => &args[2..],
        Verb::SearchStore => {
            r.store = Some((args[1], false));
            &args[3..]
        }
        Verb::Radius { by_member: false, .. } => {
            r.centre = Some(parse_place(args[2], args[3])?);
            let (form, unit) = radius(args[4], args[5])?;
            (r.form, r.unit) = (Some(form), unit);
            &args[6..]
        }
        Verb::Radius { by_member: true, .. } => {
            r.centre = member(cx, source, args[2])?;
            if r.centre.is_some() {
                let (form, unit) = radius(args[3], args[4])?;
                (r.form, r.unit) = (Some(form), unit);
            }
            &args[5..]
        }
    };
    let searching = matches!(verb, Verb::Search | Verb::SearchStore);
    let may_store = matches!(verb, Verb::Radius { read_only: false, .. });
    while let [word, more @ ..] = rest {
        let is = |w: &str| options::is(word, w);
        rest = match more {
            _ if is("withdist") => {
                r.with_distance = true;
                more
            }
            _ if is("withhash") => {
                r.with_hash = true;
                more
            }
            _ if is("withcoord") => {
                r.with_place = true;
                more
            }
            _ if is("any") => {
                r.any = true;
                more
            }
            _ if is("asc") || is("desc") => {
                r.descending = Some(is("desc"));
                more
            }
            [n, more @ ..] if is("count") => {
                let n = options::int(n)?;
                r.count = usize::try_from(n).ok().filter(|n| *n > 0).ok_or(Error::new("ERR COUNT must be > 0"))?;
                more
            }
            [key, more @ ..] if may_store && (is("store") || is("storedist")) => {
                r.store = Some((key, is("storedist")));
                more
            }
            _ if verb == Verb::SearchStore && is("storedist") => {
                r.store = Some((args[1], true));
                more
            }
            [name, more @ ..] if searching && is("frommember") && !from_place => {
                r.centre = member(cx, source, name)?;
                from_member = true;
                more
            }
            [lon, lat, more @ ..] if searching && is("fromlonlat") && !from_member => {
                r.centre = Some(parse_place(lon, lat)?);
                from_place = true;
                more
            }
            [n, unit, more @ ..] if searching && is("byradius") && matches!(r.form, None | Some(Form::Circle(_))) => {
                let (form, unit) = radius(n, unit)?;
                (r.form, r.unit) = (Some(form), unit);
                more
            }
            [w, h, unit, more @ ..] if searching && is("bybox") && matches!(r.form, None | Some(Form::Box(..))) => {
                let (form, unit) = rectangle(w, h, unit)?;
                (r.form, r.unit) = (Some(form), unit);
                more
            }
            more if searching && is("bypolygon") && r.form.is_none() && !from_member && !from_place => {
                let (corners, n) = corners(more)?;
                let area = Area::polygon(corners);
                (r.centre, r.form) = (Some(area.centre), Some(area.form));
                // The polygon has its centre in itself.
                (from_member, from_place) = (true, true);
                &more[n..]
            }
            _ => return Err(Error::SYNTAX),
        };
    }
    if r.store.is_some() && (r.with_distance || r.with_hash || r.with_place) {
        let who = if searching { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
        return Err(Error::owned(format!("ERR {who} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")));
    }
    let name = cx.name();
    if searching && !(from_member || from_place) {
        return Err(Error::owned(format!("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}")));
    }
    if searching && r.form.is_none() {
        return Err(Error::owned(format!("ERR exactly one of BYRADIUS and BYBOX can be specified for {name}")));
    }
    if r.any && r.count == 0 {
        return Err(Error::new("ERR the ANY argument requires COUNT argument"));
    }
    Ok(r)
}

/// A place that was found.
struct Found {
    member: Vec<u8>,
    score: f64,
    place: Place,
    distance: f64,
}

/// The places of a set in an area; `most` (0: all) is enough.
fn find(set: &ZSet, area: &Area, most: usize) -> Vec<Found> {
    /// How many places are looked at before it is asked whether there are enough.
    const STEP: usize = 256;
    let mut found = Vec::new();
    for (from, to) in area.scores() {
        let range = ScoreRange { min: from, max: to, min_open: false, max_open: true };
        let (mut rank, mut left) = set.score_span(&range);
        while left > 0 {
            let n = left.min(STEP);
            set.for_range(rank, n, false, |e, score| {
                let place = Place::from_score(score);
                if let Some(distance) = area.distance_within(place)
                    && (most == 0 || found.len() < most)
                {
                    found.push(Found { member: e.to_vec(), score, place, distance });
                }
            });
            if most > 0 && found.len() >= most {
                return found;
            }
            (rank, left) = (rank + n, left - n);
        }
    }
    found
}

fn search(cx: &mut Ctx<'_>, args: &[&[u8]], verb: Verb) -> CmdResult {
    let source = args[if verb == Verb::SearchStore { 2 } else { 1 }];
    // A wrong type is told before anything else.
    cx.db.zset_read(source)?;
    let r = parse(cx, args, verb)?;
    let mut found = match (cx.db.zset_read(source)?, r.centre, r.form) {
        (Some(set), Some(centre), Some(form)) => {
            let area = Area { centre, form };
            find(set, &area, if r.any { r.count } else { 0 })
        }
        _ => Vec::new(),
    };
    // The first few of no order make no sense, except where any will do.
    let descending = r.descending.or((r.count > 0 && !r.any).then_some(false));
    match descending {
        Some(false) => found.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
        Some(true) => found.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
        None => {}
    }
    if r.count > 0 {
        found.truncate(r.count);
    }
    let Some((key, with_distances)) = r.store else {
        cx.out.array(found.len());
        found.iter().for_each(|f| reply(cx.out, f, (r.with_distance, r.with_hash, r.with_place), r.unit));
        return Ok(());
    };
    let limits = limits(cx.server);
    let n = found.len();
    let value = (n > 0).then(|| {
        let longest = found.iter().map(|f| f.member.len()).max().unwrap_or(0);
        let mut set = ZSet::for_members(n, longest, &limits);
        for f in &found {
            set.insert(&f.member, if with_distances { f.distance / r.unit } else { f.score }, &limits);
        }
        (Value::ZSet(Box::new(set)), n)
    });
    let event = if verb == Verb::SearchStore { "geosearchstore" } else { "georadiusstore" };
    store(cx, key, value, notify::ZSET, event);
    Ok(())
}

fn reply(out: &mut Out, f: &Found, (distance, hash, place): (bool, bool, bool), unit: f64) {
    let n = usize::from(distance) + usize::from(hash) + usize::from(place);
    if n > 0 {
        out.array(n + 1);
    }
    out.bulk(&f.member);
    if distance {
        reply_distance(out, f.distance / unit);
    }
    if hash {
        out.int(f.score as i64);
    }
    if place {
        reply_place(out, f.place);
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    fn sicily() -> Bench {
        let mut b = Bench::new();
        assert_eq!(b.run("geoadd s 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"), ":2");
        assert_eq!(b.log, ["ZADD s 3479099956230698 Palermo 3479447370796909 Catania"]);
        assert_eq!(b.run("geoadd s ch 12.758489 38.788135 edge1 17.241510 38.788135 edge2"), ":2");
        b
    }

    #[test]
    fn places_come_back_as_redis_shows_them() {
        let mut b = sicily();
        assert_eq!(b.run("geodist s Palermo Catania"), "$11 166274.1516");
        assert_eq!(
            (b.run("geodist s Palermo Catania km"), b.run("geodist s Palermo none")),
            ("$8 166.2742".into(), "$-1".into())
        );
        assert_eq!(b.run("geohash s Palermo none"), "*2 $11 sqc8b49rny0 $-1");
        assert_eq!(b.run("geopos s Palermo none"), "*2 *2 $20 13.36138933897018433 $20 38.11555639549629859 *-1");
        assert_eq!(b.run("geoadd s 200 0 x"), "-ERR invalid longitude,latitude pair 200.000000,0.000000");
        assert_eq!(
            (b.run("geoadd s nx xx 1 1 x"), b.run("geoadd s 1 1 a 2")),
            ("-ERR syntax error".into(), "-ERR syntax error".into())
        );
        assert_eq!(
            b.run("geodist s Palermo Catania miles"),
            "-ERR unsupported unit provided. please use M, KM, FT, MI"
        );
    }

    #[test]
    fn areas_are_searched_by_every_form() {
        let mut b = sicily();
        assert_eq!(b.run("geosearch s fromlonlat 15 37 byradius 200 km asc"), "*2 $7 Catania $7 Palermo");
        assert_eq!(
            b.run("geosearch s fromlonlat 15 37 bybox 400 400 km asc withdist"),
            "*4 *2 $7 Catania $7 56.4413 *2 $7 Palermo $8 190.4424 *2 $5 edge2 $8 279.7403 *2 $5 edge1 $8 279.7405"
        );
        assert_eq!(
            b.run("geosearch s frommember Catania byradius 100 km withhash"),
            "*1 *2 $7 Catania :3479447370796909"
        );
        assert_eq!(b.run("geosearch s bypolygon 4 13 37 16 37 16 38.5 13 38.5 desc"), "*2 $7 Palermo $7 Catania");
        // The centre is the mean of the corners in space: the distances of Valkey's page of the command.
        assert_eq!(
            b.run(
                "geosearch s bypolygon 5 12.41098696654226 38.05033923003755 15.107936245794182 38.00616649901906 \
                 18.148439288534455 38.63804787603499 17.80831874257693 39.50316813110968 12.458468633214036 \
                 38.57719533463012 asc withdist"
            ),
            "*2 *2 $7 Palermo $11 166482.0159 *2 $5 edge2 $11 180861.7725"
        );
        assert_eq!(b.run("geosearch s bypolygon 2 13 37 16 37 asc"), "-ERR BYPOLYGON must have at least 3 vertices");
        assert_eq!(b.run("geosearch s fromlonlat 1 1 bypolygon 3 1 1 2 2 1 2"), "-ERR syntax error");
        assert_eq!(b.run("georadius s 15 37 200 km count 1"), "*1 $7 Catania");
        assert_eq!(b.run("georadiusbymember_ro s Catania 1 km store d"), "-ERR syntax error");
        assert_eq!(
            b.run("geosearch s fromlonlat 15 37 asc withdist withhash"),
            "-ERR exactly one of BYRADIUS and BYBOX can be specified for geosearch"
        );
        assert_eq!(
            b.run("geosearch s byradius 1 km asc any withdist"),
            "-ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for geosearch"
        );
        assert_eq!(b.run("geosearch s frommember nobody byradius 1 km"), "-ERR could not decode requested zset member");
        assert_eq!(b.run("geosearch none frommember nobody byradius 1 km"), "*0");
    }

    #[test]
    fn what_is_found_is_stored_by_place_or_distance() {
        let mut b = sicily();
        assert_eq!(b.run("geosearchstore d s fromlonlat 15 37 byradius 200 km asc count 1"), ":1");
        assert_eq!(b.events, ["new d", "geosearchstore d"]);
        assert_eq!(b.run("zrange d 0 -1 withscores"), "*2 $7 Catania $16 3479447370796909");
        assert_eq!(b.run("georadius s 15 37 200 km storedist d"), ":2");
        assert!(b.run("zscore d Catania").contains("56.44"));
        assert_eq!((b.run("georadius s 0 0 1 km store d"), b.run("exists d")), (":0".into(), ":0".into()));
        assert_eq!(
            b.run("georadius s 15 37 200 km store d withdist"),
            "-ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
        );
    }
}
