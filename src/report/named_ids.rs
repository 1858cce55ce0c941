//! The ids of an export that are not UUIDs.

use std::collections::HashSet;

use uuid::Uuid;

use crate::proof::Distinct;

/// Different ids that are remembered to find examples of repeated ones: 262,144, which take 8 MiB.
const REMEMBERED: usize = 1 << 18;
/// Repeated ids that are not UUIDs and that are kept as examples.
const MOST_EXAMPLES: usize = 5;

/// The ids that are not UUIDs. Their hashes do not say what they are.
#[derive(Default)]
pub(super) struct NamedIds {
    /// The hashes of the first different ones.
    seen: HashSet<u128>,
    repeated: Vec<(u128, String)>,
}

impl NamedIds {
    pub(super) fn add(&mut self, hash: u128, id: impl FnOnce() -> Option<String>) {
        if self.seen.contains(&hash) {
            let is_new = || !self.repeated.iter().any(|(known, _)| *known == hash);
            if self.repeated.len() < MOST_EXAMPLES && is_new() {
                self.repeated.extend(id().map(|id| (hash, id)));
            }
        } else if self.seen.len() < REMEMBERED {
            self.seen.insert(hash);
        }
    }

    /// Returns ids that repeat. Those of which only the hash is known are left out.
    pub(super) fn examples(self, ids: &Distinct) -> Vec<String> {
        let is_hash = |id: &u128| self.seen.len() >= REMEMBERED || self.seen.contains(id);
        let uuids = ids.examples.iter().filter(|id| !is_hash(&id.as_u128()));
        let uuids: Vec<String> = uuids.map(Uuid::to_string).collect();
        self.repeated.into_iter().map(|(_, id)| id).chain(uuids).collect()
    }
}
