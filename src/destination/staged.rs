//! The staging folder of a directory, protected by its lock: the parts of an interrupted run, the parts of
//! this run, and the check that no part was changed since it was written.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs::File,
    io,
    path::Path,
};

use super::{
    Header, KeptPart, MOVES, PartFile, fs as disk,
    journal::Journal,
    ownership::{self, FileOwner},
    part::{Closed, PartChecksum},
};
use crate::{
    error::{Error, Result},
    files::{FileKind, FileStatus, Folder},
    proof::Digest,
    record::{
        layout::{PartLayout, folder_and_name, folders_of, with_parents},
        manifest::{Manifest, Part, is_desktop_file},
    },
    text::grouped,
};

const LOCK: &str = "lock";
/// The folder of drafts.
pub(super) const DRAFTS: &str = "drafts";

#[derive(Debug)]
pub(super) struct StagedDirectory {
    lock: File,
    name: OsString,
    pub(super) root: Folder,
    data: Option<Folder>,
    ids: Option<Folder>,
    /// The drafts of the parts, if the parts are written from drafts. The journal then lists the drafts.
    drafts: Option<Folder>,
    pub(super) journal: Option<Journal>,
    /// Number of parts in the journal.
    pub(super) parts: usize,
    /// The parts, by file name.
    pub(super) written: BTreeMap<String, WrittenPart>,
}

/// What a run does with the content of a staging folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StagingUse {
    Continue,
    /// No link is followed, so it does not matter who made the content.
    Remove,
}

/// A finished part, or one that is being written.
#[derive(Debug)]
pub(super) enum WrittenPart {
    ByThisRun(PartFile),
    /// An earlier run wrote it, and this run has compared its bytes with the journal.
    Before(Closed),
}

impl StagedDirectory {
    /// Takes the lock of a staging folder of this user, and checks what is in it; `None` if there is none.
    pub(super) fn take(
        parent: &Folder,
        name: &OsStr,
        maker: FileOwner,
        given: &Path,
    ) -> Result<Option<Self>> {
        Self::take_for(parent, name, maker, given, StagingUse::Continue)
    }

    /// Takes the lock like [`take`](Self::take). A caller that removes the content does not check it.
    pub(super) fn take_for(
        parent: &Folder,
        name: &OsStr,
        maker: FileOwner,
        given: &Path,
        purpose: StagingUse,
    ) -> Result<Option<Self>> {
        let root = match parent.open_folder(name) {
            Ok(root) => root,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                // If it is not a folder, an error that names its kind is more helpful.
                ownership::check_staging(parent, name, FileKind::Directory, maker, given)?;
                return Err(Error::io("open", parent.path().join(name))(error));
            }
        };
        ownership::check_staging(parent, name, FileKind::Directory, maker, given)?;
        if purpose == StagingUse::Continue {
            ownership::check_staged(&root, maker, given)?;
        }
        let lock = disk::lock(&root, OsStr::new(LOCK), given)?;
        let staged = Self {
            lock,
            name: name.to_owned(),
            root,
            data: None,
            ids: None,
            drafts: None,
            journal: None,
            parts: 0,
            written: BTreeMap::new(),
        };
        // The name must still refer to the folder that was checked and locked.
        if staged.is_same_file(parent) { Ok(Some(staged)) } else { Err(disk::lock_lost(given)) }
    }

    /// Whether the names of the folder and of its lock still refer to the open ones.
    pub(super) fn is_same_file(&self, parent: &Folder) -> bool {
        self.root.is_at(parent, &self.name) && disk::is_same_file(&self.lock, &self.root, LOCK)
    }

    /// Whether the directories that were opened in it still have their names: parts are written through the
    /// handles, and published by name.
    pub(super) fn has_its_folders(&self) -> bool {
        let folders = [("data", &self.data), ("ids", &self.ids), (DRAFTS, &self.drafts)];
        let is_there = |(name, folder): (&str, &Option<Folder>)| {
            folder.as_ref().is_none_or(|folder| folder.is_at(&self.root, name))
        };
        folders.into_iter().all(is_there)
    }

    /// Whether the directory of this name is the one that the parts were written to.
    pub(super) fn has_published(&self, parent: &Folder, name: &OsStr) -> bool {
        self.data.as_ref().is_some_and(|data| data.is_at(parent, name))
    }

    /// Uses the parts of an ended run.
    pub(super) fn reopen(&mut self, data: Folder) {
        self.data = Some(data);
    }

    pub(super) fn data(&self) -> Result<&Folder> {
        self.data.as_ref().ok_or_else(disk::not_open)
    }

    pub(super) fn ids(&self) -> Result<&Folder> {
        self.ids.as_ref().ok_or_else(disk::not_open)
    }

    pub(super) fn drafts(&self) -> Result<&Folder> {
        self.drafts.as_ref().ok_or_else(disk::not_open)
    }

    /// Returns the longest sequence of parts, from the first, whose files match the journal. `in_drafts` says whether
    /// these are drafts.
    ///
    /// A group of pages has a part in each folder of the layout, and one file of ids.
    pub(super) fn intact_parts(
        &mut self,
        parts: Vec<KeptPart>,
        layout: &PartLayout,
        in_drafts: bool,
    ) -> Vec<KeptPart> {
        let folder = if in_drafts { DRAFTS } else { "data" };
        let (Ok(data), Ok(ids)) = (self.root.open_folder(folder), self.root.open_folder("ids"))
        else {
            return Vec::new();
        };
        let mut whole: Vec<KeptPart> = Vec::new();
        for (index, mut kept) in parts.into_iter().enumerate() {
            let part = &kept.part;
            let (group, folder) = layout.place(index);
            let name = group.to_string();
            if !is_in_turn(part, (group, folder), whole.last(), index % layout.width() == 0) {
                break;
            }
            // Compare sizes first: reading a large part takes seconds.
            let length = |folder: &Folder, name: &str| Some(folder.find_below(name).ok()??.size);
            let lengths = (length(&data, &part.path), length(&ids, &name));
            if lengths != (Some(part.bytes), kept.ids_size())
                || part.digest.parse::<Digest>().is_err()
            {
                break;
            }
            let checksum = PartChecksum::Sha256(part.sha256.clone());
            let status = data.read_below(&part.path).and_then(|mut file| {
                let status = FileStatus::of(&file)?;
                Ok(checksum.matches(&mut file)?.then_some(status))
            });
            let Ok(Some(status)) = status else { break };
            let ids_checksum = kept.ids_sha256.clone().map(PartChecksum::Sha256);
            let are_ids_intact = ids_checksum.is_some_and(|checksum| {
                let found = ids.read(&name).and_then(|mut file| checksum.matches(&mut file));
                found.unwrap_or(false)
            });
            if !are_ids_intact {
                break;
            }
            let closed = Closed { bytes: part.bytes, checksum, status: Some(status) };
            if !in_drafts {
                self.written.insert(part.path.clone(), WrittenPart::Before(closed));
            }
            kept.ids = ids.path().join(name);
            whole.push(kept);
        }
        // Pages without all of their parts are read again.
        whole.truncate(whole.len() / layout.width() * layout.width());
        whole
    }

    /// Keeps the files of these parts, removes all others, and opens the journal. `in_drafts` says whether they are
    /// drafts.
    pub(super) fn start(
        &mut self,
        header: &Header,
        kept: &[KeptPart],
        layout: &PartLayout,
        in_drafts: bool,
    ) -> Result<()> {
        let names: BTreeSet<&str> = kept.iter().map(|kept| kept.part.path.as_str()).collect();
        let groups = kept.len() / layout.width();
        let ids: BTreeSet<String> = (0..groups).map(|group| group.to_string()).collect();
        self.written.retain(|name, _| names.contains(name.as_str()));
        let no_names = BTreeSet::new();
        let in_data = if in_drafts { &no_names } else { &names };
        self.data = Some(cleared(&self.root, "data", in_data)?);
        self.ids = Some(cleared(&self.root, "ids", &ids.iter().map(String::as_str).collect())?);
        let path = self.root.path();
        self.drafts = match in_drafts {
            true => Some(cleared(&self.root, DRAFTS, &names)?),
            false => {
                let failed = Error::io("remove", path.join(DRAFTS));
                self.root.remove_all(DRAFTS).map_err(failed)?;
                None
            }
        };
        self.root.remove_all("old").map_err(Error::io("remove", path.join("old")))?;
        // Otherwise `abort` would take the parts of this run for those of a commit that was killed.
        self.root.remove_all(MOVES).map_err(Error::io("remove", path.join(MOVES)))?;
        let reusable = Journal::read(&self.root)
            .is_some_and(|it| it.is_whole && !kept.is_empty() && it.parts.len() == kept.len());
        let journal = if reusable {
            Journal::reopen(&self.root)?
        } else {
            let mut journal = Journal::create(&self.root, header)?;
            for kept in kept {
                journal.append(kept)?;
            }
            journal
        };
        self.journal = Some(journal);
        self.parts = kept.len();
        self.root.sync().map_err(Error::io("sync", path))
    }

    /// Checks that no part was changed since it was finished, and that no other file was added.
    ///
    /// # Errors
    /// [`Error::PartChanged`] for the first part that differs, or for the first added file.
    pub(super) fn check_parts(&self, manifest: &Manifest) -> Result<()> {
        let data = self.data()?;
        for part in &manifest.parts {
            let closed = match self.written.get(&part.path) {
                Some(WrittenPart::ByThisRun(file)) => file.closed(),
                Some(WrittenPart::Before(closed)) => Some(closed.clone()),
                None => None,
            };
            let closed = closed.ok_or_else(disk::not_open)?;
            let (inner, name) = folder_and_name(&part.path);
            let folder = data.open_below(inner).map_err(|error| Error::PartChanged {
                path: data.path().join(&part.path),
                why: format!("cannot be found: {error}"),
            })?;
            check_unchanged(&folder, OsStr::new(name), &closed)?;
        }
        let paths = data.paths(&folders_of(manifest));
        let listed = |path: &str| manifest.parts.iter().any(|part| part.path == path);
        let left_by_desktop = |path: &str, found: &FileStatus| {
            is_desktop_file(folder_and_name(path).1) && found.kind == FileKind::File
        };
        let paths = paths.map_err(Error::io("list", data.path()))?;
        let mut paths = paths.iter();
        match paths.find(|(path, found)| !listed(path) && !left_by_desktop(path, found)) {
            None => Ok(()),
            Some((path, _)) => {
                let why = "was put there by another program".to_owned();
                Err(Error::PartChanged { path: data.path().join(path), why })
            }
        }
    }

    /// Removes the staging folder, if its name still refers to it.
    pub(super) fn remove(self, parent: &Folder) -> io::Result<()> {
        if !self.is_same_file(parent) {
            return Ok(());
        }
        // The lock goes last: it keeps other runs out until then.
        for name in self.root.names()? {
            if name != LOCK {
                self.root.remove_all(name)?;
            }
        }
        self.root.remove(LOCK)?;
        parent.remove_folder(&self.name)
    }
}

/// Compares a finished file with its state at the moment it was closed. If only its inode or its time
/// differs, its bytes are read and compared: copying a folder away and back changes those two.
///
/// # Errors
/// [`Error::PartChanged`] when the file is missing or its content differs.
pub(super) fn check_unchanged(folder: &Folder, name: &OsStr, closed: &Closed) -> Result<()> {
    let path = folder.path().join(name);
    let changed = |why: String| Err(Error::PartChanged { path: path.clone(), why });
    let found = folder.find(name).map_err(Error::io("look at", &path))?;
    let Some(found) = found else { return changed("is no longer there".to_owned()) };
    if found.kind != FileKind::File {
        return changed(format!("is {} now", found.kind.noun()));
    }
    if found.size != closed.bytes {
        return changed(format!(
            "has {} bytes now, and {} were written",
            grouped(found.size),
            grouped(closed.bytes)
        ));
    }
    let same =
        |then: FileStatus| (then.identity, then.modified) == (found.identity, found.modified);
    if closed.status.is_some_and(same) {
        return Ok(());
    }
    let matches = folder.read(name).and_then(|mut file| closed.checksum.matches(&mut file));
    match matches.map_err(Error::io("read", &path))? {
        true => Ok(()),
        false => changed("no longer holds the bytes that were written".to_owned()),
    }
}

/// Whether a part of the journal is the one of this group and folder, and its pages follow those of the part before. Another
/// program may have changed the order of the lines.
fn is_in_turn(
    part: &Part,
    (group, folder): (usize, &str),
    before: Option<&KeptPart>,
    begins_group: bool,
) -> bool {
    let (own, name) = folder_and_name(&part.path);
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    let follows = before.is_none_or(|KeptPart { part: before, .. }| match begins_group {
        true => before.last_page.checked_add(1) == Some(part.first_page),
        false => (before.first_page, before.last_page) == (part.first_page, part.last_page),
    });
    own == folder && stem == format!("part-{group:05}") && follows
}

/// Opens a directory, creates it if it is missing, and removes everything that does not have one of these paths.
pub(super) fn cleared(root: &Folder, name: &str, keep: &BTreeSet<&str>) -> Result<Folder> {
    let path = root.path().join(name);
    match root.make(name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::io("make", &path)(error));
        }
        _ => {}
    }
    let folder = root.open_folder(name).map_err(Error::io("open", &path))?;
    let folders = with_parents(keep.iter().map(|path| folder_and_name(path).0));
    for (path, _) in folder.paths(&folders).map_err(Error::io("list", &path))? {
        if !keep.contains(path.as_str()) {
            let (inner, name) = folder_and_name(&path);
            let removed = folder.open_below(inner).and_then(|folder| folder.remove_all(name));
            removed.map_err(Error::io("remove", folder.path().join(&path)))?;
        }
    }
    Ok(folder)
}
