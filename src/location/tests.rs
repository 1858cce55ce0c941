use std::io::{Read, Seek, SeekFrom};

use parquet::file::reader::ChunkReader;

use super::*;

fn parse(text: &str) -> Result<Location> {
    Location::parse(text, &StorageOptions::default())
}

#[test]
fn text_without_scheme_is_a_local_path() {
    assert_eq!(parse("a/b").unwrap().as_local(), Some(Path::new("a/b")));
    assert_eq!(parse("file:///tmp/a%20b").unwrap().as_local(), Some(Path::new("/tmp/a b")));
    let refused = |text| parse(text).unwrap_err().to_string();
    assert!(
        refused("ftp://a/b")
            .starts_with("\"ftp://a/b\" is not a valid location: the known schemes")
    );
    assert!(refused("file://host/a").contains("absolute path and no host"));
    assert!(refused("s3://a/b?versionId=1").contains("\"s3://a/b?…\""));
}

#[cfg(feature = "clouds")]
#[test]
fn url_needs_a_bucket_and_no_credentials() {
    let place = parse("s3://bucket/some/prefix/").unwrap();
    assert_eq!(
        (place.name(), place.to_string()),
        ("prefix".into(), "s3://bucket/some/prefix/".into())
    );
    assert_eq!(place.child("x").to_string(), "s3://bucket/some/prefix/x");
    assert_eq!(place.child("x").sibling("y").to_string(), "s3://bucket/some/prefix/y");
    assert_eq!(parse("s3://bucket/x").unwrap().sibling("y").to_string(), "s3://bucket/y");
    assert!(parse("abfss://container@account.dfs.core.windows.net/x").is_ok());
    for text in ["s3://key:secret@bucket/x", "s3://key@bucket/x", "az://c:secret@account/x"] {
        let refused = parse(text).unwrap_err().to_string();
        assert!(refused.contains("must not hold") && !refused.contains("secret@"), "{refused}");
    }
    assert!(parse("s3:///x").unwrap_err().to_string().contains("names no bucket"));
    // A password can have slashes.
    for (text, why) in [
        ("s3://user//hun:ter2@bucket/x", "its path has two slashes in a row"),
        ("s3://user/%ff/ter2@bucket/x", "its path is not UTF-8"),
    ] {
        let refused = parse(text).unwrap_err().to_string();
        assert!(refused.contains(why) && !refused.contains("ter2"), "{refused}");
    }
}

#[cfg(feature = "clouds")]
#[test]
fn unknown_storage_options_are_refused() {
    let refused = |key: &str| {
        let options = StorageOptions::default().with(key, "canary");
        Location::parse("s3://bucket/x", &options).unwrap_err().to_string()
    };
    let unknown = refused("regoin");
    assert_eq!(unknown, "\"regoin\" is not a valid storage option: S3 has no such option");
    assert!(refused("allow_invalid_certificates").contains("it is not supported here"));
    let options = StorageOptions::default().with("AWS_REGION", "x").with("allow_http", "true");
    assert!(Location::parse("s3://bucket/x", &options).is_ok());
}

/// Checks the behaviour that all kinds of locations share.
fn behaves(root: Location) {
    assert_eq!(root.names().unwrap(), Vec::<String>::new());
    let file = root.child("sub").child("b.txt");
    assert_eq!(file.read().unwrap(), None);
    file.remove().unwrap();
    assert!(!file.is_file().unwrap() && !root.child("sub").is_directory().unwrap());
    file.write(b"one").unwrap();
    file.write(b"three").unwrap();
    root.child("a.txt").write(b"").unwrap();
    assert_eq!(root.names().unwrap(), ["a.txt", "sub"]);
    assert_eq!(root.child("sub").names().unwrap(), ["b.txt"]);
    assert!(file.is_file().unwrap() && root.child("sub").is_directory().unwrap());
    assert!(!root.child("sub").is_file().unwrap());
    assert_eq!(file.read().unwrap().as_deref(), Some(&b"three"[..]));
    assert!(root.child("nothing").open().is_err());

    let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let large = root.child("large");
    large.write(&bytes).unwrap();
    let mut opened = large.open().unwrap();
    let mut read = Vec::new();
    opened.read_to_end(&mut read).unwrap();
    assert!(read == bytes);
    opened.seek(SeekFrom::End(-7)).unwrap();
    read.clear();
    opened.read_to_end(&mut read).unwrap();
    assert!(read == bytes[bytes.len() - 7..]);
    let chunk = opened.get_bytes(2_097_000, 1000).unwrap();
    assert!(chunk == bytes[2_097_000..2_098_000], "across the end of a block");
    assert!(opened.get_bytes(4_999_990, 11).is_err(), "past the end");

    for place in [file, large, root.child("a.txt")] {
        place.remove().unwrap();
        assert_eq!(place.read().unwrap(), None);
    }
}

#[test]
fn local_folder_behaves() {
    let folder = tempfile::tempdir().unwrap();
    behaves(folder.path().join("made").into());
}

#[cfg(feature = "clouds")]
#[test]
fn prefix_behaves_inside_and_outside_a_runtime() {
    let prefix = || Location(PlaceKind::Remote(Remote::in_memory("some/prefix")));
    behaves(prefix());
    tokio::runtime::Runtime::new().unwrap().block_on(async move { behaves(prefix()) });
}

#[cfg(feature = "clouds")]
#[test]
fn replacing_an_object_during_a_read_is_an_error() {
    let place = Location(PlaceKind::Remote(Remote::in_memory("x")));
    place.write(&[0; 5_000_000]).unwrap();
    let mut opened = place.open().unwrap();
    opened.read_exact(&mut [0; 10]).unwrap();
    place.write(&[1; 5_000_000]).unwrap();
    let error = opened.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "it was replaced while it was read");
}
