//! Messages for people who write a configuration file: the options in them become keys.

use std::{collections::BTreeSet, sync::OnceLock};

use toml::de::DeTable;

use super::{keys::Keys, section::Section};
use crate::text::replace_quoted;

/// The keys of `[api]`.
const OF_API: [&str; 10] = [
    "base_url",
    "api_key_file",
    "ca_cert",
    "allow_http",
    "concurrency",
    "rate_limit",
    "timeout",
    "connect_timeout",
    "max_retries",
    "retry_for",
];

/// Replaces each name in backticks by that of a key. A value can follow the name: `` `on_error skip` `` becomes
/// `on_error = "skip"`. A file has no flags, so the name of an option without a key has no backticks either. Commands keep
/// theirs.
pub(crate) fn with_keys(text: &str) -> String {
    let is_option = |name: &str| name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
    replace_quoted(text, |name, value| match value {
        Some(value) => keys().contains(name).then(|| format!("{name} = {value:?}")),
        None => is_option(name).then(|| name.to_owned()),
    })
}

fn keys() -> &'static BTreeSet<&'static str> {
    static KEYS: OnceLock<BTreeSet<&'static str>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut keys = BTreeSet::from(OF_API);
        if let Ok(table) = DeTable::parse("") {
            let mut section = Section::new("", "", 0, table.get_ref());
            // A table without keys has no mistake.
            drop(Keys::read(&mut section));
            keys.extend(section.known());
        }
        keys
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_keys() {
        for (text, expected) in [
            ("`column` \"a=.b\" failed", "column \"a=.b\" failed"),
            ("give `on_error skip` or `retry_for`", "give on_error = \"skip\" or retry_for"),
            ("`overmind-export snapshot` takes one", "`overmind-export snapshot` takes one"),
            ("`restart` is no key", "restart is no key"),
            ("a lone ` stays", "a lone ` stays"),
        ] {
            assert_eq!(with_keys(text), expected);
        }
    }

    #[test]
    fn all_keys_of_the_api_are_known() {
        let text = "[api]\nzz = 1\n";
        let error = super::super::Config::parse(text, "/c.toml".as_ref()).unwrap_err();
        let told = error.report().to_string();
        let (_, listed) = told.split_once("the keys are ").unwrap();
        assert_eq!(BTreeSet::from(OF_API), listed.trim_end().split(", ").collect());
    }
}
