//! Which groups may not stand in one batch.
//!
//! Two questions that share a relevant passage in any language conflict: in an X-Y batch the German version of the
//! shared passage would be a "negative" for a question that its French version answers. So do passages of equal
//! text. Conflicts are transitive: clusters, found once by union-find. Texts are told apart by 64 bits of their hash:
//! with ten million texts two different ones meet with a probability of 3 in a million, and then only never share a
//! batch.

use std::hash::Hasher;

use super::layout::Owners;
use crate::stream::mix;

/// 64 bits of a text.
#[must_use]
pub fn text_hash(text: &str) -> u64 {
    let mut hash = mix(text.len() as u64 ^ 0x9e37_79b9_7f4a_7c15);
    let mut chunks = text.as_bytes().chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.iter().rev().fold(0u64, |w, b| (w << 8) | u64::from(*b));
        hash = mix(hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
    let rest = chunks.remainder().iter().rev().fold(0u64, |w, b| (w << 8) | u64::from(*b));
    mix(hash ^ rest)
}

/// A hasher for what is a hash already, and for small numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = mix(u64::from(value));
    }
}

/// Union-find over groups that share the text of a relevant passage.
#[derive(Debug, Default)]
pub struct Clusters {
    parent: Vec<u32>,
    owners: Owners,
}

impl Clusters {
    /// One more group.
    pub fn group(&mut self) {
        self.parent.push(self.parent.len() as u32);
    }

    /// The group has a relevant passage with this text.
    pub fn relevant(&mut self, group: u32, text: u64) {
        let first = *self.owners.entry(text).or_insert(group);
        let (a, b) = (root(&mut self.parent, first), root(&mut self.parent, group));
        self.parent[a.max(b) as usize] = a.min(b);
    }

    /// By group its cluster, which is the number of its first group; and which group has a text first.
    #[must_use]
    pub fn finish(mut self) -> (Vec<u32>, Owners) {
        for index in 0..self.parent.len() as u32 {
            let root = root(&mut self.parent, index);
            self.parent[index as usize] = root;
        }
        (self.parent, self.owners)
    }
}

fn root(parent: &mut [u32], mut index: u32) -> u32 {
    while parent[index as usize] != index {
        let above = parent[parent[index as usize] as usize];
        parent[index as usize] = above;
        index = above;
    }
    index
}
