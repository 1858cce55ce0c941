//! Reads Arrow IPC files by their record batches, and only the requested columns of each.

use std::{iter, sync::Arc};

use arrow_array::RecordBatch;
use arrow_ipc::{Block, Message, reader::FileDecoder, root_as_footer, root_as_message};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use parquet::file::reader::{ChunkReader, Length};

use super::{
    ColumnChoice, FileBatches, FileChecksum, ReadOptions, Reader, check_footer, damaged, guarded,
    shared::SharedFile,
    units::{CheckedUnit, ReadUnits, UnitBatches},
    window::{ReadWindow, WindowColumns},
};
use crate::{
    error::{Cause, Result},
    location::{Location, Opened},
    record::facts::Facts,
    sink::{CHECKSUM_KEY, METADATA_KEY, find_checksum},
};

/// Size of the end of a file in bytes: 4 for the footer's length, 6 for the magic bytes.
const TAIL: u64 = 10;
const MAGIC: &[u8] = b"ARROW1";

pub(super) fn open(path: &Location, file: Opened, options: &ReadOptions) -> Result<Reader> {
    guarded(path, || try_open(path, file, options))
}

fn try_open(path: &Location, file: Opened, options: &ReadOptions) -> Result<Reader> {
    let wrong = |why: &str| damaged(path, why.into());
    let file = SharedFile::new(file);
    let length = file.len();
    let end = length.checked_sub(TAIL).ok_or_else(|| wrong("it is too short"))?;
    let tail = bytes(path, &file, end, TAIL)?;
    let size = tail.first_chunk().map_or(-1, |size| i32::from_le_bytes(*size));
    let start = u64::try_from(size).ok().and_then(|size| end.checked_sub(size));
    let (true, Some(start)) = (tail.ends_with(MAGIC), start) else {
        // A stream begins with the mark of a message.
        let why = match bytes(path, &file, 0, 4)?[..] == [0xff; 4] {
            true => {
                "it is a stream of Arrow, as standard output gets it, and not an Arrow file: read it as a stream, or export to a path"
            }
            false => "it does not end like an Arrow file",
        };
        return Err(wrong(why));
    };
    check_footer(path, end - start)?;
    let footer_data = bytes(path, &file, start, end - start)?;
    let footer = root_as_footer(&footer_data).map_err(|_| wrong("its footer is invalid"))?;
    let (Some(schema), Some(blocks)) = (footer.schema(), footer.recordBatches()) else {
        return Err(wrong("its footer is invalid"));
    };
    let failed = |error: ArrowError| damaged(path, error.into());
    let found = Arc::new(arrow_ipc::convert::try_fb_to_schema(schema).map_err(failed)?);
    let pairs = || footer.custom_metadata().into_iter().flatten();
    let value = |key| pairs().find(|pair| pair.key() == Some(key)).and_then(|pair| pair.value());
    let facts = value(METADATA_KEY).map(|json| Facts::parse(json, path)).transpose()?;
    let computed = facts.as_ref().map(Facts::computed).unwrap_or_default();
    let typed = facts.as_ref().and_then(|facts| facts.nested.as_deref());
    let columns = ColumnChoice::of(&found, options, &computed, typed);
    let checksum = value(CHECKSUM_KEY).map(str::to_owned);
    let checksum = checksum.or_else(|| find_checksum(&footer_data));
    let checksum = checksum.map(|value| FileChecksum { value, footer: length - start });
    let decoder = FileDecoder::new(found.clone(), footer.version());
    let units = Arc::new(ArrowBlocks {
        path: path.clone(),
        file,
        decoder: decoder.with_projection(columns.indices.clone()),
        found,
        columns: WindowColumns::of(&columns),
        wanted: columns.indices,
        options: options.clone(),
        blocks: blocks.iter().copied().collect(),
    });
    Ok(Reader {
        facts,
        computed,
        checksum,
        writer: None,
        schema: Some(columns.schema),
        foreign: columns.foreign,
        rescues: columns.rescued.is_some(),
        rows: None,
        batches: FileBatches::Units(units),
    })
}

fn bytes(path: &Location, file: &SharedFile, start: u64, length: u64) -> Result<bytes::Bytes> {
    let length = usize::try_from(length).map_err(|error| damaged(path, error.into()))?;
    file.get_bytes(start, length).map_err(|error| file.error(path, error.into()))
}

/// A file by its batches, which are larger than those of a reader.
struct ArrowBlocks {
    path: Location,
    file: SharedFile,
    decoder: FileDecoder,
    /// The file's own schema.
    found: SchemaRef,
    columns: WindowColumns,
    wanted: Vec<usize>,
    options: ReadOptions,
    blocks: Vec<Block>,
}

/// The bytes of a block to read.
struct BlockRanges {
    start: u64,
    head: u64,
    body: u64,
    message: bytes::Bytes,
    /// Offset and length of the wanted buffers in the body.
    ranges: Vec<(u64, u64)>,
    is_compressed: bool,
}

/// Returns the size after decompression that a compressed buffer declares, in bytes.
fn declared(buffer: &[u8]) -> u64 {
    let size = buffer.first_chunk().map_or(0, |prefix| i64::from_le_bytes(*prefix));
    u64::try_from(size).unwrap_or_default()
}

impl ReadUnits for ArrowBlocks {
    fn path(&self) -> &Location {
        &self.path
    }

    fn count(&self) -> usize {
        self.blocks.len()
    }

    fn rows(&self) -> Option<u64> {
        None
    }

    fn at_once(&self) -> usize {
        self.file.at_once()
    }

    fn check(&self, unit: usize) -> Result<CheckedUnit> {
        let (_, bytes) = self.ranges_of(self.block(unit)?)?;
        Ok(CheckedUnit { bytes, rows: usize::MAX })
    }

    fn batches(self: Arc<Self>, unit: usize, _: CheckedUnit) -> Result<UnitBatches> {
        let decoded = self.decode(self.block(unit)?)?;
        let mut window = decoded.map(|batch| ReadWindow::new(self.columns.clone(), &batch));
        Ok(Box::new(iter::from_fn(move || {
            window.as_mut().and_then(|it| it.next(&self.path, &self.options).transpose())
        })))
    }
}

impl ArrowBlocks {
    fn block(&self, unit: usize) -> Result<&Block> {
        self.blocks.get(unit).ok_or_else(|| damaged(&self.path, "a batch is missing".into()))
    }

    /// Reads the header of a block, and returns what to read of it and the memory that its values need in bytes.
    fn ranges_of(&self, block: &Block) -> Result<(BlockRanges, u64)> {
        let wrong = |why: &str| damaged(&self.path, why.into());
        let sizes = (block.offset(), block.metaDataLength(), block.bodyLength());
        let (Ok(start), Ok(head), Ok(body)) =
            (u64::try_from(sizes.0), u64::try_from(sizes.1), u64::try_from(sizes.2))
        else {
            return Err(wrong("a batch has a negative offset or size"));
        };
        let end = start.checked_add(head).and_then(|at| at.checked_add(body));
        if end.is_none_or(|end| end > self.file.len()) {
            return Err(wrong("a batch ends after the end of the file"));
        }
        self.options.check_unit(&self.path, "the header of a batch has", head)?;
        let message = bytes(&self.path, &self.file, start, head)?;
        let skipped = if message.starts_with(&[0xFF; 4]) { 8 } else { 4 };
        let flat = message.get(skipped..).ok_or_else(|| wrong("a batch has no header"))?;
        let flat = root_as_message(flat).map_err(|_| wrong("the header of a batch is invalid"))?;
        let is_compressed =
            flat.header_as_record_batch().is_some_and(|it| it.compression().is_some());
        let ranges = self.ranges(flat, body)?;
        let mut total = ranges.iter().map(|(_, length)| length).sum();
        self.options.check_unit(&self.path, "a batch has", total)?;
        // Buffers of other columns stay zero. The system allocates no memory for zero pages that nothing touches.
        // They take addresses, though: a file with holes can declare more of them than there are.
        self.options.check_unit(&self.path, "a batch with its other columns has", head + body)?;
        for (at, length) in ranges.iter().filter(|_| is_compressed) {
            let prefix = bytes(&self.path, &self.file, start + head + at, 8.min(*length))?;
            total = declared(&prefix).saturating_add(total);
            self.options.check_unit(&self.path, "a batch has", total)?;
        }
        Ok((BlockRanges { start, head, body, message, ranges, is_compressed }, total))
    }

    fn decode(&self, block: &Block) -> Result<Option<RecordBatch>> {
        let failed = |error: Cause| damaged(&self.path, error);
        let (found, _) = self.ranges_of(block)?;
        let BlockRanges { start, head, body, message, ranges, is_compressed } = found;
        let size = usize::try_from(head + body).map_err(|error| failed(error.into()))?;
        let mut whole = vec![0_u8; size];
        whole[..message.len()].copy_from_slice(&message);
        let mut total = 0_u64;
        for (at, length) in ranges {
            let buffer = bytes(&self.path, &self.file, start + head + at, length)?;
            if is_compressed {
                // Another process can change the file after the check.
                total = declared(&buffer).saturating_add(total);
                self.options.check_unit(&self.path, "a batch has", total)?;
            }
            let place = (head + at) as usize;
            whole[place..place + buffer.len()].copy_from_slice(&buffer);
        }
        let batch = self.decoder.read_record_batch(block, &whole.into());
        batch.map_err(|error| failed(error.into()))
    }

    /// Returns offset and length in bytes of the wanted columns' buffers in a batch's body.
    fn ranges(&self, message: Message<'_>, body: u64) -> Result<Vec<(u64, u64)>> {
        let wrong = |why: &str| damaged(&self.path, why.into());
        let Some(batch) = message.header_as_record_batch() else {
            return Err(wrong("a block is not a record batch"));
        };
        let buffers = batch.buffers().ok_or_else(|| wrong("a batch has no buffers"))?;
        let mut places = Vec::with_capacity(buffers.len());
        for buffer in buffers {
            let (Ok(at), Ok(length)) =
                (u64::try_from(buffer.offset()), u64::try_from(buffer.length()))
            else {
                return Err(wrong("a buffer has a negative offset or size"));
            };
            if at.checked_add(length).is_none_or(|end| end > body) {
                return Err(wrong("a buffer ends after the end of its batch"));
            }
            places.push((at, length));
        }
        let mut variadic = batch.variadicBufferCounts().into_iter().flatten();
        let (mut wanted, mut start) = (Vec::new(), 0);
        for (index, field) in self.found.fields().iter().enumerate() {
            // Read all buffers if the number of buffers of a column is unknown.
            let Some(count) = buffer_count(field.data_type(), &mut variadic) else {
                return Ok(places);
            };
            if self.wanted.contains(&index) {
                let own = places.get(start..start + count);
                wanted.extend_from_slice(own.ok_or_else(|| wrong("a column has no buffers"))?);
            }
            start += count;
        }
        Ok(wanted)
    }
}

/// Returns the number of buffers of a column of this type, or `None` if the type alone does not determine it.
fn buffer_count(kind: &DataType, variadic: &mut impl Iterator<Item = i64>) -> Option<usize> {
    use DataType as T;
    let mut inner = |field: &arrow_schema::Field| buffer_count(field.data_type(), variadic);
    Some(match kind {
        T::Null => 0,
        T::Utf8 | T::LargeUtf8 | T::Binary | T::LargeBinary => 3,
        T::Utf8View | T::BinaryView => usize::try_from(variadic.next()?).ok()?.checked_add(2)?,
        T::List(field) | T::LargeList(field) | T::Map(field, _) => 2 + inner(field)?,
        T::FixedSizeList(field, _) => 1 + inner(field)?,
        T::Struct(fields) => {
            let counts = fields.iter().map(|field| inner(field));
            1 + counts.sum::<Option<usize>>()?
        }
        T::ListView(_) | T::LargeListView(_) | T::Union(..) | T::RunEndEncoded(..) => return None,
        _ => 2,
    })
}
