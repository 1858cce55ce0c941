//! Safe access to local files and folders that another user or process may have created.
//!
//! Only regular files are opened, so a run never waits for a FIFO or a device. The exception is [`read_input`],
//! for files that the user named. Whole reads have a size limit. Folders are accessed through handles.

pub(crate) mod folder;
#[cfg(not(unix))]
mod portable;
mod status;
#[cfg(unix)]
mod unix;

use std::{
    fs::{File, FileType, OpenOptions},
    io::{self, Read},
    path::Path,
};

pub(crate) use self::{
    folder::Folder,
    status::{FileKind, FileStatus},
};
use crate::text::grouped;

/// Opens a regular file to read it. Links are followed; a FIFO, socket, device or directory is an error.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        use rustix::fs::OFlags;
        // Opening a FIFO would wait for its writer. A terminal must not become the controlling terminal.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    require_regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// Reads at an offset, so that threads can share the file. The position of the file may change.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, buffer, offset);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_read(file, buffer, offset);
    #[cfg(not(any(unix, windows)))]
    return Err(io::ErrorKind::Unsupported.into());
}

/// Reads a whole regular file; an error if it has more than `limit` bytes.
pub(crate) fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_bounded(&mut open_regular(path)?, limit)
}

/// Reads to the end; an error if there are more than `limit` bytes.
pub(crate) fn read_bounded(input: &mut impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let limit = grouped(limit);
        let text = format!("it is larger than {limit} bytes, the limit for such a file");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Reads a file that the user named; an error if it has more than `limit` bytes. The file may be a FIFO, such
/// as a shell's `<(…)`: then this waits for its writer.
pub(crate) fn read_input(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::NOCTTY.bits().cast_signed());
    }
    read_bounded(&mut options.open(path)?, limit)
}

/// Reads a file as [`read_input`] does, and requires UTF-8 text.
pub(crate) fn read_input_text(path: &Path, limit: u64) -> io::Result<String> {
    let text = String::from_utf8(read_input(path, limit)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text: it is not UTF-8"))
}

/// Opens a regular file without following a link: on Unix a link is an error, elsewhere it is followed. Refuses
/// the same kinds of files as [`open_regular`].
pub(crate) fn open_here(path: &Path, mut options: OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        use rustix::fs::OFlags;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path).map_err(|error| match path.symlink_metadata() {
        // For a link, the system's error is "too many levels of symbolic links".
        Ok(found) if found.is_symlink() => {
            io::Error::new(io::ErrorKind::InvalidInput, "it is a link, not a regular file")
        }
        _ => error,
    })?;
    require_regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// Reads a whole regular file, which it opens with [`open_here`]; an error if it has more than `limit` bytes.
pub(crate) fn read_here(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_bounded(&mut open_here(path, OpenOptions::new().read(true).clone())?, limit)
}

/// Refuses anything but a regular file. The error names the kind.
pub(crate) fn require_regular(found: FileType) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let text = format!("it is {}, not a regular file", kind(found));
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// The kind of a file with its article, for messages.
pub(crate) fn kind(found: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if found.is_fifo() {
            return "a FIFO";
        }
        if found.is_socket() {
            return "a socket";
        }
        if found.is_block_device() || found.is_char_device() {
            return "a device";
        }
    }
    if found.is_dir() {
        "a directory"
    } else if found.is_symlink() {
        "a link"
    } else if found.is_file() {
        "a regular file"
    } else {
        "a special file"
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        let text = |path: &Path| read_regular(path, 9).unwrap_err().to_string();
        assert_eq!(text(&fifo), "it is a FIFO, not a regular file");
        assert_eq!(text(&link), "it is a device, not a regular file");
        assert_eq!(text(folder.path()), "it is a directory, not a regular file");
    }

    #[test]
    fn whole_reads_have_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "123456789").unwrap();
        assert_eq!(read_regular(&path, 9).unwrap(), b"123456789");
        let error = read_regular(&path, 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
