//! The brain that is connected now.

use empery_control::link::FromMaster;

use crate::peer::Peer;

/// See the module.
pub(crate) struct Brain {
    /// Which connection it is: an earlier one's words and silence mean nothing any more.
    pub(crate) serial: u64,
    /// The connection.
    pub(crate) peer: Peer<FromMaster>,
}
