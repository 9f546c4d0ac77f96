//! A key with its value: ONE allocation.
//!
//! ```text
//! byte 0     1      2..5     5     6..8
//! +--------+------+--------+-----+------+=========+=========+======+=======+========+
//! | type/  |flags | access | key | text | expiry  | payload | key  | key   | text   |
//! | form   |      | 24 bit | len | len  | 8, opt. | 8, opt. | len 4| bytes | bytes  |
//! +--------+------+--------+-----+------+=========+=========+======+=======+========+
//! ```
//!
//! * form INLINE: the string stands after the key (up to [`INLINE_MAX`] bytes); INT: the payload is the number;
//!   BLOB: the payload points to a [`Blob`]; BOX: the payload points to the boxed collection.
//! * `key len` 255 means that four bytes with the real length come before the key.
//! * The expiry is unix time in milliseconds, [`NO_EXPIRY`] when the room for it stays unused. Entries get the room
//!   when they first need it.
//!
//! A 16-byte key with a 32-byte string is 56 bytes, an allocation size class of its own. Everything that reads or writes
//! the raw layout is in this file; the rest of the keyspace uses [`View`] and the methods of [`Ref`].

use bytes::Bytes;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::NonNull;

use super::value::{Kind, Value, View, ViewMut};
use crate::base::{alloc as memory, num};
use crate::types::dict::{Item, Owned, Place, Ref};

/// Strings up to this length stand in the entry.
pub const INLINE_MAX: usize = 4096;
/// No expiry.
pub const NO_EXPIRY: i64 = -1;
/// Strings up to this length are called `embstr` by OBJECT ENCODING, longer ones `raw`.
const EMBSTR_MAX: usize = 44;

const FORM_INLINE: u8 = 0;
const FORM_INT: u8 = 1;
const FORM_BLOB: u8 = 2;
const FORM_BOX: u8 = 3;

const HAS_EXPIRY: u8 = 1;
/// The string was changed in place: `raw` to OBJECT ENCODING, however short.
const RAW: u8 = 2;
/// A hash with fields that expire.
const VOLATILE_FIELDS: u8 = 4;
/// Equal to the current parity if the snapshot under way has the entry; see `hooks`.
const SNAPSHOT: u8 = 8;

/// The kind of item that the keyspace's tables hold.
pub struct Entry;

/// A string too long to stand in the entry.
#[derive(Debug)]
pub enum Blob {
    /// To change in place.
    Own(Vec<u8>),
    /// Lent to replies that are being sent.
    Shared(Bytes),
}

impl Blob {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Blob::Own(v) => v,
            Blob::Shared(b) => b,
        }
    }
    fn to_mut(&mut self) -> &mut Vec<u8> {
        if let Blob::Shared(b) = self {
            *self = Blob::Own(Vec::from(std::mem::take(b)));
        }
        match self {
            Blob::Own(v) => v,
            Blob::Shared(_) => unreachable!("made our own above"),
        }
    }
}

/// A string value, or the number that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text<'a> {
    /// Its bytes.
    Bytes(&'a [u8]),
    /// A number whose decimal form is the string.
    Int(i64),
}

impl<'a> Text<'a> {
    /// The bytes, written into `scratch` where they do not stand anywhere.
    pub fn bytes<'s>(self, scratch: &'s mut itoa::Buffer) -> &'s [u8]
    where
        'a: 's,
    {
        match self {
            Text::Bytes(b) => b,
            Text::Int(n) => scratch.format(n).as_bytes(),
        }
    }
    /// A copy of the bytes.
    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut itoa::Buffer::new()).to_vec()
    }
    /// Length in bytes.
    pub fn len(self) -> usize {
        match self {
            Text::Bytes(b) => b.len(),
            Text::Int(n) => itoa::Buffer::new().format(n).len(),
        }
    }
    /// Whether the string has no bytes.
    pub fn is_empty(self) -> bool {
        self == Text::Bytes(b"")
    }
}

/// How a string is stored.
#[derive(Clone, Copy)]
enum Body<'a> {
    Inline(&'a [u8]),
    Int(i64),
    /// A pointer made by `Box::into_raw`: a blob or a collection.
    Pointer(u8, *mut u8),
}

impl Body<'_> {
    fn form(self) -> u8 {
        match self {
            Body::Inline(_) => FORM_INLINE,
            Body::Int(_) => FORM_INT,
            Body::Pointer(form, _) => form,
        }
    }
}

#[repr(C)]
struct Header {
    /// Type in the low half, form in the high half.
    kind: u8,
    flags: u8,
    access: [u8; 3],
    klen: u8,
    tlen: u16,
}

/// The offsets that follow from a header.
struct Offsets {
    payload: usize,
    key: usize,
    klen: usize,
    end: usize,
}

const fn round8(n: usize) -> usize {
    (n + 7) & !7
}
fn layout(size: usize) -> Layout {
    Layout::from_size_align(round8(size), 8).expect("an entry's size fits")
}

/// # Safety
/// `p` points to a live entry, here and in the other functions of this file that take one.
unsafe fn header<'a>(p: NonNull<u8>) -> &'a mut Header {
    // SAFETY: an entry begins with a header and is 8-aligned.
    unsafe { &mut *p.as_ptr().cast() }
}
unsafe fn offsets(p: NonNull<u8>) -> Offsets {
    // SAFETY: as above; a long key's length stands right before the key.
    unsafe {
        let h = header(p);
        let payload = if h.flags & HAS_EXPIRY != 0 { 16 } else { 8 };
        let mut key = if h.kind >> 4 == FORM_INLINE { payload } else { payload + 8 };
        let mut klen = h.klen as usize;
        if klen == 255 {
            klen = p.as_ptr().add(key).cast::<u32>().read_unaligned() as usize;
            key += 4;
        }
        Offsets { payload, key, klen, end: key + klen + h.tlen as usize }
    }
}

// SAFETY: an entry is allocated 8-aligned by `build`; its key never changes.
unsafe impl Item for Entry {
    #[inline]
    unsafe fn key<'a>(p: NonNull<u8>) -> &'a [u8] {
        // SAFETY: see `offsets`.
        unsafe {
            let o = offsets(p);
            std::slice::from_raw_parts(p.as_ptr().add(o.key), o.klen)
        }
    }
    unsafe fn free(p: NonNull<u8>) {
        // SAFETY: the entry is live and nobody uses it again.
        unsafe {
            drop_payload(p);
            dealloc(p.as_ptr(), layout(offsets(p).end));
        }
    }
    #[inline]
    unsafe fn marked(p: NonNull<u8>) -> bool {
        // SAFETY: the entry is live.
        unsafe { header(p).flags & VOLATILE_FIELDS != 0 || expiry(p) != NO_EXPIRY }
    }
}

unsafe fn expiry(p: NonNull<u8>) -> i64 {
    // SAFETY: the flag says that the eight bytes after the header are the expiry.
    unsafe { if header(p).flags & HAS_EXPIRY == 0 { NO_EXPIRY } else { p.as_ptr().add(8).cast::<i64>().read() } }
}
unsafe fn payload(p: NonNull<u8>) -> *mut u64 {
    // SAFETY: the caller knows by the form that there is one.
    unsafe { p.as_ptr().add(offsets(p).payload).cast() }
}
unsafe fn pointer(p: NonNull<u8>) -> *mut u8 {
    // SAFETY: the form is BLOB or BOX, so the payload is a pointer.
    unsafe { payload(p).cast::<*mut u8>().read() }
}
unsafe fn drop_payload(p: NonNull<u8>) {
    // SAFETY: a BLOB's or BOX's pointer came from Box::into_raw of the type that kind and form name.
    unsafe {
        let h = header(p);
        match h.kind >> 4 {
            FORM_BLOB => drop(Box::from_raw(pointer(p).cast::<Blob>())),
            FORM_BOX => Value::drop_boxed(Kind::from_code(h.kind & 15), pointer(p)),
            _ => {}
        }
    }
}

fn build(key: &[u8], kind: Kind, expiry: i64, body: Body<'_>) -> Owned<Entry> {
    let has_expiry = expiry != NO_EXPIRY;
    let payload_at = if has_expiry { 16 } else { 8 };
    let mut key_at = payload_at + if matches!(body, Body::Inline(_)) { 0 } else { 8 };
    if key.len() >= 255 {
        key_at += 4;
    }
    let text = if let Body::Inline(t) = body { t } else { b"" };
    let size = key_at + key.len() + text.len();
    // SAFETY: every write is inside the `size` bytes just allocated.
    unsafe {
        let Some(p) = NonNull::new(alloc(layout(size))) else { handle_alloc_error(layout(size)) };
        p.as_ptr().cast::<Header>().write(Header {
            kind: kind.code() | body.form() << 4,
            flags: if has_expiry { HAS_EXPIRY } else { 0 },
            access: [0; 3],
            klen: key.len().min(255) as u8,
            tlen: text.len() as u16,
        });
        if has_expiry {
            p.as_ptr().add(8).cast::<i64>().write(expiry);
        }
        match body {
            Body::Inline(_) => {}
            Body::Int(n) => p.as_ptr().add(payload_at).cast::<i64>().write(n),
            Body::Pointer(_, at) => p.as_ptr().add(payload_at).cast::<*mut u8>().write(at),
        }
        if key.len() >= 255 {
            p.as_ptr().add(key_at - 4).cast::<u32>().write_unaligned(key.len() as u32);
        }
        p.as_ptr().add(key_at).copy_from_nonoverlapping(key.as_ptr(), key.len());
        p.as_ptr().add(key_at + key.len()).copy_from_nonoverlapping(text.as_ptr(), text.len());
        Owned::from_raw(p)
    }
}

/// The number, if the string is the canonical decimal form of one.
#[inline]
fn as_int(text: &[u8]) -> Option<i64> {
    match text {
        [b'-' | b'0'..=b'9', ..] if text.len() <= 20 => num::parse_i64(text),
        _ => None,
    }
}

/// How a new string is stored: as a number, in the entry, or as a blob.
#[inline]
fn body_for(text: &[u8]) -> Body<'_> {
    if let Some(n) = as_int(text) {
        Body::Int(n)
    } else if text.len() <= INLINE_MAX {
        Body::Inline(text)
    } else {
        Body::Pointer(FORM_BLOB, Box::into_raw(Box::new(Blob::Own(text.to_vec()))).cast())
    }
}

/// A new entry that holds a string.
pub fn new_text(key: &[u8], text: &[u8], expiry: i64) -> Owned<Entry> {
    build(key, Kind::String, expiry, body_for(text))
}

/// A new entry that holds any value.
pub fn new_value(key: &[u8], value: Value, expiry: i64) -> Owned<Entry> {
    let volatile = value.has_volatile_fields();
    let mut raw = false;
    let mut e = match value {
        Value::String(s) => match body_for(&s) {
            Body::Pointer(form, p) => {
                // SAFETY: the blob that `body_for` just made.
                drop(unsafe { Box::from_raw(p.cast::<Blob>()) });
                let blob = Box::into_raw(Box::new(Blob::Own(s))).cast();
                build(key, Kind::String, expiry, Body::Pointer(form, blob))
            }
            body => build(key, Kind::String, expiry, body),
        },
        Value::Raw(s) => {
            raw = true;
            let body = if s.len() <= INLINE_MAX {
                Body::Inline(&s)
            } else {
                return with_flag(build_blob(key, expiry, s), RAW);
            };
            build(key, Kind::String, expiry, body)
        }
        other => {
            let (kind, at) = other.into_boxed();
            build(key, kind, expiry, Body::Pointer(FORM_BOX, at))
        }
    };
    // SAFETY: a fresh entry of ours.
    unsafe {
        let h = header(e.ptr());
        h.flags |= if volatile { VOLATILE_FIELDS } else { 0 } | if raw { RAW } else { 0 };
    }
    e
}
fn build_blob(key: &[u8], expiry: i64, text: Vec<u8>) -> Owned<Entry> {
    let blob = Box::into_raw(Box::new(Blob::Own(text))).cast();
    build(key, Kind::String, expiry, Body::Pointer(FORM_BLOB, blob))
}
fn with_flag(mut e: Owned<Entry>, flag: u8) -> Owned<Entry> {
    // SAFETY: an entry of ours.
    unsafe { header(e.ptr()).flags |= flag };
    e
}

impl<'a> Ref<'a, Entry> {
    /// The type of the value.
    pub fn kind(self) -> Kind {
        // SAFETY: the entry is live; so in all methods here.
        unsafe { Kind::from_code(header(self.ptr()).kind & 15) }
    }
    /// When the key expires, unix ms, or [`NO_EXPIRY`].
    #[inline]
    pub fn expiry(self) -> i64 {
        // SAFETY: as above.
        unsafe { expiry(self.ptr()) }
    }
    /// Whether the key's time is over at `now`.
    #[inline]
    pub fn is_expired(self, now: i64) -> bool {
        let at = self.expiry();
        at != NO_EXPIRY && at <= now
    }
    /// Whether it is a hash some of whose fields expire.
    pub fn has_volatile_fields(self) -> bool {
        // SAFETY: as above.
        unsafe { header(self.ptr()).flags & VOLATILE_FIELDS != 0 }
    }
    /// The value.
    #[inline]
    pub fn view(self) -> View<'a> {
        let p = self.ptr();
        // SAFETY: the payload is what kind and form say, and lives as long as the entry.
        unsafe {
            let h = header(p);
            match h.kind >> 4 {
                FORM_BOX => View::from_boxed(Kind::from_code(h.kind & 15), pointer(p)),
                _ => View::String(self.text_unchecked()),
            }
        }
    }
    /// The string, where the value is one.
    #[inline]
    pub fn text(self) -> Option<Text<'a>> {
        // SAFETY: the kind is looked at first.
        unsafe { if header(self.ptr()).kind & 15 == Kind::String.code() { Some(self.text_unchecked()) } else { None } }
    }
    #[inline]
    unsafe fn text_unchecked(self) -> Text<'a> {
        let p = self.ptr();
        // SAFETY: the caller knows that the value is a string.
        unsafe {
            let h = header(p);
            match h.kind >> 4 {
                FORM_INLINE => {
                    let o = offsets(p);
                    Text::Bytes(std::slice::from_raw_parts(p.as_ptr().add(o.key + o.klen), h.tlen as usize))
                }
                FORM_INT => Text::Int(payload(p).cast::<i64>().read()),
                _ => Text::Bytes((*pointer(p).cast::<Blob>()).bytes()),
            }
        }
    }
    /// The 24 bits of access history.
    #[inline]
    pub fn access(self) -> u32 {
        // SAFETY: as above.
        let a = unsafe { header(self.ptr()).access };
        u32::from_le_bytes([a[0], a[1], a[2], 0])
    }
    /// Notes an access. Only under the slot's lock, which makes the shared reference exclusive enough: nothing else
    /// reads or writes these three bytes meanwhile.
    #[inline]
    pub fn set_access(self, bits: u32) {
        let b = bits.to_le_bytes();
        // SAFETY: as above.
        unsafe { header(self.ptr()).access = [b[0], b[1], b[2]] }
    }
    /// The name of the encoding, as OBJECT ENCODING tells it.
    pub fn encoding(self) -> &'static str {
        match self.view() {
            View::String(Text::Int(_)) => "int",
            View::String(t) => {
                // SAFETY: as above.
                let raw = unsafe { header(self.ptr()).flags & RAW != 0 };
                if raw || t.len() > EMBSTR_MAX { "raw" } else { "embstr" }
            }
            other => other.encoding(),
        }
    }
    /// The bit that tells whether a snapshot under way has this entry already.
    #[inline]
    pub fn snapshot_bit(self) -> bool {
        // SAFETY: as above.
        unsafe { header(self.ptr()).flags & SNAPSHOT != 0 }
    }
    /// Sets it. Only under the slot's lock, as [`Ref::set_access`].
    #[inline]
    pub fn set_snapshot_bit(self, on: bool) {
        // SAFETY: as above.
        unsafe {
            let h = header(self.ptr());
            h.flags = h.flags & !SNAPSHOT | if on { SNAPSHOT } else { 0 };
        }
    }
    /// Bytes of memory, the value's included; `samples` elements of a collection are looked at (0: all).
    pub fn mem_usage(self, samples: usize) -> usize {
        let p = self.ptr();
        // SAFETY: as above.
        let own = unsafe { memory::usable_size(round8(offsets(p).end)) };
        own + match self.view() {
            // SAFETY: the form says that the payload is a blob.
            View::String(_) if unsafe { header(p).kind >> 4 == FORM_BLOB } => {
                // SAFETY: as above.
                let blob = unsafe { &*pointer(p).cast::<Blob>() };
                let room = if let Blob::Own(v) = blob { v.capacity() } else { blob.bytes().len() };
                memory::usable_size(size_of::<Blob>()) + memory::usable_size(room.max(1))
            }
            View::String(_) => 0,
            other => other.mem_usage(samples),
        }
    }
    /// How much work it is to free the value: about the number of allocations.
    pub fn free_effort(self) -> usize {
        self.view().free_effort()
    }
    /// A copy of the value.
    pub fn duplicate(self) -> Value {
        // SAFETY: as above.
        let raw = unsafe { header(self.ptr()).flags & RAW != 0 };
        match self.view() {
            View::String(t) if raw => Value::Raw(t.to_vec()),
            other => other.duplicate(),
        }
    }
    /// The string for a reply that is sent from where it is; the entry keeps a share. `None` if it is not a blob.
    pub fn share_blob(self) -> Option<Bytes> {
        let p = self.ptr();
        // SAFETY: under the slot's lock nobody else looks at the blob; its bytes do not move by becoming shared.
        unsafe {
            if header(p).kind != Kind::String.code() | FORM_BLOB << 4 {
                return None;
            }
            let blob = &mut *pointer(p).cast::<Blob>();
            if let Blob::Own(v) = blob {
                *blob = Blob::Shared(Bytes::from(std::mem::take(v)));
            }
            match blob {
                Blob::Shared(b) => Some(b.clone()),
                Blob::Own(_) => None,
            }
        }
    }
}

impl Owned<Entry> {
    /// Takes the value out; the key goes.
    pub fn into_value(self) -> Value {
        let p = self.into_raw();
        // SAFETY: we own the entry. A boxed payload moves into the value; the rest is copied and freed.
        unsafe {
            let h = header(p);
            let kind = Kind::from_code(h.kind & 15);
            let value = match h.kind >> 4 {
                FORM_BOX => Value::from_boxed(kind, pointer(p)),
                form => {
                    let r = Ref::<Entry>::from_ptr(p);
                    let value = r.duplicate();
                    if form == FORM_BLOB {
                        drop_payload(p);
                    }
                    value
                }
            };
            dealloc(p.as_ptr(), layout(offsets(p).end));
            value
        }
    }
    /// A new name for the value.
    pub fn renamed(self, key: &[u8]) -> Owned<Entry> {
        let (expiry, access) = (self.as_ref().expiry(), self.as_ref().access());
        let e = new_value(key, self.into_value(), expiry);
        e.as_ref().set_access(access);
        e
    }
}

impl<'a> Place<'a, Entry> {
    /// Sets or clears the expiry; the entry may move to get room for it.
    pub fn set_expiry(&mut self, at: i64) {
        let p = self.ptr();
        // SAFETY: we hold the entry exclusively; after `realloc` the old pointer is not used.
        unsafe {
            if header(p).flags & HAS_EXPIRY == 0 {
                if at == NO_EXPIRY {
                    return;
                }
                let end = offsets(p).end;
                let grown = realloc(p.as_ptr(), layout(end), layout(end + 8).size());
                let Some(p) = NonNull::new(grown) else { handle_alloc_error(layout(end + 8)) };
                let body = p.as_ptr().add(8);
                body.add(8).copy_from(body, end - 8);
                header(p).flags |= HAS_EXPIRY;
                body.cast::<i64>().write(at);
                self.set(p);
            } else {
                p.as_ptr().add(8).cast::<i64>().write(at);
                self.refresh();
            }
        }
    }
    /// Stores another string, whatever was there; access history stays, the expiry becomes `expiry`.
    #[inline]
    pub fn set_text(&mut self, text: &[u8], expiry: i64) -> Option<Owned<Entry>> {
        let p = self.ptr();
        let body = body_for(text);
        // SAFETY: we hold the entry exclusively; writes stay inside its allocation.
        unsafe {
            let h = header(p);
            let same = h.kind == Kind::String.code() | body.form() << 4
                && (h.flags & HAS_EXPIRY != 0) == (expiry != NO_EXPIRY)
                && body.form() != FORM_BLOB;
            if same {
                let o = offsets(p);
                match body {
                    Body::Int(n) => {
                        payload(p).cast::<i64>().write(n);
                        return self.kept(p, expiry);
                    }
                    Body::Inline(t) if round8(o.key + o.klen + t.len()) == round8(o.end) => {
                        h.tlen = t.len() as u16;
                        p.as_ptr().add(o.key + o.klen).copy_from_nonoverlapping(t.as_ptr(), t.len());
                        return self.kept(p, expiry);
                    }
                    _ => {}
                }
            }
            let e = build(self.get().key(), Kind::String, expiry, body);
            Some(self.succeed(e))
        }
    }
    unsafe fn kept(&mut self, p: NonNull<u8>, expiry: i64) -> Option<Owned<Entry>> {
        // SAFETY: a live entry, which has room for the expiry if there is one.
        unsafe {
            header(p).flags &= !RAW;
            if expiry != NO_EXPIRY {
                p.as_ptr().add(8).cast::<i64>().write(expiry);
                self.refresh();
            }
        }
        None
    }
    /// Changes the number of an INT entry in place. False if the value is not stored as a number.
    #[inline]
    pub fn set_int(&mut self, n: i64) -> bool {
        let p = self.ptr();
        // SAFETY: the form is looked at first.
        unsafe {
            if header(p).kind != Kind::String.code() | FORM_INT << 4 {
                return false;
            }
            payload(p).cast::<i64>().write(n);
            true
        }
    }
    /// The string as bytes to change: it becomes a blob, `raw` from now on, until [`Place::settle_text`].
    pub fn text_mut(&mut self) -> &mut Vec<u8> {
        let p = self.ptr();
        // SAFETY: the form is looked at first; the new entry replaces the old one under the same key.
        unsafe {
            debug_assert!(header(p).kind & 15 == Kind::String.code());
            if header(p).kind >> 4 != FORM_BLOB {
                let r = self.get();
                let text = r.text_unchecked().to_vec();
                let e = build_blob(r.key(), r.expiry(), text);
                drop(self.succeed(e));
            }
            let p = self.ptr();
            header(p).flags |= RAW;
            (*pointer(p).cast::<Blob>()).to_mut()
        }
    }
    /// After [`Place::text_mut`]: a short string goes back into the entry (and stays `raw`).
    pub fn settle_text(&mut self) {
        // SAFETY: `text_mut` left a blob; the form is looked at all the same.
        unsafe {
            let p = self.ptr();
            if header(p).kind != Kind::String.code() | FORM_BLOB << 4 {
                return;
            }
            let blob = &mut *pointer(p).cast::<Blob>();
            if blob.bytes().len() <= 64 {
                let r = self.get();
                let e = build(r.key(), Kind::String, r.expiry(), Body::Inline(blob.bytes()));
                drop(self.succeed(with_flag(e, RAW)));
            }
        }
    }
    /// Replaces the value and the expiry; access history stays. Returns the entry that was there.
    pub fn set_value(&mut self, value: Value, expiry: i64) -> Owned<Entry> {
        let e = new_value(self.get().key(), value, expiry);
        self.succeed(e)
    }
    /// Puts a new entry for the same key in the place: it takes over access history and snapshot bit.
    fn succeed(&mut self, e: Owned<Entry>) -> Owned<Entry> {
        e.as_ref().set_access(self.get().access());
        e.as_ref().set_snapshot_bit(self.get().snapshot_bit());
        self.replace(e)
    }
    /// The value, to change in place. Hashes: call [`Place::refresh_volatile`] afterwards.
    pub fn into_view_mut(self) -> ViewMut<'a> {
        let p = self.into_ptr();
        // SAFETY: the place held the table exclusively for 'a, and the payload is what kind and form say.
        unsafe {
            let h = header(p);
            match h.kind >> 4 {
                FORM_BOX => ViewMut::from_boxed(Kind::from_code(h.kind & 15), pointer(p)),
                _ => ViewMut::String,
            }
        }
    }
    /// Brings the mark of a hash in step with whether it has fields that expire.
    pub fn refresh_volatile(&mut self) {
        let p = self.ptr();
        let volatile = match self.get().view() {
            View::Hash(h) => h.has_volatile(),
            _ => false,
        };
        // SAFETY: we hold the entry exclusively.
        unsafe {
            let h = header(p);
            let flags = h.flags & !VOLATILE_FIELDS | if volatile { VOLATILE_FIELDS } else { 0 };
            if flags != h.flags {
                h.flags = flags;
                self.refresh();
            }
        }
    }
}
