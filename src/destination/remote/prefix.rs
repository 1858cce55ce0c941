//! A directory of parts in a store: parts as they finish, then the manifest, then `_SUCCESS`.
//!
//! ```text
//! part-00000-TOKEN.parquet …  _manifest.json  _SUCCESS
//! _overmind/lock-00001.json, lease-TOKEN    see `lock`
//!           run-TOKEN                       a run that wrote parts here: what has its token is ours
//!           header.json                     the plan
//!           part-00000-TOKEN.json           a finished part, written when it is there
//!           ids-00000-TOKEN                 its ids, 16 bytes each, for the proof
//!           upload-…                        an upload that has begun
//!           superseded.json                 what goes away once the new manifest is there
//! ```
//!
//! A run of its own token writes names of its own: a run that lost its lock and does not know it yet
//! overwrites nothing. Never deletes what the manifest lists, nor what no run of ours has written.

use std::{collections::BTreeSet, path::PathBuf};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    clear_control,
    kept::{self, Begun, HEADER, Record, ids_name, json, record_name},
    lock::{LEASE, Lock, Watch, check_unlocked},
    seen::{SUPERSEDED, Seen},
    unusable,
    upload::{Upload, abort_journalled},
};
use crate::{
    destination::{CONTROL, Header, Kept, PartFile, tidied},
    error::{Error, Result},
    location::{Location, Remote},
    manifest::{MANIFEST, Manifest, Part, SUCCESS},
};

#[derive(Debug)]
pub(crate) struct Prefix {
    location: Location,
    target: Remote,
    control: Remote,
    overwrite: bool,
    /// Where the ids of kept parts are put while the run is at work.
    temp_dir: PathBuf,
    /// None in a run that only looks.
    lock: Option<Lock>,
    staged: Option<Staged>,
}

#[derive(Debug)]
struct Staged {
    lineage: String,
    open: Vec<Upload>,
    parts: usize,
    _ids: Option<TempDir>,
}

impl Prefix {
    /// Looks whether the export can go there, and takes the lock unless the run only looks.
    pub(in crate::destination) fn probe(
        location: &Location,
        target: &Remote,
        overwrite: bool,
        only_look: bool,
        temp_dir: PathBuf,
    ) -> Result<Self> {
        let mut prefix = Self {
            location: location.clone(),
            target: target.clone(),
            control: target.child(CONTROL),
            overwrite,
            temp_dir,
            lock: None,
            staged: None,
        };
        let names = target.first_names().map_err(unusable(target))?;
        // A run that is at work is the better reason to refuse what it has written so far.
        check_unlocked(&prefix.control, target)?;
        prefix.check(&prefix.look(names)?)?;
        if !only_look {
            let lock = Lock::acquire(&prefix.control, target, LEASE).map_err(unusable(target))?;
            // The holder may have published before it went.
            if let Err(error) = prefix.look_and_check() {
                // Best effort: whatever stays is found to be over by the next run.
                drop(lock.release());
                return Err(error);
            }
            prefix.lock = Some(lock);
        }
        Ok(prefix)
    }

    fn look_and_check(&self) -> Result<Seen> {
        let seen = self.look(self.target.names()?)?;
        self.check(&seen)?;
        Ok(seen)
    }

    fn look(&self, names: Vec<String>) -> Result<Seen> {
        Seen::look(&self.location, &self.control, names)
    }

    /// Refuses a prefix that must not be replaced.
    fn check(&self, seen: &Seen) -> Result<()> {
        let refuse = |why: &str, hint| {
            let (path, why) = (self.location.to_path(), why.to_owned());
            Err(Error::Output { path, why, hint: Some(hint), source: None })
        };
        let known = |name: &String| {
            let ours = seen.manifest.is_some() && [MANIFEST, SUCCESS].contains(&name.as_str());
            name == CONTROL || ours || seen.is_listed(name) || seen.is_ours(name)
        };
        let foreign = seen.names.iter().find(|name| !known(name));
        let is_export = seen.manifest.is_some();
        if !self.overwrite && (foreign.is_some() || (is_export && !seen.is_unfinished())) {
            return refuse(
                "exists already and is not empty",
                "give --overwrite to replace an export, or another URL",
            );
        }
        match foreign {
            None => Ok(()),
            Some(_) if !is_export => refuse(
                "is not an export: it has no manifest of ours",
                "only an empty prefix or an earlier export is replaced; give another URL",
            ),
            Some(name) => refuse(
                &format!("holds {name:?}, which its manifest does not list"),
                "only what an export wrote is replaced: move the object, or give another URL",
            ),
        }
    }

    pub(in crate::destination) fn resume(
        &mut self,
        header: &Header,
        restart: bool,
    ) -> Result<Vec<Kept>> {
        let token = self.lock()?.token().to_owned();
        self.lock()?.confirm()?;
        let mut seen = self.look(self.target.names()?)?;
        // While an old export is replaced, `_SUCCESS` may be of that one.
        let succeeded = seen.has_success() && seen.superseded.is_empty();
        self.tidy(&mut seen)?;
        let mut lineage = token.clone();
        let mut kept = Vec::new();
        if let Some(begun) = kept::begun(&self.control)?.filter(|_| !restart) {
            let records = kept::records(&self.control, &seen.control, &begun.lineage)?;
            let listed = |record: &Record| seen.is_listed(&record.kept.part.path);
            // It came to its end but for tidying up: there is nothing to continue.
            let published = succeeded && records.iter().all(listed);
            let over = published || records.is_empty();
            match begun.header.difference(header) {
                _ if over => {}
                Some(difference) => {
                    return Err(Error::Output {
                        path: self.location.to_path(),
                        why: format!(
                            "an interrupted export to it cannot be continued: {difference}"
                        ),
                        hint: Some("give --restart to drop what it left and start again"),
                        source: None,
                    });
                }
                None => {
                    lineage = begun.lineage;
                    kept = kept::still_whole(&self.target, &self.control, records)?;
                }
            }
        }
        let ids = kept::fetch_ids(&self.control, &self.temp_dir, &mut kept)?;
        self.drop_all_but(&seen, &kept)?;
        self.control.child(&format!("run-{token}")).write(b"")?;
        if kept.is_empty() {
            lineage = token;
            let begun = Begun { lineage: lineage.clone(), header: header.clone() };
            self.control.child(HEADER).write(&json(&begun)?)?;
        }
        let parts = kept.len();
        self.staged = Some(Staged { lineage, open: Vec::new(), parts, _ids: ids });
        Ok(kept)
    }

    /// Ends what a run that is gone was in the middle of: uploads, and the removal of an old export.
    fn tidy(&self, seen: &mut Seen) -> Result<()> {
        for name in seen.control.iter().filter(|name| name.starts_with("upload-")) {
            abort_journalled(&self.control.child(name))?;
        }
        if !seen.superseded.is_empty() {
            let switched = !seen.superseded.iter().any(|name| seen.is_listed(name));
            if switched {
                self.target.remove_all(seen.superseded.iter().cloned())?;
            }
            self.control.child(SUPERSEDED).remove()?;
            seen.superseded.clear();
        }
        Ok(())
    }

    /// Removes everything that runs before this one left, but for the kept parts.
    fn drop_all_but(&self, seen: &Seen, kept: &[Kept]) -> Result<()> {
        let token = self.lock()?.token();
        let parts: BTreeSet<&str> = kept.iter().map(|kept| kept.part.path.as_str()).collect();
        let records: BTreeSet<String> = parts
            .iter()
            .flat_map(|part| [record_name(part), ids_name(part)])
            .chain((!kept.is_empty()).then(|| HEADER.to_owned()))
            .collect();
        let stale = |name: &&String| {
            // With the uploads that could not be aborted.
            let runs = ["run-", "lock-", "upload-"].iter().any(|kind| name.starts_with(kind));
            !runs && **name != format!("lease-{token}") && !records.contains(*name)
        };
        self.control.remove_all(seen.control.iter().filter(stale).cloned())?;
        self.remove_parts(seen, |name| parts.contains(name))
    }

    /// Removes the parts that unfinished runs have written, but for those that are to stay and those
    /// that the manifest lists.
    fn remove_parts(&self, seen: &Seen, stay: impl Fn(&str) -> bool) -> Result<()> {
        let names = seen.names.iter();
        let strays =
            names.filter(|name| seen.is_ours(name) && !seen.is_listed(name) && !stay(name));
        self.target.remove_all(strays.cloned())
    }

    pub(in crate::destination) fn open(&mut self, header: &Header) -> Result<()> {
        if self.staged.is_none() {
            self.resume(header, true)?;
        }
        Ok(())
    }

    pub(in crate::destination) fn part_name(&self, index: usize, extension: &str) -> String {
        let token = self.lock.as_ref().map_or("", Lock::token);
        format!("part-{index:05}-{token}.{extension}")
    }

    pub(in crate::destination) fn create(
        &mut self,
        index: usize,
        extension: &str,
    ) -> Result<PartFile> {
        let name = self.part_name(index, extension);
        let place = self.target.child(&name);
        self.upload(place, &name)
    }

    pub(in crate::destination) fn create_ids(
        &mut self,
        index: usize,
        extension: &str,
    ) -> Result<PartFile> {
        let name = ids_name(&self.part_name(index, extension));
        let place = self.control.child(&name);
        self.upload(place, &name)
    }

    fn upload(&mut self, place: Remote, name: &str) -> Result<PartFile> {
        let journal = self.control.child(&format!("upload-{name}"));
        let upload = Upload::new(place, journal, self.lock()?.watch(), true);
        self.staged()?.open.push(upload.clone());
        Ok(PartFile::upload(upload))
    }

    pub(in crate::destination) fn keep(
        &mut self,
        part: &Part,
        has_next: bool,
        last_order: Option<i64>,
    ) -> Result<()> {
        self.lock()?.check()?;
        let place = self.target.child(&part.path);
        let meta = place.head()?.filter(|meta| meta.size == part.bytes);
        let Some(meta) = meta else {
            return Err(Error::Store {
                action: "write",
                url: place.to_string(),
                hint: Some("does something else write to this prefix or remove from it?"),
                source: "what the store has is not what was sent".into(),
            });
        };
        let (control, staged) = (self.control.clone(), self.staged()?);
        staged.open.clear();
        let kept = Kept { part: part.clone(), has_next, last_order, ids: PathBuf::new() };
        let record = Record { lineage: staged.lineage.clone(), kept, e_tag: meta.e_tag };
        control.child(&record_name(&part.path)).write(&json(&record)?)?;
        staged.parts += 1;
        Ok(())
    }

    pub(in crate::destination) fn publish(mut self, manifest: &Manifest) -> Result<()> {
        let lock = self.lock.take().ok_or_else(not_open)?;
        let seen = match self.appear(&lock, manifest) {
            Ok(seen) => seen,
            Err(error) => {
                // Best effort: what was finished stays for the next run.
                drop(lock.release());
                return Err(error);
            }
        };
        let new: BTreeSet<&str> = manifest.parts.iter().map(|part| part.path.as_str()).collect();
        let cleared = match self.drop_old(&Seen { manifest: None, ..seen }, &new) {
            Ok(()) => clear_control(&self.control, lock),
            // The next run finds what is left to be removed.
            Err(error) => lock.release().and(Err(error)),
        };
        tidied(&self.location, cleared);
        Ok(())
    }

    /// Says what was there before.
    fn appear(&self, lock: &Lock, manifest: &Manifest) -> Result<Seen> {
        // Somebody may have put something there in the meantime.
        let mut seen = self.look_and_check()?;
        let new: BTreeSet<&str> = manifest.parts.iter().map(|part| part.path.as_str()).collect();
        let old = seen.manifest.iter().flat_map(|manifest| &manifest.parts);
        let old = old.map(|part| part.path.clone()).filter(|name| !new.contains(name.as_str()));
        seen.superseded = old.collect();
        if !seen.superseded.is_empty() {
            self.control.child(SUPERSEDED).write(&json(&seen.superseded)?)?;
        }
        lock.confirm()?;
        let (watch, place) = (lock.watch(), self.target.child(MANIFEST));
        if !watch.put(&place, manifest.to_json()?.into(), seen.manifest.is_none())? {
            return Err(Error::Output {
                path: self.location.to_path(),
                why: "another export has appeared there".to_owned(),
                hint: Some("give --overwrite to replace it, or another URL"),
                source: None,
            });
        }
        watch.put(&self.target.child(SUCCESS), Bytes::new(), false)?;
        Ok(seen)
    }

    /// Removes what was there before.
    fn drop_old(&self, seen: &Seen, new: &BTreeSet<&str>) -> Result<()> {
        // First of all: there is nothing to continue any more.
        self.control.child(HEADER).remove()?;
        self.target.remove_all(seen.superseded.iter().cloned())?;
        self.remove_parts(seen, |name| new.contains(name))
    }

    pub(in crate::destination) fn abandon(mut self) -> usize {
        let Some(lock) = self.lock.take() else { return 0 };
        let lost = lock.check().is_err();
        let Some(staged) = self.staged.take() else {
            // What runs before this one left is theirs still.
            drop(lock.release());
            return 0;
        };
        for upload in &staged.open {
            // Best effort, here and below: the next run takes over whatever stays.
            drop(upload.abort());
        }
        drop(match staged.parts {
            _ if lost => Ok(()),
            0 => self.look_and_clear(lock),
            _ => lock.release(),
        });
        if lost { 0 } else { staged.parts }
    }

    fn look_and_clear(&self, lock: Lock) -> Result<()> {
        let seen = self.look(self.target.names()?)?;
        if seen.is_unfinished() {
            // Without what is known of the runs that wrote it, none could finish it.
            return lock.release();
        }
        self.remove_parts(&seen, |_| false)?;
        clear_control(&self.control, lock)
    }

    /// Takes back a manifest that was published without coming to the end: its parts are strays then.
    pub(super) fn retract(&self) -> Result<()> {
        if self.look(self.target.names()?)?.is_unfinished() {
            self.lock()?.confirm()?;
            self.target.child(MANIFEST).remove()?;
        }
        Ok(())
    }

    pub(in crate::destination) fn forget(&mut self) -> Result<()> {
        let Some(staged) = self.staged.take() else { return Ok(()) };
        // The journal goes first: without it nothing else will be taken for a finished part.
        self.control.child(HEADER).remove()?;
        for upload in &staged.open {
            upload.abort()?;
        }
        let seen = self.look(self.target.names()?)?;
        self.drop_all_but(&seen, &[])
    }

    pub(in crate::destination) fn watch(&self) -> Option<Watch> {
        self.lock.as_ref().map(Lock::watch)
    }

    fn lock(&self) -> Result<&Lock> {
        self.lock.as_ref().ok_or_else(not_open)
    }

    fn staged(&mut self) -> Result<&mut Staged> {
        self.staged.as_mut().ok_or_else(not_open)
    }
}

fn not_open() -> Error {
    Error::Internal("the output was not opened".to_owned())
}
