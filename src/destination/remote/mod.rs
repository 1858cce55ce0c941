//! Destinations in object stores, with what such a store can and cannot do: an object appears whole,
//! nothing can be renamed, and a put can be made to depend on the name being free.

mod host;
mod lock;
mod object;
mod prefix;
mod upload;

pub(crate) use self::{object::Object, prefix::Prefix, upload::Upload};
use crate::{error::Error, location::Remote};

/// What was said about the first requests, as what it means for the run: it cannot write there.
fn unusable(target: &Remote) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Store { action, hint, source, .. } => {
            let why = match action {
                "list" => "cannot be used",
                _ => "cannot be written",
            };
            let path = target.to_string().into();
            Error::Output { path, why: why.to_owned(), hint, source: Some(source) }
        }
        error => error,
    }
}
