//! Places on the earth as scores of a sorted set, and searches among them.
//!
//! A score is a geohash: longitude and latitude, each as 26 bits of its range, a bit of each in turn, the longitude's
//! first. Places with a common prefix of bits are in a common cell, and a cell is a range of scores. A search looks at the
//! cell of its centre and at its eight neighbours, all so large that they cover the area, and then at each place in them.
//! The earth is a sphere here. Latitudes end where the Mercator projection does.

/// Longitude and latitude, degrees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// Degrees east.
    pub lon: f64,
    /// Degrees north.
    pub lat: f64,
}

const LON: (f64, f64) = (-180.0, 180.0);
const LAT: (f64, f64) = (-85.051_128_78, 85.051_128_78);
/// Bits of each coordinate.
const STEPS: u32 = 26;
const EARTH_RADIUS: f64 = 6_372_797.560_856;
/// Half of the circumference of the projection, meters.
const MERCATOR_MAX: f64 = 20_037_726.37;

/// Spreads the bits of a number so that there is room for another bit before each.
fn spread(n: u64) -> u64 {
    let mut x = n & 0xffff_ffff;
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x << 2) & 0x3333_3333_3333_3333;
    (x | x << 1) & 0x5555_5555_5555_5555
}

/// The number that every second bit makes, from the lowest on.
fn gather(n: u64) -> u64 {
    let mut x = n & 0x5555_5555_5555_5555;
    x = (x | x >> 1) & 0x3333_3333_3333_3333;
    x = (x | x >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
    x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) & 0xffff_ffff
}

/// A cell: which one of 2^step along each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    lon: u64,
    lat: u64,
    step: u32,
}

impl Cell {
    fn of(place: Place, step: u32, lat_range: (f64, f64)) -> Cell {
        let index = |x: f64, (min, max): (f64, f64)| ((x - min) / (max - min) * (1u64 << step) as f64) as u64;
        Cell { lon: index(place.lon, LON), lat: index(place.lat, lat_range), step }
    }
    fn bits(self) -> u64 {
        spread(self.lat) | spread(self.lon) << 1
    }
    fn from_bits(bits: u64) -> Cell {
        Cell { lon: gather(bits >> 1), lat: gather(bits), step: STEPS }
    }
    /// West, south, east and north edge.
    fn edges(self) -> [f64; 4] {
        let all = (1u64 << self.step) as f64;
        let edge = |i: u64, (min, max): (f64, f64)| min + (i as f64 / all) * (max - min);
        [edge(self.lon, LON), edge(self.lat, LAT), edge(self.lon + 1, LON), edge(self.lat + 1, LAT)]
    }
    /// The cell so many cells to the east and to the north, around the edges.
    fn neighbour(self, east: i64, north: i64) -> Cell {
        let mask = (1u64 << self.step) - 1;
        let moved = |i: u64, by: i64| if by == 0 { i } else { i.wrapping_add_signed(by) & mask };
        Cell { lon: moved(self.lon, east), lat: moved(self.lat, north), ..self }
    }
    /// The scores of the places in it: from, and up to but not including.
    fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEPS - self.step);
        ((self.bits() << shift) as f64, ((self.bits() + 1) << shift) as f64)
    }
}

impl Place {
    /// Whether it can have a score.
    pub fn is_valid(self) -> bool {
        (LON.0..=LON.1).contains(&self.lon) && (LAT.0..=LAT.1).contains(&self.lat)
    }
    /// Its score.
    pub fn score(self) -> u64 {
        Cell::of(self, STEPS, LAT).bits()
    }
    /// The middle of the cell that a score is.
    pub fn from_score(score: f64) -> Place {
        let [west, south, east, north] = Cell::from_bits(score as u64).edges();
        Place { lon: ((west + east) / 2.0).clamp(LON.0, LON.1), lat: ((south + north) / 2.0).clamp(LAT.0, LAT.1) }
    }
    /// Its geohash as everybody writes it: eleven letters, of which the last says nothing.
    pub fn geohash(self) -> [u8; 11] {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        // Elsewhere latitudes go up to the poles.
        let bits = Cell::of(self, STEPS, (-90.0, 90.0)).bits();
        let mut text = [b'0'; 11];
        for (i, letter) in text[..10].iter_mut().enumerate() {
            *letter = LETTERS[(bits >> (52 - (i + 1) * 5)) as usize & 31];
        }
        text
    }
    /// Meters along the great circle.
    pub fn distance(self, other: Place) -> f64 {
        let v = ((other.lon.to_radians() - self.lon.to_radians()) / 2.0).sin();
        if v == 0.0 {
            return self.north_south(other);
        }
        let (lat, other_lat) = (self.lat.to_radians(), other.lat.to_radians());
        let u = ((other_lat - lat) / 2.0).sin();
        let a = u * u + lat.cos() * other_lat.cos() * v * v;
        2.0 * EARTH_RADIUS * a.sqrt().asin()
    }
    /// Meters between the parallels of two places.
    fn north_south(self, other: Place) -> f64 {
        EARTH_RADIUS * (other.lat.to_radians() - self.lat.to_radians()).abs()
    }
}

/// The form of an area; lengths in meters.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// All that is at most so far from the centre.
    Circle(f64),
    /// Width and height of a box around the centre.
    Box(f64, f64),
    /// What is inside of these corners.
    Polygon(Vec<Place>),
}

/// An area to search in.
#[derive(Clone, Debug, PartialEq)]
pub struct Area {
    /// Where distances are measured from.
    pub centre: Place,
    /// Its form.
    pub form: Form,
}

impl Area {
    /// The area inside of corners; its centre is their mean.
    pub fn polygon(corners: Vec<Place>) -> Area {
        // The mean of the corners in space, as seen from the middle of the globe.
        let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
        for corner in &corners {
            let (lon, lat) = (corner.lon.to_radians(), corner.lat.to_radians());
            x += lat.cos() * lon.cos();
            y += lat.cos() * lon.sin();
            z += lat.sin();
        }
        let centre = Place { lon: y.atan2(x).to_degrees(), lat: z.atan2(x.hypot(y)).to_degrees() };
        Area { centre, form: Form::Polygon(corners) }
    }

    /// How far from the centre a place is, if it is in the area.
    pub fn distance_within(&self, place: Place) -> Option<f64> {
        match &self.form {
            Form::Circle(radius) => Some(self.centre.distance(place)).filter(|d| d <= radius),
            Form::Box(width, height) => {
                // As wide everywhere as at the place's own latitude.
                let beside = Place { lat: place.lat, ..self.centre };
                let inside = place.north_south(self.centre) <= height / 2.0 && place.distance(beside) <= width / 2.0;
                inside.then(|| self.centre.distance(place))
            }
            Form::Polygon(corners) => encloses(corners, place).then(|| self.centre.distance(place)),
        }
    }

    /// West, south, east and north bound, and how far the area reaches from its centre.
    fn bounds(&self) -> ([f64; 4], f64) {
        let Place { lon, lat } = self.centre;
        let (width, height, reach) = match &self.form {
            Form::Circle(radius) => (*radius, *radius, *radius),
            Form::Box(width, height) => {
                let (w, h) = (width / 2.0, height / 2.0);
                (w, h, (w * w + h * h).sqrt())
            }
            Form::Polygon(corners) => {
                let of =
                    |f: fn(&Place) -> f64, pick: fn(f64, f64) -> f64, from: f64| corners.iter().map(f).fold(from, pick);
                let box_of = [
                    of(|p| p.lon, f64::min, f64::INFINITY),
                    of(|p| p.lat, f64::min, f64::INFINITY),
                    of(|p| p.lon, f64::max, f64::NEG_INFINITY),
                    of(|p| p.lat, f64::max, f64::NEG_INFINITY),
                ];
                // The edges run straight on the map: the box around them may reach further than the corners.
                let ends =
                    [(box_of[0], box_of[1]), (box_of[0], box_of[3]), (box_of[2], box_of[1]), (box_of[2], box_of[3])];
                let far = ends.iter().map(|(lon, lat)| self.centre.distance(Place { lon: *lon, lat: *lat }));
                return (box_of, far.fold(0.0, f64::max));
            }
        };
        let north = (height / EARTH_RADIUS).to_degrees();
        let across = |lat: f64| (width / EARTH_RADIUS / lat.to_radians().cos()).to_degrees();
        // A degree of longitude is shorter towards the poles.
        let east = across(if lat < 0.0 { lat - north } else { lat + north });
        ([lon - east, lat - north, lon + east, lat + north], reach)
    }

    /// The ranges of scores that hold every place in the area: from, and up to but not including. They do not overlap.
    pub fn scores(&self) -> Vec<(f64, f64)> {
        let ([west, south, east, north], reach) = self.bounds();
        let mut step = steps_for(reach, self.centre.lat);
        let mut cell = Cell::of(self.centre, step, LAT);
        let too_small = cell.neighbour(0, 1).edges()[3] < north
            || cell.neighbour(0, -1).edges()[1] > south
            || cell.neighbour(1, 0).edges()[2] < east
            || cell.neighbour(-1, 0).edges()[0] > west;
        if step > 1 && too_small {
            step -= 1;
            cell = Cell::of(self.centre, step, LAT);
        }
        let edges = cell.edges();
        let mut cells = Vec::with_capacity(9);
        for (x, y) in [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)] {
            // Where the cell itself reaches beyond the area, its neighbour holds nothing of it.
            let idle = step >= 2
                && (y < 0 && edges[1] < south
                    || y > 0 && edges[3] > north
                    || x < 0 && edges[0] < west
                    || x > 0 && edges[2] > east);
            let cell = cell.neighbour(x, y);
            if !idle && !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        cells.into_iter().map(Cell::scores).collect()
    }
}

/// How many bits of each coordinate a cell has that is at least so large, meters.
fn steps_for(reach: f64, lat: f64) -> u32 {
    if reach == 0.0 {
        return STEPS;
    }
    let (mut size, mut step) = (reach, 1i32);
    while size < MERCATOR_MAX {
        size *= 2.0;
        step += 1;
    }
    step -= 2;
    // Cells are narrow near the poles.
    if lat.abs() > 66.0 {
        step -= 1;
        if lat.abs() > 80.0 {
            step -= 1;
        }
    }
    step.clamp(1, STEPS as i32) as u32
}

/// Whether a place is inside of corners: a line from it to the west crosses an odd number of edges.
fn encloses(corners: &[Place], p: Place) -> bool {
    let mut inside = false;
    let mut before = corners.last().copied().unwrap_or_default();
    for &corner in corners {
        if (corner.lat > p.lat) != (before.lat > p.lat) {
            let crossing = (before.lon - corner.lon) * (p.lat - corner.lat) / (before.lat - corner.lat) + corner.lon;
            inside ^= p.lon < crossing;
        }
        before = corner;
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PALERMO: Place = Place { lon: 13.361389, lat: 38.115556 };
    const CATANIA: Place = Place { lon: 15.087269, lat: 37.502669 };

    #[test]
    fn scores_and_hashes_are_those_of_redis() {
        assert_eq!(PALERMO.score(), 3_479_099_956_230_698);
        assert_eq!(CATANIA.score(), 3_479_447_370_796_909);
        assert_eq!(&Place::from_score(PALERMO.score() as f64).geohash(), b"sqc8b49rny0");
        assert_eq!(&Place::from_score(CATANIA.score() as f64).geohash(), b"sqdtr74hyu0");
        let d = Place::from_score(PALERMO.score() as f64).distance(Place::from_score(CATANIA.score() as f64));
        assert!((d - 166_274.151_6).abs() < 0.001, "{d}");
    }

    #[test]
    fn a_polygon_is_what_its_edges_enclose() {
        let corner = |lon, lat| Place { lon, lat };
        // The letter L.
        let area = Area::polygon(vec![
            corner(0.0, 0.0),
            corner(4.0, 0.0),
            corner(4.0, 1.0),
            corner(1.0, 1.0),
            corner(1.0, 4.0),
            corner(0.0, 4.0),
        ]);
        for (lon, lat, inside) in
            [(0.5, 0.5, true), (3.0, 0.5, true), (0.5, 3.0, true), (3.0, 3.0, false), (-1.0, 0.5, false)]
        {
            assert_eq!(area.distance_within(corner(lon, lat)).is_some(), inside, "{lon} {lat}");
        }
    }

    fn place() -> impl Strategy<Value = Place> {
        (-180.0..180.0f64, -85.0..85.0f64).prop_map(|(lon, lat)| Place { lon, lat })
    }

    proptest! {
        #[test]
        fn a_score_says_where_a_place_is(p in place()) {
            prop_assert!(Place::from_score(p.score() as f64).distance(p) < 0.7);
        }

        #[test]
        fn the_ranges_hold_what_is_near(centre in place(), near in (-1.0..1.0f64, -1.0..1.0f64), size in 1.0..3_000_000.0f64) {
            // Away from the poles and the line where longitudes begin anew, where Redis misses places, too.
            let centre = Place { lon: centre.lon * 0.8, lat: centre.lat * 0.7 };
            let degrees = size / 111_000.0;
            let p = Place { lon: centre.lon + near.0 * degrees, lat: centre.lat + near.1 * degrees };
            prop_assume!(p.is_valid() && size < 1_000_000.0);
            let score = p.score() as f64;
            let p = Place::from_score(score);
            for form in [Form::Circle(size), Form::Box(size, size / 2.0)] {
                let area = Area { centre, form };
                if area.distance_within(p).is_some() {
                    prop_assert!(area.scores().iter().any(|(from, to)| (*from..*to).contains(&score)), "{:?} {:?}", area, p);
                }
            }
        }

        #[test]
        fn polygons_are_covered_too(corners in proptest::collection::vec((-10.0..10.0f64, -10.0..10.0f64), 3..8), p in (-10.0..10.0f64, -10.0..10.0f64)) {
            let at = |(lon, lat): (f64, f64)| Place { lon: lon + 20.0, lat: lat + 30.0 };
            let area = Area::polygon(corners.into_iter().map(at).collect());
            let score = at(p).score() as f64;
            if area.distance_within(Place::from_score(score)).is_some() {
                prop_assert!(area.scores().iter().any(|(from, to)| (*from..*to).contains(&score)));
            }
        }
    }
}
