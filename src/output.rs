//! The meaning of an output path: a file, a directory of parts, a prefix or a pipe, and the encoding. The
//! only file access is a check whether the output is an existing directory.

use std::path::{Path, PathBuf};

use crate::{
    error::{Error, Result},
    location::{Location, StorageOptions, Target},
    net::urls::quotable,
    sink::{Compression, Encoding, Format},
};

/// Parses an output path.
///
/// # Errors
/// [`Error::Invalid`] when the path is empty, names no directory, or has an unknown extension.
pub(crate) fn target(output: &Path, storage: &StorageOptions) -> Result<Target> {
    let text = output.to_string_lossy();
    let wrong = |why: &str| Err(Error::invalid("output", quotable(&text), why));
    if text.is_empty() {
        return wrong("it is empty");
    }
    if text == "-" {
        return Ok(Target::Stdout);
    }
    let location = Location::of(output, storage)?;
    let name = PathBuf::from(location.name());
    let is_directory = location.as_local().is_some_and(Path::is_dir);
    if text.ends_with('/') || is_directory || name.extension().is_none() {
        return if location.as_local().is_some() && name.as_os_str().is_empty() {
            wrong("give the name of the directory itself, because the export replaces it")
        } else {
            Ok(Target::Directory(location))
        };
    }
    if Encoding::of_path(&name).is_none() {
        return wrong(
            "use .parquet, .arrow, .jsonl or .csv, the last two also with .gz or .zst; a path that ends in a slash \
             is a directory of parts",
        );
    }
    Ok(Target::File(location))
}

/// Returns the encoding for a target, from its name and from the requested format and compression.
///
/// # Errors
/// [`Error::Usage`] when format or compression contradict the target.
pub(crate) fn encoding(
    target: &Target,
    format: Option<Format>,
    compression: Option<Compression>,
) -> Result<Encoding> {
    let (format, named) = match target {
        Target::Stdout => match format {
            Some(Format::Parquet) => {
                return Err(Error::Usage(
                    "Parquet cannot be read from a pipe: use `format jsonl`, `format csv` or `format arrow` for \
                     standard output"
                        .to_owned(),
                ));
            }
            // The default for a pipe is no compression: the next program would only have to undo it.
            format => {
                let format = format.unwrap_or(Format::JsonLines);
                return Encoding::new(format, compression.unwrap_or(Compression::None));
            }
        },
        Target::Directory(_) => (format.unwrap_or(Format::Parquet), None),
        Target::File(place) => match (Encoding::of_path(Path::new(&place.name())), format) {
            (Some(named), Some(format)) if named.format() != format => {
                return Err(Error::Usage(format!(
                    "{place} is named as {} but `format` is {format}: change one of them",
                    named.format()
                )));
            }
            (Some(named), _) => (named.format(), Some(named)),
            (None, _) => {
                return Err(Error::Internal("a file without a known extension".to_owned()));
            }
        },
    };
    match (named, compression) {
        (Some(named), None) => Ok(named),
        (None, None) => Ok(format.into()),
        (named, Some(compression)) => {
            let encoding = Encoding::new(format, compression)?;
            // Readers of JSON Lines and CSV see only by the file name whether it is compressed.
            let expected = encoding.extension();
            if let Some(named) = named.filter(|named| named.extension() != expected) {
                let stem = target.to_string();
                let stem = stem.trim_end_matches(".gz").trim_end_matches(".zst");
                let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
                return Err(Error::Usage(format!(
                    "{target} is named as {} but `compression` is {compression}: name it \
                     {stem}.{expected}, or leave out `compression`",
                    named.extension()
                )));
            }
            Ok(encoding)
        }
    }
}
