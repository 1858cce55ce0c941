//! An object, read at any offset through a small cache of blocks.
//!
//! A reader of several columns jumps between a few positions, and each position moves forward. A few cached
//! blocks are enough to request every block only once. If the object is replaced during a read, the read
//! fails. It never mixes two versions.

use std::{
    collections::VecDeque,
    io::{self, Read, Seek, SeekFrom},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use object_store::{GetOptions, GetRange, ObjectMeta};

use super::{Remote, wait};
use crate::error::causes;

/// Size of a block in bytes: 2 MiB, read with one request.
const BLOCK: u64 = 2 << 20;
/// Most cached blocks: 16 MiB, which bounds the memory of a reader.
const BLOCKS: usize = 8;

/// A position in an object. Clones share the cached blocks.
#[derive(Debug, Clone)]
pub(crate) struct RemoteFile {
    object: Arc<StoredObject>,
    offset: u64,
}

#[derive(Debug)]
struct StoredObject {
    remote: Remote,
    length: u64,
    e_tag: Option<String>,
    /// Cached blocks by number. The last used block is at the end.
    blocks: Mutex<VecDeque<(u64, Bytes)>>,
}

impl RemoteFile {
    pub(super) fn new(remote: Remote, meta: &ObjectMeta) -> Self {
        let (length, e_tag) = (meta.size, meta.e_tag.clone());
        let object = StoredObject { remote, length, e_tag, blocks: Mutex::default() };
        Self { object: Arc::new(object), offset: 0 }
    }

    pub(in crate::location) fn length(&self) -> u64 {
        self.object.length
    }

    /// Another reader of the same object, at this offset.
    pub(in crate::location) fn at(&self, offset: u64) -> Self {
        Self { object: self.object.clone(), offset }
    }
}

impl StoredObject {
    fn block(&self, number: u64) -> io::Result<Bytes> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = blocks.iter().position(|(held, _)| *held == number)
            && let Some(found) = blocks.remove(at)
        {
            let bytes = found.1.clone();
            blocks.push_back(found);
            return Ok(bytes);
        }
        let bytes = self.fetch(number * BLOCK..self.length.min((number + 1) * BLOCK))?;
        if blocks.len() >= BLOCKS {
            blocks.pop_front();
        }
        blocks.push_back((number, bytes.clone()));
        Ok(bytes)
    }

    fn fetch(&self, range: std::ops::Range<u64>) -> io::Result<Bytes> {
        let length = range.end - range.start;
        let get = || {
            let (store, path) = self.remote.target()?;
            let options = GetOptions::default().with_range(Some(GetRange::Bounded(range)));
            let got = wait(async move {
                let found = store.get_opts(&path, options).await?;
                Ok((found.meta.e_tag.clone(), found.bytes().await?))
            })?;
            got.map_err(|error| self.remote.failed("read", &error))
        };
        let (e_tag, bytes) = get().map_err(|error| {
            let texts: Vec<_> = [error.to_string()].into_iter().chain(causes(&error)).collect();
            io::Error::other(texts.join(": "))
        })?;
        if e_tag != self.e_tag || bytes.len() as u64 != length {
            return Err(io::Error::other("it was replaced while it was read"));
        }
        Ok(bytes)
    }
}

impl Read for RemoteFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.offset >= self.object.length || buffer.is_empty() {
            return Ok(0);
        }
        let block = self.object.block(self.offset / BLOCK)?;
        let rest = &block[(self.offset % BLOCK) as usize..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.offset += length as u64;
        Ok(length)
    }
}

impl Seek for RemoteFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let offset = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(by) => self.object.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
        };
        let before =
            || io::Error::new(io::ErrorKind::InvalidInput, "the offset is before the beginning");
        self.offset = offset.ok_or_else(before)?;
        Ok(self.offset)
    }
}
