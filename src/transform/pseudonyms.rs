//! Pseudonyms: keyed hashes of values. Equal values have equal pseudonyms as long as the key is the same.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read},
    path::Path,
};

use hmac::{Hmac, KeyInit, Mac};
use secrecy::zeroize::Zeroizing;
use sha2::Sha256;

use super::{
    canonical::{canonical, canonical_string},
    dedupe::HashKey,
};
use crate::{
    error::{Cause, Error, Result},
    text::hex,
};

/// Bytes of a pseudonym: 16, which are 32 hexadecimal digits. Two of a billion values have the same one with a
/// probability of 10^-21.
const PSEUDONYM_BYTES: usize = 16;
/// Bytes of the check value of a key: 8.
const CHECK_BYTES: usize = 8;
/// The text whose hash is the check value. It is no JSON, so it is the text of no value.
const CHECKED: &[u8] = b"overmind-export: check value of a pseudonym key";
/// The text whose hash is the key of other hashes. It is no JSON either.
const COMPARED: &[u8] = b"overmind-export: key of the hashes of compared rows";
/// Fewest characters of a key: 32 random bytes have 43 in base64 and 64 as hexadecimal digits.
const FEWEST: usize = 43;
/// Fewest different characters of a key. A random one has more; a word that is repeated has fewer.
const FEWEST_KINDS: usize = 10;
/// Largest key file, in bytes: 4 KiB.
const LARGEST: u64 = 4 << 10;

/// The key of pseudonyms. Nothing shows it.
#[derive(Clone)]
pub(super) struct PseudonymKey {
    mac: Hmac<Sha256>,
    /// The check value, hexadecimal. Records have it, so that another key is noticed.
    check: String,
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PseudonymKey").field("check", &self.check).finish_non_exhaustive()
    }
}

impl PseudonymKey {
    /// Reads the key from a file. White space at its end does not count.
    ///
    /// # Errors
    /// [`Error::ConfigurationFile`] when the file cannot be read, is not a regular file, can be read by every user,
    /// or does not hold a random text of at least 43 characters.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let unusable = |source| Error::ConfigurationFile {
            what: "the key file of pseudonyms",
            path: path.to_owned(),
            source,
        };
        let mut text = Zeroizing::new(Vec::with_capacity(LARGEST as usize + 1));
        let read = open(path).and_then(|file| {
            file.take(LARGEST + 1).read_to_end(&mut text).map_err(Cause::from)?;
            Self::of_text(&text)
        });
        read.map_err(unusable)
    }

    /// `text` is not quoted in an error.
    fn of_text(text: &[u8]) -> Result<Self, Cause> {
        let make = "make one with: openssl rand -hex 32";
        let key = text.trim_ascii();
        if text.len() as u64 > LARGEST {
            return Err(format!("it is larger than 4 KiB, so it is not a key; {make}").into());
        }
        if !key.iter().all(u8::is_ascii_graphic) {
            return Err(format!("it is not one line of ASCII characters; {make}").into());
        }
        if key.len() < FEWEST {
            return Err(format!("a key has at least {FEWEST} characters; {make}").into());
        }
        let is_in = |byte: &u8| key.contains(byte);
        if (0..=u8::MAX).filter(is_in).count() < FEWEST_KINDS {
            return Err(format!("its characters are not random; {make}").into());
        }
        let mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| "it is not a key")?;
        let check = hex(&hash(&mac, CHECKED)[..CHECK_BYTES]);
        Ok(Self { mac, check })
    }

    /// Returns the check value: it differs from that of another key, and says nothing about the key.
    pub(super) fn check(&self) -> &str {
        &self.check
    }

    /// Returns a key for hashes of other values, from which nobody learns this key.
    pub(super) fn hash_key(&self) -> HashKey {
        HashKey::new(hash(&self.mac, COMPARED))
    }

    /// Returns the pseudonym of a value, as JSON text, in hexadecimal digits.
    pub(super) fn of_json(&self, json: &str) -> String {
        let mut mac = self.mac.clone();
        canonical(json, &mut |part| mac.update(part));
        let hash: [u8; 32] = mac.finalize().into_bytes().into();
        hex(&hash[..PSEUDONYM_BYTES])
    }

    /// Returns the pseudonym of a string: the same as that of its JSON text.
    pub(super) fn of_string(&self, string: &str) -> String {
        hex(&hash(&self.mac, &canonical_string(string))[..PSEUDONYM_BYTES])
    }
}

fn hash(mac: &Hmac<Sha256>, bytes: &[u8]) -> [u8; 32] {
    let mut mac = mac.clone();
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// Opens a key file. A link is followed: secrets of a container are links.
fn open(path: &Path) -> Result<File, Cause> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        use rustix::fs::OFlags;
        // Opening a FIFO does not wait for its writer.
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    }
    let file = options.open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file").into());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let (mode, shown) = (found.permissions().mode(), path.display());
        if mode & 0o007 != 0 {
            let why = format!(
                "every user can access it (mode {:03o}): run chmod 600 {shown}",
                mode & 0o777
            );
            return Err(why.into());
        }
        if mode & 0o070 != 0 {
            tracing::warn!("other users can read {shown}: run chmod 600 {shown}");
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn key(text: &str) -> Result<PseudonymKey, String> {
        PseudonymKey::of_text(text.as_bytes()).map_err(|why| why.to_string())
    }

    #[test]
    fn pseudonyms_are_hashes_of_the_canonical_text() {
        let key = key(&format!("{KEY}\r\n")).unwrap();
        // Of Python: hmac.new(KEY.encode(), b'"ann@b.example"', "sha256").hexdigest()[:32]
        let ann = "b21424f727d78f153df1c2636a06a9b6";
        assert_eq!(key.of_json(r#" "\u0061nn@b.example" "#), ann);
        assert_eq!(key.of_string("ann@b.example"), ann);
        assert_eq!(key.of_json(r#"{"b":1,"a":["ü"]}"#), "1a09c033eec7db1a5334a63006149fa1");
        assert_eq!(
            key.of_json(r#"{ "a" : ["\u00fc"], "b":1 }"#),
            key.of_json(r#"{"b":1,"a":["ü"]}"#)
        );
        assert_eq!(key.check(), "4199b730003024b0");
        assert_ne!(key.of_json("1"), key.of_json("\"1\""));
    }

    #[test]
    fn key_is_checked_and_never_shown() {
        for (text, why) in [
            ("", "a key has at least 43 characters"),
            (&KEY[..42], "a key has at least 43 characters"),
            (&"0123456789".repeat(500), "it is larger than 4 KiB"),
            (&"ab".repeat(40), "its characters are not random"),
            (&format!("{KEY}\n{KEY}"), "it is not one line"),
            (&KEY.replace('0', "ü"), "it is not one line"),
        ] {
            let refused = key(text).unwrap_err();
            assert!(
                refused.starts_with(why) && refused.ends_with("openssl rand -hex 32"),
                "{refused}"
            );
            assert!(!refused.contains("0405"), "{refused}");
        }
        let shown = format!("{:?}", key(KEY).unwrap());
        assert!(shown.contains("check") && !shown.contains("0405"), "{shown}");
        assert_ne!(key(KEY).unwrap().check(), key(&KEY.replace("00", "20")).unwrap().check());
    }
}
