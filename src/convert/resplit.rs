//! Refuses samples and splits of rows that the same hashes have chosen before.

use super::source::ConvertSource;
use crate::{
    error::{Error, Result},
    transform::Shaper,
};

/// Checks the sample and the splits of a transformation against those that chose the rows of the source.
///
/// The rows of a sample or a split have the hashes of one interval. With the same key and the same seed, another sample of
/// these rows would leave out too few of them, and most splits would be empty.
///
/// # Errors
/// [`Error::Usage`] if the source is a sample or has the rows of one split, which the same hashes chose.
pub(super) fn check(shaper: &Shaper, source: &ConvertSource) -> Result<()> {
    let own = shaper.recorded();
    let key = |text: &Option<String>| text.as_deref().map(|text| text.trim().to_owned());
    let own_key = (own.seed, key(&own.split_by));
    let earlier = source.origin.earlier.iter();
    let same: Vec<_> =
        earlier.filter(|it| (it.transform.seed, key(&it.transform.split_by)) == own_key).collect();
    let seed = own.seed.unwrap_or_default();
    let split = same.iter().find_map(|it| it.split.as_ref()).filter(|_| !own.split.is_empty());
    if let Some(name) = split {
        return Err(Error::Usage(format!(
            "the source has the rows of the split {name}, which `seed {seed}` chose: with this seed, `split` would put \
             almost all of them into one folder: give another `seed`"
        )));
    }
    let sample =
        same.iter().find_map(|it| it.transform.sample.as_ref()).filter(|_| own.sample.is_some());
    match sample {
        Some(fraction) => Err(Error::Usage(format!(
            "the source is a sample of {fraction}, which `seed {seed}` chose: with this seed, `sample` would keep other \
             rows than a new sample of them: give another `seed`"
        ))),
        None => Ok(()),
    }
}
