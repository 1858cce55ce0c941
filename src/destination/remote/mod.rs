//! Destinations in object stores, with what such a store can and cannot do: an object appears whole,
//! nothing can be renamed, and a put can be made to depend on the name being free.

mod host;
mod lock;
mod object;
mod prefix;
mod seen;
mod upload;

pub(crate) use self::{lock::Watch, object::Object, prefix::Prefix, upload::Upload};
use crate::{
    error::{Error, Result, causes},
    location::{Location, Remote},
};

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

/// What cannot be tidied up after the export is there does not undo it.
fn tidied(location: &Location, result: Result<()>) {
    if let Err(error) = result {
        let why = causes(&error).join(": ");
        tracing::warn!("what the run kept beside {location} is left there: {error}: {why}");
    }
}
