//! What a debugging client sends: commands as arrays of strings, read leniently.

/// A client that sends more without a whole command in it is told off, bytes.
const MAX_HELD: usize = 1 << 20;
/// The longest argument, bytes, and the most arguments.
const MAX: i64 = 1024;

/// What the next command is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This, with at least one argument, none of them empty.
    Command(Vec<Vec<u8>>),
    /// It is not whole yet.
    More,
    /// Nothing that is understood.
    Wrong,
}

/// What has come and was not looked at yet.
#[derive(Default)]
pub(super) struct Requests {
    held: Vec<u8>,
}

impl Requests {
    /// Adds what came. False if that is too much, and then nothing is held any more.
    pub fn add(&mut self, bytes: &[u8]) -> bool {
        if self.held.len() + bytes.len() > MAX_HELD {
            self.held = Vec::new();
            return false;
        }
        self.held.extend_from_slice(bytes);
        true
    }
    /// Takes the next command. What comes before its `*` is passed over, and so is what follows it and begins with none.
    pub fn next(&mut self) -> Next {
        if self.held.is_empty() {
            return Next::More;
        }
        let mut rest = &self.held[..];
        let next = parse(&mut rest);
        if matches!(next, Next::Command(_)) {
            let used = if rest.first() == Some(&b'*') { self.held.len() - rest.len() } else { self.held.len() };
            self.held.drain(..used);
            self.held.shrink_to(1024);
        }
        next
    }
}

fn parse(rest: &mut &[u8]) -> Next {
    let Some(start) = memchr::memchr(b'*', rest) else { return Next::Wrong };
    *rest = &rest[start + 1..];
    let Some(count) = length(rest) else { return Next::More };
    if !(1..=MAX).contains(&count) {
        return Next::Wrong;
    }
    let mut argv = Vec::new();
    for _ in 0..count {
        match rest.split_first() {
            None => return Next::More,
            Some((b'$', after)) => *rest = after,
            Some(_) => return Next::Wrong,
        }
        let Some(len) = length(rest) else { return Next::More };
        if !(1..=MAX).contains(&len) {
            return Next::Wrong;
        }
        let len = len as usize;
        if rest.len() < len + 2 {
            return Next::More;
        }
        argv.push(rest[..len].to_vec());
        if &rest[len..len + 2] != b"\r\n" {
            return Next::Wrong;
        }
        *rest = &rest[len + 2..];
    }
    Next::Command(argv)
}

/// The number on the line that `rest` begins with, which goes; `None` if the line has no end yet.
fn length(rest: &mut &[u8]) -> Option<i64> {
    let end = memchr::memmem::find(rest, b"\r\n")?;
    let (line, after) = rest.split_at(end);
    *rest = &after[2..];
    Some(leading_number(line))
}

/// The number that a text begins with, as C's `atoi` reads it: spaces, a sign, digits; 0 if there is none. Within 32 bits.
pub(super) fn leading_number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let signed = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let digits = text[signed..].iter().take_while(|c| c.is_ascii_digit()).take(11).count();
    let n = text[signed..signed + digits].iter().fold(0, |n, c| n * 10 + i64::from(c - b'0')).min(i64::from(i32::MAX));
    if text.first() == Some(&b'-') { -n } else { n }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(bytes: &[u8]) -> (Next, Next) {
        let mut requests = Requests::default();
        assert!(requests.add(bytes));
        (requests.next(), requests.next())
    }
    fn command(argv: &[&[u8]]) -> Next {
        Next::Command(argv.iter().map(|a| a.to_vec()).collect())
    }

    #[test]
    fn commands_are_arrays_of_strings_and_what_surrounds_them_is_passed_over() {
        assert_eq!(after(b"*1\r\n$1\r\ns\r\n"), (command(&[b"s"]), Next::More));
        assert_eq!(after(b"junk*1\r\n$1\r\ns\r\njunk"), (command(&[b"s"]), Next::More));
        let two = b"*1\r\n$1\r\ns\r\n*2\r\n$1\r\np\r\n$3\r\na\0b\r\n";
        assert_eq!(after(two), (command(&[b"s"]), command(&[b"p", b"a\0b"])));
        assert_eq!(after(b"* +1x\r\n$1y\r\ns\r\n").0, command(&[b"s"]));
    }

    #[test]
    fn a_command_that_comes_byte_by_byte_is_found_when_it_is_whole() {
        let whole = b"*2\r\n$5\r\nbreak\r\n$1\r\n3\r\n";
        let mut requests = Requests::default();
        for (i, byte) in whole.iter().enumerate() {
            assert!(requests.add(&[*byte]));
            let expected = if i + 1 == whole.len() { command(&[b"break", b"3"]) } else { Next::More };
            assert_eq!(requests.next(), expected, "{i}");
        }
    }

    #[test]
    fn what_is_no_command_is_wrong() {
        for wrong in [
            &b"PING\r\n"[..],
            b"*0\r\n",
            b"*-1\r\n",
            b"*1025\r\n",
            b"*99999999999999999999\r\n",
            b"*x\r\n",
            b"*1\r\n:1\r\n",
            b"*1\r\n$0\r\n\r\n",
            b"*1\r\n$1025\r\n",
            b"*1\r\n$-5\r\n",
            b"*1\r\n$1\r\nabc",
        ] {
            assert_eq!(after(wrong).0, Next::Wrong, "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn more_than_a_megabyte_is_not_held() {
        let mut requests = Requests::default();
        assert!(requests.add(b"*"));
        let piece = [b'1'; 4096];
        let taken = (0..1000).take_while(|_| requests.add(&piece)).count();
        assert_eq!((taken, requests.held.capacity()), (255, 0));
    }

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        for (text, n) in [
            (&b"12"[..], 12),
            (b" -7z", -7),
            (b"+3", 3),
            (b"x", 0),
            (b"", 0),
            (b"-", 0),
            (b"99999999999999", i64::from(i32::MAX)),
            (b"-99999999999999", -i64::from(i32::MAX)),
        ] {
            assert_eq!(leading_number(text), n);
        }
    }
}
