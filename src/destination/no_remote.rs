//! A placeholder for destinations in object stores, in a build without the feature `clouds`. Its types have
//! no values.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    FoundRanges, Header, Interrupted, KeptPart, OutputRequest, PartFile, PlanStart, RangeRecord,
    Resumable, WantedRange, range_record::RangeCheck,
};
use crate::{
    error::{Error, Result},
    location::{Location, Remote},
    record::{
        layout::PartLayout,
        manifest::{Manifest, Part},
    },
};

/// A type without values. So the types that contain it have no values either.
#[derive(Debug, Clone, Copy)]
enum Never {}

#[derive(Debug)]
pub(crate) struct Object(Never);

#[derive(Debug)]
pub(crate) struct Prefix(Never);

#[derive(Debug)]
pub(crate) struct Lock(Never);

#[derive(Debug)]
pub(crate) struct LeaseWatch(Never);

pub(crate) struct Upload(Never);

pub(super) fn lock(folder: &Remote) -> Result<Lock> {
    folder.absurd()
}

pub(super) fn unlock(lock: Lock) -> Result<()> {
    match lock.0 {}
}

pub(super) fn interrupted(
    target: &Remote,
    _staging: Option<&Location>,
) -> Result<Option<Interrupted>> {
    target.absurd()
}

pub(super) fn resumable(
    target: &Remote,
    _wanted: &OutputRequest,
    _header: &Header,
) -> Result<Option<Resumable>> {
    target.absurd()
}

pub(super) fn finish(
    _location: &Location,
    target: &Remote,
    _record: &Location,
    _staging: &Location,
) -> Result<()> {
    target.absurd()
}

pub(super) fn discard(
    _location: &Location,
    target: &Remote,
    _record: Option<&Location>,
    _staging: Option<&Location>,
) -> Result<()> {
    target.absurd()
}

#[derive(Debug)]
pub(crate) struct PlanPrefix(Never);

#[derive(Debug)]
pub(crate) struct RangeUploads(Never);

#[derive(Debug)]
pub(crate) struct CheckedUploads(Never);

pub(super) fn finish_begun(
    _location: &Location,
    target: &Remote,
    _wanted: &OutputRequest,
) -> Result<Option<Manifest>> {
    target.absurd()
}

pub(super) fn tidy_published(target: &Remote) -> Result<()> {
    target.absurd()
}

pub(super) fn abort_plan(
    _location: &Location,
    target: &Remote,
    _wanted: &OutputRequest,
    _is_readable: bool,
) -> Result<bool> {
    target.absurd()
}

impl PlanPrefix {
    pub(super) fn find(_location: &Location, target: &Remote) -> Result<Option<Self>> {
        target.absurd()
    }

    pub(super) fn plan(&self) -> &[u8] {
        match self.0 {}
    }

    pub(super) fn records(&self, _layout: &PartLayout, _range: u32) -> Result<FoundRanges> {
        match self.0 {}
    }

    pub(super) fn state(&self, _wanted: &OutputRequest) -> Result<FoundRanges> {
        match self.0 {}
    }

    pub(super) fn given(&self) -> PathBuf {
        match self.0 {}
    }

    pub(super) fn problem(
        &self,
        _record: &RangeRecord,
        _width: usize,
        _temp_dir: &Path,
    ) -> Result<Option<String>> {
        match self.0 {}
    }

    pub(super) fn attempt(
        self,
        _wanted: &WantedRange,
        _attempt: u32,
        _token: String,
    ) -> RangeUploads {
        match self.0 {}
    }

    pub(super) fn announce(&self, _token: &str) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn withdraw(&self, _token: &str) -> Result<()> {
        match self.0 {}
    }
}

impl RangeUploads {
    pub(super) fn finish(self, _pages: (u64, u64), _first_order: Option<i64>) -> Result<bool> {
        match self.0 {}
    }

    pub(super) fn parts(&self) -> &[KeptPart] {
        match self.0 {}
    }

    pub(super) fn part_name(&self, _index: usize, _extension: &str) -> String {
        match self.0 {}
    }

    pub(super) fn create(&mut self, _index: usize, _extension: &str) -> Result<PartFile> {
        match self.0 {}
    }

    pub(super) fn create_ids(&mut self, _index: usize, _extension: &str) -> Result<PartFile> {
        match self.0 {}
    }

    pub(super) fn keep(&mut self, _kept: KeptPart) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn discard(self) {
        match self.0 {}
    }

    pub(super) fn watch(&self) -> LeaseWatch {
        match self.0 {}
    }
}

impl Lock {
    pub(super) fn confirm(&self) -> Result<()> {
        match self.0 {}
    }
}

impl LeaseWatch {
    pub(super) fn stop(&self) {
        match self.0 {}
    }

    pub(super) async fn lost(&self) -> Error {
        match self.0 {}
    }
}

impl Upload {
    pub(super) fn close(&mut self) -> Result<()> {
        match self.0 {}
    }
}

impl Write for Upload {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

impl Object {
    pub(super) fn probe(
        _location: &Location,
        target: &Remote,
        _overwrite: bool,
        _sidecar: bool,
        _only_look: bool,
    ) -> Result<Self> {
        target.absurd()
    }

    pub(super) fn name(&self) -> String {
        match self.0 {}
    }

    pub(super) fn open(&mut self) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn create(&mut self) -> Result<PartFile> {
        match self.0 {}
    }

    pub(super) fn publish(self, _sidecar: Option<&Manifest>) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn abandon(self) {
        match self.0 {}
    }

    pub(super) fn watch(&self) -> Option<LeaseWatch> {
        match self.0 {}
    }
}

impl Prefix {
    pub(super) fn probe(
        _location: &Location,
        target: &Remote,
        _wanted: &OutputRequest,
        _only_look: bool,
    ) -> Result<Self> {
        target.absurd()
    }

    pub(super) fn resume(&mut self, _header: &Header, _restart: bool) -> Result<Vec<KeptPart>> {
        match self.0 {}
    }

    pub(super) fn open(&mut self, _header: &Header) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn part_name(&self, _index: usize, _extension: &str) -> String {
        match self.0 {}
    }

    pub(super) fn create(&mut self, _index: usize, _extension: &str) -> Result<PartFile> {
        match self.0 {}
    }

    pub(super) fn create_ids(&mut self, _index: usize, _extension: &str) -> Result<PartFile> {
        match self.0 {}
    }

    pub(super) fn keep(&mut self, _kept: KeptPart) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn note_part(&mut self, _part: &Part) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn publish(self, _manifest: &Manifest) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn abandon(self) -> usize {
        match self.0 {}
    }

    pub(super) fn forget(&mut self) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn watch(&self) -> Option<LeaseWatch> {
        match self.0 {}
    }

    pub(super) fn begin_plan(self, _plan: &[u8], _start: &PlanStart<'_>) -> Result<Vec<u8>> {
        match self.0 {}
    }

    pub(super) fn gather(&mut self, _plan: &[u8]) -> Result<FoundRanges> {
        match self.0 {}
    }

    pub(super) fn check_range(
        &self,
        _record: &mut RangeRecord,
    ) -> Result<RangeCheck<CheckedUploads>> {
        match self.0 {}
    }

    pub(super) fn take_range(&mut self, _parts: CheckedUploads) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn settle(&mut self) -> Result<()> {
        match self.0 {}
    }
}
