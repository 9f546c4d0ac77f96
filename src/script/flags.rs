//! What a script or function says of itself: its flags, and the first line that names the engine
//! (<https://valkey.io/topics/eval-intro/#eval-flags>).

use crate::config::split::split as split_args;
use crate::spec::Flags;

/// The flags of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScriptFlags(pub u8);

impl ScriptFlags {
    /// It writes nothing.
    pub const NO_WRITES: ScriptFlags = ScriptFlags(1);
    /// It may run when memory is over the limit.
    pub const ALLOW_OOM: ScriptFlags = ScriptFlags(2);
    /// It may run on a replica with stale data.
    pub const ALLOW_STALE: ScriptFlags = ScriptFlags(4);
    /// It does not run in a cluster.
    pub const NO_CLUSTER: ScriptFlags = ScriptFlags(8);
    /// It may touch keys of several slots.
    pub const CROSS_SLOT: ScriptFlags = ScriptFlags(32);
    /// It says nothing of itself: it may do what scripts always could.
    pub const COMPAT: ScriptFlags = ScriptFlags(16);
    /// Those that can be given, with their names.
    pub const NAMED: [(ScriptFlags, &'static str); 5] = [
        (ScriptFlags::NO_WRITES, "no-writes"),
        (ScriptFlags::ALLOW_OOM, "allow-oom"),
        (ScriptFlags::ALLOW_STALE, "allow-stale"),
        (ScriptFlags::NO_CLUSTER, "no-cluster"),
        (ScriptFlags::CROSS_SLOT, "allow-cross-slot-keys"),
    ];
    /// Whether a flag is set.
    pub const fn has(self, flag: ScriptFlags) -> bool {
        self.0 & flag.0 != 0
    }
    /// The union.
    pub const fn or(self, other: ScriptFlags) -> ScriptFlags {
        ScriptFlags(self.0 | other.0)
    }
    /// The flags of the command that runs the script, in view of the script's.
    pub fn of_command(self, command: Flags) -> Flags {
        if self.has(ScriptFlags::COMPAT) {
            return command;
        }
        let cleared = Flags::STALE.or(Flags::DENYOOM).or(Flags::WRITE).or(Flags::MAY_REPLICATE);
        let mut flags = Flags(command.0 & !cleared.0);
        if !self.has(ScriptFlags::NO_WRITES) {
            flags = flags.or(Flags::WRITE);
            if !self.has(ScriptFlags::ALLOW_OOM) {
                flags = flags.or(Flags::DENYOOM);
            }
        }
        if self.has(ScriptFlags::ALLOW_STALE) {
            flags = flags.or(Flags::STALE);
        }
        flags
    }
}

/// The words of the first line of a text that begins with `#!`, and how long that line is. `None` if it has no end.
pub(super) fn first_line(text: &[u8]) -> Option<(Option<Vec<Vec<u8>>>, usize)> {
    let end = text.iter().position(|c| matches!(c, b'\n' | 0)).filter(|i| text[*i] == b'\n')?;
    Some((split_args(&text[..end]).filter(|w| !w.is_empty()), end))
}

/// The flags of a script, and how long its first line is, which is no Lua.
pub fn of_script(body: &[u8]) -> Result<(ScriptFlags, usize), String> {
    if !body.starts_with(b"#!") {
        return Ok((ScriptFlags::COMPAT, 0));
    }
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let (words, len) = first_line(body).ok_or("Invalid script shebang")?;
    let words = words.ok_or("Invalid engine in script shebang")?;
    if words[0] != b"#!lua" {
        return Err(format!("Unexpected engine in script shebang: {}", text(&words[0])));
    }
    let mut flags = ScriptFlags::default();
    for word in &words[1..] {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err(format!("Unknown lua shebang option: {}", text(word)));
        };
        if list.is_empty() {
            continue;
        }
        for name in list.split(|c| *c == b',') {
            let known = ScriptFlags::NAMED.iter().find(|(_, n)| n.as_bytes() == name);
            let Some((flag, _)) = known else {
                return Err(format!("Unexpected flag in script shebang: {}", text(name)));
            };
            flags = flags.or(*flag);
        }
    }
    Ok((flags, len))
}

/// The name of the library that a text is, and the length of the line that says so.
pub fn of_library(code: &[u8]) -> Result<(Vec<u8>, Vec<u8>, usize), String> {
    if !code.starts_with(b"#!") {
        return Err("Missing library metadata".into());
    }
    let (words, len) = first_line(code).ok_or("Invalid library metadata")?;
    let words = words.ok_or("Invalid library metadata")?;
    let engine = words[0].get(2..).unwrap_or_default().to_vec();
    let mut name = None;
    for word in &words[1..] {
        match word.get(..5).filter(|p| p.eq_ignore_ascii_case(b"name=")) {
            Some(_) if name.is_some() => {
                return Err("Invalid metadata value, name argument was given multiple times".into());
            }
            Some(_) => name = Some(word[5..].to_vec()),
            None => return Err(format!("Invalid metadata value given: {}", String::from_utf8_lossy(word))),
        }
    }
    let name = name.ok_or("Library name was not given")?;
    Ok((name, engine, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_script_says_what_it_may_do() {
        assert_eq!(of_script(b"return 1"), Ok((ScriptFlags::COMPAT, 0)));
        assert_eq!(of_script(b"#!lua\nreturn 1"), Ok((ScriptFlags(0), 5)));
        let both = ScriptFlags::NO_WRITES.or(ScriptFlags::ALLOW_STALE);
        assert_eq!(of_script(b"#!lua flags=no-writes,allow-stale\n"), Ok((both, 33)));
        assert_eq!(of_script(b"#!lua flags=\nreturn 1"), Ok((ScriptFlags(0), 12)));
        let text = |s: &str| of_script(s.as_bytes()).unwrap_err();
        assert_eq!(text("#!lua"), "Invalid script shebang");
        assert_eq!(text("#!ruby\n"), "Unexpected engine in script shebang: #!ruby");
        assert_eq!(text("#!lua flags=x\n"), "Unexpected flag in script shebang: x");
        assert_eq!(text("#!lua a=b\n"), "Unknown lua shebang option: a=b");
    }
}
