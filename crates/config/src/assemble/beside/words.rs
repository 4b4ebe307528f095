//! Lines with two words in them: who raises which signal, and which mules are a farm.

use std::path::PathBuf;

use crate::{
    assemble::values::Value,
    beside::{Farm, Mules},
    problem::{Origin, Problem},
};

/// `FILE SIGNAL`.
pub(super) fn file_and_signal(value: &mut Value<'_>) -> Option<(PathBuf, u8)> {
    let text = value.required()?;
    let read = text.rsplit_once(' ').and_then(|(path, signal)| Some((path.trim_end(), signal.parse().ok()?)));
    match read.filter(|(path, _)| !path.is_empty()) {
        Some((path, signal)) => Some((path.into(), signal)),
        None => {
            value.bad("`FILE SIGNAL`", "write a path, a blank and the number of a uWSGI signal, 0 to 255");
            None
        }
    }
}

/// `SIGNAL SECONDS`.
pub(super) fn timer(value: &mut Value<'_>) -> Option<(u8, u32)> {
    let text = value.required()?;
    let read = text.split_once(' ').and_then(|(signal, s)| Some((signal.parse().ok()?, s.trim().parse().ok()?)));
    match read.filter(|(_, seconds)| *seconds > 0) {
        Some(timer) => Some(timer),
        None => {
            value.bad(
                "`SIGNAL SECONDS`",
                "write the number of a uWSGI signal, 0 to 255, a blank and a number of seconds",
            );
            None
        }
    }
}

/// `NAME:MULE,MULE`.
pub(super) fn farm(value: &mut Value<'_>) -> Option<(Farm, Origin)> {
    let text = value.required()?;
    let read = text.split_once(':').and_then(|(name, mules)| {
        let mules = mules.split(',').map(|mule| mule.trim().parse().ok()).collect::<Option<Vec<u32>>>()?;
        Some(Farm { name: name.to_owned(), mules })
    });
    match read.filter(|farm| !farm.name.is_empty()) {
        Some(farm) => Some((farm, value.directive.value_at.clone())),
        None => {
            value.bad(
                "`NAME:MULE,MULE`",
                "write a name, a colon and the numbers of mules, from 1 in the order of the file",
            );
            None
        }
    }
}

pub(super) fn known_farm((farm, at): (Farm, Origin), mules: &Mules, problems: &mut Vec<Problem>) -> Option<Farm> {
    let count = u32::try_from(mules.patches.len()).unwrap_or(u32::MAX);
    match farm.mules.iter().find(|mule| !(1..=count).contains(*mule)) {
        None => Some(farm),
        Some(mule) => {
            let message = format!("`farm = {}:…`: there is no mule {mule}; expected 1 to {count}", farm.name);
            problems.push(Problem::error("bad-value", at, message).hint("add mules with `mule` or `mules = NUMBER`"));
            None
        }
    }
}
