//! The request decoder against redis-protocol's, on bytes that are nearly requests.

#[path = "support/decoder.rs"]
mod decoder;

use proptest::prelude::*;

/// Bytes that look like a request, with damage.
fn nearly_a_request() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "\\*[0-9]{1,2}\r\n".prop_map(String::into_bytes),
        4 => prop::collection::vec(any::<u8>(), 0..12)
            .prop_map(|text| [format!("${}\r\n", text.len()).as_bytes(), &text, b"\r\n"].concat()),
        1 => "[a-z \"'\\\\x0-9]{0,20}\r?\n".prop_map(String::into_bytes),
        1 => prop::sample::select(vec![
            &b"*-1\r\n"[..], b"*0\r\n", b"$-1\r\n", b"*1048577\r\n", b"$536870913\r\n", b"\r\n", b"*01\r\n", b"$+1\r\n", b"*\r\n",
        ])
        .prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..8),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..15).prop_map(|args| {
        let mut out = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            out.extend_from_slice(&[format!("${}\r\n", arg.len()).as_bytes(), &arg, b"\r\n"].concat());
        }
        out
    })
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_requests_and_the_oracle_agrees(
        input in prop_oneof![nearly_a_request(), request(), prop::collection::vec(request(), 1..4).prop_map(|r| r.concat())],
        cuts in prop::collection::vec(0usize..300, 0..6),
    ) {
        decoder::check(&input, &cuts);
    }
}
