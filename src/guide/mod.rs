//! The guide: one page a topic.
//!
//! The pages are Markdown files in `src/guide/`. They are modules only so that rustdoc shows them, checks their
//! links and compiles their examples.

/// The targets of the references between pages, in rustdoc.
///
/// A page defines the same references as files at its end, for other viewers. The first definition of a
/// reference wins, so these go before the page.
macro_rules! links {
    () => {
        "[architecture]: crate::guide::architecture\n\
         [clusters]: crate::guide::clusters\n\
         [contributing]: crate::guide::contributing\n\
         [converting]: crate::guide::converting\n\
         [diff-and-verify]: crate::guide::diff_and_verify\n\
         [exporting]: crate::guide::exporting\n\
         [json-columns]: crate::guide::json_columns\n\
         [notebooks]: crate::guide::notebooks\n\
         [object-stores]: crate::guide::object_stores\n\
         [options]: crate::guide::options\n\
         [performance]: crate::guide::performance\n\
         [python]: crate::guide::python\n\
         [report]: crate::guide::report\n\
         [schedule]: crate::guide::schedule\n\
         [shaping]: crate::guide::shaping\n\
         [snapshots]: crate::guide::snapshots\n\n"
    };
}

#[doc = links!()]
#[doc = include_str!("exporting.md")]
pub mod exporting {}

#[doc = links!()]
#[doc = include_str!("shaping.md")]
pub mod shaping {}

#[doc = links!()]
#[doc = include_str!("converting.md")]
pub mod converting {}

#[doc = links!()]
#[doc = include_str!("python.md")]
pub mod python {}

#[doc = links!()]
#[doc = include_str!("json_columns.md")]
pub mod json_columns {}

#[doc = links!()]
#[doc = include_str!("notebooks.md")]
pub mod notebooks {}

#[doc = links!()]
#[doc = include_str!("object_stores.md")]
pub mod object_stores {}

#[doc = links!()]
#[doc = include_str!("clusters.md")]
pub mod clusters {}

#[doc = links!()]
#[doc = include_str!("snapshots.md")]
pub mod snapshots {}

#[doc = links!()]
#[doc = include_str!("schedule.md")]
pub mod schedule {}

#[doc = links!()]
#[doc = include_str!("diff_and_verify.md")]
pub mod diff_and_verify {}

#[doc = links!()]
#[doc = include_str!("report.md")]
pub mod report {}

#[doc = links!()]
#[doc = include_str!("options.md")]
#[allow(rustdoc::bare_urls, reason = "the page is made of the texts of --help")]
pub mod options {}

#[doc = links!()]
#[doc = include_str!("performance.md")]
pub mod performance {}

#[doc = links!()]
#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = links!()]
#[doc = include_str!("contributing.md")]
pub mod contributing {}
