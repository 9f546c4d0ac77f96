//! Packets survive the way there and back, the layout is that of Redis, and nothing foreign does harm.

use proptest::prelude::*;

use super::frame::{Need, need};
use super::*;
use crate::cluster::{Flags, State};

fn id(digit: u8) -> NodeId {
    NodeId::parse(&[digit; 40]).unwrap()
}

fn header<'a>(kind: Kind, slots: &'a [u8; SlotSet::BITMAP]) -> Header<'a> {
    Header {
        kind,
        port: 6379,
        other_port: 6380,
        bus_port: 16379,
        current_epoch: 5,
        config_epoch: 4,
        offset: 1 << 40,
        sender: id(b'a'),
        slots,
        primary: Some(id(b'b')),
        ip: "10.1.2.3",
        flags: Flags::REPLICA | Flags::MYSELF,
        state: State::Fail,
        message_flags: MessageFlags::PAUSED,
    }
}

fn same(a: &Header<'_>, b: &Header<'_>) {
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

#[test]
fn fields_stand_where_redis_has_them() {
    let mut slots = [0; SlotSet::BITMAP];
    slots[0] = 0x81;
    let entry = Entry {
        id: id(b'c'),
        ping_sent: 1,
        pong_received: 2,
        ip: "::1",
        port: 3,
        bus_port: 4,
        flags: Flags::FAIL,
        other_port: 5,
    };
    let packet = ping(header(Kind::Pong, &slots), &[entry], &[Extension::Hostname("h.x")]);
    assert_eq!(packet.len(), 2256 + 104 + 16);
    assert_eq!(&packet[..4], b"RCmb");
    let number = |at: usize, len: usize| packet[at..at + len].iter().fold(0u64, |n, &b| n << 8 | u64::from(b));
    assert_eq!(number(4, 4), packet.len() as u64);
    assert_eq!((number(8, 2), number(10, 2), number(12, 2), number(14, 2)), (1, 6379, 1, 1));
    assert_eq!((number(16, 8), number(24, 8), number(32, 8)), (5, 4, 1 << 40));
    assert_eq!((packet[40], packet[80], packet[2128], packet[2168]), (b'a', 0x81, b'b', b'1'));
    assert_eq!((number(2214, 2), number(2246, 2), number(2248, 2)), (1, 6380, 16379));
    assert_eq!((number(2250, 2), packet[2252], packet[2253]), (0x12, 1, 0b101));
    assert_eq!((packet[2256], number(2296, 4), number(2300, 4), packet[2304]), (b'c', 1, 2, b':'));
    assert_eq!((number(2350, 2), number(2352, 2), number(2354, 2), number(2356, 2)), (3, 4, 8, 5));
    assert_eq!((number(2360, 4), number(2364, 2), &packet[2368..2372]), (16, 0, &b"h.x\0"[..]));
}

#[test]
fn every_kind_comes_back_as_it_went() {
    let slots = [7; SlotSet::BITMAP];
    for kind in [Kind::AuthRequest, Kind::AuthAck, Kind::MfStart] {
        let sent = header(kind, &slots);
        let bytes = bare(&sent);
        let packet = decode(&bytes).unwrap();
        assert_eq!(packet.kind, kind);
        same(&packet.header.unwrap(), &sent);
        assert!(matches!(packet.body, Body::Bare));
    }
    let bytes = fail(&header(Kind::Fail, &slots), &id(b'f'));
    assert!(matches!(decode(&bytes).unwrap().body, Body::Fail(node) if node == id(b'f')));
    let owned = SlotSet::range(100, 16_383);
    let bytes = update(&header(Kind::Update, &slots), &id(b'u'), 9, &owned);
    let Body::Update { epoch: 9, node, slots: bitmap } = decode(&bytes).unwrap().body else { panic!() };
    assert_eq!((node, SlotSet::from_bitmap(bitmap)), (id(b'u'), owned));
    for kind in [Kind::Publish, Kind::PublishShard] {
        for bytes in [publish(&header(kind, &slots), b"ch", b"hello"), publish_light(kind, b"ch", b"hello")] {
            let packet = decode(&bytes).unwrap();
            assert_eq!(packet.kind, kind);
            let Body::Publish { channel, message } = packet.body else { panic!() };
            assert_eq!((channel, message), (&b"ch"[..], &b"hello"[..]));
        }
    }
}

#[test]
fn extensions_come_back_and_unknown_ones_are_skipped() {
    let slots = [0; SlotSet::BITMAP];
    let sent = [
        Extension::Hostname("host-1.example"),
        Extension::HumanNodename("shelf_3"),
        Extension::ClientIpv4("1.2.3.4"),
        Extension::ClientIpv6("fe80::1"),
        Extension::Forgotten { id: id(b'x'), ttl: 59 },
        Extension::Unknown(77),
        Extension::ShardId(id(b's')),
    ];
    let bytes = ping(header(Kind::Ping, &slots), &[], &sent);
    let Body::Ping { extensions, .. } = decode(&bytes).unwrap().body else { panic!() };
    assert_eq!(extensions.iter().collect::<Vec<_>>(), sent);
}

#[test]
fn names_that_would_break_a_line_are_not_taken() {
    let slots = [0; SlotSet::BITMAP];
    let sent = [Extension::Hostname("a b"), Extension::HumanNodename("x,y=z"), Extension::ClientIpv4("1\n2")];
    let mut head = header(Kind::Ping, &slots);
    head.ip = "1.2.3.4 x\n";
    let bytes = ping(head, &[], &sent);
    let packet = decode(&bytes).unwrap();
    assert_eq!(packet.header.unwrap().ip, "");
    let Body::Ping { extensions, .. } = packet.body else { panic!() };
    assert_eq!(
        extensions.iter().collect::<Vec<_>>(),
        [Extension::Hostname(""), Extension::HumanNodename(""), Extension::ClientIpv4("")]
    );
}

#[test]
fn packets_with_wrong_lengths_versions_and_types_are_refused() {
    let slots = [0; SlotSet::BITMAP];
    let good = ping(header(Kind::Ping, &slots), &[], &[Extension::ShardId(id(b's'))]);
    assert!(decode(&good).is_ok());
    let spoiled = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        decode(&bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(spoiled(0, b'X'), Invalid::Signature);
    assert_eq!(spoiled(7, 1), Invalid::Length);
    assert_eq!(spoiled(9, 2), Invalid::Version(2));
    assert_eq!(spoiled(13, 50), Invalid::Kind(50));
    assert_eq!(spoiled(12, 0x80), Invalid::Kind(0x8000));
    assert_eq!(spoiled(15, 9), Invalid::Length);
    assert_eq!(spoiled(40, b'-'), Invalid::Sender);
    assert_eq!(spoiled(2215, 2), Invalid::Extension);
    assert_eq!(spoiled(2259, 0), Invalid::Extension);
    assert_eq!(decode(&good[..good.len() - 1]).unwrap_err(), Invalid::Length);
    assert_eq!(decode(b"RCmb").unwrap_err(), Invalid::Length);
}

#[test]
fn a_stream_is_cut_into_packets() {
    let slots = [0; SlotSet::BITMAP];
    let one = bare(&header(Kind::AuthAck, &slots));
    assert_eq!(need(b"", 100), Ok(Need::Bytes(14)));
    assert_eq!(need(&one[..3], 100), Ok(Need::Bytes(14)));
    assert_eq!(need(&one[..14], 100), Ok(Need::Bytes(2256)));
    let two = [&one[..], &one[..5]].concat();
    assert_eq!(need(&two, 100), Ok(Need::Packet(2256)));
    assert_eq!(need(b"GET ", 100), Err(Invalid::Signature));
    let light = publish_light(Kind::Publish, b"c", b"m");
    assert_eq!(need(&light, 26), Ok(Need::Packet(26)));
    assert_eq!(need(&light, 25), Err(Invalid::Length));
    let mut huge = one.clone();
    huge[4] = 0x7f;
    assert_eq!(need(&huge, usize::MAX), Err(Invalid::Length));
    huge[4..8].copy_from_slice(&2255u32.to_be_bytes());
    assert_eq!(need(&huge, usize::MAX), Err(Invalid::Length));
}

proptest! {
    #[test]
    fn pings_come_back_as_they_went(
        kind in 0u16..3,
        gossip in proptest::collection::vec((any::<u8>(), any::<u32>(), any::<u16>(), 0u8..255), 0..40),
        slots in proptest::collection::vec((0u16..16_384, 0u16..300), 0..10),
        epochs in any::<(u64, u64, u64)>(),
        is_replica in any::<bool>(),
    ) {
        let mut set = SlotSet::new();
        for (first, len) in slots {
            (first..first.saturating_add(len)).for_each(|slot| { set.insert(slot); });
        }
        let mut bitmap = [0; SlotSet::BITMAP];
        set.write_bitmap(&mut bitmap);
        let mut head = header(Kind::from_wire(kind).unwrap(), &bitmap);
        (head.current_epoch, head.config_epoch, head.offset) = epochs;
        head.primary = is_replica.then_some(id(b'p'));
        let addresses: Vec<String> = gossip.iter().map(|g| format!("10.0.0.{}", g.3)).collect();
        let entries: Vec<Entry<'_>> = gossip.iter().zip(&addresses).map(|(&(digit, time, port, _), ip)| Entry {
            id: id(b'a' + digit % 26), ping_sent: time, pong_received: !time, ip, port, bus_port: !port,
            flags: Flags(port), other_port: port / 2,
        }).collect();
        let bytes = ping(head, &entries, &[]);
        prop_assert_eq!(need(&bytes, 0), Ok(Need::Packet(bytes.len())));
        let packet = decode(&bytes).unwrap();
        head.message_flags.add(MessageFlags::EXTENSIONS);
        same(&packet.header.unwrap(), &head);
        prop_assert_eq!(SlotSet::from_bitmap(packet.header.unwrap().slots), set);
        let Body::Ping { gossip, .. } = packet.body else { panic!() };
        prop_assert_eq!(gossip.iter().collect::<Vec<_>>(), entries);
    }

    #[test]
    fn spoiled_packets_never_panic(
        hits in proptest::collection::vec((0usize..2700, any::<u8>()), 0..12),
        cut in 0usize..2700,
        kind in 0u16..13,
    ) {
        let slots = [0; SlotSet::BITMAP];
        let entry = Entry {
            id: id(b'c'), ping_sent: 1, pong_received: 2, ip: "::1", port: 3, bus_port: 4,
            flags: Flags::FAIL, other_port: 5,
        };
        let mut bytes = ping(header(Kind::Ping, &slots), &[entry; 2], &[Extension::ShardId(id(b's'))]);
        bytes[13] = kind as u8;
        for (at, byte) in hits {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(cut.max(8));
        let total = bytes.len() as u32;
        bytes[4..8].copy_from_slice(&total.to_be_bytes());
        let _ = need(&bytes, 1 << 20);
        if let Ok(packet) = decode(&bytes)
            && let Body::Ping { gossip, extensions } = packet.body
        {
            prop_assert!(gossip.iter().count() == gossip.len());
            extensions.iter().for_each(drop);
        }
    }
}
