//! The extension module `overmind_export._native`: the library's public interface for the Python side, which is in
//! `python/overmind_export/`.
//!
//! Every call runs on its own thread with its own runtime. The calling thread waits without the GIL, and checks
//! for signals ten times a second.

#![forbid(unsafe_code)]

mod attach;
mod batch;
mod check;
mod cluster;
mod command;
mod demo;
mod errors;
mod explain;
mod export;
mod logs;
mod options;
mod producers;
mod report;
mod secret;
mod shaping;
mod signals;
mod snapshots;
mod stream;
mod summary;
mod wait;
mod watch;
mod worker;

use pyo3::prelude::*;

/// The names of the extension module.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<batch::Table>()?;
    module.add_class::<stream::Stream>()?;
    module.add_class::<demo::Server>()?;
    module.add_class::<report::Page>()?;
    module.add_class::<secret::Secret>()?;
    module.add_class::<watch::Cancellation>()?;
    module.add_function(wrap_pyfunction!(attach::end, module)?)?;
    module.add_function(wrap_pyfunction!(shaping::column_types, module)?)?;
    module.add_function(wrap_pyfunction!(cluster::cluster_begin, module)?)?;
    module.add_function(wrap_pyfunction!(cluster::cluster_pages, module)?)?;
    module.add_function(wrap_pyfunction!(cluster::cluster_part, module)?)?;
    module.add_function(wrap_pyfunction!(cluster::cluster_commit, module)?)?;
    module.add_function(wrap_pyfunction!(cluster::cluster_status, module)?)?;
    module.add_function(wrap_pyfunction!(cluster::cluster_abort, module)?)?;
    module.add_function(wrap_pyfunction!(command::command, module)?)?;
    module.add_function(wrap_pyfunction!(explain::explain_dataset, module)?)?;
    module.add_function(wrap_pyfunction!(explain::explain_stored, module)?)?;
    module.add_function(wrap_pyfunction!(export::datasets, module)?)?;
    module.add_function(wrap_pyfunction!(export::export, module)?)?;
    module.add_function(wrap_pyfunction!(export::convert, module)?)?;
    module.add_function(wrap_pyfunction!(export::manifest, module)?)?;
    module.add_function(wrap_pyfunction!(export::check_location, module)?)?;
    module.add_function(wrap_pyfunction!(check::verify, module)?)?;
    module.add_function(wrap_pyfunction!(check::compare, module)?)?;
    module.add_function(wrap_pyfunction!(report::report, module)?)?;
    module.add_function(wrap_pyfunction!(export::facts, module)?)?;
    module.add_function(wrap_pyfunction!(producers::stream_dataset, module)?)?;
    module.add_function(wrap_pyfunction!(producers::stream_export, module)?)?;
    module.add_function(wrap_pyfunction!(snapshots::find_snapshots, module)?)?;
    module.add_function(wrap_pyfunction!(snapshots::run_snapshots, module)?)?;
    module.add_function(wrap_pyfunction!(signals::set_default_handler, module)?)?;
    module.add_function(wrap_pyfunction!(signals::watch_signals, module)?)?;
    Ok(())
}
