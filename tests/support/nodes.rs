//! CLUSTER NODES, read.

use std::collections::BTreeMap;

/// What a node thinks: of each node, by its id, address, role, primary and slots. Nodes in handshake, and those that are
/// not well, have a role of that name.
pub type Picture = BTreeMap<String, (String, String, String, Vec<String>)>;

/// Reads the reply of CLUSTER NODES.
pub fn picture(text: &str) -> Picture {
    let nodes = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let role = words[2].trim_start_matches("myself,").to_owned();
        let slots = words[8..].iter().map(|slots| (*slots).to_owned()).collect();
        (words[0].to_owned(), (words[1].split(',').next().unwrap().to_owned(), role, words[3].to_owned(), slots))
    });
    nodes.collect()
}

/// Whether all nodes are well.
pub fn is_well(picture: &Picture) -> bool {
    picture.values().all(|(_, role, _, _)| role == "master" || role == "slave")
}
