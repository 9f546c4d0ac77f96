//! A user: whether and how it may log in, and its selectors.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::selector::{Env, RuleError, Selector};

/// The name of the user that connections begin with.
pub const DEFAULT: &[u8] = b"default";

/// A user. Shared and never changed: who changes it puts another in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: Vec<u8>,
    /// Stays while the user exists: one that is deleted and made again is another.
    pub id: u64,
    /// One can log in.
    pub on: bool,
    /// Any password will do.
    pub nopass: bool,
    /// RESTORE looks at what this user gives it as closely as the settings say (it always does here).
    pub sanitize: bool,
    /// SHA-256 of the passwords.
    passwords: Vec<[u8; 32]>,
    /// The permissions outside of parentheses first. Never empty.
    pub selectors: Vec<Selector>,
    /// Some selector allows everything.
    pub unrestricted: bool,
}

impl User {
    /// A new user, who may do nothing.
    pub fn new(name: &[u8], id: u64, env: &Env<'_>) -> User {
        User {
            name: name.to_vec(),
            id,
            on: false,
            nopass: false,
            sanitize: true,
            passwords: Vec::new(),
            selectors: vec![Selector::new(env)],
            unrestricted: false,
        }
    }
    /// The user of a server that nobody has configured: it may do everything, without password.
    pub fn default(id: u64, env: &Env<'_>) -> User {
        let mut user = User::new(DEFAULT, id, env);
        for rule in [&b"+@all"[..], b"~*", b"&*", b"on", b"nopass"] {
            // These rules are good.
            let _ = user.apply(rule, env);
        }
        user
    }
    /// The permissions outside of parentheses.
    pub fn root(&self) -> &Selector {
        &self.selectors[0]
    }
    /// Whether this password lets one in.
    pub fn accepts(&self, password: &[u8]) -> bool {
        let given = hash(password);
        // All are compared, to their end: the time tells nothing.
        let any = self.passwords.iter().fold(false, |any, known| any | same(known, &given));
        self.on && (self.nopass | any)
    }
    /// The hashes of the passwords, in hexadecimal.
    pub fn passwords(&self) -> impl ExactSizeIterator<Item = String> {
        self.passwords.iter().map(|hash| {
            hash.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        })
    }
    /// In place of all passwords this one; without one any will do.
    pub fn set_password(&mut self, password: &[u8]) {
        self.nopass = password.is_empty();
        self.passwords.clear();
        if !password.is_empty() {
            self.passwords.push(hash(password));
        }
    }
    /// The flags as ACL GETUSER and ACL LIST show them.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.on { "on" } else { "off" }];
        if self.nopass {
            flags.push("nopass");
        }
        flags.push(if self.sanitize { "sanitize-payload" } else { "skip-sanitize-payload" });
        flags
    }

    /// Applies one rule; a selector is one rule.
    pub fn apply(&mut self, rule: &[u8], env: &Env<'_>) -> Result<(), RuleError> {
        let result = self.apply_one(rule, env);
        self.unrestricted = self.selectors.iter().any(Selector::allows_all);
        result
    }
    fn apply_one(&mut self, rule: &[u8], env: &Env<'_>) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        match () {
            () if rule.is_empty() => {}
            () if is("on") => self.on = true,
            () if is("off") => self.on = false,
            () if is("sanitize-payload") => self.sanitize = true,
            () if is("skip-sanitize-payload") => self.sanitize = false,
            () if is("nopass") => self.set_password(b""),
            () if is("resetpass") => {
                self.set_password(b"");
                self.nopass = false;
            }
            () if is("clearselectors") => self.selectors.truncate(1),
            () if is("reset") => *self = User::new(&self.name, self.id, env),
            () => match rule {
                [b'>', password @ ..] => self.add_password(hash(password)),
                [b'#', hex @ ..] => self.add_password(from_hex(hex)?),
                [b'<', password @ ..] => self.remove_password(hash(password))?,
                [b'!', hex @ ..] => self.remove_password(from_hex(hex)?)?,
                [b'(', .., b')'] => self.selectors.push(Selector::parse(rule, env)?),
                _ => self.selectors[0].apply(rule, env)?,
            },
        }
        Ok(())
    }
    fn add_password(&mut self, hash: [u8; 32]) {
        self.nopass = false;
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
    }
    fn remove_password(&mut self, hash: [u8; 32]) -> Result<(), RuleError> {
        let before = self.passwords.len();
        self.passwords.retain(|known| *known != hash);
        if self.passwords.len() == before { Err(RuleError::NoPassword) } else { Ok(()) }
    }

    /// All its rules in one line.
    pub fn text(&self) -> Vec<u8> {
        let mut parts: Vec<Vec<u8>> = self.flags().iter().map(|flag| flag.as_bytes().to_vec()).collect();
        parts.extend(self.passwords().map(|hash| format!("#{hash}").into_bytes()));
        parts.push(self.root().text());
        parts.extend(self.selectors[1..].iter().map(|selector| [b"(", &selector.text()[..], b")"].concat()));
        parts.join(&b' ')
    }
    /// The line of a file of users.
    pub fn line(&self) -> Vec<u8> {
        [b"user ", &self.name[..], b" ", &self.text()].concat()
    }
}

fn hash(password: &[u8]) -> [u8; 32] {
    Sha256::digest(password).into()
}

/// Compares in a time that does not depend on where they differ.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y))) == 0
}

/// A hash of 64 digits, in lower case.
fn from_hex(text: &[u8]) -> Result<[u8; 32], RuleError> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Ok(c - b'0'),
        b'a'..=b'f' => Ok(c - b'a' + 10),
        _ => Err(RuleError::BadHash),
    };
    let mut hash = [0; 32];
    if text.len() != 64 {
        return Err(RuleError::BadHash);
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(hash)
}

/// Puts selectors that are spread over several arguments together: from one that begins with `(` to the next that ends
/// with `)`. The error is the argument of a parenthesis that nothing closes.
pub fn merge<'a>(args: &[&'a [u8]]) -> Result<Vec<Vec<u8>>, &'a [u8]> {
    let mut merged: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(&'a [u8], Vec<u8>)> = None;
    for &arg in args {
        match open.take() {
            None if arg.starts_with(b"(") && !arg.ends_with(b")") => open = Some((arg, arg.to_vec())),
            None => merged.push(arg.to_vec()),
            Some((first, mut text)) => {
                text.push(b' ');
                text.extend_from_slice(arg);
                if arg.ends_with(b")") { merged.push(text) } else { open = Some((first, text)) }
            }
        }
    }
    match open {
        Some((first, _)) => Err(first),
        None => Ok(merged),
    }
}
