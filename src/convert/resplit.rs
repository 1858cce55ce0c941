//! Refuses splits of rows that the same hashes have chosen before.

use super::source::ConvertSource;
use crate::{
    error::{Error, Result},
    transform::Shaper,
};

/// Checks the splits of a transformation against those that chose the rows of the source.
///
/// The rows of a split have the hashes of one interval. With the same key and the same seed, most splits of these rows
/// would be empty.
///
/// # Errors
/// [`Error::Usage`] if the source has the rows of one split, which the same hashes chose.
pub(super) fn check(shaper: &Shaper, source: &ConvertSource) -> Result<()> {
    let own = shaper.recorded();
    let mut earlier = source
        .origin
        .earlier
        .iter()
        .filter(|it| (it.transform.seed, &it.transform.split_by) == (own.seed, &own.split_by));
    let chosen = earlier.find_map(|it| it.split.as_ref()).filter(|_| !own.split.is_empty());
    let Some(name) = chosen else { return Ok(()) };
    let seed = own.seed.unwrap_or_default();
    Err(Error::Usage(format!(
        "the source has the rows of the split {name}, which `seed {seed}` chose: with this seed, `split` would put almost \
         all of them into one folder: give another `seed`"
    )))
}
