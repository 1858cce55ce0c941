//! Creates an [`ApiError`] from a final error answer. Removes the key from the texts of the answer.

use serde_json::Value;
use url::Url;

use super::{key::Key, transport::Reply};
use crate::error::{ApiAnswer, ApiError, PageError, Resource};

impl ApiError {
    pub(crate) fn new(url: &Url, wanted: Resource, reply: &Reply, key: &Key) -> Self {
        let json: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        let text = |name: &str| json.get(name).and_then(Value::as_str).map(|text| key.redact(text));
        let fields = json.as_object().into_iter().flatten();
        let fields = fields
            .filter_map(|(name, messages)| Some((key.redact(name), messages.as_array()?)))
            .map(|(name, messages)| {
                let messages = messages.iter().map(|text| match text.as_str() {
                    Some(text) => text.to_owned(),
                    None => text.to_string(),
                });
                (name, key.redact(&messages.collect::<Vec<_>>().join(" ")))
            })
            .collect();
        let answer = ApiAnswer {
            status: reply.status,
            url: url.to_string(),
            detail: text("detail"),
            code: text("code"),
            fields,
            location: reply.location.as_deref().map(|location| key.redact(location)),
            foreign: (reply.status.is_client_error())
                .then(|| PageError::not_json(reply, key))
                .flatten(),
        };
        Self { answer, wanted, key_origin: key.origin() }
    }
}
