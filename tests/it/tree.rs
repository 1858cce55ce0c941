//! Reads everything under a path, so that tests can compare two states.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Maps each path below the folder to the bytes of the file, or to `None` for a directory.
pub(crate) type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// Reads everything under a folder, hidden files included.
pub(crate) fn tree(folder: &Path) -> Tree {
    let mut found = Tree::new();
    collect(folder, "", &mut found);
    found
}

fn collect(folder: &Path, prefix: &str, found: &mut Tree) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), found);
            found.insert(name, None);
        } else {
            found.insert(name, Some(fs::read(entry.path()).unwrap()));
        }
    }
}

/// Reads an export, which is a file or a directory with the record next to it. Removes the fields of the record
/// that differ between runs: the times and the base URL.
pub(crate) fn content(path: &Path) -> Tree {
    if !path.is_dir() {
        return Tree::from([(String::new(), Some(fs::read(path).unwrap()))]);
    }
    let mut files = tree(path);
    if let Ok(record) = fs::read(record(path)) {
        let mut json: Value = serde_json::from_slice(&record).unwrap();
        for name in ["started_at", "finished_at", "base_url"] {
            assert!(json.as_object_mut().unwrap().remove(name).is_some(), "{name}");
        }
        files.insert("the record".to_owned(), Some(json.to_string().into_bytes()));
    }
    files
}

/// The place of the record of a directory: next to it.
pub(crate) fn record(directory: &Path) -> PathBuf {
    let mut name = directory.file_name().unwrap().to_owned();
    name.push(".manifest.json");
    directory.with_file_name(name)
}
