//! What values an option takes: parsing, checking and printing them.
//!
//! Every option has a canonical text (what CONFIG GET shows) and a number (what hot code reads); a [`Value`] is the
//! pair. The error texts are Redis's, since clients and test suites match on them.

use super::events;
use super::split::push_quoted;
use crate::base::num;

/// A parsed value: its canonical text, and the number behind it where there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// What CONFIG GET shows.
    pub text: Vec<u8>,
    /// A bool as 0 or 1, an enum's number, an integer, bytes; percentages are negative.
    pub num: i64,
}

/// A name and the number it stands for.
pub type Names = &'static [(&'static str, i64)];

/// The limits of one class of clients in `client-output-buffer-limit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Close the client at once beyond this many bytes; 0 for never.
    pub hard: u64,
    /// Close it beyond this many bytes for `soft_seconds`; 0 for never.
    pub soft: u64,
    /// How long `soft` may be exceeded, in seconds.
    pub soft_seconds: u64,
}

/// The classes of `client-output-buffer-limit`, in the order of their printing. CONFIG GET says `slave`, as it always
/// has; the file says `replica`.
pub const OUTPUT_CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];

/// The type of an option, with its range.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `yes` or `no`.
    Bool,
    /// A decimal integer in a range.
    Int(i64, i64),
    /// An integer in the first range, stored as the nearest one in the second (`hz`).
    Clamped(i64, i64, i64, i64),
    /// An octal number up to a maximum (file modes).
    Octal(i64),
    /// Bytes with an optional unit (`kb` is 1024, `k` is 1000), in a range.
    Memory(i64, i64),
    /// Bytes, or a percentage (of maxmemory) up to 100.
    MemoryOrPercent,
    /// One of some names.
    Enum(Names),
    /// A set of some names.
    Flags(Names),
    /// Any text that the check lets through.
    Text(fn(&[u8]) -> Result<(), &'static str>),
    /// The working directory: an existing path.
    Dir,
    /// Listening addresses.
    Bind,
    /// `<seconds> <changes>` pairs.
    Save,
    /// `<host> <port>`, or `no one`.
    ReplicaOf,
    /// `<class> <hard> <soft> <seconds>` groups.
    OutputLimits,
    /// Letters of event classes.
    Events,
    /// Percentiles between 0 and 100.
    Percentiles,
    /// Three numbers between -2000 and 2000.
    OomValues,
}

/// Most addresses `bind` takes.
const MAX_BIND: usize = 16;

impl Kind {
    /// Does the option take several words?
    pub fn takes_words(self) -> bool {
        matches!(
            self,
            Kind::Flags(_)
                | Kind::Bind
                | Kind::Save
                | Kind::ReplicaOf
                | Kind::OutputLimits
                | Kind::Percentiles
                | Kind::OomValues
        )
    }

    /// Parse `words` (one, unless the kind takes several) on top of the `current` text, which matters only to options
    /// that can be given in parts.
    pub fn parse(self, words: &[&[u8]], current: &[u8]) -> Result<Value, String> {
        let one = || match words {
            [word] => Ok(*word),
            _ => Err("wrong number of arguments".to_owned()),
        };
        match self {
            Kind::Bool => match one()? {
                word if word.eq_ignore_ascii_case(b"yes") => Ok(text_num("yes", 1)),
                word if word.eq_ignore_ascii_case(b"no") => Ok(text_num("no", 0)),
                _ => Err("argument must be 'yes' or 'no'".into()),
            },
            Kind::Int(min, max) => {
                let n = num::parse_i64(one()?).ok_or("argument couldn't be parsed into an integer")?;
                Ok(number(in_range(n, min, max)?))
            }
            Kind::Clamped(min, max, low, high) => {
                let n = num::parse_i64(one()?).ok_or("argument couldn't be parsed into an integer")?;
                Ok(number(in_range(n, min, max)?.clamp(low, high)))
            }
            Kind::Octal(max) => {
                let text = std::str::from_utf8(one()?).unwrap_or("?");
                let n = i64::from_str_radix(text, 8).map_err(|_| "argument couldn't be parsed as an octal number")?;
                if !(0..=max).contains(&n) {
                    return Err(format!("argument must be between 0 and {max:o} inclusive"));
                }
                Ok(text_num(&format!("{n:o}"), n))
            }
            Kind::Memory(min, max) => {
                let n = parse_memory(one()?).ok_or("argument must be a memory value")?;
                Ok(number(in_range(n, min, max)?))
            }
            Kind::MemoryOrPercent => memory_or_percent(one()?),
            Kind::Enum(names) => {
                let found = find(names, one()?).ok_or_else(|| one_of(names))?;
                Ok(text_num(found.0, found.1))
            }
            Kind::Flags(names) => flags(names, words),
            Kind::Text(check) => {
                let text = one()?;
                check(text)?;
                Ok(Value { text: text.to_vec(), num: 0 })
            }
            Kind::Dir => match one()? {
                b"" => Err("dir can't be empty".into()),
                path => Ok(Value { text: path.to_vec(), num: 0 }),
            },
            Kind::Bind => {
                let words = without_empty(words);
                if words.len() > MAX_BIND {
                    return Err("Too many bind addresses specified.".into());
                }
                Ok(Value { text: words.join(&b' '), num: words.len() as i64 })
            }
            Kind::Save => save(without_empty(words), current),
            Kind::ReplicaOf => replica_of(words),
            Kind::OutputLimits => output_limits(words, current),
            Kind::Events => {
                let flags = events::parse(one()?).ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
                Ok(Value { text: events::print(flags), num: flags })
            }
            Kind::Percentiles => percentiles(without_empty(words)),
            Kind::OomValues => oom_values(words),
        }
    }

    /// The value as a configuration file spells it.
    pub fn in_file(self, value: &Value) -> Vec<u8> {
        match self {
            Kind::Memory(..) => file_memory(value.num),
            Kind::MemoryOrPercent if value.num >= 0 => file_memory(value.num),
            Kind::Text(_) | Kind::Dir | Kind::Events => {
                let mut out = Vec::new();
                push_quoted(&value.text, &mut out);
                out
            }
            _ if value.text.is_empty() => b"\"\"".to_vec(),
            _ => value.text.clone(),
        }
    }

    /// The range or the choices, for documentation.
    pub fn describe(self) -> String {
        let names = |names: Names| names.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        match self {
            Kind::Bool => "yes | no".into(),
            Kind::Int(min, max) | Kind::Clamped(min, max, ..) => {
                if max >= i64::from(i32::MAX) {
                    format!("<number, at least {min}>")
                } else {
                    format!("<number, {min} to {max}>")
                }
            }
            Kind::Octal(_) => "<octal mode>".into(),
            Kind::Memory(..) => "<bytes>".into(),
            Kind::MemoryOrPercent => "<bytes> | <percent>%".into(),
            Kind::Enum(list) => names(list).join(" | "),
            Kind::Flags(list) => format!("any of: {}", names(list).join(", ")),
            Kind::Text(_) => "<text>".into(),
            Kind::Dir => "<directory>".into(),
            Kind::Bind => "<address> ...".into(),
            Kind::Save => "<seconds> <changes> ... | \"\"".into(),
            Kind::ReplicaOf => "<host> <port> | no one".into(),
            Kind::OutputLimits => "<class> <hard> <soft> <seconds> ...".into(),
            Kind::Events => "<event classes>".into(),
            Kind::Percentiles => "<percentile> ... | \"\"".into(),
            Kind::OomValues => "<number> <number> <number>".into(),
        }
    }
}

/// Every text will do.
pub fn any_text(_: &[u8]) -> Result<(), &'static str> {
    Ok(())
}

fn text_num(text: &str, num: i64) -> Value {
    Value { text: text.as_bytes().to_vec(), num }
}

fn number(n: i64) -> Value {
    text_num(&n.to_string(), n)
}

fn in_range(n: i64, min: i64, max: i64) -> Result<i64, String> {
    if (min..=max).contains(&n) { Ok(n) } else { Err(format!("argument must be between {min} and {max} inclusive")) }
}

/// A lone empty word means none at all.
fn without_empty<'a, 'b>(words: &'a [&'b [u8]]) -> &'a [&'b [u8]] {
    if words == [b""] { &[] } else { words }
}

fn find(names: Names, word: &[u8]) -> Option<(&'static str, i64)> {
    names.iter().copied().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word)).map(|(_, number)| {
        // Two names may mean the same; the first is the one that is shown.
        names.iter().copied().find(|&(_, n)| n == number).unwrap_or(("", number))
    })
}

fn one_of(names: Names) -> String {
    let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    format!("argument(s) must be one of the following: {}", names.join(", "))
}

fn flags(names: Names, words: &[&[u8]]) -> Result<Value, String> {
    if words.is_empty() {
        return Err(one_of(names));
    }
    let mut set = 0;
    for word in words {
        set |= find(names, word).ok_or_else(|| one_of(names))?.1;
    }
    if let Some((name, _)) = names.iter().find(|&&(_, flag)| flag == set) {
        return Ok(text_num(name, set));
    }
    let shown: Vec<&str> =
        names.iter().filter(|&&(_, flag)| flag != 0 && set & flag == flag).map(|(name, _)| *name).collect();
    Ok(text_num(&shown.join(" "), set))
}

/// Bytes with an optional unit: `b`, `k` = 1000, `kb` = 1024, and so on to `gb`. No digits at all is 0.
pub fn parse_memory(word: &[u8]) -> Option<i64> {
    let digits = word.iter().take_while(|c| c.is_ascii_digit()).count();
    let (number, unit) = word.split_at(digits);
    let factor: i64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number = if number.is_empty() { 0 } else { i64::try_from(num::parse_u64(number)?).ok()? };
    number.checked_mul(factor)
}

fn file_memory(bytes: i64) -> Vec<u8> {
    for (unit, size) in [("gb", 1i64 << 30), ("mb", 1 << 20), ("kb", 1 << 10)] {
        if bytes != 0 && bytes % size == 0 {
            return format!("{}{unit}", bytes / size).into_bytes();
        }
    }
    bytes.to_string().into_bytes()
}

fn memory_or_percent(word: &[u8]) -> Result<Value, String> {
    if let Some(bytes) = parse_memory(word) {
        return Ok(number(bytes));
    }
    match word.strip_suffix(b"%").and_then(num::parse_i64) {
        Some(percent) if percent > 100 => Err("percentage argument must be less or equal to 100".into()),
        Some(0) => Ok(number(0)),
        Some(percent) if percent > 0 => Ok(text_num(&format!("{percent}%"), -percent)),
        _ => Err("argument must be a memory or percent value".into()),
    }
}

/// Save points, which come to those in `current`; none end those too.
fn save(words: &[&[u8]], current: &[u8]) -> Result<Value, String> {
    let numbers: Option<Vec<i64>> = words.iter().map(|word| num::parse_i64(word)).collect();
    match numbers {
        Some(n) if n.len() % 2 == 0 && n.chunks(2).all(|pair| pair[0] >= 1 && pair[1] >= 0) => {
            let before = if n.is_empty() { b"" } else { current };
            let before = before.split(|&c| c == b' ').filter(|word| !word.is_empty());
            let all: Vec<&[u8]> = before.chain(words.iter().copied()).collect();
            Ok(Value { text: all.join(&b' '), num: all.len() as i64 / 2 })
        }
        _ => Err("Invalid save parameters".into()),
    }
}

fn replica_of(words: &[&[u8]]) -> Result<Value, String> {
    match words {
        [host, port] if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") => Ok(Value::default()),
        [b""] => Ok(Value::default()),
        [_, port] => match num::parse_i64(port) {
            Some(n @ 0..=65_535) => Ok(Value { text: words.join(&b' '), num: n }),
            _ => Err("Invalid primary port".into()),
        },
        _ => Err("wrong number of arguments".into()),
    }
}

/// The limits that a canonical text of `client-output-buffer-limit` names.
pub fn read_output_limits(text: &[u8]) -> [OutputLimit; 3] {
    let mut limits = [OutputLimit::default(); 3];
    let words: Vec<&[u8]> = text.split(|&c| c == b' ').filter(|word| !word.is_empty()).collect();
    for group in words.chunks_exact(4) {
        let number = |at: usize| num::parse_u64(group[at]).unwrap_or(0);
        if let Some(class) = output_class(group[0]) {
            limits[class] = OutputLimit { hard: number(1), soft: number(2), soft_seconds: number(3) };
        }
    }
    limits
}

fn output_class(word: &[u8]) -> Option<usize> {
    if word.eq_ignore_ascii_case(b"replica") {
        return Some(1);
    }
    OUTPUT_CLASSES.iter().position(|class| class.as_bytes().eq_ignore_ascii_case(word))
}

fn output_limits(words: &[&[u8]], current: &[u8]) -> Result<Value, String> {
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    let mut limits = read_output_limits(current);
    for group in words.chunks_exact(4) {
        let class = output_class(group[0]).ok_or("Invalid client class specified in buffer limit configuration.")?;
        let seconds = num::parse_i64(group[3]).filter(|&n| n >= 0);
        let (Some(hard), Some(soft), Some(seconds)) = (parse_memory(group[1]), parse_memory(group[2]), seconds) else {
            return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".into());
        };
        limits[class] = OutputLimit { hard: hard as u64, soft: soft as u64, soft_seconds: seconds as u64 };
    }
    let shown = OUTPUT_CLASSES.iter().zip(limits);
    let groups: Vec<String> =
        shown.map(|(class, l)| format!("{class} {} {} {}", l.hard, l.soft, l.soft_seconds)).collect();
    Ok(text_num(&groups.join(" "), 0))
}

/// The percentiles that a canonical text names.
pub fn read_percentiles(text: &[u8]) -> Vec<f64> {
    text.split(|&c| c == b' ').filter_map(num::parse_f64).collect()
}

fn percentiles(words: &[&[u8]]) -> Result<Value, String> {
    let mut shown = Vec::new();
    for word in words {
        let percentile = num::parse_f64(word).ok_or("Invalid latency-tracking-info-percentiles parameters")?;
        if !(0.0..=100.0).contains(&percentile) {
            return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into());
        }
        let text = format!("{percentile:.6}");
        shown.push(text.trim_end_matches('0').trim_end_matches('.').to_owned());
    }
    Ok(text_num(&shown.join(" "), shown.len() as i64))
}

fn oom_values(words: &[&[u8]]) -> Result<Value, String> {
    if words.len() != 3 {
        return Err("wrong number of arguments".into());
    }
    if !words.iter().all(|word| num::parse_i64(word).is_some_and(|n| (-2000..=2000).contains(&n))) {
        return Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000.".into());
    }
    Ok(Value { text: words.join(&b' '), num: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, text: &str) -> Result<String, String> {
        let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let current = b"normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        kind.parse(&words, current).map(|value| String::from_utf8(value.text).unwrap())
    }

    #[test]
    fn memory_takes_units_of_a_thousand_and_of_1024() {
        for (text, bytes) in
            [("1", 1), ("2b", 2), ("1k", 1000), ("1KB", 1024), ("3mb", 3 << 20), ("1G", 1_000_000_000), ("", 0)]
        {
            assert_eq!(parse_memory(text.as_bytes()), Some(bytes), "{text}");
        }
        for bad in ["-1", "1tb", "1 mb", "abcd", "99999999999999999999", "9999999999gb"] {
            assert_eq!(parse_memory(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(file_memory(1 << 30), b"1gb");
        assert_eq!(file_memory(1536), b"1536");
        assert_eq!(file_memory(0), b"0");
    }

    #[test]
    fn errors_are_those_that_clients_know() {
        let err = |kind, text| parse(kind, text).unwrap_err();
        assert_eq!(err(Kind::Bool, "maybe"), "argument must be 'yes' or 'no'");
        assert_eq!(err(Kind::Int(0, 10), "x"), "argument couldn't be parsed into an integer");
        assert_eq!(err(Kind::Int(0, 10), "11"), "argument must be between 0 and 10 inclusive");
        assert_eq!(err(Kind::Memory(0, 10), "1tb"), "argument must be a memory value");
        assert_eq!(err(Kind::MemoryOrPercent, "x%"), "argument must be a memory or percent value");
        assert_eq!(err(Kind::MemoryOrPercent, "101%"), "percentage argument must be less or equal to 100");
        assert_eq!(err(Kind::Octal(0o777), "9"), "argument couldn't be parsed as an octal number");
        assert_eq!(err(Kind::Enum(&[("a", 1), ("b", 2)]), "c"), "argument(s) must be one of the following: a, b");
        assert_eq!(err(Kind::Bool, "yes no"), "wrong number of arguments");
        assert_eq!(err(Kind::OutputLimits, "normal 1"), "Wrong number of arguments in buffer limit configuration.");
        assert_eq!(err(Kind::OutputLimits, "x 0 0 0"), "Invalid client class specified in buffer limit configuration.");
        assert_eq!(err(Kind::Save, "60"), "Invalid save parameters");
        assert_eq!(
            err(Kind::Percentiles, "101"),
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
        );
        assert_eq!(err(Kind::ReplicaOf, "host 70000"), "Invalid primary port");
    }

    #[test]
    fn values_print_in_one_form() {
        assert_eq!(parse(Kind::Bool, "YES").unwrap(), "yes");
        assert_eq!(parse(Kind::Clamped(0, 10_000, 1, 500), "1000").unwrap(), "500");
        assert_eq!(parse(Kind::Memory(0, i64::MAX), "1kb").unwrap(), "1024");
        assert_eq!(parse(Kind::MemoryOrPercent, "5%").unwrap(), "5%");
        assert_eq!(parse(Kind::Octal(0o777), "700").unwrap(), "700");
        assert_eq!(parse(Kind::Percentiles, "50 99.90 100").unwrap(), "50 99.9 100");
        assert_eq!(parse(Kind::Percentiles, "").unwrap(), "");
        assert_eq!(parse(Kind::ReplicaOf, "NO ONE").unwrap(), "");
        assert_eq!(
            parse(Kind::OutputLimits, "replica 1mb 0 5 normal 2 1 3").unwrap(),
            "normal 2 1 3 slave 1048576 0 5 pubsub 33554432 8388608 60"
        );
        let set: Names = &[("default", 0), ("save", 1), ("nosave", 2), ("now", 4)];
        assert_eq!(parse(Kind::Flags(set), "now nosave").unwrap(), "nosave now");
        assert_eq!(parse(Kind::Flags(set), "default").unwrap(), "default");
    }
}
