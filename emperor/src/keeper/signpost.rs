//! Workers that lost their master call on the link of the berth in which it lived. When the vassal's next master lives in the
//! other berth, that link leads there: without it they would wait for ever, serving what nobody asked for any more.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use empery_control::places;
use empery_lifecycle::{fleet::Berth, ids::VassalName};

use super::{desk::Desk, locks};

impl Desk {
    /// Has the link of a berth where nobody lives lead to the master in the other one. If that does not admit who was left there,
    /// the link is taken away, and who calls there finishes what it has and leaves.
    pub(super) fn lead_on(&mut self, vassal: &VassalName, from: Berth) {
        let to = from.other();
        if self.masters.lives_in(vassal, from) {
            return;
        }
        let Some(master) = self.masters.in_berth(vassal, to) else { return };
        let empty = places::berth(&self.runtime, vassal, from);
        if empty.link.symlink_metadata().is_err() {
            return;
        }
        let admits = |uid: u32| uid == master.identity.uid || master.former_uids.contains(&uid);
        let is_admitted = locks::text_at(&empty.lock).is_ok_and(|text| admits(text.identity.uid));
        // Who waits in its queue calls again.
        self.store.close_link(vassal, from);
        let way = is_admitted.then(|| Path::new("..").join(to.as_str()).join("link"));
        if let Err(error) = replace(&empty.link, way) {
            tracing::warn!(%vassal, "workers of an earlier master may not find the next: {}: {error}", empty.link.display());
        }
    }
}

fn replace(link: &Path, way: Option<PathBuf>) -> io::Result<()> {
    fs::remove_file(link)?;
    way.map_or(Ok(()), |way| std::os::unix::fs::symlink(way, link))
}
