//! What lies at a prefix: whose it is, and what may be removed. Changes nothing.

use std::collections::BTreeSet;

use crate::{
    destination::CONTROL,
    error::{Error, Result},
    location::{Location, Remote},
    manifest::{MANIFEST, Manifest, SUCCESS},
};

/// Names what goes away once the new manifest is there.
pub(super) const SUPERSEDED: &str = "superseded.json";

/// What lies at the prefix.
pub(super) struct Seen {
    pub(super) names: Vec<String>,
    pub(super) control: Vec<String>,
    pub(super) manifest: Option<Manifest>,
    pub(super) superseded: BTreeSet<String>,
}

impl Seen {
    /// Looks at everything there but the parts themselves.
    pub(super) fn look(location: &Location, control: &Remote, names: Vec<String>) -> Result<Self> {
        let has = |name: &str| names.iter().any(|other| other == name);
        let manifest = if has(MANIFEST) {
            match Manifest::load(&location.child(MANIFEST)) {
                // Foreign: what it lists is unknown, and it is found among the names.
                Err(Error::Damaged { .. }) => None,
                manifest => manifest?,
            }
        } else {
            None
        };
        let superseded = control.child(SUPERSEDED);
        let control = if has(CONTROL) { control.names()? } else { Vec::new() };
        let superseded = if control.iter().any(|name| name == SUPERSEDED) {
            superseded.read()?.and_then(|json| serde_json::from_slice(&json).ok())
        } else {
            None
        };
        Ok(Self { names, control, manifest, superseded: superseded.unwrap_or_default() })
    }

    /// Whether a run that did not come to its end has written it, or was about to remove it.
    pub(super) fn is_ours(&self, name: &str) -> bool {
        let token = || name.strip_prefix("part-")?.split('.').next()?.split('-').nth(1);
        let run = |token: &str| self.control.contains(&format!("run-{token}"));
        token().is_some_and(run) || self.superseded.contains(name)
    }

    pub(super) fn is_listed(&self, name: &str) -> bool {
        let mut parts = self.manifest.iter().flat_map(|manifest| &manifest.parts);
        parts.any(|part| part.path == name)
    }

    pub(super) fn has_success(&self) -> bool {
        self.names.iter().any(|name| name == SUCCESS)
    }

    /// Published by a run that was killed before it could say so.
    pub(super) fn is_unfinished(&self) -> bool {
        let ours = |manifest: &Manifest| manifest.parts.iter().all(|part| self.is_ours(&part.path));
        self.manifest.as_ref().is_some_and(ours) && !self.has_success()
    }
}
