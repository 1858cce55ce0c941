//! The splits of an export: what its record says of them, and the part of a record that belongs to one of its folders.

use super::{
    manifest::{Manifest, Part, PartRows},
    written::WrittenSplit,
};
use crate::{text::grouped, transform::TransformRecord};

/// Returns the splits of these parts, in their order. The parts of a split must be consecutive.
pub(crate) fn written_splits(parts: &[Part]) -> Vec<WrittenSplit> {
    let mut splits: Vec<(&str, PartRows)> = Vec::new();
    for part in parts {
        let Some(name) = &part.split else { continue };
        match splits.last_mut() {
            Some((last, rows)) if last == name => rows.join(&PartRows::from(part)),
            _ => splits.push((name, PartRows::from(part))),
        }
    }
    let split = |(name, rows): (&str, PartRows)| WrittenSplit {
        name: name.to_owned(),
        rows: rows.written,
        digest: rows.digest.to_string(),
    };
    splits.into_iter().map(split).collect()
}

impl Manifest {
    /// Returns the number of rows that were read for the parts. Each split has parts for all of these rows.
    pub(super) fn rows_read_of_parts(&self) -> u64 {
        let mut sums: Vec<(&Option<String>, u64)> = Vec::new();
        for part in &self.parts {
            match sums.iter_mut().find(|(split, _)| **split == part.split) {
                Some((_, sum)) => *sum = sum.saturating_add(part.rows_read),
                None => sums.push((&part.split, part.rows_read)),
            }
        }
        let sums = || sums.iter().map(|(_, sum)| *sum);
        sums().find(|sum| *sum != self.rows_read).or(sums().next()).unwrap_or_default()
    }

    /// Returns why the splits of the record cannot be those of its parts; `None` if they are.
    pub(crate) fn wrong_splits(&self) -> Option<String> {
        let written = written_splits(&self.parts);
        let names = |splits: &[WrittenSplit]| {
            splits.iter().map(|split| split.name.clone()).collect::<Vec<_>>().join(", ")
        };
        if written.len() != self.splits.len() {
            let (seen, recorded) = (names(&written), names(&self.splits));
            return Some(format!("its parts are of the splits {seen:?}, recorded {recorded:?}"));
        }
        for (seen, recorded) in written.iter().zip(&self.splits) {
            if seen != recorded {
                let (name, rows, digest) = (&recorded.name, grouped(seen.rows), &seen.digest);
                return Some(format!(
                    "its parts have {rows} rows of {} with the digest {digest}, recorded {} of {name} with {}",
                    seen.name,
                    grouped(recorded.rows),
                    recorded.digest
                ));
            }
        }
        // The record of a folder has some of the splits.
        let made = self.transform.iter().flat_map(|transform| &transform.split);
        if !self.is_of_folder
            && !made.clone().map(|it| &it.name).eq(written.iter().map(|it| &it.name))
        {
            let made: Vec<_> = made.map(|split| split.name.as_str()).collect();
            let (seen, made) = (names(&written), made.join(", "));
            return Some(format!(
                "its parts are of the splits {seen:?}, and its transformation made {made:?}"
            ));
        }
        let has_all = |it: &TransformRecord| it.split.len() == written.len();
        let whole = self.transform.as_ref().filter(|it| !written.is_empty() && has_all(it));
        let has_every_row = whole.is_some_and(|transform| transform.keeps_every_row());
        (has_every_row && self.rows != self.rows_read).then(|| {
            let (rows, read) = (grouped(self.rows), grouped(self.rows_read));
            format!("its splits have {rows} of {read} rows read, and nothing leaves rows out")
        })
    }

    /// Returns the split whose rows the record has, if it is that of a folder with one of several splits.
    pub(crate) fn split_of_folder(&self) -> Option<&str> {
        let is_one_of_several = self.transform.as_ref().is_some_and(|it| it.split.len() > 1);
        match self.splits.as_slice() {
            [only] if is_one_of_several => Some(&only.name),
            _ => None,
        }
    }

    /// Returns the record of the parts in a folder of the export, as if the folder were an export of its own; `None` if
    /// no part is in it.
    pub(crate) fn within(mut self, folder: &str) -> Option<Self> {
        let path = |part: &Part| {
            let rest = part.path.strip_prefix(folder)?.strip_prefix('/')?;
            Some(rest.to_owned())
        };
        let is_sound = self.joined_digest().is_some_and(|it| it.to_string() == self.digest);
        let inside: Vec<_> =
            self.parts.iter().filter_map(|part| Some((part, path(part)?))).collect();
        let parts = inside.into_iter().map(|(part, path)| Part { path, ..part.clone() });
        self.parts = parts.collect();
        self.card = None;
        self.is_of_folder = true;
        if self.parts.is_empty() {
            return None;
        }
        self.rows = self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.rows));
        let names: Vec<_> = self.parts.iter().filter_map(|part| part.split.as_ref()).collect();
        self.splits.retain(|split| names.contains(&&split.name));
        // A record whose digest is wrong must not become right.
        if is_sound {
            self.digest = self.joined_digest().unwrap_or_default().to_string();
        }
        Some(self)
    }
}
