//! Whether the text of an error can have values of rows.

use std::{error::Error as StdError, io};

use super::{ApiError, Error, PageError};

impl Error {
    /// Returns whether the text of the error, its causes or its hint can have values of rows: ids, fields, or texts that an
    /// expression makes of them. Such a text must not be where the rows must not be.
    pub fn quotes_values(&self) -> bool {
        match self {
            Self::Row { .. }
            | Self::Misfit { .. }
            | Self::Nesting(_)
            | Self::Incomplete { .. }
            | Self::OutOfOrder(_)
            | Self::Damaged { .. }
            | Self::Column(_)
            | Self::ValueTooLarge { .. }
            | Self::MissingRanges { .. }
            // Text of another crate, or of a panic.
            | Self::Sink { .. }
            | Self::Encode { .. }
            | Self::Internal(_) => true,
            // A name that was probably meant is a key of the data.
            Self::UnmatchedPath { meant, .. } | Self::UnmatchedNode { meant, .. } => meant.is_some(),
            Self::Page { source, .. } => source.quotes_values(),
            Self::Api(error) => error.answer.foreign.as_ref().is_some_and(PageError::quotes_values),
            // The last attempt can have ended with an answer that is not a page.
            Self::Unavailable { source, .. } => any_cause(&**source, |cause| {
                let page = cause.downcast_ref::<PageError>();
                let api = cause.downcast_ref::<ApiError>();
                page.is_some_and(PageError::quotes_values)
                    || api.is_some_and(|it| it.answer.foreign.is_some())
            }),
            Self::Io { source, .. }
            | Self::Stdout { source }
            | Self::Unpublished { source, .. }
            | Self::NotDurable { source, .. } => source.kind() == io::ErrorKind::InvalidData,
            Self::Invalid { .. }
            | Self::Usage(_)
            | Self::Expression { .. }
            | Self::Configuration(_)
            | Self::NoConfiguration { .. }
            | Self::BaseUrl { .. }
            | Self::ConfigurationFile { .. }
            | Self::NoRoots
            | Self::PlainHttp { .. }
            | Self::PlainHttpStore { .. }
            | Self::Proxy { .. }
            | Self::ApiKey { .. }
            | Self::NoKey
            | Self::NoDataset { .. }
            | Self::NoSnapshot { .. }
            | Self::Jobs { .. }
            | Self::Certificate { .. }
            | Self::LongPause { .. }
            | Self::ListChanged { .. }
            | Self::ChangedCells { .. }
            | Self::Unchecked { .. }
            | Self::Unread { .. }
            | Self::Unverified { .. }
            | Self::Output { .. }
            | Self::PartChanged { .. }
            | Self::Store { .. }
            | Self::Locked { .. }
            | Self::LockLost { .. }
            | Self::PlanEnded { .. }
            | Self::NoPlan { .. }
            | Self::PlanDamaged { .. }
            | Self::CommitBegun { .. }
            | Self::Replaced { .. }
            | Self::Interrupted { .. }
            | Self::OutputClosed => false,
        }
    }
}

impl PageError {
    /// Returns whether the text can have a part of the answer.
    fn quotes_values(&self) -> bool {
        match self {
            Self::NotJson { .. }
            | Self::Malformed { .. }
            | Self::NotAPage(_)
            | Self::Row { .. } => true,
            Self::AnotherPage { .. }
            | Self::Repeats { .. }
            | Self::Coding { .. }
            | Self::Count { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}

/// Returns whether an error or one of its causes is as asked for.
fn any_cause(error: &(dyn StdError + 'static), is: fn(&(dyn StdError + 'static)) -> bool) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if is(cause) {
            return true;
        }
        next = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_about_values_quote_them() {
        let not_json =
            PageError::NotJson { content_type: "text/html".to_owned(), beginning: "x".to_owned() };
        let unavailable = |source| Error::Unavailable {
            origin: "http://localhost".to_owned(),
            attempts: 2,
            elapsed: std::time::Duration::ZERO,
            source,
        };
        let unmatched = |meant| Error::UnmatchedPath {
            option: "mask",
            path: ".persna".to_owned(),
            rows: 1,
            meant,
            delivered: false,
        };
        let io = |kind: io::ErrorKind| Error::Io {
            action: "read",
            path: "x".into(),
            source: kind.into(),
        };
        for (error, quotes) in [
            (Error::OutOfOrder("7 comes after 8".to_owned()), true),
            (Error::column("x".into(), "\"a\" is no number".to_owned(), None), true),
            (unavailable(Box::new(not_json)), true),
            (unavailable(Box::new(PageError::Count { count: 9 })), false),
            (unavailable(Box::new(io::Error::from(io::ErrorKind::ConnectionRefused))), false),
            (unmatched(Some(".persona".to_owned())), true),
            (unmatched(None), false),
            (io(io::ErrorKind::InvalidData), true),
            (io(io::ErrorKind::StorageFull), false),
            (Error::NoKey, false),
        ] {
            assert_eq!(error.quotes_values(), quotes, "{error}");
        }
    }
}
