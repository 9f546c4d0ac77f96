//! Our request decoder beside redis-protocol's on the same bytes.
//!
//! `cargo bench --bench decoder`. Both get a buffer with 16 whole requests, and must come to the arguments of each.

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dunlin::resp::{Decoder, Limits, Step};

fn requests(line: &[&str]) -> Vec<u8> {
    let mut one = format!("*{}\r\n", line.len());
    line.iter().for_each(|a| one.push_str(&format!("${}\r\n{a}\r\n", a.len())));
    one.repeat(16).into_bytes()
}

fn decoder(c: &mut Criterion) {
    let long = "x".repeat(64);
    for (name, line) in [("get", vec!["GET", "key:000000000001"]), ("set", vec!["SET", "key:000000000001", &long])] {
        let bytes = requests(&line);
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(16));
        group.bench_function("dunlin", |b| {
            let (mut d, mut args, mut buf) = (Decoder::default(), Vec::new(), bytes.clone());
            b.iter(|| {
                let mut pos = 0;
                args.clear();
                while let Ok(Step::Request(_)) = d.next(&mut buf, &mut pos, &mut args, &Limits::default()) {}
                assert_eq!(args.len(), 16 * line.len());
            });
        });
        group.bench_function("redis-protocol", |b| {
            b.iter(|| {
                let (mut n, mut rest) = (0, BytesMut::from(&bytes[..]));
                while let Ok(Some((frame, _, _))) = redis_protocol::resp2::decode::decode_bytes_mut(&mut rest) {
                    n += match frame {
                        redis_protocol::resp2::types::BytesFrame::Array(a) => a.len(),
                        _ => 0,
                    };
                }
                assert_eq!(n, 16 * line.len());
            });
        });
        group.finish();
    }
}

criterion_group!(benches, decoder);
criterion_main!(benches);
