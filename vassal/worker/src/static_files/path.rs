//! From the path of a request to a path below a directory: text only, nothing is looked up.

/// The path asks for what is not below the directory, or was made to look as if it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Escape;

/// What is left of a path below a prefix of whole segments, as uWSGI does it but for the segments: `/static` is not the
/// beginning of `/staticfoo`. A prefix that ends in a slash wants it in the path.
pub(crate) fn behind<'p>(path: &'p [u8], prefix: &[u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(prefix)?;
    (prefix.is_empty() || prefix.ends_with(b"/") || rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

/// A decoded path as one below a directory: `.` for itself, else without a slash at its beginning. `..` stays where it leads no higher
/// than the directory: what it means there is the kernel's to say, since the segment before may be a symlink. A slash
/// at the end stays too: with it, only a directory is meant (path_resolution(7)).
pub(crate) fn below(path: &[u8]) -> Result<Vec<u8>, Escape> {
    if path.contains(&0) {
        return Err(Escape);
    }
    let mut relative = Vec::with_capacity(path.len());
    let mut depth = 0_usize;
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => continue,
            b".." => depth = depth.checked_sub(1).ok_or(Escape)?,
            // A backslash is a character like any other here; somebody who writes `..\..` means another system.
            _ if segment.split(|byte| *byte == b'\\').any(|part| part == b"..") => return Err(Escape),
            _ => depth += 1,
        }
        if !relative.is_empty() {
            relative.push(b'/');
        }
        relative.extend_from_slice(segment);
    }
    if relative.is_empty() {
        relative.push(b'.');
    } else if path.ends_with(b"/") || path.ends_with(b"/.") {
        relative.push(b'/');
    }
    Ok(relative)
}

/// Whether a real path is a directory or below it.
pub(crate) fn is_within(real: &[u8], directory: &[u8]) -> bool {
    behind(real, directory).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_fits_whole_segments_only() {
        for (path, prefix, rest) in [
            ("/static/a", "/static", Some("/a")),
            ("/static", "/static", Some("")),
            ("/static/", "/static", Some("/")),
            ("/staticfoo", "/static", None),
            ("/static-secret/key", "/static", None),
            ("/static/a", "/static/", Some("a")),
            ("/static", "/static/", None),
            ("/anything", "", Some("/anything")),
            ("/anything", "/", Some("anything")),
            ("/a", "/a/b", None),
        ] {
            assert_eq!(behind(path.as_bytes(), prefix.as_bytes()), rest.map(str::as_bytes), "{path} {prefix}");
        }
    }

    #[test]
    fn a_path_becomes_one_below_the_directory() {
        for (path, expected) in [
            ("", "."),
            ("/", "."),
            ("//", "."),
            ("/./.", "."),
            ("/a", "a"),
            ("//a///b", "a/b"),
            ("/a/./b", "a/b"),
            ("/a/", "a/"),
            ("/a/.", "a/"),
            ("/a/../b", "a/../b"),
            ("/a/..", "a/.."),
            ("/...", "..."),
            ("/..a/b..", "..a/b.."),
            ("/a\\b", "a\\b"),
            ("/a b%2e", "a b%2e"),
        ] {
            assert_eq!(below(path.as_bytes()), Ok(expected.as_bytes().to_vec()), "{path}");
        }
    }

    #[test]
    fn a_path_that_leads_higher_is_refused_wherever_it_does() {
        for path in [
            "/..",
            "/../etc/passwd",
            "/a/../../etc/passwd",
            "/a/b/../../../x",
            "/./../x",
            "//../x",
            "/..\\..\\etc\\passwd",
            "/a\\..\\..\\b",
            "/..\\",
            "/a\0b",
            "/\0",
        ] {
            assert_eq!(below(path.as_bytes()), Err(Escape), "{path:?}");
        }
    }
}
