//! Any bytes as the value of a RESTORE payload. What is taken can be written again, and passing over it takes as many
//! bytes as reading it.
#![no_main]

use dunlin::persist::rdb::{Reader, Writer, read_value, write_value};
use dunlin::types::Limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((what, body)) = bytes.split_first() else { return };
    let mut r = Reader::new(body);
    if let Ok(value) = read_value(*what, &mut r, &Limits::DEFAULT, 0) {
        let mut w = Writer::new(true);
        write_value(&mut w, value.view());
        let mut again = Reader::new(&w.bytes[1..]);
        read_value(w.bytes[0], &mut again, &Limits::DEFAULT, 0).expect("what was written is read");
        assert!(again.rest().is_empty());
    }
});
