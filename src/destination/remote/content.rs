//! The content of a prefix: which objects belong to an export, and which may be removed. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use object_store::{ObjectMeta, UpdateVersion};

use crate::{
    destination::CONTROL,
    error::{Error, Result},
    location::{Listing, Location, Remote},
    record::manifest::{MANIFEST, Manifest, SUCCESS, is_desktop_file, is_part_name},
};

/// The control object that lists the parts to remove once the new manifest is published.
pub(super) const SUPERSEDED: &str = "superseded.json";

/// The content of a prefix, as listed.
pub(super) struct PrefixContent {
    pub(super) names: Vec<String>,
    /// The listed metadata of each object, by name.
    pub(super) objects: BTreeMap<String, ObjectMeta>,
    pub(super) control: Vec<String>,
    pub(super) manifest: Option<Manifest>,
    /// The version of the manifest that was read.
    pub(super) version: Option<UpdateVersion>,
    /// Names from [`SUPERSEDED`]. Only names of parts are kept.
    pub(super) superseded: BTreeSet<String>,
}

impl PrefixContent {
    /// Reads the manifest and the names of the control objects. Does not read the parts.
    pub(super) fn look(location: &Location, target: &Remote, listing: Listing) -> Result<Self> {
        let Listing { names, objects } = listing;
        let has = |name: &str| names.iter().any(|other| other == name);
        let manifest = target.child(MANIFEST);
        let found = if has(MANIFEST) { manifest.read_versioned()? } else { None };
        let (manifest, version) = match found {
            None => (None, None),
            Some(found) => match Manifest::parse(&found.bytes, &location.child(MANIFEST)) {
                Ok(manifest) => (Some(manifest), Some(found.version)),
                // It is not the manifest of an export. `refusal` finds it among the names.
                Err(Error::Damaged { .. }) => (None, None),
                Err(error) => return Err(error),
            },
        };
        let control = target.child(CONTROL);
        let superseded = control.child(SUPERSEDED);
        let control = if has(CONTROL) { control.names()? } else { Vec::new() };
        let superseded = if control.iter().any(|name| name == SUPERSEDED) {
            let json = superseded.read_control()?;
            json.and_then(|json| serde_json::from_slice::<BTreeSet<String>>(&json).ok())
        } else {
            None
        };
        let mut superseded = superseded.unwrap_or_default();
        superseded.retain(|name| is_part_name(name));
        Ok(Self { names, objects, control, manifest, version, superseded })
    }

    /// Returns the reason why this prefix must not be replaced, with a hint. `None` if it may be replaced.
    pub(super) fn refusal(&self, overwrite: bool) -> Option<(String, &'static str)> {
        let known = |name: &String| {
            let ours = self.manifest.is_some() && [MANIFEST, SUCCESS].contains(&name.as_str());
            let listed = self.is_listed(name) || self.is_ours(name);
            let known = ours || listed || is_desktop_file(name);
            // Except for the control folder, only objects are known. A prefix with such a name is not.
            name == CONTROL || known && self.objects.contains_key(name)
        };
        let foreign = self.names.iter().find(|name| !known(name));
        let is_export = self.manifest.is_some();
        if !overwrite && (foreign.is_some() || (is_export && !self.is_unfinished())) {
            return Some((
                "exists already and is not empty".to_owned(),
                "give `overwrite` to replace an export, or another URL",
            ));
        }
        if let Some(refusal) = self.wrong_part() {
            return Some(refusal);
        }
        match foreign {
            None => None,
            Some(_) if !is_export => Some((
                "is not an export: it has no valid manifest".to_owned(),
                "only an empty prefix or an earlier export is replaced; give another URL",
            )),
            Some(name) => Some((
                format!("holds {name:?}, which its manifest does not list"),
                "only objects of an earlier export are replaced: move the object, or give another URL",
            )),
        }
    }

    /// Refuses a manifest that lists an object which no export wrote: replacing the export would remove it.
    fn wrong_part(&self) -> Option<(String, &'static str)> {
        let hint =
            "only objects of an earlier export are replaced: move the object, or give another URL";
        if self.is_unfinished() {
            // Every part has the token of a known run, so an export wrote it, even if it is damaged.
            return None;
        }
        self.manifest.iter().flat_map(|manifest| &manifest.parts).find_map(|part| {
            let name = &part.path;
            if !is_part_name(name) {
                return Some((
                    format!("its manifest lists {name:?}, which is not a part of an export"),
                    "no export wrote that manifest, or it was changed since: give another URL",
                ));
            }
            // A missing part is accepted: no object would be removed.
            let meta = self.objects.get(name)?;
            (meta.size != part.bytes).then(|| {
                let (size, bytes) = (meta.size, part.bytes);
                (
                    format!("holds {name:?} with {size} bytes, but its manifest records {bytes}"),
                    hint,
                )
            })
        })
    }

    /// Whether an unfinished run wrote this object or was about to remove it.
    pub(super) fn is_ours(&self, name: &str) -> bool {
        let token = || name.strip_prefix("part-")?.split('.').next()?.split('-').nth(1);
        let run = |token: &str| self.control.contains(&format!("run-{token}"));
        is_part_name(name) && (token().is_some_and(run) || self.superseded.contains(name))
    }

    pub(super) fn is_listed(&self, name: &str) -> bool {
        let mut parts = self.manifest.iter().flat_map(|manifest| &manifest.parts);
        parts.any(|part| part.path == name)
    }

    pub(super) fn has_success(&self) -> bool {
        self.objects.contains_key(SUCCESS)
    }

    /// Whether the manifest was published by a run that was killed before it wrote `_SUCCESS`.
    pub(super) fn is_unfinished(&self) -> bool {
        let ours = |manifest: &Manifest| manifest.parts.iter().all(|part| self.is_ours(&part.path));
        self.manifest.as_ref().is_some_and(ours) && !self.has_success()
    }
}
