//! The `stats` socket: uWSGI's JSON about this vassal, for `uwsgitop`, exporters and curious people.

pub(crate) mod collect;
pub(crate) mod metric_files;
pub(crate) mod metrics;
pub(crate) mod serve;
