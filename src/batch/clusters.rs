//! Which groups may not stand in one batch.
//!
//! Two questions that share a relevant passage in any language conflict: in an X-Y batch the German version of the
//! shared passage would be a "negative" for a question that its French version answers. So do passages of equal
//! text. Conflicts are transitive: clusters, found once by union-find.

use std::collections::HashMap;

use crate::corpus::Dataset;

/// For each group of the dataset its cluster; groups of one cluster conflict.
pub fn clusters(dataset: &Dataset) -> Vec<u32> {
    let mut parent: Vec<u32> = (0..dataset.groups.len() as u32).collect();
    let mut owner: HashMap<&str, u32> = HashMap::new();
    for (index, group) in dataset.groups.iter().enumerate() {
        for &passage in &group.relevant {
            let text = dataset.passages[passage as usize].text.as_str();
            let first = *owner.entry(text).or_insert(index as u32);
            let (a, b) = (root(&mut parent, first), root(&mut parent, index as u32));
            parent[a.max(b) as usize] = a.min(b);
        }
    }
    (0..parent.len() as u32).map(|i| root(&mut parent, i)).collect()
}

fn root(parent: &mut [u32], mut index: u32) -> u32 {
    while parent[index as usize] != index {
        let above = parent[parent[index as usize] as usize];
        parent[index as usize] = above;
        index = above;
    }
    index
}
