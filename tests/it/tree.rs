//! What lies under a path, so that two states of it can be compared.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

/// Files with their bytes and directories without, by their path below the folder.
pub(crate) type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// Everything under a folder, hidden files included.
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

/// An export, a file or a directory, without what differs from run to run: the manifest's times
/// and the port of the API.
pub(crate) fn content(path: &Path) -> Tree {
    if !path.is_dir() {
        return Tree::from([(String::new(), Some(fs::read(path).unwrap()))]);
    }
    let mut files = tree(path);
    if let Some(Some(manifest)) = files.get_mut("_manifest.json") {
        let mut json: Value = serde_json::from_slice(manifest).unwrap();
        for name in ["started_at", "finished_at", "base_url"] {
            assert!(json.as_object_mut().unwrap().remove(name).is_some(), "{name}");
        }
        *manifest = json.to_string().into_bytes();
    }
    files
}
