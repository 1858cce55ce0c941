//! Turns the option names of the library's messages into flags: `` `base_url` `` becomes `--base-url`.

use std::{borrow::Cow, collections::BTreeSet, sync::OnceLock};

use clap::{Command, CommandFactory};

use super::Arguments;
use crate::text::replace_quoted;

/// Replaces each name in backticks that is a flag of this command. A value can follow the name: `` `ordering id` ``
/// becomes `--ordering id`. Other texts in backticks stay.
pub(super) fn with_flags(text: &str) -> Cow<'_, str> {
    match text.contains('`') {
        true => Cow::Owned(replace_quoted(text, flag)),
        false => Cow::Borrowed(text),
    }
}

/// Returns `--base-url` for `base_url`, and `--ordering id` for `ordering id`.
fn flag(name: &str, value: Option<&str>) -> Option<String> {
    let name = name.replace('_', "-");
    flags().contains(&name).then(|| match value {
        Some(value) => format!("--{name} {value}"),
        None => format!("--{name}"),
    })
}

/// The names of all flags of all subcommands.
fn flags() -> &'static BTreeSet<String> {
    static FLAGS: OnceLock<BTreeSet<String>> = OnceLock::new();
    FLAGS.get_or_init(|| {
        let mut names = BTreeSet::new();
        collect(&Arguments::command(), &mut names);
        names
    })
}

fn collect(command: &Command, names: &mut BTreeSet<String>) {
    names.extend(command.get_arguments().filter_map(|it| it.get_long()).map(str::to_owned));
    for subcommand in command.get_subcommands() {
        collect(subcommand, names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_options_become_flags() {
        let table = [
            ("give `overwrite` or `ordering id`", "give --overwrite or --ordering id"),
            ("set it with `base_url`", "set it with --base-url"),
            ("`overmind-export demo` needs no key", "`overmind-export demo` needs no key"),
            ("a lone ` stays", "a lone ` stays"),
            ("`a` `overwrite", "`a` `overwrite"),
            ("plain", "plain"),
        ];
        for (text, expected) in table {
            assert_eq!(with_flags(text), expected);
        }
    }
}
