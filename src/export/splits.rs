//! The splits and the dataset card of an export: their folders, and the outputs that can have them.

use crate::{
    error::{Error, Result},
    location::Target,
    record::{
        card::{DATA, is_hub_name},
        layout::PartLayout,
    },
    transform::Shaper,
};

/// Returns the names and the fractions of the splits, in their order; none without a split.
pub(crate) fn splits_of(shaper: Option<&Shaper>) -> Vec<(String, f64)> {
    let splits =
        |shaper: &Shaper| shaper.splits().map(str::to_owned).zip(shaper.fractions()).collect();
    shaper.map(splits).unwrap_or_default()
}

/// Returns the folders of the parts.
pub(crate) fn layout_of(shaper: Option<&Shaper>, has_card: bool) -> PartLayout {
    let within = if has_card { DATA } else { "" };
    PartLayout::of_splits(within, shaper.into_iter().flat_map(Shaper::splits))
}

/// Refuses splits whose names a dataset card cannot have.
pub(crate) fn check_card(shaper: Option<&Shaper>) -> Result<()> {
    match shaper.into_iter().flat_map(Shaper::splits).find(|name| !is_hub_name(name)) {
        None => Ok(()),
        Some(name) => {
            let why = "with `dataset_card`, a name has letters, digits and _, and is not all: Hugging Face allows no other";
            Err(Error::invalid("split", name, why))
        }
    }
}

/// Refuses splits and a dataset card for an output that is not a directory.
pub(crate) fn require_directory(
    (shaper, has_card): (Option<&Shaper>, bool),
    target: &Target,
) -> Result<()> {
    if matches!(target, Target::Directory(_)) {
        return Ok(());
    }
    if has_card {
        return Err(Error::Usage(format!(
            "`dataset_card` describes a directory of parts, but {target} is not one: give a path that ends in a slash"
        )));
    }
    if shaper.is_some_and(|shaper| shaper.splits().next().is_some()) {
        return Err(Error::Usage(format!(
            "`split` needs a directory with a folder for each split, but {target} is not one: give a path that ends in a slash"
        )));
    }
    Ok(())
}
