//! The content of a prefix: which objects belong to an export, and which may be removed. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use object_store::ObjectMeta;

use super::{
    control::{control_folder, inside},
    names::{PLAN, folder_of_control, is_commit_name, leased_token, trial_name},
};
use crate::{
    destination::{CONTROL, OutputRequest, PlanUse, examine, range_record::is_planned},
    error::{Error, Result},
    location::{Listing, Location, Remote},
    record::{
        card::is_export_path,
        layout::{PartLayout, folder_and_name, folders_of, is_part_path, joined, with_parents},
        manifest::{Manifest, SUCCESS, is_desktop_file},
        place,
    },
    text::grouped,
};

/// The places of the objects of an export to a prefix.
#[derive(Debug, Clone)]
pub(super) struct PrefixPlaces {
    /// The prefix as given, for messages.
    pub(super) location: Location,
    /// The prefix. It holds only parts, except in the root of a bucket.
    pub(super) target: Remote,
    /// The control folder: elsewhere, or inside the prefix.
    pub(super) control: Remote,
    /// The record of the export.
    pub(super) record: Remote,
    /// Whether the user chose the place of the record: then it may belong to another prefix.
    pub(super) is_record_asked: bool,
    /// The folders of the parts of this run.
    pub(super) layout: PartLayout,
    /// What the run does with a plan for many workers.
    pub(super) plan_use: PlanUse,
}

impl PrefixPlaces {
    pub(super) fn of(location: &Location, target: &Remote, wanted: &OutputRequest) -> Result<Self> {
        let record = place::written(location, wanted.record.as_ref());
        let record = record.as_remote().cloned();
        Ok(Self {
            location: location.clone(),
            target: target.clone(),
            control: control_folder(target, wanted.record.as_ref(), wanted.staging.as_ref())?,
            record: record.ok_or_else(|| Error::Internal("the record is local".to_owned()))?,
            is_record_asked: wanted.record.is_some(),
            layout: wanted.layout.clone(),
            plan_use: wanted.plan_use,
        })
    }

    /// The same places for checks before the first page.
    pub(super) fn with_short_limit(&self) -> Self {
        self.with(Remote::with_short_limit)
    }

    /// The same places for the export itself.
    pub(super) fn without_limit(&self) -> Self {
        self.with(Remote::without_limit)
    }

    fn with(&self, limit: fn(&Remote) -> Remote) -> Self {
        Self {
            location: self.location.clone(),
            target: limit(&self.target),
            control: limit(&self.control),
            record: limit(&self.record),
            is_record_asked: self.is_record_asked,
            layout: self.layout.clone(),
            plan_use: self.plan_use,
        }
    }

    fn is_control_inside(&self) -> bool {
        self.control.is_same(&inside(&self.target))
    }

    /// Whether the record has this name directly below the prefix.
    fn is_record_inside(&self, name: &str) -> bool {
        self.record.is_same(&self.target.child(name))
    }
}

/// The record that exists.
pub(super) struct StoredRecord {
    pub(super) manifest: Manifest,
    /// SHA-256 of its bytes.
    pub(super) sha256: String,
}

/// The content of a prefix, as listed.
pub(super) struct PrefixContent {
    /// The paths below the prefix. Folders that the parts of runs are in are listed, too.
    names: Vec<String>,
    /// The listed metadata of each object, by path.
    pub(super) objects: BTreeMap<String, ObjectMeta>,
    pub(super) control: Listing,
    pub(super) record: Option<StoredRecord>,
    /// Whether an object that is not a record has the name of the record.
    is_record_foreign: bool,
    /// Name of the record, if it is below the prefix.
    record_inside: Option<String>,
}

impl PrefixContent {
    /// Reads the record and lists the prefix and the control objects. Does not read the parts.
    pub(super) fn look(places: &PrefixPlaces) -> Result<Self> {
        let listing = places.target.list()?;
        Self::of(places, listing, places.control.list()?)
    }

    /// Like [`look`](Self::look), with the listings of the prefix and of its control folder.
    pub(super) fn of(places: &PrefixPlaces, listing: Listing, control: Listing) -> Result<Self> {
        let (mut record, mut is_record_foreign) = (None, false);
        if let Some(bytes) = places.record.read()? {
            // The location is only used in errors, which are dropped here.
            match Manifest::parse(&bytes, &places.location) {
                Ok(manifest) => {
                    let sha256 = sha256(&bytes)?;
                    record = Some(StoredRecord { manifest, sha256 });
                }
                Err(Error::Damaged { .. }) => is_record_foreign = true,
                Err(error) => return Err(error),
            }
        }
        let mut folders = places.layout.folders();
        let manifest = record.as_ref().map(|it: &StoredRecord| &it.manifest);
        folders.extend(manifest.map(folders_of).unwrap_or_default());
        let begun: Vec<_> = control.names.iter().filter_map(|it| folder_of_control(it)).collect();
        folders.extend(with_parents(begun.iter().map(String::as_str)));
        let Listing { names, objects } = within(&places.target, listing, &folders)?;
        let record_inside = names.iter().find(|name| places.is_record_inside(name)).cloned();
        Ok(Self { names, objects, control, record, is_record_foreign, record_inside })
    }

    /// Returns why this prefix must not be replaced; `None` if it may be replaced.
    pub(super) fn refusal(&self, places: &PrefixPlaces, overwrite: bool) -> Option<Error> {
        let at_prefix = |why: String, hint| {
            let path = places.location.to_path();
            Some(Error::Output { path, why, hint: Some(hint), source: None })
        };
        let is_control = |name: &String| name == CONTROL && !self.objects.contains_key(name);
        if places.plan_use == PlanUse::Refuse && self.control.objects.contains_key(PLAN) {
            return Some(is_planned(places.location.to_path()));
        }
        if !places.is_control_inside() && self.names.iter().any(is_control) {
            return at_prefix(
                format!("holds {CONTROL:?}, the state of a run that was given `record`"),
                "give the same `record` to resume that run; if it is active, wait for it or end it",
            );
        }
        let known = |name: &String| {
            let is_record = self.record.is_some() && self.record_inside.as_ref() == Some(name);
            let marks = self.record.is_some() && name == SUCCESS;
            let listed = self.is_listed(name) || self.is_ours(name);
            let known = is_record || marks || listed || is_desktop_file(folder_and_name(name).1);
            let known = known || self.is_trial(places, name);
            // Except for the control folder, only objects are known. A prefix with such a name is not.
            is_control(name) || known && self.objects.contains_key(name)
        };
        let foreign = self.names.iter().find(|name| !known(name));
        // A record whose parts are gone is not an export.
        let is_export = self.names.iter().any(|name| self.is_listed(name));
        if !overwrite && (foreign.is_some() || is_export) {
            return Some(exists(places));
        }
        if self.is_record_foreign {
            return Some(Error::Output {
                path: places.record.to_string().into(),
                why: "is not the record of an export".to_owned(),
                hint: Some(
                    "only the record of an export is replaced: move this object away, or give another \
                     place with `record`",
                ),
                source: None,
            });
        }
        // A record without its parts may be replaced at its usual place.
        if !overwrite && self.record.is_some() && places.is_record_asked {
            return Some(Error::Output {
                path: places.record.to_string().into(),
                why: "exists already".to_owned(),
                hint: Some(places.plan_use.hint_of_existing(
                    "give `overwrite` to replace an export, or another `record`",
                )),
                source: None,
            });
        }
        if let Some((why, hint)) = self.wrong_part() {
            return at_prefix(why, hint);
        }
        match foreign {
            None => None,
            Some(_) if self.record.is_none() => at_prefix(
                "is not an export: it has no valid record".to_owned(),
                "only an empty prefix or an earlier export is replaced; if the record is elsewhere, name it with `record`",
            ),
            Some(name) => at_prefix(
                format!("holds {name:?}, which its record does not list"),
                "only objects of an earlier export are replaced: move the object, or give another URL",
            ),
        }
    }

    /// Refuses a record that lists an object which no export wrote: replacing the export would remove it.
    fn wrong_part(&self) -> Option<(String, &'static str)> {
        let hint =
            "only objects of an earlier export are replaced: move the object, or give another URL";
        self.record.iter().flat_map(|record| record.manifest.files()).find_map(
            |(name, bytes, _)| {
                if !is_export_path(name) {
                    return Some((
                        format!("its record lists {name:?}, which is not a part of an export"),
                        "no export wrote that record, or it was changed since: give another URL",
                    ));
                }
                // A missing part is accepted: no object would be removed.
                let meta = self.objects.get(name)?;
                (meta.size != bytes).then(|| {
                    let (size, bytes) = (grouped(meta.size), grouped(bytes));
                    (format!("holds {name:?} with {size} bytes, but its record says {bytes}"), hint)
                })
            },
        )
    }

    /// Whether an unfinished run wrote this object.
    pub(super) fn is_ours(&self, name: &str) -> bool {
        let (_, part) = folder_and_name(name);
        let token = || part.strip_prefix("part-")?.split('.').next()?.split('-').nth(1);
        let run = |token: &str| self.control.objects.contains_key(&format!("run-{token}"));
        is_part_path(name) && token().is_some_and(run)
    }

    /// Whether an unfinished run wrote this object to check that it can write the record.
    fn is_trial(&self, places: &PrefixPlaces, name: &str) -> bool {
        let place = places.target.child(name);
        let mut tokens = self.control.names.iter().filter_map(|name| leased_token(name));
        let trial = |token| places.record.sibling(&trial_name(places.record.name(), token));
        tokens.any(|token| trial(token).is_same(&place))
    }

    pub(super) fn is_listed(&self, name: &str) -> bool {
        let mut files = self.record.iter().flat_map(|record| record.manifest.files());
        files.any(|(path, ..)| path == name)
    }

    /// Whether a run has begun to publish here and was interrupted.
    pub(super) fn has_commit(&self) -> bool {
        self.commits().next().is_some()
    }

    pub(super) fn commits(&self) -> impl Iterator<Item = &str> {
        self.control.objects.keys().map(String::as_str).filter(|name| is_commit_name(name))
    }

    /// The parts that unfinished runs have made visible.
    pub(super) fn strays(&self) -> impl Iterator<Item = String> {
        let names = self.objects.keys();
        names.filter(|name| self.is_ours(name) && !self.is_listed(name)).cloned()
    }
}

/// Adds the objects in these folders to the listing of a prefix, by their paths. A listed folder is not in it itself.
pub(super) fn within(
    target: &Remote,
    listing: Listing,
    folders: &BTreeSet<&str>,
) -> Result<Listing> {
    let Listing { mut names, mut objects } = listing;
    // Sorted, a folder comes after the one that it is in.
    for folder in folders {
        let is_it = |name: &String| name == folder && !objects.contains_key(name);
        let Some(at) = names.iter().position(is_it) else { continue };
        names.remove(at);
        let inside = target.child(folder).list()?;
        let path = |name: String| joined(folder, &name);
        names.extend(inside.names.into_iter().map(path));
        objects.extend(inside.objects.into_iter().map(|(name, meta)| (path(name), meta)));
    }
    names.sort();
    Ok(Listing { names, objects })
}

/// The error of a run that may replace nothing.
pub(super) fn exists(places: &PrefixPlaces) -> Error {
    let hint = "give `overwrite` to replace an export, or another URL";
    Error::Output {
        path: places.location.to_path(),
        why: "exists already and is not empty".to_owned(),
        hint: Some(places.plan_use.hint_of_existing(hint)),
        source: None,
    }
}

/// The error of a run whose commit is stale. `is_recorded` says whether there is a record now.
pub(super) fn stale(places: &PrefixPlaces, overwrite: bool, is_recorded: bool) -> Error {
    let (path, why, hint) = match (is_recorded, overwrite) {
        (false, _) => (
            places.record.to_string().into(),
            "was removed during the export",
            "nothing was published: run the same command again",
        ),
        (true, true) => (
            places.location.to_path(),
            "another export has appeared there during this one",
            "nothing was published: run the same command again to replace the other export",
        ),
        (true, false) => (
            places.location.to_path(),
            "another export has appeared there",
            places.plan_use.hint_of_existing("give `overwrite` to replace it, or another URL"),
        ),
    };
    Error::Output { path, why: why.to_owned(), hint: Some(hint), source: None }
}

/// SHA-256 of these bytes, hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> Result<String> {
    let examined = examine(&mut &*bytes)
        .map_err(|error| Error::Internal(format!("a checksum of bytes failed: {error}")))?;
    Ok(examined.sha256)
}
