//! The dataset card of an export, of which the record has the size and the SHA-256.

use super::{Verifying, is_of};
use crate::{
    destination::examine,
    error::{Error, Result},
    location::Location,
    record::{WrittenCard, card::CARD},
};

impl Verifying {
    /// Compares the card with the record.
    pub(super) fn card(&mut self, place: &Location, recorded: &WrittenCard) -> Result<()> {
        self.options.go_on()?;
        match place.is_file() {
            Ok(true) => {}
            Ok(false) => {
                self.problem(format!("{CARD} is missing"));
                return Ok(());
            }
            Err(error) if is_of(&error, place) => {
                self.found.unread.push(error.one_line());
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let examined = place
            .open()
            .and_then(|mut file| examine(&mut file).map_err(Error::io("read", place.to_path())));
        match examined {
            Ok(found) => {
                if self.compare_counts(CARD, "bytes", recorded.bytes, found.bytes) {
                    self.compare(CARD, "SHA-256", &recorded.sha256, &found.sha256);
                }
            }
            Err(error) if is_of(&error, place) => self.found.unread.push(error.one_line()),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
