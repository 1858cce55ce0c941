//! The names that runs give to objects in a store.
//!
//! Anyone who can write to the bucket can put any name into a listing or a control object. So a run removes,
//! replaces or aborts only objects with a name from this module.
//!
//! No name of a control object ends like data, such as `.json` or `.parquet`: a recursive glob must not find it.
//! All control objects are in one folder: a slash in the path of a part is `=` in their names.

use crate::{
    error::{Error, Result},
    location::Remote,
    record::{
        layout::{PartLayout, is_folder, is_part_path, joined},
        manifest::is_part_name,
    },
};

/// The control object with the plan.
pub(super) const HEADER: &str = "header.state";
/// The control object with the plan of many workers.
pub(super) const PLAN: &str = "plan.state";

/// Longest key: 1,024 bytes in S3 and Google Cloud Storage, 1,024 characters in Azure.
const LONGEST_KEY: usize = 1024;
/// The longest name of a part. Its number has ten digits, its attempt four.
const LONGEST_PART: &str = "part-0123456789-01234567-0123.jsonl.zst";
/// The longest name of a control object: the journal of that part.
const LONGEST_CONTROL: &str = "upload-part-0123456789-01234567-0123+jsonl+zst";

/// The path of the part of this group of pages in this folder. The token belongs to the run. Attempts count from 0: the
/// first one is not in the name. Each attempt needs its own name, because in Azure the uploads to a name are not
/// separate.
pub(super) fn part_name(
    (group, folder): (usize, &str),
    token: &str,
    attempt: usize,
    extension: &str,
) -> String {
    let name = match attempt {
        0 => format!("part-{group:05}-{token}.{extension}"),
        _ => format!("part-{group:05}-{token}-{attempt}.{extension}"),
    };
    joined(folder, &name)
}

/// The path of a part as it is in the names of control objects.
pub(super) fn flat(path: &str) -> String {
    path.replace('/', "=")
}

/// The name of the object that begins a publication.
pub(super) fn commit_name(token: &str) -> String {
    format!("commit-{token}.state")
}

/// The name of the record of a range of this plan.
pub(super) fn range_name(range: u32, attempt: u32, plan: &str) -> String {
    format!("range-{range:05}-{attempt}-{plan}.state")
}

/// Whether a worker gives this name to the record of a range.
pub(super) fn is_range_name(name: &str) -> bool {
    let stem = name.strip_prefix("range-").and_then(|rest| rest.strip_suffix(".state"));
    let mut parts = stem.into_iter().flat_map(|stem| stem.split('-'));
    let (range, attempt, plan) = (parts.next(), parts.next(), parts.next());
    range.is_some_and(is_number)
        && attempt.is_some_and(is_number)
        && plan.is_some_and(is_token)
        && parts.next().is_none()
}

/// The name of the trial object next to a record with this name.
pub(super) fn trial_name(record: &str, token: &str) -> String {
    format!("_{record}.{token}")
}

/// The token of the run with this lease.
pub(super) fn leased_token(name: &str) -> Option<&str> {
    name.strip_prefix("lease-").filter(|token| is_token(token))
}

/// Whether a run gives this name to an object in its control folder.
pub(super) fn is_control_name(name: &str) -> bool {
    let after = |start| name.strip_prefix(start);
    name == HEADER
        || name == PLAN
        || is_range_name(name)
        || after("run-").is_some_and(is_token)
        || leased_token(name).is_some()
        || is_commit_name(name)
        || is_upload_name(name)
        || name.strip_suffix(".state").is_some_and(is_stem)
        || after("lock-").and_then(|rest| rest.strip_suffix(".state")).is_some_and(is_number)
        || is_ids_name(name)
}

/// Whether a run gives this name to the object that begins a publication.
pub(super) fn is_commit_name(name: &str) -> bool {
    let token = name.strip_prefix("commit-").and_then(|rest| rest.strip_suffix(".state"));
    token.is_some_and(is_token)
}

/// Whether a run gives this name to the journal of an upload.
pub(super) fn is_upload_name(name: &str) -> bool {
    is_object_upload_name(name)
        || uploaded_name(name).is_some_and(|of| is_part_path(&of) || is_ids_name(&of))
}

/// Whether a run to a single object gives this name to the journal of its upload.
pub(super) fn is_object_upload_name(name: &str) -> bool {
    name.strip_prefix("upload-").is_some_and(is_token)
}

/// The name of the journal of the upload of a part or of its ids. It does not end like a part: a glob such as
/// `**/*.parquet` must not find it.
pub(super) fn journal_name(of: &str) -> String {
    format!("upload-{}", flat(of).replace('.', "+"))
}

/// The name of the part or of the ids whose upload has this journal.
pub(super) fn uploaded_name(journal: &str) -> Option<String> {
    let of = journal.strip_prefix("upload-")?;
    (!of.contains(['.', '/'])).then(|| of.replace('+', ".").replace('=', "/"))
}

/// Whether a run gives this name to the ids of a part.
pub(super) fn is_ids_name(name: &str) -> bool {
    name.starts_with("ids-")
        && is_part_name(&format!("{}.arrow", name.replacen("ids-", "part-", 1)))
}

/// Whether the text is the path of a part without its extension, as control objects have it.
fn is_stem(text: &str) -> bool {
    !text.contains('/') && is_part_path(&format!("{}.arrow", text.replace('=', "/")))
}

/// Returns the folder of the part that a control object belongs to; `None` if it is none of a part in a folder.
pub(super) fn folder_of_control(name: &str) -> Option<String> {
    let path = match uploaded_name(name) {
        Some(path) => path,
        None => name.strip_suffix(".state")?.replace('=', "/"),
    };
    let (folder, _) = path.rsplit_once('/')?;
    is_folder(folder).then(|| folder.to_owned())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Refuses a prefix if the name of a part or of a control object would be too long for a store.
pub(super) fn check_prefix_length(
    target: &Remote,
    control: &Remote,
    layout: &PartLayout,
) -> Result<()> {
    let folders = layout.folders();
    let folder = folders.iter().max_by_key(|folder| folder.len()).copied().unwrap_or_default();
    let control_name = flat(&joined(folder, LONGEST_CONTROL));
    let longest = [control.child(&control_name), target.child(&joined(folder, LONGEST_PART))];
    longest.iter().try_for_each(|place| check_length(target, place))
}

/// Refuses an object if one of its derived names would be too long for a store.
pub(super) fn check_object_length(target: &Remote, derived: &[&Remote]) -> Result<()> {
    derived.iter().try_for_each(|place| check_length(target, place))
}

fn check_length(target: &Remote, longest: &Remote) -> Result<()> {
    let length = longest.path().as_ref().len();
    if length <= LONGEST_KEY {
        return Ok(());
    }
    Err(Error::Output {
        path: target.to_string().into(),
        why: format!(
            "is too long: a name that the export needs there has {length} bytes, and stores allow \
             {LONGEST_KEY}"
        ),
        hint: Some("give a shorter URL"),
        source: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_names_are_recognized() {
        for name in [
            "header.state",
            "plan.state",
            "range-00003-0-0a1b2c3d4e5f6071.state",
            "commit-0a1b2c3d.state",
            "run-0a1b2c3d",
            "lease-0a1b2c3d",
            "lock-00001.state",
            "part-00000-0a1b2c3d.state",
            "part-00000-0a1b2c3d-1.state",
            "ids-00000-0a1b2c3d",
            "upload-0a1b2c3d",
            "upload-part-00000-0a1b2c3d+jsonl+zst",
            "upload-ids-00000-0a1b2c3d",
            "train=part-00000-0a1b2c3d.state",
            "data=train=part-00000-0a1b2c3d-1.state",
            "upload-train=part-00000-0a1b2c3d+jsonl+zst",
        ] {
            assert!(is_control_name(name), "{name}");
        }
        for name in [
            "thesis",
            "notes.json",
            "run-",
            "range-00003-0.state",
            "range-00003-0-0a-1.state",
            "range-x-0-0a.state",
            "run-x y",
            "commit-x.state",
            "commit-0a1b2c3d",
            "lock-.state",
            "lock-1",
            "part-00000-0a1b2c3d",
            "ids-0",
            "ids-00000-0a1b2c3d.txt",
            "upload-notes.txt",
            "upload-notes",
            "upload-part-00000-0a1b2c3d.jsonl.zst",
            "upload-",
            "=part-00000-0a1b2c3d.state",
            "a=b=c=part-00000-0a1b2c3d.state",
            "train=ids-00000-0a1b2c3d",
            "upload-train=ids-00000-0a1b2c3d",
            "upload-train/part-00000-0a1b2c3d+jsonl+zst",
        ] {
            assert!(!is_control_name(name), "{name}");
        }
    }

    #[test]
    fn journals_name_parts_in_folders() {
        for path in ["train/part-00000-0a.jsonl.zst", "part-00000-0a.csv", "ids-00000-0a"] {
            assert_eq!(uploaded_name(&journal_name(path)).as_deref(), Some(path));
        }
        let folder = |name: &str| folder_of_control(name);
        assert_eq!(folder("data=train=part-00000-0a.state").as_deref(), Some("data/train"));
        assert_eq!(folder("upload-test=part-00000-0a+csv").as_deref(), Some("test"));
        assert_eq!([folder("part-00000-0a.state"), folder("run-0a")], [None, None]);
    }

    #[test]
    fn too_long_prefixes_are_refused() {
        let place = |length| Remote::in_memory(&"x".repeat(length));
        let check = |prefix: usize, control: usize| {
            let layout = PartLayout::default();
            let checked = check_prefix_length(&place(prefix), &place(control), &layout);
            checked.map_err(|error| error.to_string())
        };
        let longest = |name: &str| 1024 - 1 - name.len();
        let (prefix, control) = (longest(LONGEST_PART), longest(LONGEST_CONTROL));
        check(prefix, control).unwrap();
        for (prefix, control) in [(prefix + 1, control), (prefix, control + 1)] {
            let error = check(prefix, control).unwrap_err();
            assert!(error.contains("has 1025 bytes, and stores allow 1024"), "{error}");
        }
    }
}
