//! Glob matching as KEYS, SCAN, PSUBSCRIBE and CONFIG GET mean it.
//!
//! `*` any run, `?` any byte, `[abc]`, `[a-z]`, `[^...]`, and backslash to take the next byte literally. The corners
//! are Redis's, and clients rely on some of them: an unterminated class ends with the pattern, a reversed range is
//! turned round, an escape inside a class compares with case, and an empty string matches only the empty pattern
//! (not `*`).
//!
//! Matching is iterative: on a mismatch only the last `*` can help, so it alone takes one more byte and the rest is
//! tried again. The worst case is pattern length times string length (`a*a*a*a*b`), never exponential, and there is
//! no recursion to overflow. Redis gives up on patterns whose stars nest deeper than 1000; we count the stars and
//! give up there too, so that such a pattern gets the same answer.

/// How many `*` that are not the pattern's end a pattern may use before nothing matches it.
const MAX_STARS: usize = 1000;

/// Does the whole of `s` match `pattern`? `nocase` folds ASCII letters.
pub fn matches(pattern: &[u8], s: &[u8], nocase: bool) -> bool {
    if s.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut i) = (0, 0);
    // Where to go on after a mismatch: the pattern behind the last star, and the first byte that star has not eaten.
    let mut retry: Option<(usize, usize)> = None;
    // The furthest star reached and how many stars led there; on a retry the count does not start again.
    let (mut stars, mut last_star) = (0, None);
    while i < s.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                let star = p;
                while pattern.get(p) == Some(&b'*') {
                    p += 1;
                }
                if p == pattern.len() {
                    return true;
                }
                if last_star.is_none_or(|last| last < star) {
                    last_star = Some(star);
                    stars += 1;
                    if stars > MAX_STARS {
                        return false;
                    }
                }
                retry = Some((p, i));
                continue;
            }
            Some(_) => one(&pattern[p..], s[i], nocase),
            None => None,
        };
        match (step, retry) {
            (Some(len), _) => {
                p += len;
                i += 1;
            }
            (None, Some((after_star, eaten))) => {
                p = after_star;
                i = eaten + 1;
                retry = Some((after_star, i));
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// Match one byte against the first element of `pattern` (not a star, not empty): the element's length if it matches.
fn one(pattern: &[u8], c: u8, nocase: bool) -> Option<usize> {
    match pattern[0] {
        b'?' => Some(1),
        b'[' => class(pattern, c, nocase),
        b'\\' if pattern.len() >= 2 => same(pattern[1], c, nocase).then_some(2),
        literal => same(literal, c, nocase).then_some(1),
    }
}

fn same(a: u8, b: u8, nocase: bool) -> bool {
    if nocase { a.eq_ignore_ascii_case(&b) } else { a == b }
}

/// Match `c` against the class that `pattern` opens with.
fn class(pattern: &[u8], c: u8, nocase: bool) -> Option<usize> {
    let fold = |b: u8| if nocase { b.to_ascii_lowercase() } else { b };
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    loop {
        match pattern[at..] {
            [] => break,
            [b'\\', literal, ..] => {
                found |= literal == c;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [from, b'-', to, ..] => {
                let (from, to) = (fold(from.min(to)), fold(from.max(to)));
                found |= (from..=to).contains(&fold(c));
                at += 3;
            }
            [literal, ..] => {
                found |= fold(literal) == fold(c);
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn m(pattern: &str, s: &str) -> bool {
        matches(pattern.as_bytes(), s.as_bytes(), false)
    }

    #[test]
    fn stars_and_question_marks_match_runs_and_bytes() {
        assert!(m("*", "x") && m("h?llo", "hello") && m("h*llo", "hllo") && m("h*llo", "heeeello"));
        assert!(m("a**", "a") && m("*a*", "a") && m("a*b*c", "aXbYc"));
        assert!(!m("h?llo", "hllo") && !m("?", "ab") && !m("a*b", "abc"));
    }

    #[test]
    fn the_empty_string_matches_only_the_empty_pattern() {
        assert!(m("", "") && !m("*", "") && !m("", "a") && !m("?", ""));
    }

    #[test]
    fn classes_take_sets_ranges_negation_and_escapes() {
        assert!(m("h[ae]llo", "hallo") && !m("h[ae]llo", "hillo"));
        assert!(m("h[^e]llo", "hallo") && !m("h[^e]llo", "hello"));
        assert!(m("h[a-b]llo", "hbllo") && !m("h[a-b]llo", "hcllo") && m("[z-a]", "m"));
        assert!(m("[\\]]", "]") && m("[a\\-z]", "-") && !m("[a\\-z]", "m"));
        assert!(m("[]x", "ax") == m("[]", "a") && !m("[]", "a") && m("[^]", "a"));
    }

    #[test]
    fn an_unterminated_class_ends_with_the_pattern() {
        assert!(m("[ab", "a") && m("x[ab", "xb") && !m("[ab", "c") && !m("[", "[") && m("[^", "q"));
        assert!(m("[a-", "-") && m("[a\\", "\\"));
    }

    #[test]
    fn escapes_take_the_next_byte_literally() {
        assert!(m("a\\*b", "a*b") && !m("a\\*b", "axb") && m("a\\", "a\\") && m("\\?", "?"));
    }

    #[test]
    fn case_folds_when_asked_but_not_in_an_escaped_class_member() {
        assert!(matches(b"HeL*", b"hello", true) && matches(b"[A-Z]x", b"bX", true));
        assert!(!matches(b"[\\A]", b"a", true) && !matches(b"HEL*", b"hello", false));
    }

    #[test]
    fn bytes_that_are_no_text_match_like_others() {
        assert!(matches(b"\x00*\xff", b"\x00abc\xff", false) && matches(b"[\x80-\xff]", b"\x90", false));
    }

    #[test]
    fn hostile_patterns_stay_cheap_and_deep_ones_match_nothing() {
        let pattern = "a*".repeat(900) + "b";
        assert!(!m(&pattern, &"a".repeat(20_000)));
        assert!(!m(&"*?".repeat(50_000), &"a".repeat(50_000)));
        assert!(m(&("*a".repeat(1000)), &"a".repeat(1500)));
    }

    /// The definition, by recursion, for patterns of `*`, `?`, `[ab]`, `[^a]` and letters.
    fn model(p: &[u8], s: &[u8]) -> bool {
        match p {
            [] => s.is_empty(),
            [b'*', rest @ ..] => model(rest, s) || (!s.is_empty() && model(p, &s[1..])),
            [b'[', b'^', x, b']', rest @ ..] => s.first().is_some_and(|c| c != x) && model(rest, &s[1..]),
            [b'?', rest @ ..] => !s.is_empty() && model(rest, &s[1..]),
            [x, rest @ ..] => s.first() == Some(x) && model(rest, &s[1..]),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_recursive_definition(
            parts in proptest::collection::vec(prop_oneof!["[ab]", Just("*".into()), Just("?".into()), Just("[^a]".into())], 0..9),
            s in "[abc]{1,9}",
        ) {
            let p: String = parts.concat();
            prop_assert_eq!(m(&p, &s), model(p.as_bytes(), s.as_bytes()), "{} {}", p, s);
        }

        #[test]
        fn never_panics(p in proptest::collection::vec(any::<u8>(), 0..40), s in proptest::collection::vec(any::<u8>(), 0..40), nocase: bool) {
            matches(&p, &s, nocase);
        }
    }
}
