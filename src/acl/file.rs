//! The file of users: a line `user <name> <rules>` each, parted by single spaces; empty lines are passed over.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::selector::{Env, RuleError, has_space};
use super::user::{User, merge};
use crate::base::rng;

/// The users of a file's text; `name` is the file's for error texts. The error names every line that is wrong.
pub fn parse(text: &[u8], name: &str, env: &Env<'_>) -> Result<Vec<User>, String> {
    let mut users: Vec<User> = Vec::new();
    let mut errors = String::new();
    for (at, line) in text.split(|c| *c == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        match user(line, env) {
            Ok(user) if users.iter().any(|known| known.name == user.name) => {
                let name = String::from_utf8_lossy(&user.name);
                errors.push_str(&format!("WARNING: Duplicate user '{name}' found on line {}. ", at + 1));
            }
            Ok(user) => users.push(user),
            Err(why) => errors.push_str(&why.replace("{place}", &format!("{name}:{}", at + 1))),
        }
    }
    if errors.is_empty() {
        return Ok(users);
    }
    errors.push_str("WARNING: ACL errors detected, no change to the previously active ACL rules was performed");
    Err(errors)
}

/// The user of one line. `{place}` in an error stands for file and line.
fn user(line: &[u8], env: &Env<'_>) -> Result<User, String> {
    let words: Vec<&[u8]> = line.split(|c| *c == b' ').collect();
    let [b"user", name, rules @ ..] = &words[..] else {
        return Err("{place} should start with user keyword followed by the username. ".to_owned());
    };
    if has_space(name) {
        let name = String::from_utf8_lossy(name);
        return Err(format!("'{{place}}: username '{name}' contains invalid characters. "));
    }
    let rules = merge(rules).map_err(|_| "{place}: Unmatched parenthesis in selector definition.".to_owned())?;
    let mut user = User::new(name, 0, env);
    let (mut errors, mut other) = (String::new(), false);
    for rule in rules {
        let rule = rule.trim_ascii();
        match user.apply(rule, env) {
            Ok(()) => {}
            // Names of commands are no secret; what else is wrong may be a password.
            Err(e @ RuleError::Unknown) => {
                let rule = String::from_utf8_lossy(rule);
                errors.push_str(&format!("{{place}}: Error in applying operation '{rule}': {}. ", e.text()));
            }
            Err(e) if !other => {
                other = true;
                errors.push_str(&format!("{{place}}: {}. ", e.text()));
            }
            Err(_) => {}
        }
    }
    if errors.is_empty() { Ok(user) } else { Err(errors) }
}

/// Puts the text in place of the file, whole or not at all.
pub fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".tmp-{}-{:016x}", std::process::id(), rng::next_u64()));
    let temporary = Path::new(&temporary);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(temporary, path)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        // It may not exist, or bear the final name already.
        let _ = std::fs::remove_file(temporary);
    }
    written
}
