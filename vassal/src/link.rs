//! The vassal's link: a unix socket on which the brain, and workers that outlived an earlier master, find this one.

pub(crate) mod accept;
pub(crate) mod brain;
pub(crate) mod orphan;
