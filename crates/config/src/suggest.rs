//! "Did you mean": the option whose name is nearest to a text that is no option.

use crate::registry;

/// Texts longer than this get no suggestion; the longest option has 43 characters.
const LENGTH_MAX: usize = 48;

/// The nearest option, when it is near enough to be a slip of the fingers. `_` for `-` and capitals count as nothing.
pub(crate) fn nearest(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > LENGTH_MAX {
        return None;
    }
    let text: Vec<char> = text.to_lowercase().replace('_', "-").chars().collect();
    let allowed = (text.len() / 4).clamp(1, 3);
    let distances = registry::all().iter().map(|entry| (distance(&text, entry.name, allowed), entry.name));
    let (nearest, name) = distances.min_by_key(|(distance, _)| *distance)?;
    // Two letters have too many neighbours to guess.
    (nearest <= allowed && (text.len() > 2 || nearest == 0)).then_some(name)
}

/// Damerau's distance with neighbours swapped counted once, given up above `allowed`.
fn distance(text: &[char], name: &str, allowed: usize) -> usize {
    let name: Vec<char> = name.chars().collect();
    if text.len().abs_diff(name.len()) > allowed {
        return usize::MAX;
    }
    let width = name.len() + 1;
    let mut before: Vec<usize> = vec![0; width];
    let mut above: Vec<usize> = (0..width).collect();
    for (row, letter) in text.iter().enumerate() {
        let mut here = vec![row + 1; width];
        for (column, other) in name.iter().enumerate() {
            let change = above[column] + usize::from(letter != other);
            here[column + 1] = change.min(here[column] + 1).min(above[column + 1] + 1);
            let swapped = row > 0 && column > 0 && *letter == name[column - 1] && text[row - 1] == *other;
            if swapped {
                here[column + 1] = here[column + 1].min(before[column - 1] + 1);
            }
        }
        before = std::mem::replace(&mut above, here);
    }
    above[width - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_fingers_find_the_option() {
        let found = ["procceses", "chmod_socket", "Master", "haraikri", "moduel", "max-request"].map(nearest);
        assert_eq!(found, ["processes", "chmod-socket", "master", "harakiri", "module", "max-requests"].map(Some));
    }

    #[test]
    fn a_text_far_from_every_option_gets_no_suggestion() {
        assert_eq!(["project-directory", "xy", "", "my_very_own_placeholder"].map(nearest), [None; 4]);
    }
}
