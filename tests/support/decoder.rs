//! What must hold of the request decoder for any bytes; the fuzz target and a property test both check it.

use dunlin::resp::{Arg, Decoder, Limits, ProtocolError, Step};
use redis_protocol::resp2::{decode::decode, types::OwnedFrame};

type Request = Vec<Vec<u8>>;

/// Feed `input` in pieces, cut at `cuts`; the requests found, and the error that ended it.
pub fn requests(input: &[u8], cuts: &[usize], limits: &Limits) -> (Vec<Request>, Option<ProtocolError>) {
    let mut decoder = Decoder::default();
    let (mut buf, mut pos, mut args) = (Vec::new(), 0, Vec::<Arg>::new());
    let mut found = Vec::new();
    let mut ends: Vec<usize> = cuts.iter().copied().filter(|&cut| cut < input.len()).collect();
    ends.push(input.len());
    ends.sort_unstable();
    for end in ends {
        buf.extend_from_slice(&input[buf.len()..end]);
        loop {
            let before = (pos, decoder.partial_args());
            match decoder.next(&mut buf, &mut pos, &mut args, limits) {
                Ok(Step::Request(n) | Step::Inline(n)) => {
                    let first = args.len() - n;
                    found.push(args.drain(first..).map(|arg| arg.of(&buf).to_vec()).collect());
                }
                Ok(Step::Nothing) => assert!(pos > before.0, "nothing was read"),
                Ok(Step::More) => break,
                Err(error) => return (found, Some(error)),
            }
            assert!(pos <= buf.len());
        }
    }
    (found, None)
}

/// Panics if something does not hold.
pub fn check(input: &[u8], cuts: &[usize]) {
    let limits = Limits::default();
    let whole = requests(input, &[], &limits);
    // However the network cuts the bytes, the requests are the same.
    assert_eq!(whole, requests(input, cuts, &limits));
    let every: Vec<usize> = (0..input.len()).collect();
    assert_eq!(whole, requests(input, &every, &limits));
    // What another decoder takes for an array of strings, we take for the request of these strings.
    if input.first() == Some(&b'*')
        && let Ok(Some((OwnedFrame::Array(frames), len))) = decode(input)
        && !frames.is_empty()
    {
        let strings: Option<Request> = frames
            .into_iter()
            .map(|frame| match frame {
                OwnedFrame::BulkString(bytes) => Some(bytes),
                _ => None,
            })
            .collect();
        if let Some(strings) = strings {
            let (found, error) = requests(&input[..len], &[], &limits);
            // Redis is stricter about how a number is spelt than that decoder is.
            let spelling = matches!(error, Some(ProtocolError::BadCount | ProtocolError::BadLength));
            assert!(spelling || found == [strings]);
        }
    }
    // Before authentication less is allowed, and nothing else comes of it.
    let strict = Limits { unauthenticated: true, ..limits };
    let (found, _) = requests(input, cuts, &strict);
    assert!(whole.0.starts_with(&found));
}
