//! Where the parts of an export lie in its directory: in the directory itself, or in a folder for each split.
//!
//! ```text
//! part-00000.parquet, part-00001.parquet …                 no split
//! train/part-00000.parquet, test/part-00000.parquet …      a split: a group of pages has a part in each folder
//! data/part-00000.parquet, data/train/part-00000.parquet   with a dataset card, which is in the directory itself
//! ```
//!
//! Paths are relative to the directory, and have slashes.

use std::{collections::BTreeSet, path::Path};

use serde::{Deserialize, Serialize};

use super::manifest::{Manifest, is_part_name};
use crate::transform::is_split_name;

/// The folders of the parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartLayout {
    /// Never empty. An empty name is the directory itself.
    folders: Vec<String>,
}

impl Default for PartLayout {
    /// All parts are in the directory itself.
    fn default() -> Self {
        Self { folders: vec![String::new()] }
    }
}

impl PartLayout {
    /// A folder for each of these splits; the directory itself if there is none. They are in the folder `within`, if it is
    /// not empty.
    pub(crate) fn of_splits<'a>(within: &str, splits: impl IntoIterator<Item = &'a str>) -> Self {
        let path = |split: &'a str| match within {
            "" => split.to_owned(),
            within => joined(within, split),
        };
        let folders: Vec<_> = splits.into_iter().map(path).collect();
        if folders.is_empty() {
            Self { folders: vec![within.to_owned()] }
        } else {
            Self { folders }
        }
    }

    /// Whether an export can have these folders. Another program may have written them.
    pub(crate) fn is_sound(&self) -> bool {
        let is_own = |folder: &String| folder.is_empty() || is_folder(folder);
        !self.folders.is_empty() && self.folders.iter().all(is_own)
    }

    /// Returns the number of parts that a group of pages has.
    pub(crate) fn width(&self) -> usize {
        self.folders.len()
    }

    /// Returns the number of the group and the folder of the part with this index, counted over all parts.
    pub(crate) fn place(&self, index: usize) -> (usize, &str) {
        let width = self.width();
        let folder = self.folders.get(index % width).map_or("", |folder| folder);
        (index / width, folder)
    }

    /// Returns the position of a folder; `None` if the layout does not have it.
    #[cfg(feature = "clouds")]
    pub(crate) fn position(&self, folder: &str) -> Option<usize> {
        self.folders.iter().position(|own| own == folder)
    }

    /// Returns the folders, with those that they are in. The directory itself is left out.
    #[cfg(any(feature = "clouds", test))]
    pub(crate) fn folders(&self) -> BTreeSet<&str> {
        with_parents(self.folders.iter().map(String::as_str))
    }
}

/// Returns the path of a name in a folder.
pub(crate) fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Splits a path into its folder, which is empty for the directory itself, and the name.
pub(crate) fn folder_and_name(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Whether a path is that of a part: a name as [`is_part_name`] wants it, alone or in folders that a split can have.
pub(crate) fn is_part_path(path: &str) -> bool {
    let (folder, name) = folder_and_name(path);
    is_part_name(name) && (!path.contains('/') || is_folder(folder))
}

/// Whether a path of a record leads to a file in the directory, or in a folder that parts can be in. The file can have any
/// name.
pub(crate) fn is_inside(path: &str) -> bool {
    let (folder, name) = folder_and_name(path);
    let is_name = Path::new(name).file_name().is_some_and(|own| own == name);
    is_name && (!path.contains('/') || is_folder(folder))
}

/// Whether the text is a folder that parts can be in.
pub(crate) fn is_folder(folder: &str) -> bool {
    folder.split('/').count() <= 2 && folder.split('/').all(is_folder_name)
}

/// Whether the text can be the name of one such folder.
pub(crate) fn is_folder_name(name: &str) -> bool {
    is_split_name(name)
}

/// Returns the folders of the parts of a record, with those that they are in. Folders that no export has are left out.
pub(crate) fn folders_of(manifest: &Manifest) -> BTreeSet<&str> {
    let folders = manifest.parts.iter().map(|part| folder_and_name(&part.path).0);
    with_parents(folders.filter(|folder| is_folder(folder)))
}

/// Adds the folders that these folders are in.
pub(crate) fn with_parents<'a>(folders: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let parents = |folder: &'a str| folder.match_indices('/').map(move |(end, _)| &folder[..end]);
    let all = folders.into_iter().flat_map(|folder| parents(folder).chain([folder]));
    all.filter(|folder| !folder.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_group_are_in_all_folders() {
        let layout = PartLayout::of_splits("", ["train", "test"]);
        let place = |index| layout.place(index);
        assert_eq!([place(0), place(1), place(2)], [(0, "train"), (0, "test"), (1, "train")]);
        assert_eq!(PartLayout::of_splits("", []), PartLayout::default());
        assert_eq!(PartLayout::default().place(3), (3, ""));
        assert_eq!(PartLayout::of_splits("data", []).place(3), (3, "data"));
        assert_eq!(PartLayout::of_splits("data", ["a", "b"]).place(3), (1, "data/b"));
        assert!(PartLayout::default().folders().is_empty());
        let nested = with_parents(["data/train", "data/test", ""]);
        assert_eq!(nested.into_iter().collect::<Vec<_>>(), ["data", "data/test", "data/train"]);
    }

    #[test]
    fn part_paths_have_at_most_two_folders() {
        for path in ["part-00000.csv", "train/part-00000.csv", "data/a_B-1/part-00000-ab.arrow"] {
            assert!(is_part_path(path), "{path}");
        }
        for path in [
            "/part-00000.csv",
            "../part-00000.csv",
            "a//part-00000.csv",
            "a/b/c/part-00000.csv",
            ".a/part-00000.csv",
            "_a/part-00000.csv",
            "-a/part-00000.csv",
            "a b/part-00000.csv",
            "train/part-0.csv",
            "train/",
        ] {
            assert!(!is_part_path(path), "{path}");
        }
    }
}
