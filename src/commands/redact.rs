//! Secrets among arguments, kept out of SLOWLOG and MONITOR.

use std::borrow::Cow;

use super::generic::migrate;
use super::lookup::Entry;
use crate::config;

const HIDDEN: &[u8] = b"(redacted)";

/// The arguments with passwords replaced.
pub fn redact<'a>(entry: &Entry, argv: &[&'a [u8]]) -> Vec<Cow<'a, [u8]>> {
    let mut shown: Vec<Cow<'a, [u8]>> = argv.iter().map(|a| Cow::Borrowed(*a)).collect();
    let mut hide = |i: usize| {
        if let Some(a) = shown.get_mut(i) {
            *a = Cow::Borrowed(HIDDEN);
        }
    };
    match entry.command.meta.name {
        "auth" => (1..argv.len()).for_each(hide),
        "hello" => {
            if let Some(at) = argv.iter().position(|a| a.eq_ignore_ascii_case(b"auth")) {
                hide(at + 1);
                hide(at + 2);
            }
        }
        "acl|setuser" | "acl|deluser" | "acl|getuser" => (2..argv.len()).for_each(hide),
        "migrate" => migrate::secrets(argv).for_each(hide),
        "config|set" => (2..argv.len()).step_by(2).filter(|i| config::is_sensitive(argv[*i])).for_each(|i| hide(i + 1)),
        _ => {}
    }
    shown
}
