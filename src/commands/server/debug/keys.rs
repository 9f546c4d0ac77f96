//! DEBUG's views of keys and tables: OBJECT, LISTPACK, QUICKLIST, HTSTATS, POPULATE.

use crate::base::slot::key_slot;
use crate::commands::options::{int, positive};
use crate::commands::{CmdResult, Ctx};
use crate::keyspace::{EntryRef, SLOTS, Ttl, View, access};
use crate::resp::Error;
use crate::types::listpack::Listpack;
use crate::types::quicklist;

fn find<'a>(cx: &'a Ctx<'_>, key: &[u8]) -> Result<EntryRef<'a>, Error> {
    cx.db.peek(key).ok_or(Error::NO_KEY)
}

/// The listpack that a value is, if it is one.
fn packed<'a>(entry: EntryRef<'a>) -> Option<&'a Listpack> {
    match entry.view() {
        View::String(_) => None,
        View::List(list) => list.as_listpack(),
        View::Set(set) => set.as_listpack(),
        View::ZSet(zset) => zset.as_listpack(),
        View::Hash(hash) => hash.as_listpack(),
        View::Stream(_) => None,
    }
}

/// DEBUG OBJECT.
pub(super) fn object(cx: &mut Ctx<'_>, key: &[u8], fast: bool) -> CmdResult {
    let now = cx.db.now;
    let tuning = cx.db.tuning();
    let (fill, compress) = (cx.config().list_max_listpack_size(), cx.config().list_compress_depth() != 0);
    // Also one whose time is over, as long as it is there.
    cx.db.now = 0;
    let entry = find(cx, key)?;
    let bits = entry.access();
    let mut text = format!("Value at:{:p} refcount:1 encoding:{}", entry.ptr(), entry.encoding());
    if !fast {
        text.push_str(&format!(" serializedlength:{}", entry.mem_usage(0)));
    }
    text.push_str(&format!(
        " lru:{bits} lru_seconds_idle:{} lfu_freq:{} lfu_access_time_minutes:{}",
        access::idle_ms(bits, now) / 1000,
        access::frequency(bits, now, &tuning),
        bits >> 8
    ));
    if let View::List(list) = entry.view()
        && let Some(quick) = list.as_quicklist()
    {
        let nodes = quick.node_count();
        let mean = quick.len() as f64 / nodes.max(1) as f64;
        let compressed = u8::from(compress);
        text.push_str(&format!(
            " ql_nodes:{nodes} ql_avg_node:{mean:.2} ql_listpack_max:{fill} ql_compressed:{compressed}"
        ));
        if !fast {
            let mut bytes = 0;
            quick.for_each_node(|node| {
                bytes += match node {
                    quicklist::View::Packed(lp) => lp.bytes(),
                    quicklist::View::Plain(text) => text.len(),
                }
            });
            text.push_str(&format!(" ql_uncompressed_size:{bytes}"));
        }
    }
    cx.out.simple(&text);
    Ok(())
}

/// DEBUG LISTPACK: the entries of a listpack, to the log.
pub(super) fn listpack(cx: &mut Ctx<'_>, key: &[u8]) -> CmdResult {
    let entry = find(cx, key)?;
    let lp = packed(entry).ok_or(Error::new("ERR Not a listpack encoded object."))?;
    tracing::info!("listpack: {} bytes, {} entries", lp.bytes(), lp.len());
    for (n, element) in lp.iter().enumerate() {
        tracing::info!("{n}: {element:?}");
    }
    cx.out.simple("Listpack structure printed on stdout");
    Ok(())
}

/// DEBUG QUICKLIST: the nodes of a quicklist, to the log.
pub(super) fn quicklist(cx: &mut Ctx<'_>, key: &[u8]) -> CmdResult {
    let entry = find(cx, key)?;
    let View::List(list) = entry.view() else { return Err(Error::new("ERR Not a quicklist encoded object.")) };
    let quick = list.as_quicklist().ok_or(Error::new("ERR Not a quicklist encoded object."))?;
    quick.for_each_node(|node| match node {
        quicklist::View::Packed(lp) => tracing::info!("packed: {} bytes, {} entries", lp.bytes(), lp.len()),
        quicklist::View::Plain(text) => tracing::info!("plain: {} bytes", text.len()),
    });
    cx.out.simple("Quicklist structure printed on stdout");
    Ok(())
}

/// DEBUG HTSTATS: the tables of a database as one.
pub(super) fn htstats(cx: &mut Ctx<'_>, index: &[u8]) -> CmdResult {
    let index = int(index)?;
    let databases = cx.db.keyspace().databases();
    let index =
        usize::try_from(index).ok().filter(|&n| n < databases).ok_or(Error::new("ERR Out of range database"))?;
    let db = cx.db.other(index);
    let (mut keys, mut volatile, mut used, mut largest, mut bytes) = (0, 0, 0, 0, 0);
    for slot in 0..SLOTS as u16 {
        let len = db.slot_len(slot);
        keys += len;
        volatile += db.slot_volatile(slot);
        used += usize::from(len > 0);
        largest = largest.max(len);
        bytes += db.slot_table_bytes(slot);
    }
    let text = format!(
        "[Dictionary HT]\nHash table 0 stats (main hash table):\n table size: {bytes} bytes\n \
         number of elements: {keys}\n slots in use: {used}\n largest slot: {largest}\n\
         [Expires HT]\nHash table 0 stats (main hash table):\n number of elements: {volatile}\n"
    );
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// DEBUG HTSTATS-KEY: the hash table of a value.
pub(super) fn htstats_key(cx: &mut Ctx<'_>, key: &[u8]) -> CmdResult {
    let now = cx.db.now;
    let entry = find(cx, key)?;
    let elements = match entry.view() {
        View::Set(set) if set.encoding() == "hashtable" => set.len(),
        View::Hash(hash) if hash.encoding() == "hashtable" => hash.len(now),
        View::ZSet(zset) if zset.encoding() == "skiplist" => zset.len(),
        _ => {
            return Err(Error::new("ERR The value stored at the specified key is not represented using an hash table"));
        }
    };
    let bytes = entry.mem_usage(0);
    let text =
        format!("Hash table 0 stats (main hash table):\n table size: {bytes} bytes\n number of elements: {elements}\n");
    cx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// DEBUG POPULATE: many keys at once; keys that exist stay as they are.
pub(super) fn populate(cx: &mut Ctx<'_>, count: &[u8], more: &[&[u8]]) -> CmdResult {
    let count = positive(count)?;
    let prefix = more.first().copied().unwrap_or(b"key");
    let size = more.get(1).map(|size| positive(size)).transpose()?.unwrap_or(0) as usize;
    for n in 0..count {
        let key = [prefix, format!(":{n}").as_bytes()].concat();
        let mut value = format!("value:{n}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        cx.db.with_slot(key_slot(&key), |db| {
            if !db.exists(&key) {
                db.set_text(&key, &value, Ttl::Clear);
                db.modified(&key, 1);
            }
        });
    }
    cx.out.ok();
    Ok(())
}
