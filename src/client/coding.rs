//! Content codings: decodes a body while it arrives, up to the size limit of a page.
//!
//! The client requests only gzip. Names of codings are case-insensitive, and `x-gzip` means gzip (RFC 9110).
//! A body can have several gzip members (RFC 1952).

use std::{
    io::{self, Write},
    mem,
};

use flate2::write::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

/// Compressed bytes to decode in one step: 4 KiB.
///
/// Gzip expands data at most 1000 times, so a step adds at most 4 MiB before the limits are checked. JSON
/// usually expands about 10 times.
pub(super) const STEP: usize = 4 << 10;

/// The content coding of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    /// A coding that was not requested, with its name.
    Other(String),
}

impl Coding {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(CONTENT_ENCODING).into_iter();
        let text = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let text = text.collect::<Vec<_>>().join(",");
        let names = text.split(',').map(str::trim);
        let names: Vec<&str> = names
            .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"))
            .collect();
        match names[..] {
            [] => Self::Identity,
            [name] if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                Self::Gzip
            }
            _ => Self::Other(names.join(", ")),
        }
    }
}

/// The reason why a body cannot be decoded further.
#[derive(Debug)]
pub(super) enum Unfit {
    TooLarge,
    Damaged(&'static str),
}

/// The decoder of a body that is still arriving.
pub(super) enum Decoder {
    Identity(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

/// A buffer with a size limit.
#[derive(Default)]
pub(super) struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    is_over: bool,
}

impl Decoder {
    /// Creates a decoder. `bytes` is an empty buffer, and `limit` is the largest size after decoding, in bytes.
    pub(super) fn new(gzip: bool, bytes: Vec<u8>, limit: usize) -> Self {
        let body = Bounded { bytes, limit, is_over: false };
        if gzip { Self::Gzip(Box::new(MultiGzDecoder::new(body))) } else { Self::Identity(body) }
    }

    fn bounded(&mut self) -> &mut Bounded {
        match self {
            Self::Identity(body) => body,
            Self::Gzip(decoder) => decoder.get_mut(),
        }
    }

    /// Returns the number of decoded bytes so far.
    pub(super) fn len(&mut self) -> usize {
        self.bounded().bytes.len()
    }

    /// Decodes the next bytes of the body.
    ///
    /// # Errors
    /// [`Unfit`] when the body is too large or damaged.
    pub(super) fn push(&mut self, arrived: &[u8]) -> Result<(), Unfit> {
        let pushed = match self {
            Self::Identity(body) => body.write_all(arrived),
            Self::Gzip(decoder) => decoder.write_all(arrived),
        };
        pushed.map_err(|_| self.unfit("damaged"))
    }

    /// Returns the whole decoded body.
    ///
    /// # Errors
    /// [`Unfit`] when the body is too large, cut short or damaged.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, Unfit> {
        if let Self::Gzip(decoder) = &mut self
            && decoder.try_finish().is_err()
        {
            return Err(self.unfit("cut short or damaged"));
        }
        Ok(self.take())
    }

    /// The bytes that could be decoded, whether they are the whole body or not.
    pub(super) fn so_far(mut self) -> Vec<u8> {
        if let Self::Gzip(decoder) = &mut self {
            // The rest is cut off or damaged.
            drop(decoder.try_finish());
        }
        self.take()
    }

    /// Takes the bytes that were decoded so far.
    fn take(&mut self) -> Vec<u8> {
        mem::take(&mut self.bounded().bytes)
    }

    fn unfit(&mut self, why: &'static str) -> Unfit {
        if self.bounded().is_over { Unfit::TooLarge } else { Unfit::Damaged(why) }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.limit - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..fits]);
        self.is_over |= fits < bytes.len();
        if self.is_over { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(fits) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use reqwest::header::HeaderValue;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(coded: &[u8], step: usize, limit: usize) -> Result<Vec<u8>, Unfit> {
        let mut decoder = Decoder::new(true, Vec::new(), limit);
        coded.chunks(step).try_for_each(|chunk| decoder.push(chunk))?;
        decoder.finish()
    }

    #[test]
    fn all_names_of_codings_are_recognized() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            Coding::of(&headers)
        };
        for gzip in ["gzip", "GZIP", "x-gzip", "X-Gzip", " gzip ", "identity, gzip"] {
            assert_eq!(of(&[gzip]), Coding::Gzip, "{gzip:?}");
        }
        for identity in ["", "identity", "Identity", ","] {
            assert_eq!(of(&[identity]), Coding::Identity, "{identity:?}");
        }
        assert_eq!(of(&[]), Coding::Identity);
        for other in ["br", "deflate", "zstd", "gzip, br", "gzip, gzip"] {
            assert_eq!(of(&[other]), Coding::Other(other.to_owned()));
        }
        assert_eq!(of(&["gzip", "br"]), Coding::Other("gzip, br".to_owned()));
    }

    #[test]
    fn concatenated_gzip_members_are_decoded() {
        let coded = [gzip(b"one, "), gzip(b""), gzip(b"two")].concat();
        for step in [1, 7, 4096] {
            assert_eq!(decoded(&coded, step, 100).unwrap(), b"one, two");
        }
    }

    #[test]
    fn limit_applies_to_the_decoded_body() {
        let coded = gzip(&[b'x'; 1 << 20]);
        assert!(coded.len() < 100_000, "{}", coded.len());
        assert_eq!(decoded(&coded, 512, 1 << 20).unwrap().len(), 1 << 20);
        let over = decoded(&coded, 512, (1 << 20) - 1);
        assert!(matches!(over, Err(Unfit::TooLarge)), "{over:?}");
        // The limit is noticed before the rest of the body arrives.
        let mut decoder = Decoder::new(true, Vec::new(), 1000);
        let pushed = coded.chunks(512).take(4).try_for_each(|chunk| decoder.push(chunk));
        assert!(matches!(pushed, Err(Unfit::TooLarge)), "{pushed:?}");
    }

    #[test]
    fn cut_or_damaged_body_is_an_error() {
        let coded = gzip(b"a body of some length, and of some more");
        for length in 1..coded.len() {
            let cut = decoded(&coded[..length], 16, 100);
            assert!(matches!(cut, Err(Unfit::Damaged(_))), "{length}: {cut:?}");
        }
        for at in [0, 1, 15, coded.len() - 5, coded.len() - 1] {
            let mut damaged = coded.clone();
            damaged[at] ^= 0x55;
            let damaged = decoded(&damaged, 16, 1 << 20);
            assert!(matches!(damaged, Err(Unfit::Damaged(_))), "{at}: {damaged:?}");
        }
    }
}
