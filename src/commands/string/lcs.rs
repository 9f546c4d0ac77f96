//! LCS: the longest common subsequence of two strings.

use super::super::collections::RO_ACCESS;
use super::super::options::{self, is};
use super::super::{CmdResult, Command, Ctx};
use crate::keyspace::Text;
use crate::resp::Error;
use crate::spec::{Flags, Group, KeySpec, Meta};

/// `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]` <https://valkey.io/commands/lcs/>
pub static LCS: Command = Command::new(
    Meta::new("lcs", -3, Flags::READONLY, Group::String).keys(const { &[KeySpec::range(1, 1, 1, RO_ACCESS)] }).doc(
        "7.0.0",
        "O(N*M) where N and M are the lengths of the strings.",
        "Finds the longest common subsequence of two strings.",
    ),
    lcs,
);

fn text(cx: &mut Ctx<'_>, key: &[u8]) -> Result<Vec<u8>, Error> {
    match cx.db.text(key) {
        Ok(t) => Ok(t.map(Text::to_vec).unwrap_or_default()),
        Err(_) => Err(Error::new("ERR The specified keys must contain string values")),
    }
}

fn lcs(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    let (a, b) = (text(cx, args[1])?, text(cx, args[2])?);
    let (mut len_only, mut idx, mut with_len, mut min) = (false, false, false, 0);
    let mut rest = args[3..].iter();
    while let Some(arg) = rest.next() {
        match () {
            () if is(arg, "IDX") => idx = true,
            () if is(arg, "LEN") => len_only = true,
            () if is(arg, "WITHMATCHLEN") => with_len = true,
            () if is(arg, "MINMATCHLEN") => {
                min = options::int(rest.next().ok_or(Error::SYNTAX)?)?.max(0) as usize;
            }
            () => return Err(Error::SYNTAX),
        }
    }
    if len_only && idx {
        return Err(Error::new("ERR If you want both the length and indexes, please just use IDX."));
    }
    if a.len() >= u32::MAX as usize - 1 || b.len() >= u32::MAX as usize - 1 {
        return Err(Error::new("ERR String too long for LCS"));
    }
    let table = Table::new(&a, &b, cx.config().proto_max_bulk_len())?;
    let total = table.at(a.len(), b.len()) as usize;
    if len_only {
        cx.out.len_int(total);
        return Ok(());
    }
    let (common, matches) = table.walk(&a, &b);
    if !idx {
        cx.out.bulk(&common);
        return Ok(());
    }
    let shown: Vec<&Match> = matches.iter().filter(|m| m.len >= min).collect();
    cx.out.map(2);
    cx.out.bulk(b"matches");
    cx.out.array(shown.len());
    for m in shown {
        cx.out.array(if with_len { 3 } else { 2 });
        for start in [m.a, m.b] {
            cx.out.array(2);
            cx.out.len_int(start);
            cx.out.len_int(start + m.len - 1);
        }
        if with_len {
            cx.out.len_int(m.len);
        }
    }
    cx.out.bulk(b"len");
    cx.out.len_int(total);
    Ok(())
}

/// A run of equal bytes: where it is in both strings, and how long.
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

/// Lengths of the common subsequences of all prefixes.
struct Table {
    cells: Vec<u32>,
    width: usize,
}

impl Table {
    fn new(a: &[u8], b: &[u8], limit: usize) -> Result<Table, Error> {
        const MEMORY: &str = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
        let width = b.len() + 1;
        let cells = (a.len() + 1).checked_mul(width).filter(|n| n.checked_mul(4).is_some_and(|bytes| bytes <= limit));
        let cells = cells.ok_or(Error::new(MEMORY))?;
        let mut table = Table { cells: Vec::new(), width };
        table
            .cells
            .try_reserve_exact(cells)
            .map_err(|_| Error::new("ERR Insufficient memory, failed allocating transient memory for LCS"))?;
        table.cells.resize(cells, 0);
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                let best = if x == y { table.at(i, j) + 1 } else { table.at(i, j + 1).max(table.at(i + 1, j)) };
                table.cells[(i + 1) * width + j + 1] = best;
            }
        }
        Ok(table)
    }
    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }
    /// The subsequence, and the runs it consists of, last first.
    fn walk(&self, a: &[u8], b: &[u8]) -> (Vec<u8>, Vec<Match>) {
        let (mut i, mut j) = (a.len(), b.len());
        let (mut common, mut matches) = (Vec::new(), Vec::<Match>::new());
        let mut run: Option<Match> = None;
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                common.push(a[i - 1]);
                run = Some(match run {
                    Some(r) if r.a == i && r.b == j => Match { a: i - 1, b: j - 1, len: r.len + 1 },
                    old => {
                        matches.extend(old);
                        Match { a: i - 1, b: j - 1, len: 1 }
                    }
                });
                (i, j) = (i - 1, j - 1);
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        matches.extend(run);
        common.reverse();
        (common, matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subsequence_of_the_manual_is_found() {
        let t = Table::new(b"ohmytext", b"mynewtext", 1 << 20).unwrap();
        let (common, matches) = t.walk(b"ohmytext", b"mynewtext");
        assert_eq!(common, b"mytext");
        let runs: Vec<_> = matches.iter().map(|m| (m.a, m.b, m.len)).collect();
        assert_eq!(runs, [(4, 5, 4), (2, 0, 2)]);
    }
}
