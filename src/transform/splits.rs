//! Splits of the rows, such as for training and for testing: a keyed hash of a row's key decides. Nothing else of the row
//! or the run matters, so equal keys are in one split, in every version of the dataset.

use std::{borrow::Cow, fmt, ops::ControlFlow, str::FromStr, sync::atomic::AtomicBool};

use serde::{Deserialize, Serialize};

use super::{
    expression::{EvaluationFailure, Expression},
    json,
    sample::{LEAST, value_hash},
};
use crate::{
    client::Row,
    error::{Error, Result},
};

/// Whether the text can be the name of a split, and so of a folder: up to 64 letters, digits, `_` and `-`, after a letter or
/// a digit. Programs skip folders that begin with `_`.
pub(crate) fn is_split_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    name.len() <= 64
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name.bytes().all(is_inner)
}

/// Makes the hash of splits another than that of samples with the same seed.
const PURPOSE: u64 = 0x7370_6c69_7400_0001;

/// Most splits. A run writes a file for each at the same time.
const MOST: usize = 16;

/// How far the sum of the fractions may be from 1, because most decimal fractions are not exact as floating-point numbers.
const TOLERANCE: f64 = 1e-9;

/// Fewest hashes of a split: those of the least fraction.
const NARROWEST: u64 = 1 << 11;

/// The default key of a row.
const INPUT: &str = ".input";

/// A split of the rows, as records have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SplitRecord {
    /// Name of the split, and of the folder of its files.
    pub name: String,
    /// The fraction of the rows, as a decimal number.
    // A text, because not every reader of JSON returns the same floating-point number.
    pub fraction: String,
}

/// A split of the rows, as a caller asks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SplitRequest {
    pub(super) name: String,
    pub(super) fraction: f64,
}

/// Splits as text: `train=0.9,test=0.1`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SplitsText(pub(super) Vec<SplitRequest>);

impl FromStr for SplitsText {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let why = "give names and fractions, such as train=0.9,test=0.1";
            Error::invalid("split", text, why)
        };
        let split = |part: &str| {
            let (name, fraction) = part.split_once('=').ok_or_else(wrong)?;
            let fraction = fraction.trim().parse().map_err(|_| wrong())?;
            Ok(SplitRequest { name: name.trim().to_owned(), fraction })
        };
        let splits = text.split(',').map(split).collect::<Result<Vec<_>>>()?;
        Splits::new(&splits, 0)?;
        Ok(Self(splits))
    }
}

/// Checked splits.
#[derive(Debug)]
pub(super) struct Splits {
    seed: u64,
    splits: Vec<SplitRequest>,
    /// For each split but the last, the least hash that is beyond it.
    ends: Vec<u64>,
}

impl Splits {
    /// Checks the splits.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the first mistake.
    pub(super) fn new(splits: &[SplitRequest], seed: u64) -> Result<Self> {
        let shown = |split: &SplitRequest| format!("{}={}", split.name, split.fraction);
        let all = || splits.iter().map(shown).collect::<Vec<_>>().join(",");
        let wrong = |value: String, why: &str| Err(Error::invalid("split", value, why));
        if !(2..=MOST).contains(&splits.len()) {
            return wrong(all(), "give from 2 to 16 splits, such as train=0.9,test=0.1");
        }
        let (mut seen, mut ends, mut sum): (Vec<&SplitRequest>, _, _) =
            (Vec::new(), Vec::new(), 0.0);
        for split in splits {
            if !is_split_name(&split.name) {
                let why = "a name has up to 64 letters, digits, _ and -, and begins with a letter or a digit";
                return wrong(split.name.clone(), why);
            }
            // Not every file system tells names apart that differ only in case.
            let same = |it: &&&SplitRequest| it.name.to_lowercase() == split.name.to_lowercase();
            if let Some(other) = seen.iter().find(same) {
                let why = match other.name == split.name {
                    true => "another split has this name".to_owned(),
                    false => format!(
                        "another split has this name: it is {}, and upper and lower case are the same",
                        other.name
                    ),
                };
                return wrong(split.name.clone(), &why);
            }
            seen.push(split);
            if !(LEAST..=1.0).contains(&split.fraction) {
                return wrong(shown(split), "use a fraction above 0 and below 1, such as 0.1");
            }
            sum += split.fraction;
            // A conversion saturates.
            ends.push((sum * 2_f64.powi(64)) as u64);
        }
        if (sum - 1.0).abs() > TOLERANCE {
            // Without the digits that only come from the sum of inexact numbers.
            let sum = (sum * 1e12).round() / 1e12;
            return wrong(all(), &format!("the fractions sum to {sum}, not to 1"));
        }
        // The last split has the rest.
        ends.pop();
        // Near 1, a small fraction can disappear in the sum.
        let limits = || ends.iter().copied().chain([u64::MAX]);
        let widths = limits().scan(0, |start, end| Some(end - std::mem::replace(start, end)));
        if let Some((split, _)) = splits.iter().zip(widths).find(|(_, width)| *width < NARROWEST) {
            return wrong(shown(split), "no row can be in it: use a larger fraction, such as 0.1");
        }
        Ok(Self { seed: seed ^ PURPOSE, splits: splits.to_vec(), ends })
    }

    /// Returns the number of the split of a row with this key.
    pub(super) fn of(&self, key: &str) -> usize {
        let hash = value_hash(key, self.seed);
        self.ends.partition_point(|end| *end <= hash)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.splits.iter().map(|split| split.name.as_str())
    }

    pub(super) fn fractions(&self) -> impl Iterator<Item = f64> {
        self.splits.iter().map(|split| split.fraction)
    }

    pub(super) fn recorded(&self) -> Vec<SplitRecord> {
        let record = |split: &SplitRequest| SplitRecord {
            name: split.name.clone(),
            fraction: split.fraction.to_string(),
        };
        self.splits.iter().map(record).collect()
    }
}

/// The key of a row, which decides about samples and splits.
#[derive(Debug)]
pub(super) enum SplitKey {
    Input,
    Expression(Box<Expression>),
}

impl SplitKey {
    /// Compiles the expression of a key. The default needs none.
    ///
    /// # Errors
    /// [`Error::Expression`] for an expression that is not valid.
    pub(super) fn compile(text: Option<&str>) -> Result<Self> {
        let Some(text) = text.filter(|text| text.trim() != INPUT) else { return Ok(Self::Input) };
        let compiled = Expression::compile_values("split_by", &[text.to_owned()])?;
        let only = compiled.into_iter().next();
        let missing = || Error::Internal("an expression was not compiled".to_owned());
        only.map(|it| Self::Expression(Box::new(it))).ok_or_else(missing)
    }

    /// Returns the expression; `None` for the default.
    pub(super) fn expression(&self) -> Option<&Expression> {
        match self {
            Self::Input => None,
            Self::Expression(expression) => Some(expression),
        }
    }

    /// Returns the key of a row as JSON text.
    ///
    /// # Errors
    /// The failure of the evaluation. Several outputs are a failure, too.
    pub(super) fn of<'a>(
        &self,
        row: &Row<'a>,
        stop: &AtomicBool,
    ) -> Result<Cow<'a, str>, EvaluationFailure> {
        let Self::Expression(expression) = self else {
            return Ok(Cow::Borrowed(row.input.unwrap_or("null")));
        };
        let mut found: Option<Result<String, String>> = None;
        expression.outputs(row, stop, &mut |output| {
            let key = match found {
                None => json::print(&output),
                Some(_) => Err("it has several outputs: collect them with [...]".to_owned()),
            };
            let flow = if key.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
            found = Some(key);
            flow
        })?;
        let key = found.unwrap_or_else(|| Ok("null".to_owned()));
        key.map(Cow::Owned).map_err(EvaluationFailure::Row)
    }
}

impl fmt::Display for SplitsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|split| format!("{}={}", split.name, split.fraction));
        f.pad(&shown.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splits(text: &str, seed: u64) -> Splits {
        Splits::new(&text.parse::<SplitsText>().unwrap().0, seed).unwrap()
    }

    /// The number of the split of each of many keys.
    fn of_keys(splits: &Splits) -> Vec<usize> {
        (0..20_000).map(|key| splits.of(&format!("{{\"q\":{key}}}"))).collect()
    }

    #[test]
    fn splits_have_about_their_fractions() {
        let found = of_keys(&splits("train=0.7,val=0.2,test=0.1", 7));
        for (split, expected) in [(0, 14_000_usize), (1, 4000), (2, 2000)] {
            let rows = found.iter().filter(|it| **it == split).count();
            assert!(rows.abs_diff(expected) < 300, "{split}: {rows}");
        }
        assert_ne!(found, of_keys(&splits("train=0.7,val=0.2,test=0.1", 8)));
    }

    #[test]
    fn first_splits_keep_their_rows() {
        let two = of_keys(&splits("train=0.9,test=0.1", 0));
        let three = of_keys(&splits("train=0.9,val=0.05,test=0.05", 0));
        let is_train = |found: &[usize]| found.iter().map(|it| *it == 0).collect::<Vec<_>>();
        assert_eq!(is_train(&two), is_train(&three));
    }

    #[test]
    fn every_hash_is_in_a_split() {
        let splits = splits("a=0.1,b=0.2,c=0.7", 0);
        let of = |hash: u64| splits.ends.partition_point(|end| *end <= hash);
        assert_eq!([of(0), of(u64::MAX / 5), of(u64::MAX)], [0, 1, 2]);
        assert_eq!(of(splits.ends[0] - 1), 0);
        assert_eq!(of(splits.ends[0]), 1);
    }

    #[test]
    fn wrong_splits_are_refused_with_their_value() {
        for (text, why) in [
            ("train", "give names and fractions, such as train=0.9,test=0.1"),
            ("train=", "give names and fractions"),
            ("train=0.9,test=x", "give names and fractions"),
            ("train=1", "give from 2 to 16 splits"),
            (
                "train=0.9,test=0.2",
                "\"train=0.9,test=0.2\" is not a valid split: the fractions sum to 1.1, not to 1",
            ),
            ("train=0.3,test=0.3", "the fractions sum to 0.6, not to 1"),
            ("train=0.9,test=0", "\"test=0\" is not a valid split: use a fraction above 0"),
            ("train=-0.5,test=1.5", "\"train=-0.5\""),
            ("train=NaN,test=1", "use a fraction above 0 and below 1, such as 0.1"),
            (
                "train=9,test=1",
                "\"train=9\" is not a valid split: use a fraction above 0 and below 1",
            ),
            ("train=inf,test=1", "use a fraction above 0 and below 1"),
            ("a=0.5,a=0.5", "\"a\" is not a valid split: another split has this name"),
            ("train=1e-30,test=1", "use a fraction above 0"),
            ("a=1,b=1e-12", "\"b=0.000000000001\" is not a valid split: no row can be in it"),
            ("a=0.5,b=0.5,c=1e-10", "\"c=0.0000000001\" is not a valid split: no row can be in it"),
            (
                "train=0.5,Train=0.5",
                "\"Train\" is not a valid split: another split has this name: it is train, and upper and lower case are the same",
            ),
            ("../up=0.5,test=0.5", "\"../up\" is not a valid split: a name has up to 64 letters"),
            ("_a=0.5,test=0.5", "begins with a letter or a digit"),
            ("=0.5,test=0.5", "a name has"),
        ] {
            let error = text.parse::<SplitsText>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let many: Vec<_> = (0..17).map(|it| format!("s{it}={}", 1.0 / 17.0)).collect();
        assert!(many.join(",").parse::<SplitsText>().is_err());
        let thirds = format!("a={0},b={0},c={0}", 1.0 / 3.0);
        assert_eq!(thirds.parse::<SplitsText>().unwrap().to_string(), thirds);
        assert!(" train = 0.9 , test = 0.1 ".parse::<SplitsText>().is_ok());
    }
}
