//! `error-page-403`, `error-page-404`, `error-page-500`: the body of an answer that is ours and not the app's (uWSGI:
//! core/errors.c). A client that is told nothing but a status sees the site's own page.

use std::path::PathBuf;

use crate::worker::Worker;

/// The type and the body of such an answer: the page for its status, else this text.
pub(crate) fn or(status: u16, text: &str) -> (&'static str, Vec<u8>) {
    match of(status) {
        Some(page) => ("text/html", page),
        None => ("text/plain", text.into()),
    }
}

/// The first page for this status that can be read.
fn of(status: u16) -> Option<Vec<u8>> {
    first(&Worker::here()?.boot.error_pages, status)
}

fn first(pages: &[(u16, PathBuf)], status: u16) -> Option<Vec<u8>> {
    pages.iter().filter(|(of, _)| *of == status).find_map(|(_, path)| std::fs::read(path).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_page_of_a_status_that_can_be_read_is_taken() {
        let place = std::env::temp_dir().join(format!("empery-error-page-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let path = |name: &str| place.join(name);
        for name in ["b", "c"] {
            std::fs::write(path(name), name).unwrap();
        }
        let pages = [(404, path("a")), (500, path("c")), (404, path("b")), (404, path("c"))];
        assert_eq!(first(&pages, 404).as_deref(), Some(&b"b"[..]));
        assert_eq!(first(&pages, 500).as_deref(), Some(&b"c"[..]));
        assert_eq!(first(&pages, 403), None);
        std::fs::remove_dir_all(place).unwrap();
    }
}
