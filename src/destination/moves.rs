//! The moves of a commit: from the folders of the workers to the folder that is published.
//!
//! The file with the moves exists from the first move until the staging is removed. So it shows that a commit has begun to
//! publish. If that commit was killed, the next one moves the parts back, and then begins like the first one: it may find
//! another record of a range, or a part that is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
};

use serde::{Deserialize, Serialize};

use super::{
    MOVES, RANGES, journal::Journal, opened, part::Closed, publication::step, sealed,
    staged::cleared,
};
use crate::{
    error::{Error, Result},
    files::{FileKind, Folder},
    record::layout::{folder_and_name, is_part_path},
};

/// A part of a range, and the path that it gets.
#[derive(Debug)]
pub(crate) struct GatheredPart {
    /// Path in the folder of the ranges.
    pub(super) staged: String,
    pub(super) path: String,
    pub(super) closed: Closed,
}

#[derive(Debug, Serialize, Deserialize)]
struct Moves {
    moves: Vec<MovedPart>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MovedPart {
    /// Path in the folder of the ranges.
    from: String,
    /// Path in the folder that is published.
    to: String,
}

impl MovedPart {
    /// Whether a commit moves parts between such places.
    fn is_sound(&self) -> bool {
        let part = self.from.split_once('/');
        let is_attempt = |name: &str| {
            !name.is_empty() && name.bytes().all(|it| it.is_ascii_hexdigit() || it == b'-')
        };
        part.is_some_and(|(attempt, path)| is_attempt(attempt) && is_part_path(path))
            && is_part_path(&self.to)
    }
}

/// Notes the moves durably, and moves the parts. Returns the folder with the parts.
pub(super) fn begin(root: &Folder, parts: &[GatheredPart]) -> Result<Folder> {
    let moves =
        parts.iter().map(|part| MovedPart { from: part.staged.clone(), to: part.path.clone() });
    let moves = Moves { moves: moves.collect() };
    let json = sealed(&moves)?;
    let data = cleared(root, "data", &BTreeSet::new())?;
    let noted = root.write_durably(MOVES, &json).and_then(|()| root.sync());
    noted.map_err(Error::io("write", root.path().join(MOVES)))?;
    for MovedPart { from, to } in &moves.moves {
        step()?;
        let (folder, new) = folder_and_name(to);
        let moved = data.make_below(folder).and_then(|to| rename(root, from, &to, new));
        moved.map_err(Error::io("rename", root.path().join(RANGES).join(from)))?;
    }
    Ok(data)
}

fn rename(root: &Folder, from: &str, to: &Folder, new: &str) -> io::Result<()> {
    let (folder, name) = folder_and_name(from);
    root.open_below(&format!("{RANGES}/{folder}"))?.rename(name, to, new)
}

/// Whether a commit has begun to move parts in this staging folder.
pub(super) fn has_begun(root: &Folder) -> io::Result<bool> {
    Ok(root.find(MOVES)?.is_some())
}

/// Moves the parts of a killed commit back to the folders of their workers.
pub(super) fn undo(root: &Folder) -> Result<()> {
    let failed = |error| Error::io("move back the parts in", root.path())(error);
    if !has_begun(root).map_err(failed)? {
        return Ok(());
    }
    // Without the journal, the folder with the parts does not count as announced.
    root.remove(Journal::NAME).map_err(failed)?;
    // If the file was changed, the parts count as lost: the commit names their ranges.
    for part in &noted(root).map_err(failed)? {
        step()?;
        move_back(root, part).map_err(failed)?;
    }
    root.remove_all(MOVES).and_then(|()| root.sync()).map_err(failed)
}

/// Returns where a commit has moved each part: from a path in the folder of the ranges, to one in the folder that is
/// published. Empty if no commit has begun, or if the file was changed.
pub(super) fn moved(root: &Folder) -> io::Result<BTreeMap<String, String>> {
    Ok(noted(root)?.into_iter().map(|part| (part.from, part.to)).collect())
}

fn noted(root: &Folder) -> io::Result<Vec<MovedPart>> {
    let is_file = root.find(MOVES)?.is_some_and(|found| found.kind == FileKind::File);
    let mut json = Vec::new();
    if is_file {
        // A commit has held all moves in memory, too, so the file has no limit.
        root.read(MOVES)?.read_to_end(&mut json)?;
    }
    let moves: Option<Moves> = opened(&json);
    let sound = moves.into_iter().flat_map(|it| it.moves).filter(MovedPart::is_sound);
    Ok(sound.collect())
}

fn move_back(root: &Folder, MovedPart { from, to }: &MovedPart) -> io::Result<()> {
    let (folder, name) = folder_and_name(from);
    let (data, moved) = folder_and_name(to);
    let places = root.open_folder("data").and_then(|parts| {
        let ranges = root.open_folder(RANGES)?;
        Ok((parts.open_below(data)?, ranges.open_below(folder)?))
    });
    let renamed = places.and_then(|(data, folder)| {
        data.rename_new(moved, &folder, name)?;
        folder.sync()
    });
    match renamed.map_err(|error| (error.kind(), error)) {
        // The commit had not moved this part, or it is lost.
        Err((io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists, _)) => Ok(()),
        Err((_, error)) => Err(error),
        Ok(()) => Ok(()),
    }
}
