//! The name of a node: forty lower-case hex digits, kept and sent as text.

use std::fmt;

/// The id of a node or a shard.
///
/// Valkey accepts any of `a-z0-9` in an id, so ids of foreign nodes need not be hex; ours are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; NodeId::LEN]);

impl NodeId {
    /// The length of an id in bytes.
    pub const LEN: usize = 40;

    /// What stands on the wire where there is no node: zero bytes.
    pub const NULL: NodeId = NodeId([0; NodeId::LEN]);

    /// The id that `text` spells: forty bytes of `a-z0-9`.
    pub fn parse(text: &[u8]) -> Option<NodeId> {
        let bytes: [u8; NodeId::LEN] = text.try_into().ok()?;
        bytes.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()).then_some(NodeId(bytes))
    }

    /// The id made of `digits`, as the wire carries it: not checked. [`is_valid`](Self::is_valid) tells.
    pub fn from_wire(digits: [u8; NodeId::LEN]) -> NodeId {
        NodeId(digits)
    }

    /// A new id, drawn from `rng`.
    pub fn random(rng: &mut crate::base::rng::Rng) -> NodeId {
        let mut bytes = [0; NodeId::LEN];
        for chunk in bytes.chunks_mut(16) {
            let draw = rng.next_u64();
            for (place, digit) in chunk.iter_mut().enumerate() {
                *digit = b"0123456789abcdef"[(draw >> (4 * place)) as usize & 15];
            }
        }
        NodeId(bytes)
    }

    /// Whether the id is one that a node may have.
    pub fn is_valid(&self) -> bool {
        NodeId::parse(&self.0).is_some()
    }

    /// Whether this is the absence of an id.
    pub fn is_null(&self) -> bool {
        *self == NodeId::NULL
    }

    /// The forty bytes.
    pub fn as_bytes(&self) -> &[u8; NodeId::LEN] {
        &self.0
    }

    /// The id as text; bytes that are no ASCII read `?`.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("????????????????????????????????????????")
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn an_id_is_forty_lower_case_letters_and_digits() {
        let text = "07c37dfeb235213a872192d90877d0cd55635b91";
        assert_eq!(NodeId::parse(text.as_bytes()).unwrap().to_string(), text);
        assert_eq!(NodeId::parse(&text.as_bytes()[1..]), None);
        assert_eq!(NodeId::parse(text.to_uppercase().as_bytes()), None);
        assert_eq!(NodeId::parse(&[0; 40]), None);
        assert!(NodeId::NULL.is_null() && !NodeId::NULL.is_valid());
    }

    #[test]
    fn drawn_ids_are_hex_and_differ() {
        let mut rng = Rng::new(1);
        let (a, b) = (NodeId::random(&mut rng), NodeId::random(&mut rng));
        assert_ne!(a, b);
        assert!(a.as_bytes().iter().all(u8::is_ascii_hexdigit) && a.is_valid());
    }
}
