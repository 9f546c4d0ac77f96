//! A row of the table: one option and everything that is known of it.
//!
//! The rows stand in `rows/`, a file a section, written with the [`rows!`] macro. From a row follow the parser, CONFIG
//! GET, SET and REWRITE, `--help`, the annotated dunlin.conf, and (where the row names one) a typed accessor on
//! [`Config`] whose look-up is resolved at compile time.

use super::Config;
use super::kind::Kind;
use std::sync::atomic::Ordering::Relaxed;

/// May be changed by CONFIG SET.
pub const MUTABLE: u8 = 1;
/// Fixed once the server runs.
pub const IMMUTABLE: u8 = 0;
/// Shown by CONFIG GET only under its exact name, and not in the documentation.
pub const HIDDEN: u8 = 2;
/// Its value is kept out of logs, SLOWLOG and MONITOR.
pub const SENSITIVE: u8 = 4;
/// CONFIG SET needs `enable-protected-configs`.
pub const PROTECTED: u8 = 8;
/// Read and kept so that a redis.conf works, but nothing depends on it yet.
pub const DORMANT: u8 = 16;
/// Never part of a configuration file: an empty value means "not there".
pub const OMIT_EMPTY: u8 = 32;
/// CONFIG SET does not change it while data are loaded.
pub const NOT_WHILE_LOADING: u8 = 64;

/// One option.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Other names it answers to.
    pub aliases: &'static [&'static str],
    /// What values it takes.
    pub kind: Kind,
    /// Its value unless set.
    pub default: &'static str,
    /// Bits such as [`MUTABLE`].
    pub flags: u8,
    /// If set: values that are taken, and what any other would ask for that is not there.
    pub only: Option<Only>,
    /// What it does, for `--help` and dunlin.conf.
    pub doc: &'static str,
}

/// A restriction of an option to the values that this version can honour.
#[derive(Clone, Copy, Debug)]
pub struct Only {
    /// The values, as canonical text.
    pub values: &'static [&'static str],
    /// What another value asks for.
    pub missing: &'static str,
}

impl Row {
    /// Is the bit `flag` set?
    pub fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// May the (canonical) value be set in this version?
    pub fn allow(&self, text: &[u8]) -> Result<(), String> {
        match self.only {
            Some(only) if !only.values.iter().any(|value| value.as_bytes() == text) => Err(only.missing.to_owned()),
            _ => Ok(()),
        }
    }
}

/// A type that an option's number or text turns into.
pub trait FromOption {
    /// Read option number `at`.
    fn read(config: &Config, at: usize) -> Self;
}

impl FromOption for bool {
    fn read(config: &Config, at: usize) -> bool {
        config.nums[at].load(Relaxed) != 0
    }
}

macro_rules! from_number {
    ($($ty:ty),*) => { $(
        impl FromOption for $ty {
            #[inline]
            fn read(config: &Config, at: usize) -> $ty {
                config.nums[at].load(Relaxed) as $ty
            }
        }
    )* };
}
from_number!(i64, u64, i32, u32, u16, u8, usize);

impl FromOption for Vec<u8> {
    fn read(config: &Config, at: usize) -> Vec<u8> {
        config.text(at)
    }
}

/// Write the rows of a section. Each row:
/// `/// documentation` `"name" ["alias", ...]: kind, = "default", flags => only(["value"], "what is missing"), accessor -> type;`
/// where alias list, `only` and accessor may be absent.
macro_rules! rows {
    ($(
        $(#[doc = $doc:literal])+
        $name:literal $([$($alias:literal),+])? : $kind:expr, = $default:literal, $flags:expr
        $(=> only([$($value:literal),*], $missing:literal))?
        $(, $accessor:ident -> $ty:ty)? ;
    )+) => {
        pub(in crate::config) const ROWS: &[$crate::config::row::Row] = &[$(
            $crate::config::row::Row {
                name: $name,
                aliases: &[$($($alias),+)?],
                kind: $kind,
                default: $default,
                flags: $flags,
                only: rows!(@only $($($value),*; $missing)?),
                doc: concat!($($doc, "\n"),+),
            }
        ),+];
        impl $crate::config::Config {
            $($(
                #[doc = concat!("The value of `", $name, "` (see dunlin.conf).")]
                #[inline]
                pub fn $accessor(&self) -> $ty {
                    const AT: usize = $crate::config::index_of($name);
                    <$ty as $crate::config::row::FromOption>::read(self, AT)
                }
            )?)+
        }
    };
    (@only) => { None };
    (@only $($value:literal),*; $missing:literal) => {
        Some($crate::config::row::Only { values: &[$($value),*], missing: $missing })
    };
}
pub(super) use rows;
