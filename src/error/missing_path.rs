//! The hint about a path that does not exist: the one that was probably meant.

use std::{
    borrow::Cow,
    fs,
    path::{Path, PathBuf},
};

use crate::text::similar;

/// Most names of a folder that are compared.
const MOST_NAMES: usize = 10_000;
/// The folder of the splits in an export with a dataset card.
const OF_CARD: &str = "data";

/// Returns the next step for a path that could not be read because it does not exist. Looks at the folders on its way.
pub(super) fn hint(path: &Path) -> Option<Cow<'static, str>> {
    if path.to_str().is_some_and(|text| text.parse::<uuid::Uuid>().is_ok()) {
        let id = "this is the id of a dataset, but a path is needed: `overmind-export export` writes a dataset to one";
        return Some(Cow::Borrowed(id));
    }
    let meant = in_card(path).or_else(|| similar_path(path))?;
    Some(Cow::Owned(format!("did you mean {}?", meant.display())))
}

/// Returns the path of a split in an export with a dataset card.
fn in_card(path: &Path) -> Option<PathBuf> {
    let moved = path.parent()?.join(OF_CARD).join(path.file_name()?);
    moved.exists().then_some(moved)
}

/// Returns an existing path in which the first name that does not exist is replaced by a similar one.
fn similar_path(path: &Path) -> Option<PathBuf> {
    let missing = path.ancestors().take_while(|it| !it.as_os_str().is_empty() && !it.exists());
    let missing = missing.last()?;
    let (typed, folder) = (missing.file_name()?.to_str()?, missing.parent()?);
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(here).ok()?.take(MOST_NAMES).flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    // Nobody asks for staged files, records and markers.
    names.retain(|name| !name.starts_with(['.', '_']) && !name.ends_with(".manifest.json"));
    // Equal extensions do not make names similar.
    names.retain(|name| similar(stem(typed), [stem(name)]).is_some());
    names.sort_unstable();
    let meant = folder.join(similar(typed, names.iter().map(String::as_str))?);
    let rest = path.strip_prefix(missing).ok()?;
    let meant = if rest.as_os_str().is_empty() { meant } else { meant.join(rest) };
    meant.exists().then_some(meant)
}

/// Returns a name without its extensions.
fn stem(name: &str) -> &str {
    name.split_once('.').map_or(name, |(stem, _)| stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_path_is_suggested() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("sp/data/test")).unwrap();
        fs::create_dir_all(at("data")).unwrap();
        for file in
            ["rows.parquet", "rows.parquet.manifest.json", ".rows.parqet", "sp/data/test/part-1"]
        {
            fs::write(at(file), "").unwrap();
        }
        for (typed, meant) in [
            ("rows.parqet", Some("rows.parquet")),
            ("Rows.parquet", Some("rows.parquet")),
            ("sp/test", Some("sp/data/test")),
            ("sp/data/tset", Some("sp/data/test")),
            ("sp/dta/test/part-1", Some("sp/data/test/part-1")),
            ("sp/dta/other", None),
            ("sp/part-1", None),
            ("orders.csv", None),
            ("missing.parquet", None),
            ("rows", Some("rows.parquet")),
        ] {
            let expected = meant.map(|meant| format!("did you mean {}?", at(meant).display()));
            assert_eq!(hint(&at(typed)).as_deref(), expected.as_deref(), "{typed}");
        }
        assert_eq!(hint(Path::new("")), None);
        let id = hint(Path::new("182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e")).unwrap();
        assert!(id.contains("is the id of a dataset"), "{id}");
    }
}
