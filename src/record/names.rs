//! Names of files in the directory of an export: parts, and files that desktop programs create.

/// Files that desktop programs create in the folders that they show. They contain no user data: an export that
/// contains one is not damaged and can be replaced.
const DESKTOP: [&str; 3] = [".DS_Store", "Thumbs.db", "desktop.ini"];

/// Returns whether a file of this name was created by a desktop program, not by a user.
pub(crate) fn is_desktop_file(name: &str) -> bool {
    DESKTOP.contains(&name)
}

/// Returns whether a name has the form of a part name: `part-00000.parquet`, or in a store
/// `part-00000-5f3a9c.parquet`, with the number of the attempt after the token if it is not the first.
///
/// If a manifest lists any other name, another program wrote or changed it.
pub(crate) fn is_part_name(name: &str) -> bool {
    let Some((stem, extension)) = name.split_once('.') else { return false };
    let Some(rest) = stem.strip_prefix("part-") else { return false };
    let (number, token) = rest.split_once('-').unwrap_or((rest, "0"));
    let (token, attempt) = token.split_once('-').unwrap_or((token, "1"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    number.len() >= 5
        && is_number(number)
        && is_number(attempt)
        && !token.is_empty()
        && token.bytes().all(hexadecimal)
        && ["parquet", "arrow", "jsonl", "jsonl.gz", "jsonl.zst", "csv", "csv.gz", "csv.zst"]
            .contains(&extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_names_have_number_and_known_extension() {
        for name in [
            "part-00000.parquet",
            "part-123456.jsonl.zst",
            "part-00000.csv.gz",
            "part-00007-0a1b2c.arrow",
            "part-00007-0a1b2c-12.arrow",
        ] {
            assert!(is_part_name(name), "{name}");
        }
        for name in [
            "thesis",
            "notes.txt",
            "part-0.parquet",
            "part-00000",
            "part-00000.tsv",
            "part-.arrow",
            "part-00000-.arrow",
            "part-00000-xyz.arrow",
            "part-00000-a/b.arrow",
            "part-00000-a-.arrow",
            "part-00000-a-b.arrow",
            "part-00000-a-1-2.arrow",
            "part-00000.tar.gz",
        ] {
            assert!(!is_part_name(name), "{name}");
        }
    }
}
