//! Turns an error of a store into one line with the store's code and message, and a hint.

use std::error::Error as StdError;

use object_store::Error as StoreError;

use super::Store;
use crate::net::tls;

pub(crate) const UNREACHABLE: &str = "check the endpoint (AWS_ENDPOINT_URL, or the storage \
                                      option endpoint=…), the region and the network";

/// Texts in the URLs of metadata services. The store library asks these when it has no credentials.
const METADATA: [&str; 5] = [
    "169.254.",
    "/latest/api/token",
    "/latest/meta-data",
    "metadata.google.internal",
    "/metadata/identity/",
];

/// Error codes that mean that the credentials are wrong or not allowed to do this.
const REFUSALS: [&str; 12] = [
    "AccessDenied",
    "AuthenticationFailed",
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
    "ExpiredToken",
    "InsufficientAccountPermissions",
    "InvalidAccessKeyId",
    "InvalidAuthenticationInfo",
    "InvalidSecurity",
    "InvalidToken",
    "NotSignedUp",
    "SignatureDoesNotMatch",
];

/// The reason of an error, and a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreProblem {
    pub(crate) why: String,
    pub(crate) hint: Option<&'static str>,
}

/// Extracts the store's code and message from an error, and adds a hint. All three stores answer in XML.
/// The rest of the answer is dropped, because it can quote the signed request.
pub(crate) fn explain(error: &StoreError, store: &Store) -> StoreProblem {
    let all = chain(error);
    let code = element(&all, "Code");
    let no_bucket = matches!(code, Some("NoSuchBucket" | "ContainerNotFound"));
    let why = match (code, element(&all, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {}", first_line(message)),
        (Some(code), None) => code.to_owned(),
        (None, _) => without_answer(error),
    };
    let denied = is_denied(error);
    let no_credentials = code.is_none() && METADATA.iter().any(|word| all.contains(word));
    let why = if no_credentials {
        format!("no credentials in the environment, and none from the machine itself: {why}")
    } else {
        why
    };
    let bucket = store.kind().bucket();
    let hint = if no_bucket {
        Some(match bucket {
            "container" => "check the container's name; it must exist already",
            _ => "check the bucket's name, its region and the endpoint; it must exist already",
        })
    } else if denied || no_credentials {
        Some(
            "check the credentials in the environment (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, \
             AZURE_STORAGE_*) or in the storage options, and what they allow",
        )
    } else if code.is_none() && why.contains("certificate") {
        Some(
            "check the endpoint; if the server uses a private authority, give its certificate with \
             `ca_cert`",
        )
    } else if code.is_none() && is_unreachable(error) {
        Some(UNREACHABLE)
    } else {
        None
    };
    StoreProblem { why, hint }
}

/// Whether the store rejects conditional puts as unsupported, or the options disable them.
pub(crate) fn is_unsupported(error: &StoreError) -> bool {
    let all = chain(error);
    matches!(error, StoreError::NotImplemented { .. } | StoreError::NotSupported { .. })
        || all.contains("501 Not Implemented")
        || matches!(element(&all, "Code"), Some("NotImplemented"))
}

/// Whether the store refuses because the credentials are wrong or not allowed to do this.
fn is_denied(error: &StoreError) -> bool {
    matches!(error, StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. })
        || element(&chain(error), "Code").is_some_and(|code| REFUSALS.contains(&code))
}

/// Whether the result of a request is unknown: the store may have executed it, or may still execute it.
pub(crate) fn is_unanswered(error: &StoreError) -> bool {
    use object_store::client::HttpError;
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<HttpError>() {
            return true;
        }
        next = cause.source();
    }
    let all = chain(error);
    // S3 can answer with 200, and with an error such as InternalError in the body.
    all.contains("Server returned error response")
        || ["500 ", "502 ", "503 ", "504 "]
            .iter()
            .any(|status| all.contains(&format!("status code: {status}")))
}

/// Whether the store says that it does not have this upload or its blocks. It says the same when the upload
/// was completed before.
pub(crate) fn is_lost_upload(error: &StoreError) -> bool {
    match element(&chain(error), "Code") {
        Some("NoSuchBucket" | "ContainerNotFound") => false,
        Some("NoSuchUpload" | "InvalidPart" | "InvalidBlockList") => true,
        _ => matches!(error, StoreError::NotFound { .. }),
    }
}

/// The texts of the error and all its causes.
fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}\n{cause}");
        next = cause.source();
    }
    text
}

/// The text of the first XML element with this name.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (found, _) = rest.split_once(&format!("</{name}>"))?;
    Some(found.trim())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim()
}

/// The innermost cause of an error without an answer from the store.
fn without_answer(error: &StoreError) -> String {
    match tls::find::<rustls::Error>(error) {
        Some(rustls::Error::InvalidCertificate(why)) => {
            return format!("cannot verify its certificate: {}", tls::explain(why));
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            return "the server does not speak TLS: is it http://, or another port?".to_owned();
        }
        Some(error) => return tls::handshake(error),
        None => {}
    }
    let mut innermost: &dyn StdError = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let text = innermost.to_string();
    let text = text.split_once(" - ").map_or(text.as_str(), |(_, rest)| rest);
    let text = first_line(text);
    text.trim_end_matches([':', ' ']).to_owned()
}

fn is_unreachable(error: &StoreError) -> bool {
    use object_store::client::{HttpError, HttpErrorKind};
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(http) = cause.downcast_ref::<HttpError>() {
            return matches!(http.kind(), HttpErrorKind::Connect | HttpErrorKind::Timeout);
        }
        next = cause.source();
    }
    false
}
