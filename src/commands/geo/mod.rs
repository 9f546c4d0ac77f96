//! Commands on places: members of sorted sets whose scores are geohashes.

pub mod place;
pub mod search;

use super::{Command, options};
use crate::resp::{Error, Out};
use crate::types::geo::Place;

/// All of them.
pub const COMMANDS: &[&Command] = &[
    &place::GEOADD,
    &place::GEODIST,
    &place::GEOHASH,
    &place::GEOPOS,
    &search::GEORADIUS,
    &search::GEORADIUSBYMEMBER,
    &search::GEORADIUSBYMEMBER_RO,
    &search::GEORADIUS_RO,
    &search::GEOSEARCH,
    &search::GEOSEARCHSTORE,
];

/// A longitude and a latitude.
fn parse_place(lon: &[u8], lat: &[u8]) -> Result<Place, Error> {
    let place = Place { lon: options::float(lon)?, lat: options::float(lat)? };
    if place.is_valid() {
        return Ok(place);
    }
    Err(Error::owned(format!("ERR invalid longitude,latitude pair {:.6},{:.6}", place.lon, place.lat)))
}

/// How many meters a unit has.
fn parse_unit(word: &[u8]) -> Result<f64, Error> {
    match word {
        w if options::is(w, "m") => Ok(1.0),
        w if options::is(w, "km") => Ok(1000.0),
        w if options::is(w, "ft") => Ok(0.3048),
        w if options::is(w, "mi") => Ok(1609.34),
        _ => Err(Error::new("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// A distance, with four decimals.
fn reply_distance(out: &mut Out, d: f64) {
    let n = (d * 10_000.0).round_ties_even() as i64;
    out.bulk(format!("{}.{:04}", n / 10_000, n % 10_000).as_bytes());
}

/// A place: longitude and latitude with up to seventeen decimals.
fn reply_place(out: &mut Out, place: Place) {
    out.array(2);
    for degrees in [place.lon, place.lat] {
        let text = format!("{degrees:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        let text = if text == "-0" { "0" } else { text };
        if out.resp3() {
            out.raw(format!(",{text}\r\n").as_bytes());
        } else {
            out.bulk(text.as_bytes());
        }
    }
}
