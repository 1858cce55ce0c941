//! A directory of parts: staged in `.NAME.partial/`, continued after a kill, swapped in whole.
//!
//! ```text
//! .NAME.partial/lock            held by the run that writes
//!               journal.jsonl   the plan, then a line for each finished part
//!               ids/0           the ids of a part, 16 bytes each, for the proof
//!               data/           what will be NAME: parts, then _manifest.json, then _SUCCESS
//! ```

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{
    Header, Interrupted, Kept, PartFile, fs as disk, journal::Journal, parent, part::examine,
    tidied,
};
use crate::{
    error::{Error, Result},
    manifest::{MANIFEST, Manifest, Part, SUCCESS},
    proof::Digest,
};

#[derive(Debug)]
pub(crate) struct Directory {
    /// As it was given, for messages.
    given: PathBuf,
    target: PathBuf,
    overwrite: bool,
    staged: Option<Staged>,
}

#[derive(Debug)]
struct Staged {
    _lock: File,
    root: PathBuf,
    journal: Option<Journal>,
    parts: usize,
}

pub(super) fn part_name(index: usize, extension: &str) -> String {
    format!("part-{index:05}.{extension}")
}

pub(super) fn interrupted(target: &Path) -> Option<Interrupted> {
    let journal = disk::staging_path(target).join("journal.jsonl");
    let (header, parts) = Journal::read(&journal)?;
    Some(Interrupted { plan: header.plan, parts: parts.len() })
}

impl Directory {
    pub(super) fn probe(given: &Path, overwrite: bool) -> Result<Self> {
        // A link to a directory is followed: what it names is replaced, not the link.
        let target = given.canonicalize().unwrap_or_else(|_| given.components().collect());
        disk::check_parent(&target)?;
        let directory = Self { given: given.to_owned(), target, overwrite, staged: None };
        directory.check_target()?;
        disk::check_unlocked(&disk::staging_path(&directory.target).join("lock"), given)?;
        Ok(directory)
    }

    /// Refuses a target that must not be replaced.
    fn check_target(&self) -> Result<()> {
        let refuse = |why: &str, hint| {
            let (path, why) = (self.given.clone(), why.to_owned());
            Err(Error::Output { path, why, hint: Some(hint), source: None })
        };
        if self.target.symlink_metadata().is_err() {
            return Ok(());
        }
        if !self.target.is_dir() {
            return refuse(
                "exists and is not a directory",
                "a path without a known extension is a directory of parts: give another path, or \
                 one that ends in .parquet, .arrow or .jsonl",
            );
        }
        if disk::is_mount_point(&self.target) {
            return refuse(
                "is a mount point, which cannot be replaced in one step",
                "export to a directory inside it",
            );
        }
        let entries = entries(&self.target).map_err(Error::io("list", &self.target))?;
        if entries.is_empty() {
            return Ok(());
        }
        if !self.overwrite {
            return Err(exists(self.given.clone()));
        }
        let Ok(manifest) = Manifest::read(&self.target.join(MANIFEST)) else {
            return refuse(
                "is not an export: it has no manifest of ours",
                "only an empty directory or an earlier export is replaced; give another path",
            );
        };
        let ours: BTreeSet<&str> = manifest
            .parts
            .iter()
            .map(|part| part.path.as_str())
            .chain([MANIFEST, SUCCESS])
            .collect();
        match entries.iter().find(|name| !ours.contains(name.as_str())) {
            None => Ok(()),
            Some(name) => Err(Error::Output {
                path: self.given.clone(),
                why: format!("holds {name:?}, which its manifest does not list"),
                hint: Some(
                    "only what an export wrote is replaced: move the file, or give another path",
                ),
                source: None,
            }),
        }
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.staged.is_none() && !disk::staging_path(&self.target).exists()
    }

    pub(super) fn resume(&mut self, header: &Header, restart: bool) -> Result<Vec<Kept>> {
        if self.is_fresh() {
            return Ok(Vec::new());
        }
        let root = disk::staging_path(&self.target);
        let mut staged = match self.staged.take() {
            Some(staged) => staged,
            None => Staged {
                _lock: disk::lock(&root.join("lock"), &self.given)?,
                root,
                journal: None,
                parts: 0,
            },
        };
        let mut kept = Vec::new();
        if !restart && let Some((then, parts)) = Journal::read(&staged.journal_path()) {
            if let Some(difference) = then.difference(header).filter(|_| !parts.is_empty()) {
                return Err(Error::Output {
                    path: self.given.clone(),
                    why: format!("an interrupted export to it cannot be continued: {difference}"),
                    hint: Some("give --restart to drop what it left and start again"),
                    source: None,
                });
            }
            kept = staged.still_whole(parts);
        }
        staged.start(header, &kept)?;
        self.staged = Some(staged);
        Ok(kept)
    }

    pub(super) fn open(&mut self, header: &Header) -> Result<()> {
        if self.staged.is_some() {
            return Ok(());
        }
        let root = disk::staging_path(&self.target);
        match fs::create_dir(&root) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(disk::cannot_create(&self.given, error));
            }
            _ => {}
        }
        let lock = disk::lock(&root.join("lock"), &self.given)?;
        let mut staged = Staged { _lock: lock, root, journal: None, parts: 0 };
        staged.start(header, &[])?;
        self.staged = Some(staged);
        Ok(())
    }

    pub(super) fn create(&mut self, index: usize, extension: &str) -> Result<PartFile> {
        let name = part_name(index, extension);
        let path = self.staged()?.data().join(&name);
        let file = File::create(&path).map_err(Error::io("write", &path))?;
        Ok(PartFile::new(&self.target.join(name), file))
    }

    /// A new file for the ids of the part with this index, 16 bytes each.
    pub(super) fn create_ids(&mut self, index: usize) -> Result<PartFile> {
        let path = self.staged()?.ids(index);
        let file = File::create(&path).map_err(Error::io("write", &path))?;
        Ok(PartFile::new(&path, file))
    }

    pub(super) fn keep(
        &mut self,
        part: &Part,
        has_next: bool,
        last_order: Option<i64>,
    ) -> Result<()> {
        let staged = self.staged()?;
        // The names must outlive a power failure before the journal says that they are there.
        disk::sync_directory(&staged.data())?;
        disk::sync_directory(&staged.root.join("ids"))?;
        let kept = Kept { part: part.clone(), has_next, last_order, ids: PathBuf::new() };
        if let Some(journal) = &mut staged.journal {
            journal.append(&kept)?;
        }
        staged.parts += 1;
        Ok(())
    }

    pub(super) fn publish(mut self, manifest: &Manifest) -> Result<()> {
        // Somebody may have put something there in the meantime.
        self.check_target()?;
        self.appear(manifest)
    }

    fn appear(&mut self, manifest: &Manifest) -> Result<()> {
        let (target, overwrite, given) = (self.target.clone(), self.overwrite, self.given.clone());
        let staged = self.staged()?;
        let data = staged.data();
        for (name, bytes) in [(MANIFEST, manifest.to_json()?), (SUCCESS, Vec::new())] {
            let path = data.join(name);
            disk::write_durably(&path, &bytes).map_err(Error::io("write", &path))?;
            disk::sync_directory(&data)?;
        }
        // A rename replaces an empty directory and fails on any other.
        let published = match fs::rename(&data, &target) {
            Err(error) if is_not_empty(&error) && !overwrite => return Err(exists(given)),
            Err(error) if is_not_empty(&error) => {
                disk::swap(&data, &target, &staged.root.join("old"))
            }
            result => result,
        };
        published.map_err(Error::io("rename to", &target))?;
        disk::sync_directory(parent(&target))?;
        // First of all: what stays if the rest cannot be removed is no interrupted run.
        drop(fs::remove_file(staged.journal_path()));
        let removed = fs::remove_dir_all(&staged.root).map_err(Error::io("remove", &staged.root));
        tidied(given.display(), removed);
        Ok(())
    }

    pub(super) fn abandon(self) -> usize {
        let Some(staged) = self.staged else { return 0 };
        if staged.parts == 0 {
            // Best effort: the next run takes over whatever stays.
            drop(fs::remove_dir_all(&staged.root));
        }
        staged.parts
    }

    pub(super) fn forget(&mut self) -> Result<()> {
        if let Some(staged) = &mut self.staged {
            // The journal goes first: without it nothing else will be taken for a finished part.
            let path = staged.journal_path();
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            staged.parts = 0;
        }
        Ok(())
    }

    fn staged(&mut self) -> Result<&mut Staged> {
        let missing = || Error::Internal("the output was not opened".to_owned());
        self.staged.as_mut().ok_or_else(missing)
    }
}

impl Staged {
    fn journal_path(&self) -> PathBuf {
        self.root.join("journal.jsonl")
    }

    fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn ids(&self, index: usize) -> PathBuf {
        self.root.join("ids").join(index.to_string())
    }

    /// The parts, from the first, whose files are what the journal says.
    fn still_whole(&self, parts: Vec<Kept>) -> Vec<Kept> {
        let whole = |(index, mut kept): (usize, Kept)| {
            kept.ids = self.ids(index);
            let path = self.data().join(&kept.part.path);
            let length = |path: &Path| fs::metadata(path).map(|file| file.len()).ok();
            let lengths = (length(&path)?, length(&kept.ids)?);
            // Cheap things first: to read all of a large part takes seconds.
            (lengths == (kept.part.bytes, 16 * kept.part.rows)
                && kept.part.digest.parse::<Digest>().is_ok()
                && examine(&mut File::open(&path).ok()?).ok()?.sha256 == kept.part.sha256)
                .then_some(kept)
        };
        parts.into_iter().enumerate().map_while(whole).collect()
    }

    /// Keeps the files of these parts, drops all others, and opens the journal.
    fn start(&mut self, header: &Header, kept: &[Kept]) -> Result<()> {
        let names: BTreeSet<&str> = kept.iter().map(|kept| kept.part.path.as_str()).collect();
        let indices: BTreeSet<String> = (0..kept.len()).map(|index| index.to_string()).collect();
        clear(&self.data(), |name| names.contains(name))?;
        clear(&self.root.join("ids"), |name| indices.contains(name))?;
        drop(fs::remove_dir_all(self.root.join("old")));
        let path = self.journal_path();
        let lines = Journal::read(&path).map_or(usize::MAX, |(_, parts)| parts.len());
        let journal = if !kept.is_empty() && lines == kept.len() && ends_whole(&path) {
            Journal::reopen(&path)?
        } else {
            let mut journal = Journal::create(&path, header)?;
            for kept in kept {
                journal.append(kept)?;
            }
            journal
        };
        self.journal = Some(journal);
        self.parts = kept.len();
        disk::sync_directory(&self.root)
    }
}

fn exists(path: PathBuf) -> Error {
    Error::Output {
        path,
        why: "exists already and is not empty".to_owned(),
        hint: Some("give --overwrite to replace an export, or another path"),
        source: None,
    }
}

fn ends_whole(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.ends_with(b"\n"))
}

/// Makes the directory if need be and removes all that is not to be kept.
fn clear(path: &Path, keep: impl Fn(&str) -> bool) -> Result<()> {
    match fs::create_dir(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::io("make", path)(error)),
    }
    for name in entries(path).map_err(Error::io("list", path))? {
        if !keep(&name) {
            let path = path.join(name);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

fn entries(path: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn is_not_empty(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::Query,
        manifest::{Completeness, Tool},
        sink::Format,
    };

    fn empty_export() -> Manifest {
        Manifest {
            format_version: 1,
            tool: Tool::this(),
            base_url: String::new(),
            dataset: uuid::Uuid::nil(),
            query: Query::default(),
            started_at: String::new(),
            finished_at: String::new(),
            completeness: Completeness::Proven,
            count: 0,
            pages: 1,
            page_size: 0,
            rows: 0,
            columns: Vec::new(),
            format: Format::JsonLines,
            compression: String::new(),
            digest: String::new(),
            snapshot: None,
            parts: Vec::new(),
        }
    }

    #[test]
    fn what_fills_after_the_last_look_is_swapped_only_where_overwriting_was_asked_for() {
        let header = Header { plan: serde_json::Value::Null, count: 0, started_at: String::new() };
        for overwrite in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("rows");
            let mut directory = Directory::probe(&target, overwrite).unwrap();
            directory.open(&header).unwrap();
            fs::create_dir(&target).unwrap();
            fs::write(target.join("theirs"), "x").unwrap();
            let appeared = directory.appear(&empty_export());
            if overwrite {
                appeared.unwrap();
                assert!(target.join(SUCCESS).exists() && !target.join("theirs").exists());
            } else {
                let why = appeared.unwrap_err().to_string();
                assert!(why.ends_with("rows: exists already and is not empty"), "{why}");
                assert!(target.join("theirs").exists() && !target.join(SUCCESS).exists());
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_tidied_up_does_not_undo_an_export() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("rows");
        let header = Header { plan: serde_json::Value::Null, count: 0, started_at: String::new() };
        let mut directory = Directory::probe(&target, false).unwrap();
        directory.open(&header).unwrap();
        // A name that all can be done with but to remove it.
        let staged = directory.staged.as_mut().unwrap();
        staged.root.push(".");
        let root = staged.root.clone();
        directory.publish(&empty_export()).unwrap();
        assert!(target.join(SUCCESS).exists());
        assert!(root.exists(), "it was removed");
    }
}
