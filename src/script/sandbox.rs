//! What scripts may touch of Lua: tables that nobody can change, and base functions that know of them.
//!
//! Lua 5.1 has no read-only tables. A protected table is a proxy: an empty table whose metatable reads from the real one
//! and refuses writes. Every way around metatables that Lua's base library has is closed here: `rawset`, `setmetatable` and
//! `table.insert` refuse proxies, `rawget`, `next` and `pairs` look through them, `getmetatable` shows what a server with
//! read-only tables would show. `newproxy` is gone, and with it finalizers: nothing else gives a script a metatable of a
//! userdata. `load` and `loadstring` take text only, whole, so that no code runs while the compiler does.

use std::ffi::c_int;

use super::lua::{Function, GLOBALS, Returns, Stack, Type};
use super::vm;

/// Addresses that mark a field of a proxy's metatable: the real table, and what `getmetatable` shows.
static MARKS: [u8; 2] = [0, 0];

fn mark(i: usize) -> *const std::ffi::c_void {
    (&raw const MARKS[i]).cast()
}

/// The text of every refusal to write.
const READ_ONLY: &str = "Attempt to modify a readonly table";

/// Puts a proxy in the place of the table on top.
pub fn protect(s: Stack) {
    s.new_table(0, 0);
    s.new_table(0, 3);
    s.push_value(-3);
    s.set_raw_field(-2, b"__index");
    s.push_function(|s| Err(s.error(READ_ONLY)));
    s.set_raw_field(-2, b"__newindex");
    s.push_light(mark(0));
    s.push_value(-4);
    s.raw_set(-3);
    s.set_metatable(-2);
    s.remove(-2);
}

/// What `getmetatable` shows for the proxy on top is the value below it, which goes.
pub fn show_metatable(s: Stack) {
    s.push_metatable(-1);
    s.push_light(mark(1));
    s.push_value(-4);
    s.raw_set(-3);
    s.pop(1);
    s.remove(-2);
}

/// Gives the table on top a metatable that raises an error for fields that are not there.
pub fn refuse_missing(s: Stack) {
    s.new_table(0, 1);
    s.push_function(missing);
    s.set_raw_field(-2, b"__index");
    s.set_metatable(-2);
}

fn missing(s: Stack) -> Returns {
    if s.top() != 2 {
        return Err(s.error("Wrong number of arguments to luaProtectedTableError"));
    }
    if !s.is_string(2) {
        return Err(s.error("Second argument to luaProtectedTableError must be a string or number"));
    }
    let name = String::from_utf8_lossy(s.bytes(2).unwrap_or_default()).into_owned();
    Err(s.error(format!("Script attempted to access nonexistent global variable '{name}'")))
}

/// Pushes the real table behind a proxy. False, and nothing is pushed, if the value is none.
pub(super) fn push_real(s: Stack, at: c_int) -> bool {
    if !s.is(at, Type::Table) || !s.push_metatable(at) {
        return false;
    }
    s.push_light(mark(0));
    s.raw_get(-2);
    s.remove(-2);
    if s.is(-1, Type::Table) {
        return true;
    }
    s.pop(1);
    false
}

fn is_protected(s: Stack, at: c_int) -> bool {
    let is = push_real(s, at);
    if is {
        s.pop(1);
    }
    is
}

/// The functions that take the place of Lua's own, or are not there.
const BASE: &[(&str, Option<Function>)] = &[
    ("collectgarbage", Some(collectgarbage)),
    ("dofile", None),
    ("getmetatable", Some(getmetatable)),
    ("load", Some(load)),
    ("loadfile", None),
    ("loadstring", Some(loadstring)),
    ("module", None),
    ("newproxy", None),
    ("pcall", Some(pcall)),
    ("print", None),
    ("rawget", Some(rawget)),
    ("rawset", Some(rawset)),
    ("require", None),
    ("setmetatable", Some(setmetatable)),
    ("unpack", Some(unpack)),
    ("xpcall", Some(xpcall)),
];

/// Closes the ways out of a state in which Lua's own libraries were opened. The globals stay open to be added to.
pub fn close_base(s: Stack) {
    s.raw_field(GLOBALS, b"next");
    let original = s.top();
    s.push_value(original);
    s.push_closure(next, 1);
    s.set_raw_field(GLOBALS, b"next");
    // It hands out Lua's own `next` for plain tables, and ours for proxies.
    s.push_value(original);
    s.raw_field(GLOBALS, b"next");
    s.push_closure(pairs, 2);
    s.set_raw_field(GLOBALS, b"pairs");
    s.raw_field(GLOBALS, b"setfenv");
    s.push_closure(setfenv, 1);
    s.set_raw_field(GLOBALS, b"setfenv");
    s.set_top(original - 1);
    for (name, f) in BASE {
        match f {
            Some(f) => s.push_function(*f),
            None => s.push_nil(),
        }
        s.set_raw_field(GLOBALS, name.as_bytes());
    }
    s.raw_field(GLOBALS, b"coroutine");
    s.raw_field(-1, b"resume");
    s.push_closure(resume, 1);
    s.set_raw_field(-2, b"resume");
    s.pop(1);
    s.raw_field(GLOBALS, b"table");
    s.push_function(insert);
    s.set_raw_field(-2, b"insert");
    s.pop(1);
    // Of `os` only the processor time.
    s.raw_field(GLOBALS, b"os");
    s.new_table(0, 1);
    s.raw_field(-2, b"clock");
    s.set_raw_field(-2, b"clock");
    s.set_raw_field(GLOBALS, b"os");
    s.pop(1);
}

/// Protects every library that is a global, and the metatable of strings.
pub fn protect_libraries(s: Stack) {
    for name in ["string", "table", "math", "os", "coroutine", "cjson", "cmsgpack", "struct", "bit"] {
        s.raw_field(GLOBALS, name.as_bytes());
        protect(s);
        if name == "string" {
            // The metatable that all strings share reads from the library itself; scripts see a protected copy of it.
            s.push_bytes(b"");
            s.push_metatable(-1);
            s.new_table(0, 1);
            s.push_value(-4);
            s.set_raw_field(-2, b"__index");
            protect(s);
            s.set_raw_field(-2, b"__metatable");
            s.pop(2);
        }
        s.set_raw_field(GLOBALS, name.as_bytes());
    }
}

fn value_expected(s: Stack, n: c_int) -> Result<(), super::lua::Raise> {
    if s.is(n, Type::None) { Err(s.bad_argument(n, "value expected")) } else { Ok(()) }
}

fn getmetatable(s: Stack) -> Returns {
    value_expected(s, 1)?;
    if !s.push_metatable(1) {
        s.push_nil();
        return Ok(1);
    }
    s.push_light(mark(0));
    s.raw_get(-2);
    if !s.is(-1, Type::Nil) {
        s.push_light(mark(1));
        s.raw_get(-3);
        return Ok(1);
    }
    s.pop(1);
    s.raw_field(-1, b"__metatable");
    if s.is(-1, Type::Nil) {
        s.pop(1);
    }
    Ok(1)
}

fn setmetatable(s: Stack) -> Returns {
    s.check_table(1)?;
    if !matches!(s.type_of(2), Type::Nil | Type::Table) {
        return Err(s.bad_argument(2, "nil or table expected"));
    }
    s.set_top(2);
    if is_protected(s, 1) {
        return Err(s.error(READ_ONLY));
    }
    if s.push_metatable(1) {
        s.raw_field(-1, b"__metatable");
        if !s.is(-1, Type::Nil) {
            return Err(s.error("cannot change a protected metatable"));
        }
        s.pop(2);
    }
    s.set_metatable(1);
    Ok(1)
}

fn rawget(s: Stack) -> Returns {
    s.check_table(1)?;
    value_expected(s, 2)?;
    s.set_top(2);
    if push_real(s, 1) {
        s.replace(1);
    }
    s.raw_get(1);
    Ok(1)
}

fn rawset(s: Stack) -> Returns {
    s.check_table(1)?;
    value_expected(s, 2)?;
    value_expected(s, 3)?;
    s.set_top(3);
    if is_protected(s, 1) {
        return Err(s.error(READ_ONLY));
    }
    check_key(s, 2)?;
    s.raw_set(1);
    Ok(1)
}

/// A key that a table can have: Lua would refuse others by a jump.
fn check_key(s: Stack, at: c_int) -> Result<(), super::lua::Raise> {
    match s.type_of(at) {
        Type::Nil => Err(s.error("table index is nil")),
        Type::Number if s.number(at).is_nan() => Err(s.error("table index is NaN")),
        _ => Ok(()),
    }
}

/// `next`, with Lua's own as its value.
fn next(s: Stack) -> Returns {
    s.check_table(1)?;
    s.set_top(2);
    if push_real(s, 1) {
        s.replace(1);
    }
    if s.is(2, Type::Nil) {
        if s.next(1) {
            return Ok(2);
        }
        s.push_nil();
        return Ok(1);
    }
    // The key may be one that the table does not have.
    s.push_value(s.own(1));
    s.insert(1);
    s.call(2, 2, 0)?;
    Ok(if s.is(-2, Type::Nil) {
        s.pop(1);
        1
    } else {
        2
    })
}

/// `pairs`, with Lua's own `next` and ours as its values.
fn pairs(s: Stack) -> Returns {
    s.check_table(1)?;
    let which = if is_protected(s, 1) { 2 } else { 1 };
    s.push_value(s.own(which));
    s.push_value(1);
    s.push_nil();
    Ok(3)
}

fn insert(s: Stack) -> Returns {
    s.check_table(1)?;
    if is_protected(s, 1) {
        return Err(s.error(READ_ONLY));
    }
    let end = s.len(1) as i64 + 1;
    let pos = match s.top() {
        2 => end,
        3 => {
            let pos = s.check_integer(2)? as i32;
            let mut i = end.max(i64::from(pos)) as i32;
            while i > pos {
                s.raw_get_at(1, i - 1);
                s.raw_set_at(1, i);
                i -= 1;
                if i % 4096 == 0 {
                    // The table grows where it has nothing: from a place far below it, without end.
                    vm::afford(s, 0)?;
                    vm::look(s)?;
                }
            }
            i64::from(pos)
        }
        _ => return Err(s.error("wrong number of arguments to 'insert'")),
    };
    s.raw_set_at(1, pos as c_int);
    Ok(0)
}

fn unpack(s: Stack) -> Returns {
    s.check_table(1)?;
    let from = s.opt_integer(2, 1)?.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
    let to = if s.is_absent(3) { s.len(1) as i64 } else { s.check_integer(3)? };
    let to = to.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
    if from > to {
        return Ok(0);
    }
    let n = to - from + 1;
    if n >= 8000 || !s.reserve(n as c_int) {
        return Err(s.error("too many results to unpack"));
    }
    for i in from..=to {
        s.raw_get_at(1, i as c_int);
    }
    Ok(n as c_int)
}

/// Errors of commands are tables; whoever catches one gets its text, as scripts have always known it.
fn pcall(s: Stack) -> Returns {
    value_expected(s, 1)?;
    match s.call(s.top() - 1, -1, 0) {
        Ok(()) => {
            if !s.reserve(1) {
                return Err(s.error("stack overflow"));
            }
            s.push_boolean(true);
            s.insert(1);
            Ok(s.top())
        }
        Err(raise) => {
            if vm::stopping(s) {
                return Err(raise);
            }
            if s.is(-1, Type::Table) && !is_protected(s, -1) {
                s.raw_field(-1, b"err");
                if s.is_string(-1) {
                    s.replace(-2);
                } else {
                    s.pop(1);
                }
            }
            s.push_boolean(false);
            s.insert(-2);
            Ok(2)
        }
    }
}

/// Lua's own runs the handler where the error was raised. If that was the hook, which ends a script, then no hook runs in the
/// handler, and it could go on for ever: here it runs once the error has come out.
fn xpcall(s: Stack) -> Returns {
    value_expected(s, 2)?;
    s.set_top(2);
    s.push_value(1);
    let result = s.call(0, -1, 0);
    if let Err(raise) = result {
        if vm::stopping(s) {
            return Err(raise);
        }
        // The error is on top.
        s.push_value(2);
        s.insert(-2);
        if let Err(raise) = s.call(1, 1, 0) {
            if vm::stopping(s) {
                return Err(raise);
            }
            s.push_bytes(b"error in error handling");
        }
        s.push_boolean(false);
        s.insert(-2);
        return Ok(2);
    }
    if !s.reserve(1) {
        return Err(s.error("stack overflow"));
    }
    s.push_boolean(true);
    s.insert(3);
    Ok(s.top() - 2)
}

/// `coroutine.resume`, with Lua's own as its value. A script that is to end can not go on after one of its coroutines did.
fn resume(s: Stack) -> Returns {
    s.push_value(s.own(1));
    s.insert(1);
    s.call(s.top() - 1, -1, 0)?;
    if vm::stopping(s) {
        vm::look(s)?;
    }
    Ok(s.top())
}

/// A text longer than this has no business in a script.
pub const MAX_CHUNK: usize = 256 << 20;

fn compile(s: Stack, text: &[u8], name: &[u8]) -> Returns {
    let refuse = |why: &[u8]| {
        s.push_nil();
        s.push_bytes(why);
        Ok(2)
    };
    if text.first() == Some(&0x1b) {
        // The words of a compiler that knows no bytecode.
        return refuse(b"attempt to load bytecode: unexpected symbol near '\x1b'");
    }
    if text.len() > MAX_CHUNK {
        return refuse(b"chunk too long");
    }
    let name: Vec<u8> = name.iter().copied().take_while(|c| *c != 0).collect();
    let name = std::ffi::CString::new(name).unwrap_or_default();
    if s.load(text, &name).is_err() {
        s.push_nil();
        s.insert(-2);
        return Ok(2);
    }
    Ok(1)
}

fn loadstring(s: Stack) -> Returns {
    let text = s.check_bytes(1)?;
    let name = if s.is_absent(2) { text } else { s.check_bytes(2)? };
    compile(s, text, name)
}

fn load(s: Stack) -> Returns {
    let name = if s.is_absent(2) { &b"=(load)"[..] } else { s.check_bytes(2)? };
    if !s.is(1, Type::Function) {
        return Err(s.bad_type(1, "function"));
    }
    let mut text = Vec::new();
    loop {
        s.push_value(1);
        if s.call(0, 1, 0).is_err() {
            s.push_nil();
            s.insert(-2);
            return Ok(2);
        }
        match s.type_of(-1) {
            Type::Nil => break,
            Type::String | Type::Number => {
                let piece = s.bytes(-1).unwrap_or_default();
                if piece.is_empty() {
                    break;
                }
                text.extend_from_slice(piece);
                if text.len() > MAX_CHUNK {
                    break;
                }
            }
            _ => return Err(s.error("reader function must return a string")),
        }
        s.pop(1);
    }
    compile(s, &text, name)
}

/// `setfenv`, with Lua's own as its value. The environment of the thread is everybody's.
fn setfenv(s: Stack) -> Returns {
    s.check_table(2)?;
    s.set_top(2);
    if s.is(1, Type::Number) {
        let level = s.number(1);
        if level == 0.0 {
            return Err(s.error(READ_ONLY));
        }
        // This function stands between.
        s.push_number(level + 1.0);
        s.replace(1);
    }
    s.push_value(s.own(1));
    s.insert(1);
    s.call(2, 1, 0)?;
    Ok(1)
}

/// The collector is everybody's, too: a script can run it and ask it, but not stop or slow it.
fn collectgarbage(s: Stack) -> Returns {
    let word = if s.is_absent(1) { &b"collect"[..] } else { s.check_bytes(1)? };
    let n = s.opt_integer(2, 0)?;
    let result = match word {
        b"collect" => {
            s.collect_garbage(2, 0);
            0.0
        }
        b"count" => s.memory_used() as f64 / 1024.0,
        b"step" => {
            let ended = s.collect_garbage(5, n.clamp(0, 1 << 20) as c_int) != 0;
            s.push_boolean(ended);
            return Ok(1);
        }
        b"stop" | b"restart" => 0.0,
        b"setpause" | b"setstepmul" => 200.0,
        other => {
            let other = String::from_utf8_lossy(other).into_owned();
            return Err(s.bad_argument(1, &format!("invalid option '{other}'")));
        }
    };
    s.push_number(result);
    Ok(1)
}
