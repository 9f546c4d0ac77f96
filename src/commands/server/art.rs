//! LOLWUT: a picture and the version.
//!
//! The dunlin is a shorebird that flies in flocks which turn as one. The picture is such a flock over the flats, drawn
//! anew each time.

use crate::base::rng::Rng;
use crate::commands::options::{int, is};
use crate::commands::{CmdResult, Command, Ctx};
use crate::resp::Error;
use crate::spec::{Flags, Group, Meta};

const COLUMNS: usize = 66;
const ROWS: usize = 12;

/// <https://valkey.io/commands/lolwut/>
pub static LOLWUT: Command = Command::new(
    Meta::new("lolwut", -1, Flags::READONLY.or(Flags::FAST), Group::Server).doc(
        "5.0.0",
        "O(1)",
        "Draws a picture and tells the version.",
    ),
    lolwut,
);

fn lolwut(cx: &mut Ctx<'_>, args: &[&[u8]]) -> CmdResult {
    match &args[1..] {
        // Other versions drew other pictures, with arguments of their own; here all show the flock.
        [option, version, ..] if is(option, "VERSION") => {
            int(version)?;
        }
        rest if rest.iter().any(|arg| int(arg).is_err()) => return Err(Error::NOT_INT),
        _ => {}
    }
    let mut text = draw(&mut Rng::from_os());
    text.push_str(&format!("\nDunlin ver. {}\n", env!("CARGO_PKG_VERSION")));
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// A flock: birds scattered about a rising curve, the nearest drawn with open wings.
fn draw(rng: &mut Rng) -> String {
    let mut rows = vec![[' '; COLUMNS]; ROWS];
    let (start, bend) = (2.0 + rng.unit_f64() * 3.0, 0.5 + rng.unit_f64());
    for _ in 0..90 {
        let along = rng.unit_f64();
        let spread = (rng.unit_f64() + rng.unit_f64() - 1.0) * 3.0 * (1.2 - along);
        let row = (start + (along * std::f64::consts::PI * bend).sin() * 5.0 + spread).round();
        let column = (along * (COLUMNS - 2) as f64) as usize + 1;
        if !(0.0..(ROWS - 1) as f64).contains(&row) {
            continue;
        }
        let cell = &mut rows[row as usize][column];
        *cell = match rng.below(6) {
            0 => 'V',
            1 | 2 => 'v',
            3 => '^',
            _ => '.',
        };
    }
    rows[ROWS - 1].iter_mut().for_each(|cell| *cell = if rng.below(5) == 0 { '_' } else { '~' });
    rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_fits_a_terminal_and_has_birds() {
        for seed in 0..50 {
            let picture = draw(&mut Rng::new(seed));
            assert_eq!(picture.lines().count(), ROWS);
            assert!(picture.lines().all(|line| line.len() <= COLUMNS) && picture.contains(['v', 'V', '.']));
        }
    }
}
