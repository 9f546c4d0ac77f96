//! The commands that the differential test sends.
//!
//! A line of the grammar is a sequence of words; `?x` may be left out, `(a b|c)` is one of the alternatives, `*x` is
//! repeated one to four times, `$name` is an argument of that kind. Keys are few, so that commands meet; a key of a
//! type sometimes names one of another type, for WRONGTYPE.

use dunlin::base::rng::Rng;

/// A part of a line.
#[derive(Debug)]
enum Part {
    Word(&'static str),
    Arg(&'static str),
    Maybe(Box<Part>),
    Many(Box<Part>),
    OneOf(Vec<Vec<Part>>),
}

pub struct Grammar {
    lines: Vec<Vec<Part>>,
}

const LINES: &str = include_str!("commands.txt");

/// A string, a number, a list, sets, a hash, a sorted set and a stream.
const DUMPS: &[&[u8]] = &[
    b"\x00\x05hello\x0a\x00cr\xdfve4 \x0a",
    b"\x00\xc0\x0c\x0a\x00<*\xf8Q\x5c\x04\xbc\xd5",
    b"\x12\x01\x02\xc3\x15@U\x0dU\x00\x00\x00\x03\x00\x81a\x02\x01\x01\xe0Fx\xe0<\x00\x01H\xff\x0a\x00V_\x7fM\x8e\xb2\x06\x8b",
    b"\x0b\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x02\x00\x0a\x00oy8\xb14\xeb .",
    b"\x10\x0d\x0d\x00\x00\x00\x02\x00\x81f\x02\x81v\x02\xff\x0a\x00 \xf1=D#T\x08\x9d",
    b"\x11\x0f\x0f\x00\x00\x00\x02\x00\x81m\x02\x831.5\x04\xff\x0a\x00I\xd9\x87`x%N\x8a",
    b"\x13\x01\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x1d\x1d\x00\x00\x00\x0a\x00\x01\x01\x00\x01\x01\x01\x81f\x02\x00\
      \x01\x02\x01\x00\x01\x00\x01\x81v\x02\x04\x01\xff\x01\x01\x01\x01\x01\x00\x00\x01\x00\x0a\x00\xffU\xabbj\xc05\xdb",
];

/// Commands that pick at random if their last argument is left out.
const NOT_CUT: &[&[u8]] = &[b"SPOP"];

impl Grammar {
    pub fn new() -> Grammar {
        let lines = LINES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Grammar { lines: lines.map(parse).collect() }
    }

    /// Some random commands: `n`, or a few more where a transaction is among them.
    pub fn batch(&self, rng: &mut Rng, n: usize) -> Vec<Vec<Vec<u8>>> {
        let mut out = Vec::new();
        while out.len() < n {
            if rng.below(60) > 0 {
                out.push(self.command(rng));
                continue;
            }
            out.push(vec![b"MULTI".to_vec()]);
            for _ in 0..rng.below(8) {
                let command = self.command(rng);
                // Redis 7.0 refuses WATCH in a transaction and goes on; Valkey gives the transaction up.
                if !["exec", "discard", "watch"].iter().any(|name| command[0].eq_ignore_ascii_case(name.as_bytes())) {
                    out.push(command);
                }
            }
            out.push(vec![if rng.below(4) > 0 { b"EXEC".to_vec() } else { b"DISCARD".to_vec() }]);
        }
        out
    }

    /// The names of the commands that it has.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.lines.iter().map(|line| match line.first() {
            Some(Part::Word(name)) => name.to_ascii_lowercase(),
            other => panic!("a line begins with {other:?}"),
        })
    }

    /// A random command.
    fn command(&self, rng: &mut Rng) -> Vec<Vec<u8>> {
        let line = &self.lines[rng.below(self.lines.len() as u64) as usize];
        let mut out = Vec::new();
        line.iter().for_each(|part| emit(part, rng, &mut out));
        // Now and then an argument too many or too few.
        // (Of ZRANK one more is an option that Redis 7.0 lacks.)
        if rng.below(200) == 0 && !out[0].ends_with(b"RANK") {
            out.push(b"extra".to_vec());
        } else if rng.below(200) == 0 && out.len() > 1 && !NOT_CUT.contains(&&out[0][..]) {
            out.pop();
        }
        // Commands in any case.
        if rng.below(2) == 0 {
            out[0].make_ascii_lowercase();
        }
        out
    }
}

fn parse(line: &'static str) -> Vec<Part> {
    let mut rest = line;
    let parts = sequence(&mut rest);
    assert!(rest.is_empty(), "{line}: {rest}");
    parts
}

fn sequence(rest: &mut &'static str) -> Vec<Part> {
    let mut parts = Vec::new();
    loop {
        *rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with([')', '|']) {
            return parts;
        }
        parts.push(part(rest));
    }
}

fn part(rest: &mut &'static str) -> Part {
    if let Some(after) = rest.strip_prefix('?') {
        *rest = after;
        return Part::Maybe(Box::new(part(rest)));
    }
    if let Some(after) = rest.strip_prefix('*') {
        *rest = after;
        return Part::Many(Box::new(part(rest)));
    }
    if let Some(after) = rest.strip_prefix('(') {
        *rest = after;
        let mut alternatives = vec![sequence(rest)];
        while let Some(after) = rest.strip_prefix('|') {
            *rest = after;
            alternatives.push(sequence(rest));
        }
        *rest = rest.strip_prefix(')').expect("a closing bracket");
        return Part::OneOf(alternatives);
    }
    let end = rest.find([' ', ')', '|']).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    word.strip_prefix('$').map_or(Part::Word(word), Part::Arg)
}

fn emit(part: &Part, rng: &mut Rng, out: &mut Vec<Vec<u8>>) {
    match part {
        Part::Word(word) => out.push(word.as_bytes().to_vec()),
        Part::Arg(kind) => out.push(argument(kind, rng)),
        Part::Maybe(part) => {
            if rng.below(3) == 0 {
                emit(part, rng, out);
            }
        }
        Part::Many(part) => (0..1 + rng.below(4)).for_each(|_| emit(part, rng, out)),
        Part::OneOf(alternatives) => {
            let chosen = &alternatives[rng.below(alternatives.len() as u64) as usize];
            chosen.iter().for_each(|part| emit(part, rng, out));
        }
    }
}

fn pick(rng: &mut Rng, from: &[&str]) -> Vec<u8> {
    from[rng.below(from.len() as u64) as usize].as_bytes().to_vec()
}

/// A key of a type: mostly of its own pool, sometimes of another.
fn key(own: char, rng: &mut Rng) -> Vec<u8> {
    let pool = if rng.below(40) == 0 { ['s', 'l', 't', 'h', 'z', 'e'][rng.below(6) as usize] } else { own };
    format!("{pool}{}", rng.below(5)).into_bytes()
}

fn argument(kind: &str, rng: &mut Rng) -> Vec<u8> {
    match kind {
        "ks" => key('s', rng),
        "kl" => key('l', rng),
        "kt" => key('t', rng),
        "kh" => key('h', rng),
        "kz" => key('z', rng),
        "ke" => key('e', rng),
        // Strings of bits, which are not watched: Redis 7.0 does not see that one grew without a bit being set.
        "kb" => format!("b{}", rng.below(4)).into_bytes(),
        "ko" => key('o', rng),
        // Places, some of which cannot be; and what is asked of them.
        "lon" => match rng.below(30) {
            0 => pick(rng, &["181", "-180.5", "x", "180", "-180"]),
            _ => format!("{}.{}", rng.below(60) as i64 - 30, rng.below(1000)).into_bytes(),
        },
        "lat" => match rng.below(30) {
            0 => pick(rng, &["86", "-85.06", "nan", "85.05"]),
            _ => format!("{}.{}", rng.below(60) as i64 - 30, rng.below(1000)).into_bytes(),
        },
        "km" => match rng.below(20) {
            0 => pick(rng, &["-1", "x", "0"]),
            _ => (rng.below(4000) * 10).to_string().into_bytes(),
        },
        "unit" => pick(rng, &["m", "km", "KM", "ft", "mi", "km", "km", "yd"]),
        "town" => pick(rng, &["rome", "oslo", "lima", "bonn", "cork", "graz", "nice", "york"]),
        "kp" => key('p', rng),
        "bit" => match rng.below(10) {
            0 => pick(rng, &["-1", "x", "4294967296", "4294967295x", "#1", "#x", "#-1"]),
            1 => format!("#{}", rng.below(6)).into_bytes(),
            _ => rng.below(90).to_string().into_bytes(),
        },
        "bits" => match rng.below(12) {
            0 => pick(rng, &["u64", "i65", "i0", "x8", "u", "i64", "u63", "u1", "i1"]),
            _ => format!("{}{}", ['i', 'u'][rng.below(2) as usize], 1 + rng.below(20)).into_bytes(),
        },
        // IDs of entries: few, so that they meet; now and then an incomplete or a wrong one.
        "id" => match rng.below(12) {
            0 => pick(rng, &["0", "x", "1-", "5-x", "18446744073709551615-18446744073709551615", "-1-0", "3"]),
            _ => format!("{}-{}", rng.below(12), rng.below(40)).into_bytes(),
        },
        // IDs to add with: ascending in the long run, so that many are taken.
        "newid" => match rng.below(8) {
            0 => argument("id", rng),
            1 => format!("{}-*", rng.below(12)).into_bytes(),
            _ => format!("{}-{}", rng.below(40), rng.below(4000)).into_bytes(),
        },
        "last" => b"$".to_vec(),
        "bound" => match rng.below(6) {
            0 => pick(rng, &["-", "+", "(5", "(3-7", "(-", "(18446744073709551615-18446744073709551615"]),
            _ => argument("id", rng),
        },
        "group" => pick(rng, &["g1", "g1", "g2", "g3"]),
        "consumer" => pick(rng, &["alice", "bob", "carol"]),
        // Lists without NUL bytes, for SORT: Redis compares up to the first NUL.
        "kn" => format!("n{}", rng.below(3)).into_bytes(),
        // Sorted sets whose members all have the score 0: only there ranges by member have a meaning.
        "kx" => format!("x{}", rng.below(3)).into_bytes(),
        "k" => {
            let pool = ['s', 'l', 't', 'h', 'z', 'e'][rng.below(6) as usize];
            key(pool, rng)
        }
        // Values: text, numbers at the edge, nothing, bytes, something long.
        "v" => match rng.below(14) {
            0 => Vec::new(),
            1 => b"\x00\xff\r\n".to_vec(),
            2 => vec![b'x'; 70 + rng.below(60) as usize],
            3 => b"3.0".to_vec(),
            4 => pick(
                rng,
                &["9223372036854775807", "-9223372036854775808", "9223372036854775808", "1e400", " 5", "+5", "005"],
            ),
            5..8 => (rng.below(200) as i64 - 100).to_string().into_bytes(),
            _ => pick(rng, &["a", "b", "c", "hello", "world", "abc", "foobar", "a b"]),
        },
        // Fields and members.
        "m" => match rng.below(12) {
            0 => Vec::new(),
            1 => vec![b'm'; 65 + rng.below(10) as usize],
            2..5 => rng.below(20).to_string().into_bytes(),
            _ => pick(rng, &["a", "b", "c", "d", "e", "f", "g", "h", "\u{e9}"]),
        },
        // Integers: small, and at the edge.
        "i" => match rng.below(16) {
            0 => pick(
                rng,
                &["9223372036854775807", "-9223372036854775808", "abc", "", "1.5", "99999999999999999999", "-0", "01"],
            ),
            _ => (rng.below(16) as i64 - 6).to_string().into_bytes(),
        },
        // The same without the least integer, which Redis 7.0 takes for a count and Valkey does not.
        "j" => match argument("i", rng) {
            least if least.starts_with(b"-92") => b"-1".to_vec(),
            other => other,
        },
        // Counts that are not huge, since they say how much comes back.
        "n" => match rng.below(20) {
            0 => pick(rng, &["-1", "x", "9223372036854775807"]),
            _ => rng.below(6).to_string().into_bytes(),
        },
        "c" => rng.below(8).to_string().into_bytes(),
        // Floats.
        "f" => match rng.below(10) {
            0 => pick(rng, &["inf", "-inf", "nan", "1e400", "abc", "", "0x10", "1e3", "+1"]),
            1..4 => format!("{}.{}", rng.below(20), [0, 5, 25][rng.below(3) as usize]).into_bytes(),
            _ => (rng.below(20) as i64 - 5).to_string().into_bytes(),
        },
        // Bounds of scores and of members.
        "score" => pick(rng, &["-inf", "+inf", "0", "(0", "1", "(1", "3", "(5", "10", "1.5", "(inf", "x", "(x", "nan"]),
        "lex" => pick(rng, &["-", "+", "[a", "(a", "[c", "(c", "[", "(", "[z", "x", "[5"]),
        // Seconds and milliseconds that do not run out during the test, or at once.
        "sec" => match rng.below(12) {
            0 => pick(rng, &["0", "-1", "abc", "9223372036854775807", "9223372036854775"]),
            _ => (1000 + rng.below(1000)).to_string().into_bytes(),
        },
        "ms" => match rng.below(12) {
            0 => pick(rng, &["0", "-1", "1.5", "9223372036854775807"]),
            _ => (1_000_000 + rng.below(1_000_000)).to_string().into_bytes(),
        },
        "at" => match rng.below(8) {
            0 => pick(rng, &["0", "-1", "1", "9223372036854775807"]),
            _ => (4_000_000_000 + rng.below(1000)).to_string().into_bytes(),
        },
        "atms" => match rng.below(8) {
            0 => pick(rng, &["0", "-1", "1", "9223372036854775807"]),
            _ => (4_000_000_000_000 + rng.below(1000)).to_string().into_bytes(),
        },
        // A key set with a time in the past is gone at once in Valkey, and lingers in Redis 7.0.
        "future" => match rng.below(8) {
            0 => pick(rng, &["0", "-1", "x", "9223372036854775807"]),
            _ => (4_000_000_000 + rng.below(1000)).to_string().into_bytes(),
        },
        "futurems" => match rng.below(8) {
            0 => pick(rng, &["0", "-1", "x"]),
            _ => (4_000_000_000_000 + rng.below(1000)).to_string().into_bytes(),
        },
        "pattern" => pick(rng, &["*", "s*", "?1", "[hz]*", "[^s]?", "\\s1", "nothing", "*[1-3]"]),
        // Where SORT finds weights, as strings and in hashes.
        "kw" => format!("w{}", rng.below(20)).into_bytes(),
        "weight" => pick(rng, &["w*", "w*", "w*->a", "w*->", "nothing*", "*", "#"]),
        // Payloads that redis-server 7.0 made of a small value each, and broken ones.
        "dump" => {
            let mut dump = DUMPS[rng.below(DUMPS.len() as u64) as usize].to_vec();
            match rng.below(12) {
                0 => {
                    let at = rng.below(dump.len() as u64) as usize;
                    dump[at] ^= 1 << rng.below(8);
                }
                1 => dump.truncate(rng.below(dump.len() as u64) as usize),
                _ => {}
            }
            dump
        }
        "db" => pick(rng, &["0", "0", "0", "1", "16", "-1", "x"]),
        other => panic!("no argument is called {other}"),
    }
}
