//! What lies at a prefix: whose it is, and what may be removed. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use object_store::{ObjectMeta, UpdateVersion};

use crate::{
    destination::CONTROL,
    error::{Error, Result},
    location::{Listing, Location, Remote},
    record::manifest::{MANIFEST, Manifest, SUCCESS, is_desktop_file, is_part_name},
};

/// Names what goes away once the new manifest is there.
pub(super) const SUPERSEDED: &str = "superseded.json";

/// What lies at the prefix.
pub(super) struct SeenPrefix {
    pub(super) names: Vec<String>,
    /// What the listing says of each object.
    pub(super) objects: BTreeMap<String, ObjectMeta>,
    pub(super) control: Vec<String>,
    pub(super) manifest: Option<Manifest>,
    /// The version of the manifest that was read.
    pub(super) version: Option<UpdateVersion>,
    /// Parts' names, and nothing else.
    pub(super) superseded: BTreeSet<String>,
}

impl SeenPrefix {
    /// Looks at everything there but the parts themselves.
    pub(super) fn look(location: &Location, target: &Remote, listing: Listing) -> Result<Self> {
        let Listing { names, objects } = listing;
        let has = |name: &str| names.iter().any(|other| other == name);
        let manifest = target.child(MANIFEST);
        let found = if has(MANIFEST) { manifest.read_versioned()? } else { None };
        let (manifest, version) = match found {
            None => (None, None),
            Some(found) => match Manifest::parse(&found.bytes, &location.child(MANIFEST)) {
                Ok(manifest) => (Some(manifest), Some(found.version)),
                // Foreign: what it lists is unknown, and it is found among the names.
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

    /// Why this prefix must not be replaced, with what to do about it.
    pub(super) fn refusal(&self, overwrite: bool) -> Option<(String, &'static str)> {
        let known = |name: &String| {
            let ours = self.manifest.is_some() && [MANIFEST, SUCCESS].contains(&name.as_str());
            let listed = self.is_listed(name) || self.is_ours(name);
            let known = ours || listed || is_desktop_file(name);
            // A prefix of such a name is nobody's.
            name == CONTROL || known && self.objects.contains_key(name)
        };
        let foreign = self.names.iter().find(|name| !known(name));
        let is_export = self.manifest.is_some();
        if !overwrite && (foreign.is_some() || (is_export && !self.is_unfinished())) {
            return Some((
                "exists already and is not empty".to_owned(),
                "give --overwrite to replace an export, or another URL",
            ));
        }
        if let Some(refusal) = self.wrong_part() {
            return Some(refusal);
        }
        match foreign {
            None => None,
            Some(_) if !is_export => Some((
                "is not an export: it has no manifest of ours".to_owned(),
                "only an empty prefix or an earlier export is replaced; give another URL",
            )),
            Some(name) => Some((
                format!("holds {name:?}, which its manifest does not list"),
                "only what an export wrote is replaced: move the object, or give another URL",
            )),
        }
    }

    /// What the manifest lists and no export wrote: replacing the export would remove it.
    fn wrong_part(&self) -> Option<(String, &'static str)> {
        let hint = "only what an export wrote is replaced: move the object, or give another URL";
        if self.is_unfinished() {
            // All of it is ours by its token, whatever became of it.
            return None;
        }
        self.manifest.iter().flat_map(|manifest| &manifest.parts).find_map(|part| {
            let name = &part.path;
            if !is_part_name(name) {
                return Some((
                    format!("its manifest lists {name:?}, which is no part of an export"),
                    "no export wrote that manifest, or it was changed since: give another URL",
                ));
            }
            // A part that is not there takes nothing along.
            let meta = self.objects.get(name)?;
            (meta.size != part.bytes).then(|| {
                let (size, bytes) = (meta.size, part.bytes);
                (format!("holds {name:?} with {size} bytes, where its manifest says {bytes}"), hint)
            })
        })
    }

    /// Whether a run that did not come to its end has written it, or was about to remove it.
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

    /// Published by a run that was killed before it could say so.
    pub(super) fn is_unfinished(&self) -> bool {
        let ours = |manifest: &Manifest| manifest.parts.iter().all(|part| self.is_ours(&part.path));
        self.manifest.as_ref().is_some_and(ours) && !self.has_success()
    }
}
