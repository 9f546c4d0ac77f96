//! Lua's patterns, with an end: a matcher that counts its steps, so that one which would go on for ever can be stopped, and
//! that goes no deeper than its stack allows.
//!
//! As in Lua 5.1 a pattern ends at its first NUL. <https://www.lua.org/manual/5.1/manual.html#5.4.1>

/// Captures of one pattern.
const MAX_CAPTURES: usize = 32;
/// How deep one match may go: a pattern has an item that may match or not for each step down.
const MAX_DEPTH: u32 = 4000;
/// Steps between two calls of the watcher.
const LOOK_EVERY: u32 = 50_000;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Bad<W> {
    /// The pattern is wrong.
    Pattern(&'static str),
    /// The watcher said so.
    Stopped(W),
}

impl<W> From<&'static str> for Bad<W> {
    fn from(text: &'static str) -> Bad<W> {
        Bad::Pattern(text)
    }
}

/// What a pair of parentheses matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Capture {
    Open(usize),
    Closed(usize, usize),
    Position(usize),
}

/// A value that a match gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// A piece of the text.
    Text(&'a [u8]),
    /// A place in it, from 1.
    Position(usize),
}

/// A pattern at work on a text. The watcher is asked every so often whether to go on.
pub struct Matcher<'a, F> {
    text: &'a [u8],
    pattern: &'a [u8],
    captures: [Capture; MAX_CAPTURES],
    level: usize,
    depth: u32,
    steps: u32,
    watcher: F,
}

impl<'a, W, F: FnMut() -> Result<(), W>> Matcher<'a, F> {
    /// A matcher. An anchor is the caller's business.
    pub fn new(text: &'a [u8], pattern: &'a [u8], watcher: F) -> Self {
        let end = memchr::memchr(0, pattern).unwrap_or(pattern.len());
        let captures = [Capture::Open(0); MAX_CAPTURES];
        Matcher { text, pattern: &pattern[..end], captures, level: 0, depth: 0, steps: LOOK_EVERY, watcher }
    }
    /// Matches at exactly this place. Where the match ends.
    pub fn at(&mut self, start: usize) -> Result<Option<usize>, Bad<W>> {
        self.level = 0;
        self.depth = 0;
        self.go(start, 0)
    }
    /// How many captures the last match has.
    pub fn captures(&self) -> usize {
        self.level
    }
    /// Capture `i` of the last match; without captures the first is the whole match.
    pub fn capture(&self, i: usize, whole: (usize, usize)) -> Result<Part<'a>, Bad<W>> {
        if i >= self.level {
            return if i == 0 {
                Ok(Part::Text(&self.text[whole.0..whole.1]))
            } else {
                Err("invalid capture index".into())
            };
        }
        match self.captures[i] {
            Capture::Open(_) => Err("unfinished capture".into()),
            Capture::Position(at) => Ok(Part::Position(at + 1)),
            Capture::Closed(from, to) => Ok(Part::Text(&self.text[from..to])),
        }
    }

    /// A piece of the text.
    pub fn text_at(&self, from: usize, to: usize) -> Part<'a> {
        Part::Text(&self.text[from..to])
    }

    fn step(&mut self) -> Result<(), Bad<W>> {
        self.steps -= 1;
        if self.steps == 0 {
            self.steps = LOOK_EVERY;
            (self.watcher)().map_err(Bad::Stopped)?;
        }
        Ok(())
    }
    /// The byte of the pattern at `p`; its end reads as NUL.
    fn item(&self, p: usize) -> u8 {
        self.pattern.get(p).copied().unwrap_or(0)
    }
    fn deeper(&mut self, s: usize, p: usize) -> Result<Option<usize>, Bad<W>> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("pattern too complex".into());
        }
        let end = self.go(s, p)?;
        self.depth -= 1;
        Ok(end)
    }

    fn go(&mut self, mut s: usize, mut p: usize) -> Result<Option<usize>, Bad<W>> {
        loop {
            self.step()?;
            match self.item(p) {
                0 => return Ok(Some(s)),
                b'(' if self.item(p + 1) == b')' => return self.open(s, p + 2, Capture::Position(s)),
                b'(' => return self.open(s, p + 1, Capture::Open(s)),
                b')' => return self.close(s, p + 1),
                b'$' if p + 1 == self.pattern.len() => return Ok((s == self.text.len()).then_some(s)),
                b'%' => match self.item(p + 1) {
                    b'b' => match self.balance(s, p + 2)? {
                        Some(end) => (s, p) = (end, p + 4),
                        None => return Ok(None),
                    },
                    b'f' => {
                        p += 2;
                        if self.item(p) != b'[' {
                            return Err("missing '[' after '%f' in pattern".into());
                        }
                        let end = self.class_end(p)?;
                        let before = if s == 0 { 0 } else { self.text[s - 1] };
                        let here = self.text.get(s).copied().unwrap_or(0);
                        if self.in_set(before, p, end - 1) || !self.in_set(here, p, end - 1) {
                            return Ok(None);
                        }
                        p = end;
                    }
                    n if n.is_ascii_digit() => match self.again(s, n)? {
                        Some(end) => (s, p) = (end, p + 2),
                        None => return Ok(None),
                    },
                    _ => match self.single(s, p)? {
                        Next::Go(to) => (s, p) = to,
                        Next::End(end) => return Ok(end),
                    },
                },
                _ => match self.single(s, p)? {
                    Next::Go(to) => (s, p) = to,
                    Next::End(end) => return Ok(end),
                },
            }
        }
    }

    /// One item that matches one byte, with what says how often.
    fn single(&mut self, s: usize, p: usize) -> Result<Next, Bad<W>> {
        let end = self.class_end(p)?;
        let fits = self.fits(s, p, end);
        Ok(match self.item(end) {
            b'?' => {
                if fits && let Some(end) = self.deeper(s + 1, end + 1)? {
                    return Ok(Next::End(Some(end)));
                }
                Next::Go((s, end + 1))
            }
            b'*' => Next::End(self.most(s, p, end)?),
            b'+' => Next::End(if fits { self.most(s + 1, p, end)? } else { None }),
            b'-' => Next::End(self.least(s, p, end)?),
            _ if fits => Next::Go((s + 1, end)),
            _ => Next::End(None),
        })
    }
    fn most(&mut self, s: usize, p: usize, end: usize) -> Result<Option<usize>, Bad<W>> {
        let mut n = 0;
        while self.fits(s + n, p, end) {
            self.step()?;
            n += 1;
        }
        loop {
            if let Some(end) = self.deeper(s + n, end + 1)? {
                return Ok(Some(end));
            }
            if n == 0 {
                return Ok(None);
            }
            n -= 1;
        }
    }
    fn least(&mut self, mut s: usize, p: usize, end: usize) -> Result<Option<usize>, Bad<W>> {
        loop {
            if let Some(end) = self.deeper(s, end + 1)? {
                return Ok(Some(end));
            }
            if !self.fits(s, p, end) {
                return Ok(None);
            }
            s += 1;
        }
    }
    fn open(&mut self, s: usize, p: usize, how: Capture) -> Result<Option<usize>, Bad<W>> {
        if self.level >= MAX_CAPTURES {
            return Err("too many captures".into());
        }
        self.captures[self.level] = how;
        self.level += 1;
        let end = self.deeper(s, p)?;
        if end.is_none() {
            self.level -= 1;
        }
        Ok(end)
    }
    fn close(&mut self, s: usize, p: usize) -> Result<Option<usize>, Bad<W>> {
        let open = |c: &Capture| matches!(c, Capture::Open(_));
        let Some(i) = self.captures[..self.level].iter().rposition(open) else {
            return Err("invalid pattern capture".into());
        };
        let Capture::Open(from) = self.captures[i] else { return Ok(None) };
        self.captures[i] = Capture::Closed(from, s);
        let end = self.deeper(s, p)?;
        if end.is_none() {
            self.captures[i] = Capture::Open(from);
        }
        Ok(end)
    }
    /// What capture `n` (a digit) matched, once more.
    fn again(&mut self, s: usize, n: u8) -> Result<Option<usize>, Bad<W>> {
        let i = usize::from(n).wrapping_sub(usize::from(b'1'));
        match self.captures[..self.level].get(i) {
            Some(Capture::Closed(from, to)) => {
                let wanted = &self.text[*from..*to];
                Ok(self.text[s..].starts_with(wanted).then_some(s + wanted.len()))
            }
            Some(Capture::Position(_)) => Ok(None),
            _ => Err("invalid capture index".into()),
        }
    }
    fn balance(&mut self, s: usize, p: usize) -> Result<Option<usize>, Bad<W>> {
        let (open, close) = (self.item(p), self.item(p + 1));
        if open == 0 || close == 0 {
            return Err("unbalanced pattern".into());
        }
        if self.text.get(s) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1usize;
        for at in s + 1..self.text.len() {
            self.step()?;
            let c = self.text[at];
            if c == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(at + 1));
                }
            } else if c == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// Where the item that begins at `p` ends.
    fn class_end(&mut self, mut p: usize) -> Result<usize, Bad<W>> {
        let first = self.item(p);
        p += 1;
        match first {
            b'%' if self.item(p) == 0 => Err("malformed pattern (ends with '%')".into()),
            b'%' => Ok(p + 1),
            b'[' => {
                if self.item(p) == b'^' {
                    p += 1;
                }
                loop {
                    self.step()?;
                    let c = self.item(p);
                    if c == 0 {
                        return Err("malformed pattern (missing ']')".into());
                    }
                    p += 1;
                    if c == b'%' && self.item(p) != 0 {
                        p += 1;
                    }
                    if self.item(p) == b']' {
                        return Ok(p + 1);
                    }
                }
            }
            _ => Ok(p),
        }
    }
    fn fits(&self, s: usize, p: usize, end: usize) -> bool {
        let Some(&c) = self.text.get(s) else { return false };
        match self.item(p) {
            b'.' => true,
            b'%' => in_class(c, self.item(p + 1)),
            b'[' => self.in_set(c, p, end - 1),
            own => own == c,
        }
    }
    /// Whether the set from `p`, at its bracket, to `last`, at the other, has the byte.
    fn in_set(&self, c: u8, mut p: usize, last: usize) -> bool {
        let mut yes = true;
        if self.item(p + 1) == b'^' {
            yes = false;
            p += 1;
        }
        p += 1;
        while p < last {
            let own = self.item(p);
            if own == b'%' {
                p += 1;
                if in_class(c, self.item(p)) {
                    return yes;
                }
            } else if self.item(p + 1) == b'-' && p + 2 < last {
                p += 2;
                if (own..=self.item(p)).contains(&c) {
                    return yes;
                }
            } else if own == c {
                return yes;
            }
            p += 1;
        }
        !yes
    }
}

enum Next {
    Go((usize, usize)),
    End(Option<usize>),
}

fn in_class(c: u8, class: u8) -> bool {
    let is = match class.to_ascii_lowercase() {
        b'a' => c.is_ascii_alphabetic(),
        b'c' => c.is_ascii_control(),
        b'd' => c.is_ascii_digit(),
        b'l' => c.is_ascii_lowercase(),
        b'p' => c.is_ascii_punctuation(),
        b's' => c.is_ascii_whitespace() || c == 0x0b,
        b'u' => c.is_ascii_uppercase(),
        b'w' => c.is_ascii_alphanumeric(),
        b'x' => c.is_ascii_hexdigit(),
        b'z' => c == 0,
        _ => return class == c,
    };
    is != class.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, pattern: &str) -> Result<Option<(usize, usize)>, Bad<()>> {
        let mut m = Matcher::new(text.as_bytes(), pattern.as_bytes(), || Ok(()));
        for start in 0..=text.len() {
            if let Some(end) = m.at(start)? {
                return Ok(Some((start, end)));
            }
        }
        Ok(None)
    }

    #[test]
    fn patterns_match_as_the_manual_says() {
        for (text, pattern, found) in [
            ("hello world", "o w", Some((4, 7))),
            ("key=value", "(%w+)=(%w+)", Some((0, 9))),
            ("  x", "^%s*$", None),
            ("f(a(b)c)d", "%b()", Some((1, 8))),
            ("THE (quick) fox", "%f[%a]%a+%f[%A]", Some((0, 3))),
            ("abab", "(ab)%1", Some((0, 4))),
            ("a-z]", "[]a-]+", Some((0, 2))),
            ("x^", "[%^]", Some((1, 2))),
            ("xyz", "[^x]-z", Some((1, 3))),
            ("aaa", "a-$", Some((0, 3))),
            ("a\0b", "%z", Some((1, 2))),
            ("a$", "a$", None),
            ("$a", "$a", Some((0, 2))),
            ("ab", "a?b?c?$", Some((0, 2))),
        ] {
            assert_eq!(find(text, pattern), Ok(found), "{text} {pattern}");
        }
        for (pattern, why) in [
            ("[a", "malformed pattern (missing ']')"),
            ("%", "malformed pattern (ends with '%')"),
            ("%f", "missing '[' after '%f' in pattern"),
            ("%b(", "unbalanced pattern"),
            ("(a))", "invalid pattern capture"),
            ("%1", "invalid capture index"),
            ("(a%1)", "invalid capture index"),
            (&"()".repeat(33), "too many captures"),
            (&"a?".repeat(100_000), "pattern too complex"),
        ] {
            assert_eq!(
                find(&"a".repeat(100_000), pattern),
                Err(Bad::Pattern(why)),
                "{}",
                &pattern[..pattern.len().min(9)]
            );
        }
    }

    #[test]
    fn a_match_that_would_not_end_is_stopped() {
        let text = "a".repeat(200);
        let pattern = "a-".repeat(20) + "b";
        let mut looks = 0;
        let mut m = Matcher::new(text.as_bytes(), pattern.as_bytes(), || {
            looks += 1;
            if looks < 10 { Ok(()) } else { Err("enough") }
        });
        assert_eq!(m.at(0), Err(Bad::Stopped("enough")));
        assert_eq!(looks, 10);
    }
}
