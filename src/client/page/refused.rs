//! Creates a [`PageError`] from an answer that does not look like JSON. The error never contains the key.

use crate::{
    client::{key::Key, transport::Reply},
    error::PageError,
};

impl PageError {
    /// Returns an error if the answer has an unknown content coding or does not look like JSON.
    ///
    /// The error quotes at most 40 characters of the answer.
    pub(crate) fn not_json(reply: &Reply, key: &Key) -> Option<Self> {
        if let Some(coding) = &reply.coding {
            return Some(Self::Coding { coding: key.redact(coding) });
        }
        if reply.is_json() {
            return None;
        }
        let body = reply.body.trim_ascii_start();
        let beginning = key.redact(&String::from_utf8_lossy(&body[..body.len().min(400)]));
        let beginning = beginning.split_whitespace().collect::<Vec<_>>().join(" ");
        let beginning: String = beginning.chars().take(40).collect();
        let beginning = beginning.trim_end().to_owned();
        let content_type = match reply.content_type.as_str() {
            "" => "an answer without a content type".to_owned(),
            content_type => key.redact(content_type),
        };
        Some(Self::NotJson { content_type, beginning })
    }

    /// Removes the key from the error. A quoted value can contain it.
    pub(crate) fn redacted(mut self, key: &Key) -> Self {
        match &mut self {
            Self::NotJson { content_type: text, beginning: more }
            | Self::Row { field: text, why: more, .. } => {
                *text = key.redact(text);
                *more = key.redact(more);
            }
            Self::NotAPage(text) | Self::Coding { coding: text } => *text = key.redact(text),
            // These errors quote no value.
            Self::Malformed { .. }
            | Self::AnotherPage { .. }
            | Self::Repeats { .. }
            | Self::Count { .. }
            | Self::TooLarge { .. } => {}
        }
        self
    }
}
