//! Formats and codecs: their names, their extensions, and the valid combinations.

use std::{fmt, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Highest zstd level of JSON Lines and CSV: 19. Above it, every encoder thread allocates a window of up to 128 MiB and
/// tables of up to 700 MiB.
const TEXT_LEVELS: i32 = 19;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// The Arrow IPC file format, also known as Feather 2. On a pipe, the Arrow IPC stream format.
    Arrow,
    /// JSON Lines: one JSON object per line.
    #[serde(rename = "jsonl")]
    JsonLines,
    /// CSV as in RFC 4180, with a header. An empty cell is null, and `""` is the empty string.
    Csv,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Parquet, Self::Arrow, Self::JsonLines, Self::Csv];

    /// Returns the name on the command line, which is also the file extension.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::JsonLines => "jsonl",
            Self::Csv => "csv",
        }
    }

    /// Returns the name for sentences, such as `JSON Lines`.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Parquet => "Parquet",
            Self::Arrow => "Arrow IPC",
            Self::JsonLines => "JSON Lines",
            Self::Csv => "CSV",
        }
    }

    /// Whether a file of this format consists of lines of text. It then has no metadata, and its name alone says
    /// whether it is compressed.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::JsonLines | Self::Csv)
    }

    fn default_compression(self) -> Compression {
        match self {
            Self::Parquet => Compression::Zstd(3),
            // Level 1 is 1.5 times as fast as level 3, and an Arrow file is usually read soon, not archived.
            Self::Arrow => Compression::Zstd(1),
            Self::JsonLines | Self::Csv => Compression::None,
        }
    }

    fn takes(self, compression: Compression) -> bool {
        use Compression::{Gzip, Lz4, None, Snappy, Zstd};
        match compression {
            None => true,
            Zstd(level) => !self.is_text() || level <= TEXT_LEVELS,
            Snappy => self == Self::Parquet,
            Lz4 => !self.is_text(),
            Gzip => self.is_text(),
        }
    }

    fn compressions(self) -> &'static str {
        match self {
            Self::Parquet => "none, snappy, lz4, zstd or zstd:LEVEL",
            Self::Arrow => "none, lz4, zstd or zstd:LEVEL",
            Self::JsonLines | Self::Csv => "none, gzip, zstd or zstd:LEVEL up to 19",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| Error::invalid("format", text, "use parquet, arrow, jsonl or csv"))
    }
}

/// A codec. Zstandard also has a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// No compression, for example to memory-map Arrow IPC, or for a pipe.
    None,
    /// Snappy: Parquet only.
    Snappy,
    /// LZ4: Parquet (`LZ4_RAW`) and Arrow IPC (frames).
    Lz4,
    /// gzip: JSON Lines and CSV only.
    Gzip,
    /// Zstandard with a level from 1 to 22, in JSON Lines and CSV up to 19. In Parquet, the column `id` is
    /// always compressed at level 1, because its random digits do not compress further.
    Zstd(i32),
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Snappy => f.write_str("snappy"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Gzip => f.write_str("gzip"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            Error::invalid("compression", text, "use none, snappy, lz4, gzip, zstd or zstd:LEVEL")
        };
        Ok(match text {
            "none" => Self::None,
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "gzip" => Self::Gzip,
            "zstd" => Self::Zstd(3),
            _ => {
                let level = text.strip_prefix("zstd:").ok_or_else(unknown)?;
                let level = level.parse().map_err(|_| unknown())?;
                if !(1..=22).contains(&level) {
                    return Err(Error::invalid("compression", text, "levels are 1 to 22"));
                }
                Self::Zstd(level)
            }
        })
    }
}

/// How Parquet files encode their values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParquetEncoding {
    /// Texts as `DELTA_LENGTH_BYTE_ARRAY`, `order` as `DELTA_BINARY_PACKED`. Most readers decode such texts twice as
    /// fast as plain ones.
    #[default]
    DeltaLength,
    /// Only `PLAIN` and dictionaries, for fastparquet, Velox and Spark before 3.3.
    Plain,
}

impl fmt::Display for ParquetEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DeltaLength => "delta-length",
            Self::Plain => "plain",
        })
    }
}

impl FromStr for ParquetEncoding {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "delta-length" => Ok(Self::DeltaLength),
            "plain" => Ok(Self::Plain),
            _ => Err(Error::invalid("Parquet encoding", text, "use delta-length or plain")),
        }
    }
}

/// How a file holds the columns that are JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JsonColumns {
    /// The JSON values themselves. Only in JSON Lines, where it is the default.
    #[serde(alias = "json")]
    Value,
    /// JSON text. The default of the other formats. In JSON Lines, a string that contains the JSON text, for readers
    /// that change JSON values: each line then begins with `{` and a space, so that [`Batches`](crate::Batches) can tell
    /// the two forms apart.
    Text,
    /// Typed columns: structs, lists, strings, numbers and booleans. Only in Parquet and Arrow. The types are those that
    /// hold every value of the export; see [`NestedType`](crate::NestedType).
    Nested,
}

impl JsonColumns {
    /// Whether files of this format can hold JSON columns so.
    pub(crate) fn suits(self, format: Format) -> bool {
        match self {
            Self::Value => format == Format::JsonLines,
            Self::Text => true,
            Self::Nested => !format.is_text(),
        }
    }
}

impl fmt::Display for JsonColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Value => "value",
            Self::Text => "text",
            Self::Nested => "nested",
        })
    }
}

impl FromStr for JsonColumns {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            // The former name.
            "value" | "json" => Ok(Self::Value),
            "text" => Ok(Self::Text),
            "nested" => Ok(Self::Nested),
            _ => Err(Error::invalid("form of JSON columns", text, "use text, value or nested")),
        }
    }
}

/// A format with a codec that it supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    format: Format,
    compression: Compression,
    /// Used only if the format is Parquet.
    parquet: ParquetEncoding,
    json: JsonColumns,
    /// Used only if the format is CSV.
    csv_bom: bool,
    /// Used only if the format is CSV.
    csv_safe: bool,
}

impl From<Format> for Encoding {
    /// Returns the format with its default codec: zstd level 3 for Parquet, zstd level 1 for Arrow IPC, and no
    /// compression for JSON Lines and CSV.
    fn from(format: Format) -> Self {
        Self::with_defaults(format, format.default_compression())
    }
}

impl Encoding {
    /// Combines a format and a codec.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the format does not support the codec.
    ///
    /// ```
    /// use overmind_export::{Compression, Encoding, Format};
    /// let encoding = Encoding::new(Format::JsonLines, "gzip".parse()?)?;
    /// assert_eq!(encoding.extension(), "jsonl.gz");
    /// assert!(Encoding::new(Format::Arrow, Compression::Snappy).is_err());
    /// # Ok::<(), overmind_export::Error>(())
    /// ```
    pub fn new(format: Format, compression: Compression) -> Result<Self> {
        if format.takes(compression) {
            Ok(Self::with_defaults(format, compression))
        } else {
            let why = format!("{format} takes {}", format.compressions());
            Err(Error::invalid("compression", compression.to_string(), why))
        }
    }

    /// Returns the encoding for the extension of a file name. `None` if the extension is missing or unknown.
    pub fn of_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let (format, compression) = match name.rsplit_once('.')? {
            (stem, "gz") if stem.ends_with(".jsonl") => (Format::JsonLines, Compression::Gzip),
            (stem, "zst") if stem.ends_with(".jsonl") => (Format::JsonLines, Compression::Zstd(3)),
            (_, "jsonl" | "ndjson") => (Format::JsonLines, Compression::None),
            (stem, "gz") if stem.ends_with(".csv") => (Format::Csv, Compression::Gzip),
            (stem, "zst") if stem.ends_with(".csv") => (Format::Csv, Compression::Zstd(3)),
            (_, "csv") => (Format::Csv, Compression::None),
            (_, "parquet") => return Some(Format::Parquet.into()),
            (_, "arrow" | "feather") => return Some(Format::Arrow.into()),
            _ => return None,
        };
        Some(Self::with_defaults(format, compression))
    }

    fn with_defaults(format: Format, compression: Compression) -> Self {
        let parquet = ParquetEncoding::default();
        let json = match format {
            Format::JsonLines => JsonColumns::Value,
            _ => JsonColumns::Text,
        };
        Self { format, compression, parquet, json, csv_bom: false, csv_safe: false }
    }

    /// Chooses how Parquet encodes values.
    ///
    /// # Errors
    /// [`Error::Usage`] when the format is not Parquet.
    ///
    /// ```
    /// use overmind_export::{Encoding, Format, ParquetEncoding};
    /// let plain = Encoding::from(Format::Parquet).with_parquet_encoding(ParquetEncoding::Plain)?;
    /// assert_eq!(plain.parquet_encoding(), Some(ParquetEncoding::Plain));
    /// # Ok::<(), overmind_export::Error>(())
    /// ```
    pub fn with_parquet_encoding(self, parquet: ParquetEncoding) -> Result<Self> {
        match self.format {
            Format::Parquet => Ok(Self { parquet, ..self }),
            format => Err(Error::Usage(format!(
                "`parquet_encoding` is for Parquet, but the format is {format}: leave it out"
            ))),
        }
    }

    /// Chooses how JSON columns are held. A sink takes the types of nested columns from its schema.
    ///
    /// # Errors
    /// [`Error::Usage`] when the format does not hold them so.
    pub fn with_json_columns(self, json: JsonColumns) -> Result<Self> {
        if json.suits(self.format) {
            return Ok(Self { json, ..self });
        }
        let hint = match (json, self.format) {
            (JsonColumns::Nested, Format::JsonLines) => {
                "use value, whose values are nested, or text"
            }
            (_, Format::Csv) => "leave it out, CSV has JSON text",
            (_, format) if format.is_text() => "use value or text",
            _ => "use text or nested",
        };
        Err(Error::Usage(format!(
            "`json_columns` {json} is not for {}: {hint}",
            self.format.title()
        )))
    }

    /// Chooses whether CSV begins with a byte order mark. Without one, some spreadsheets do not read UTF-8.
    ///
    /// # Errors
    /// [`Error::Usage`] when the format is not CSV.
    pub fn with_csv_bom(self, csv_bom: bool) -> Result<Self> {
        self.require_csv("csv_bom").map(|encoding| Self { csv_bom, ..encoding })
    }

    /// Chooses whether CSV protects cells that a spreadsheet would run as a formula.
    ///
    /// A text that begins with `=`, `+`, `-`, `@`, their full-width forms, a tab, a carriage return or a line feed,
    /// also after white space, gets a `'` before it. A number stays as it is. The values of such a file are not those
    /// of the rows, so it cannot be read back: [`verify`](crate::verify()) compares only its SHA-256 and the number of
    /// rows. Its header is quoted, so that readers can tell.
    ///
    /// # Errors
    /// [`Error::Usage`] when the format is not CSV.
    pub fn with_csv_safe(self, csv_safe: bool) -> Result<Self> {
        self.require_csv("csv_safe").map(|encoding| Self { csv_safe, ..encoding })
    }

    fn require_csv(self, option: &str) -> Result<Self> {
        match self.format {
            Format::Csv => Ok(self),
            format => Err(Error::Usage(format!(
                "`{option}` is for CSV, but the format is {format}: leave it out"
            ))),
        }
    }

    /// Returns whether CSV begins with a byte order mark. `None` for other formats.
    pub fn csv_bom(self) -> Option<bool> {
        (self.format == Format::Csv).then_some(self.csv_bom)
    }

    /// Returns whether CSV protects cells from spreadsheets. `None` for other formats.
    pub fn csv_safe(self) -> Option<bool> {
        (self.format == Format::Csv).then_some(self.csv_safe)
    }

    /// Returns how Parquet encodes values. `None` for other formats.
    pub fn parquet_encoding(self) -> Option<ParquetEncoding> {
        (self.format == Format::Parquet).then_some(self.parquet)
    }

    /// Returns how JSON columns are held, if the format has more than one way: `None` for CSV, and for JSON text in
    /// Parquet and Arrow.
    pub fn json_columns(self) -> Option<JsonColumns> {
        (self.format == Format::JsonLines || self.is_nested()).then_some(self.json)
    }

    /// The encoding of drafts: Parquet with the fastest codec that is not much larger.
    pub(crate) fn drafts() -> Self {
        Self::with_defaults(Format::Parquet, Compression::Zstd(1))
    }

    pub(crate) fn is_nested(self) -> bool {
        self.json == JsonColumns::Nested
    }

    /// Returns the format.
    pub fn format(self) -> Format {
        self.format
    }

    /// Returns the codec.
    pub fn compression(self) -> Compression {
        self.compression
    }

    /// Returns the file extension for this encoding, without a dot, such as `jsonl.gz`.
    pub fn extension(self) -> &'static str {
        match (self.format, self.compression) {
            (Format::JsonLines, Compression::Gzip) => "jsonl.gz",
            (Format::JsonLines, Compression::Zstd(_)) => "jsonl.zst",
            (Format::Csv, Compression::Gzip) => "csv.gz",
            (Format::Csv, Compression::Zstd(_)) => "csv.zst",
            (format, _) => format.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_format_and_codec() {
        let table = [
            ("a.parquet", Some("parquet zstd:3")),
            ("a.ARROW", Some("arrow zstd:1")),
            ("a.b.jsonl", Some("jsonl none")),
            ("a.jsonl.gz", Some("jsonl gzip")),
            ("a.jsonl.zst", Some("jsonl zstd:3")),
            ("a.gz", None),
            ("a.csv", Some("csv none")),
            ("a.CSV.gz", Some("csv gzip")),
            ("a.csv.zst", Some("csv zstd:3")),
            ("a.tsv", None),
            ("csv", None),
            ("jsonl", None),
        ];
        for (name, expected) in table {
            let encoding = Encoding::of_path(Path::new(name));
            let text = encoding.map(|it| format!("{} {}", it.format(), it.compression()));
            assert_eq!(text.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn unsupported_codec_error_names_supported_ones() {
        let text = |format, codec: &str| {
            Encoding::new(format, codec.parse().unwrap()).unwrap_err().to_string()
        };
        assert_eq!(
            text(Format::Parquet, "gzip"),
            "\"gzip\" is not a valid compression: parquet takes none, snappy, lz4, zstd or zstd:LEVEL"
        );
        assert!(
            text(Format::JsonLines, "lz4")
                .ends_with("jsonl takes none, gzip, zstd or zstd:LEVEL up to 19")
        );
        assert!(
            text(Format::Csv, "snappy")
                .ends_with("csv takes none, gzip, zstd or zstd:LEVEL up to 19")
        );
        assert_eq!(
            "zstd:23".parse::<Compression>().unwrap_err().to_string(),
            "\"zstd:23\" is not a valid compression: levels are 1 to 22"
        );
    }
}
