//! Scoreboards that masters hand over. A vassal may hand over what it likes, as often as it likes: they are read as long as all
//! of a vassal's stay within bounds together.

use std::os::fd::{AsFd, OwnedFd};

use empery_lifecycle::{fleet::MasterKey, ids::GenerationId};
use empery_sys::scoreboard::Scoreboard;

use super::{FleetTask, hear::remember};
use crate::brain::post::SLOTS_MAX;

impl FleetTask {
    /// A generation of this master has a scoreboard.
    pub(super) fn board_handed(&mut self, master: &MasterKey, generation: GenerationId, fd: &OwnedFd) {
        let Some(post) = self.posts.get_mut(&master.vassal) else { return };
        let board = match Scoreboard::map(fd.as_fd()) {
            Ok(board) if post.has_room(&board) => Ok(board),
            Ok(board) => Err(format!("with its {} slots the vassal would have more than {SLOTS_MAX}", board.slots())),
            Err(error) => Err(error.to_string()),
        };
        let Some(seat) = post.seats.get_mut(master) else { return };
        match board {
            Ok(board) => remember(&mut seat.boards, generation, board),
            Err(why) => {
                if !std::mem::replace(&mut seat.told_board, true) {
                    tracing::error!(vassal = %master.vassal, "a scoreboard is not read, its numbers are missing: {why}");
                }
            }
        }
    }

    /// It has these, and no others.
    pub(super) fn boards_handed_anew(
        &mut self,
        master: &MasterKey,
        boards: impl Iterator<Item = (GenerationId, OwnedFd)>,
    ) {
        if let Some(seat) = self.seat(master) {
            seat.boards.clear();
        }
        for (generation, fd) in boards {
            self.board_handed(master, generation, &fd);
        }
    }
}
