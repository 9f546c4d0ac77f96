//! Values of Lua and replies of commands as the debugger shows them. Each writes until `most` bytes are there, and little more.

use std::ffi::c_int;

use crate::base::num;
use crate::config::split::push_quoted;
use crate::script::lua::{Stack, Type};
use crate::script::number::format_g;
use crate::script::sandbox;

/// Tables in tables are shown down to this depth.
const DEEPEST: u32 = 10;

/// Appends bytes in quotes, as many of them as may be of use.
fn quoted(text: &[u8], out: &mut Vec<u8>, most: usize) {
    let room = most.saturating_sub(out.len()) + 1;
    push_quoted(&text[..text.len().min(room)], out);
}

/// Appends the value at an index of the stack, which stays as it is.
pub(super) fn value(s: Stack, at: c_int, out: &mut Vec<u8>, most: usize) {
    let at = if at < 0 { s.top() + at + 1 } else { at };
    nested(s, at, out, most, 0);
}

fn nested(s: Stack, at: c_int, out: &mut Vec<u8>, most: usize, depth: u32) {
    if depth == DEEPEST {
        return out.extend_from_slice(b"<max recursion level reached! Nested table?>");
    }
    match s.type_of(at) {
        Type::String => quoted(s.bytes(at).unwrap_or_default(), out, most),
        Type::Boolean => out.extend_from_slice(s.boolean(at).to_string().as_bytes()),
        Type::Number => out.extend_from_slice(format_g(s.number(at), 6).as_bytes()),
        Type::Nil | Type::None => out.extend_from_slice(b"nil"),
        Type::Table => table(s, at, out, most, depth),
        Type::Light => address(s, at, "light-userdata", out),
        other => address(s, at, other.name(), out),
    }
}

fn address(s: Stack, at: c_int, name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\"{name}@{:p}\"", s.address(at)).as_bytes());
}

fn table(s: Stack, at: c_int, out: &mut Vec<u8>, most: usize, depth: u32) {
    if !s.reserve(8) {
        return out.extend_from_slice(b"{}");
    }
    let top = s.top();
    // What scripts may not change is behind a proxy.
    let at = if sandbox::push_real(s, at) { top + 1 } else { at };
    let (mut array, mut expected) = (true, 1.0);
    s.push_nil();
    while array && s.next(at) {
        s.pop(1);
        array = s.is(-1, Type::Number) && s.number(-1) == expected;
        expected += 1.0;
        if !array {
            s.pop(1);
        }
    }
    out.push(b'{');
    let start = out.len();
    s.push_nil();
    while s.next(at) {
        let (key, of) = (s.top() - 1, s.top());
        if out.len() > start {
            out.extend_from_slice(b"; ");
        }
        if !array {
            out.push(b'[');
            nested(s, key, out, most, depth + 1);
            out.extend_from_slice(b"]=");
        }
        nested(s, of, out, most, depth + 1);
        s.pop(1);
        if out.len() > most {
            break;
        }
    }
    s.set_top(top);
    out.push(b'}');
}

/// Appends a reply, which this server wrote.
pub(super) fn reply(bytes: &[u8], out: &mut Vec<u8>, most: usize) {
    next_reply(bytes, out, most);
}

/// Appends the reply at the start of `bytes`. Returns what is left after it.
fn next_reply<'a>(bytes: &'a [u8], out: &mut Vec<u8>, most: usize) -> &'a [u8] {
    if out.len() > most {
        return &[];
    }
    let end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    let (line, rest) = (&bytes[..end], bytes.get(end + 2..).unwrap_or_default());
    let Some((mark, text)) = line.split_first() else { return rest };
    let n = num::parse_i64(text).unwrap_or(-1);
    match mark {
        b'+' | b'-' => quoted(line, out, most),
        b'$' | b'=' => {
            let Ok(len) = usize::try_from(n) else {
                out.extend_from_slice(b"NULL");
                return rest;
            };
            let (text, rest) = rest.split_at(len.min(rest.len()));
            // A verbatim string has its format before it.
            quoted(if *mark == b'=' { text.get(4..).unwrap_or_default() } else { text }, out, most);
            return rest.get(2..).unwrap_or_default();
        }
        b'*' | b'>' if n < 0 => out.extend_from_slice(b"NULL"),
        b'*' | b'>' => return several(rest, n, ["[", "]"], [",", ","], out, most),
        b'~' => return several(rest, n, ["~(", ")"], [",", ","], out, most),
        b'%' => return several(rest, n.saturating_mul(2), ["{", "}"], [",", " => "], out, most),
        b'_' => out.extend_from_slice(b"(null)"),
        b'#' => out.extend_from_slice(if text == b"t" { b"#true" } else { b"#false" }),
        b',' => {
            out.extend_from_slice(b"(double) ");
            out.extend_from_slice(text);
        }
        _ => out.extend_from_slice(text),
    }
    rest
}

/// Appends `n` replies between `around`. What comes before each of them but the first is in `joints`: before those at even
/// places, and before the others.
fn several<'a>(
    bytes: &'a [u8],
    n: i64,
    around: [&str; 2],
    joints: [&str; 2],
    out: &mut Vec<u8>,
    most: usize,
) -> &'a [u8] {
    let mut rest = bytes;
    out.extend_from_slice(around[0].as_bytes());
    for i in 0..n {
        if out.len() > most {
            return &[];
        }
        if i > 0 {
            out.extend_from_slice(joints[i as usize % 2].as_bytes());
        }
        rest = next_reply(rest, out, most);
    }
    out.extend_from_slice(around[1].as_bytes());
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::lua::Lua;

    fn shown(code: &str, most: usize) -> String {
        let lua = Lua::new().unwrap();
        lua.open_libraries();
        lua.as_host(|s| {
            s.load(format!("return {code}").as_bytes(), c"@t").unwrap();
            s.call(0, 1, 0).unwrap();
            let (mut out, top) = (Vec::new(), s.top());
            value(s, -1, &mut out, most);
            assert_eq!(s.top(), top);
            String::from_utf8(out).unwrap()
        })
    }

    #[test]
    fn values_are_shown_as_lua_writes_them_nearly() {
        for (code, text) in [
            ("'a\"b\\\\c\\n\\0é'", r#""a\"b\\c\n\x00\xc3\xa9""#),
            ("true", "true"),
            ("nil", "nil"),
            ("3", "3"),
            ("1/3", "0.333333"),
            ("1234567", "1.23457e+06"),
            ("{}", "{}"),
            ("{1,2,3}", "{1; 2; 3}"),
            ("{1,{'x',false}}", r#"{1; {"x"; false}}"#),
            ("{a=1}", r#"{["a"]=1}"#),
            ("{[2]=1}", "{[2]=1}"),
            ("{[true]={b={}}}", r#"{[true]={["b"]={}}}"#),
        ] {
            assert_eq!(shown(code, 1 << 20), text, "{code}");
        }
        assert!(shown("print", 100).starts_with("\"function@0x"));
        assert!(shown("coroutine.create(function() end)", 100).starts_with("\"thread@0x"));
    }

    #[test]
    fn what_is_deep_or_huge_ends_soon() {
        let deep = shown("(function() local t = {} t[1] = t return t end)()", 1 << 20);
        assert_eq!(deep, format!("{}<max recursion level reached! Nested table?>{}", "{".repeat(10), "}".repeat(10)));
        let wide = "(function() local t = {} for i = 1, 100 do t[i] = t end return t end)()";
        assert!((1000..1200).contains(&shown(wide, 1000).len()));
        let long = shown("string.rep('x', 1000000)", 256);
        assert!((256..300).contains(&long.len()));
    }

    #[test]
    fn replies_are_shown_in_one_line() {
        for (bytes, text) in [
            (&b":12\r\n"[..], "12"),
            (b"$3\r\na\nb\r\n", r#""a\nb""#),
            (b"$-1\r\n", "NULL"),
            (b"*-1\r\n", "NULL"),
            (b"+PONG\r\n", r#""+PONG""#),
            (b"-ERR no\r\n", r#""-ERR no""#),
            (b"*2\r\n:1\r\n*1\r\n$1\r\nx\r\n", r#"[1,["x"]]"#),
            (b"*0\r\n", "[]"),
            (b"~2\r\n:1\r\n:2\r\n", "~(1,2)"),
            (b"%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n_\r\n", r#"{"a" => 1,"b" => (null)}"#),
            (b"#t\r\n", "#true"),
            (b",1.5\r\n", "(double) 1.5"),
            (b"=6\r\ntxt:hi\r\n", r#""hi""#),
            (b"*3\r\n$5\r\nab", r#"["ab",,]"#),
        ] {
            let mut out = Vec::new();
            reply(bytes, &mut out, 1 << 20);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        let mut out = Vec::new();
        reply(b"*9000000000\r\n:1\r\n", &mut out, 100);
        assert!(out.len() < 200);
    }
}
