//! Reads JSON Lines, plain or compressed, line by line. The length of a line is bounded.

use std::{path::Path, sync::Arc};

use super::{
    FileBatches, Foreign, ReadOptions, Reader, RecordedLines,
    json_line::{JsonLine, LineColumns},
    line_block::{LineBlock, LineSchema, LineText},
    text::TextFile,
};
use crate::{
    error::{Error, Result},
    location::Location,
    sink::{Compression, Encoding, is_text_line},
    text::grouped,
};

/// Bytes that a line may have in addition to one value of the largest size: 4 MiB for names and other values.
const LINE_OVERHEAD: usize = 4 << 20;

pub(super) fn open(
    path: &Location,
    compression: Compression,
    (options, recorded): (&ReadOptions, RecordedLines<'_>),
) -> Result<Reader> {
    let schema = recorded.columns.as_deref().map(|columns| Arc::new(LineSchema::recorded(columns)));
    let blocks = JsonLines {
        file: TextFile::open(path, compression, recorded.sha256)?,
        schema,
        lines: 0,
        options: options.clone(),
        has_ended: false,
    };
    Ok(Reader {
        facts: None,
        computed: Vec::new(),
        checksum: None,
        writer: None,
        schema: None,
        foreign: Foreign::default(),
        rescues: false,
        rows: None,
        batches: FileBatches::Blocks(Box::new(blocks)),
    })
}

/// The lines of a file, in blocks that can be parsed independently of each other.
struct JsonLines {
    file: TextFile,
    /// The columns of the record or of the first line. All lines must have the same.
    schema: Option<Arc<LineSchema>>,
    /// Number of lines that were read.
    lines: u64,
    options: ReadOptions,
    /// Whether the last block was read, or an error ended the lines.
    has_ended: bool,
}

impl JsonLines {
    /// Reads the lines of the next batch; `None` if there is none.
    fn read(&mut self) -> Result<Option<LineBlock>> {
        let mut text = LineText::after(self.lines);
        while text.has_room() {
            if read_line(&mut self.file, text.open_line(), &self.options)? == 0 {
                self.has_ended = true;
                break;
            }
            text.end_line();
        }
        let checked = if self.has_ended { self.file.check_end() } else { Ok(()) };
        if text.len() == 0 {
            return checked.map(|()| None);
        }
        self.lines += text.len() as u64;
        let (path, options) = (self.file.path(), &self.options);
        let schema = match &self.schema {
            Some(schema) => schema.clone(),
            None => self.schema.insert(Arc::new(text.first_schema(path, options)?)).clone(),
        };
        let (path, options) = (path.clone(), options.clone());
        Ok(Some(LineBlock { text, schema, path, options, checked }))
    }
}

impl Iterator for JsonLines {
    type Item = Result<LineBlock>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let block = self.read();
        self.has_ended |= block.is_err();
        block.transpose()
    }
}

/// Counts the lines of a file without parsing them.
pub(super) fn count_lines(mut file: TextFile, go_on: impl Fn() -> Result<()>) -> Result<u64> {
    let (mut count, mut open) = (0, false);
    file.scan(go_on, |bytes| {
        open = !bytes.ends_with(b"\n");
        count += memchr::memchr_iter(b'\n', bytes).count() as u64;
    })?;
    Ok(count + u64::from(open))
}

/// Returns the names of unused columns that lines have. Reads until each of them was found.
pub(super) fn unused_names(path: &Location, options: &ReadOptions) -> Result<Vec<String>> {
    let compression = Encoding::of_path(Path::new(&path.name())).map(Encoding::compression);
    let mut file = TextFile::open(path, compression.unwrap_or(Compression::None), None)?;
    let (mut found, mut line) = (Vec::new(), Vec::new());
    while found.len() < options.unused.len() {
        options.go_on()?;
        line.clear();
        if read_line(&mut file, &mut line, options)? == 0 {
            break;
        }
        // A line that is wrong is refused when its rows are read.
        let Ok(line) = JsonLine::parse(&line, LineColumns::Any) else { break };
        let mut unused = options.unused.iter().enumerate();
        let is_new =
            |(place, name): &(usize, &String)| line.has(name, *place) && !found.contains(*name);
        let new: Vec<_> = unused.by_ref().filter(is_new).map(|(_, name)| name.clone()).collect();
        found.extend(new);
    }
    Ok(found)
}

/// Appends a line and returns its length in bytes, 0 at the end of the file. The last line needs no line feed.
fn read_line(file: &mut TextFile, text: &mut Vec<u8>, options: &ReadOptions) -> Result<usize> {
    let before = text.len();
    // In a string, each quote and each backslash of the JSON text has a backslash before it.
    let start = file.read_line(text, 2)?;
    let values = if is_text_line(&text[before..]) { 2 } else { 1 };
    let limit = options.max_value_bytes.saturating_mul(values).saturating_add(LINE_OVERHEAD);
    if start == 2 && !text.ends_with(b"\n") {
        file.read_line(text, limit - 1)?;
    }
    let length = text.len() - before;
    if length > limit {
        let what = format!("a line has more than {} bytes", grouped(limit as u64));
        let limit = options.max_value_bytes as u64;
        return Err(Error::ValueTooLarge { path: file.path().to_path(), what, limit });
    }
    Ok(length)
}
