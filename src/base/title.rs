//! The title of the process, as `ps` shows it.
//!
//! Linux shows the memory in which the kernel put the arguments at start, and, when the byte at their end is no longer
//! zero, what follows them: the environment. A title is written over that memory. Before, the environment is set anew,
//! variable by variable, which makes libc copy it to the heap, so that nothing refers to the old place any more.
//! Arguments are read once, at start, before the first title.

use parking_lot::Mutex;

/// The memory of arguments and environment: address and length.
static AREA: Mutex<Option<(usize, usize)>> = Mutex::new(None);

/// Make room for titles. To be called once, at start, after the arguments were read and before any thread runs.
/// False where the system does not allow it; then titles are not shown.
pub fn prepare() -> bool {
    let Some(area) = area() else { return false };
    for (name, value) in std::env::vars_os() {
        // SAFETY: there is one thread (the caller's promise), so nobody reads the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
    *AREA.lock() = Some(area);
    true
}

/// Where arguments and environment are, if one follows the other: fields 48 to 51 of /proc/self/stat.
fn area() -> Option<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in the second field may hold spaces and brackets; what follows its last bracket does not.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<usize>().ok().filter(|&address| address > 0);
    let (start, arg_end, env_start, end) = (field(48)?, field(49)?, field(50)?, field(51)?);
    let usable = arg_end == env_start && end > start && end - start < 1 << 22;
    usable.then_some((start, end - start))
}

/// Show `title`, as far as there is room.
pub fn set(title: &str) {
    let area = AREA.lock();
    let Some((start, len)) = *area else { return };
    let text = &title.as_bytes()[..title.len().min(len - 1)];
    // SAFETY: the kernel mapped this memory writable for this process at start, and `prepare` saw to it that libc no
    // longer refers to it; the lock keeps other writers away.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), start as *mut u8, text.len());
        std::ptr::write_bytes((start + text.len()) as *mut u8, 0, len - text.len());
    }
}

/// Put values for the variables `{name}` of a template. Unknown variables stay.
pub fn expand(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (before, inner) = (&rest[..open], &rest[open + 1..]);
        out.push_str(before);
        match inner.find('}').and_then(|close| Some((value(&inner[..close])?, close))) {
            Some((text, close)) => {
                out.push_str(&text);
                rest = &inner[close + 1..];
            }
            None => {
                out.push('{');
                rest = inner;
            }
        }
    }
    out.push_str(rest);
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_take_their_variables() {
        let value = |name: &str| match name {
            "title" => Some("dunlin".to_owned()),
            "port" => Some("7000".to_owned()),
            "none" => Some(String::new()),
            _ => None,
        };
        assert_eq!(expand("{title} *:{port} {none}", value), "dunlin *:7000");
        assert_eq!(expand("{x} {", value), "{x} {");
        assert_eq!(expand("", value), "");
    }

    #[test]
    fn the_area_of_arguments_is_found() {
        let (start, len) = area().expect("Linux shows it");
        assert!(start > 4096 && len > 10);
    }
}
