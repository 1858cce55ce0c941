//! A placeholder for object stores in a build without the feature `clouds`. Its types have no values.

use std::{
    fmt,
    io::{self, Read, Seek, SeekFrom},
};

use url::Url;

use super::{Opened, StorageOptions};
use crate::{
    error::{Error, Result},
    net::urls::quotable,
};

/// A type without values. So the types that contain it have no values either.
#[derive(Debug, Clone)]
enum Never {}

#[derive(Debug, Clone)]
pub(crate) struct Remote(Never);

impl Remote {
    pub(super) fn new(text: &str, _url: &Url, _options: &StorageOptions) -> Result<Self> {
        let why = "this build takes local paths only: it lacks the cargo feature clouds";
        Err(Error::invalid("location", quotable(text), why))
    }

    /// Proves that the caller cannot run: this type has no values.
    pub(crate) fn absurd(&self) -> ! {
        match self.0 {}
    }

    pub(crate) fn contains(&self, _other: &Self) -> bool {
        match self.0 {}
    }

    pub(super) fn child(&self, _name: &str) -> Self {
        match self.0 {}
    }

    pub(super) fn sibling(&self, _name: &str) -> Self {
        match self.0 {}
    }

    pub(super) fn parent(&self) -> Option<Self> {
        match self.0 {}
    }

    pub(super) fn name(&self) -> &str {
        match self.0 {}
    }

    pub(super) fn read(&self) -> Result<Option<Vec<u8>>> {
        match self.0 {}
    }

    pub(super) fn write(&self, _bytes: &[u8]) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn update(&self, _change: impl Fn(&[u8]) -> Vec<u8>) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn names(&self) -> Result<Vec<String>> {
        match self.0 {}
    }

    pub(super) fn entries(&self) -> Result<Vec<super::PlaceEntry>> {
        match self.0 {}
    }

    pub(super) fn remove(&self) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn is_object(&self) -> Result<bool> {
        match self.0 {}
    }

    pub(super) fn open(&self) -> Result<Opened> {
        match self.0 {}
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

#[derive(Debug, Clone)]
pub(crate) struct RemoteFile(Never);

impl RemoteFile {
    pub(super) fn length(&self) -> u64 {
        match self.0 {}
    }

    pub(super) fn at(&self, _offset: u64) -> Self {
        match self.0 {}
    }
}

impl Read for RemoteFile {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Seek for RemoteFile {
    fn seek(&mut self, _to: SeekFrom) -> io::Result<u64> {
        match self.0 {}
    }
}
