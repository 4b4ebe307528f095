//! Content-Type by the end of a file's name: the tables named by `mimefile`, then a built-in one.

use std::collections::HashMap;

/// Longest end of a name that is looked up, in bytes.
const EXTENSION_MAX_BYTES: usize = 32;

/// The type of what has no type: nobody is to guess (and run as HTML what was uploaded as something else).
pub(super) const UNKNOWN: &str = "application/octet-stream";

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Types {
    /// By extension in small letters.
    given: HashMap<Vec<u8>, String>,
}

impl Types {
    /// Adds a table in the form of /etc/mime.types: a type and its extensions on each line. What an earlier table said stays.
    pub(crate) fn add(&mut self, table: &str) {
        for line in table.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(name) = words.next().filter(|name| is_type(name)) else { continue };
            for extension in words {
                self.given.entry(extension.to_ascii_lowercase().into_bytes()).or_insert_with(|| name.to_owned());
            }
        }
    }

    /// The type of a file by its name or path.
    pub(crate) fn of(&self, path: &[u8]) -> &str {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let Some(dot) = memchr::memrchr(b'.', name) else { return UNKNOWN };
        let extension = &name[dot + 1..];
        let mut small = [0_u8; EXTENSION_MAX_BYTES];
        let Some(small) = small.get_mut(..extension.len()) else { return UNKNOWN };
        small.copy_from_slice(extension);
        small.make_ascii_lowercase();
        if let Some(given) = self.given.get(&*small) {
            return given;
        }
        BUILT_IN.binary_search_by(|(known, _)| known.as_bytes().cmp(small)).map_or(UNKNOWN, |at| BUILT_IN[at].1)
    }
}

/// Whether a word can stand in a Content-Type: a table may hold anything.
fn is_type(word: &str) -> bool {
    word.contains('/') && word.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Sorted by extension.
const BUILT_IN: &[(&str, &str)] = &[
    ("7z", "application/x-7z-compressed"),
    ("aac", "audio/aac"),
    ("ai", "application/postscript"),
    ("apk", "application/vnd.android.package-archive"),
    ("apng", "image/apng"),
    ("appcache", "text/cache-manifest"),
    ("asc", "text/plain"),
    ("asf", "video/x-ms-asf"),
    ("atom", "application/atom+xml"),
    ("avi", "video/x-msvideo"),
    ("avif", "image/avif"),
    ("azw", "application/vnd.amazon.ebook"),
    ("bin", "application/octet-stream"),
    ("bmp", "image/bmp"),
    ("br", "application/x-brotli"),
    ("bz2", "application/x-bzip2"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("deb", "application/vnd.debian.binary-package"),
    ("dmg", "application/x-apple-diskimage"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("eot", "application/vnd.ms-fontobject"),
    ("eps", "application/postscript"),
    ("epub", "application/epub+zip"),
    ("exe", "application/vnd.microsoft.portable-executable"),
    ("flac", "audio/flac"),
    ("flv", "video/x-flv"),
    ("geojson", "application/geo+json"),
    ("gif", "image/gif"),
    ("glb", "model/gltf-binary"),
    ("gltf", "model/gltf+json"),
    ("gz", "application/gzip"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ico", "image/vnd.microsoft.icon"),
    ("ics", "text/calendar"),
    ("iso", "application/x-iso9660-image"),
    ("jar", "application/java-archive"),
    ("jpe", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("jsonld", "application/ld+json"),
    ("jxl", "image/jxl"),
    ("key", "application/vnd.apple.keynote"),
    ("kml", "application/vnd.google-earth.kml+xml"),
    ("kmz", "application/vnd.google-earth.kmz"),
    ("less", "text/css"),
    ("log", "text/plain"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("map", "application/json"),
    ("md", "text/markdown"),
    ("mid", "audio/midi"),
    ("midi", "audio/midi"),
    ("mjs", "text/javascript"),
    ("mkv", "video/matroska"),
    ("mml", "application/mathml+xml"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpd", "application/dash+xml"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpeg"),
    ("msi", "application/x-msi"),
    ("odp", "application/vnd.oasis.opendocument.presentation"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("pem", "application/x-pem-file"),
    ("png", "image/png"),
    ("ppt", "application/vnd.ms-powerpoint"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("ps", "application/postscript"),
    ("rar", "application/vnd.rar"),
    ("rdf", "application/rdf+xml"),
    ("rpm", "application/x-rpm"),
    ("rss", "application/rss+xml"),
    ("rtf", "application/rtf"),
    ("sh", "text/x-sh"),
    ("shtml", "text/html"),
    ("sql", "application/sql"),
    ("svg", "image/svg+xml"),
    ("svgz", "image/svg+xml"),
    ("swf", "application/vnd.adobe.flash.movie"),
    ("tar", "application/x-tar"),
    ("tex", "text/x-tex"),
    ("tgz", "application/gzip"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("toml", "application/toml"),
    ("torrent", "application/x-bittorrent"),
    ("ts", "video/mp2t"),
    ("tsv", "text/tab-separated-values"),
    ("ttc", "font/collection"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain"),
    ("usdz", "model/vnd.usdz+zip"),
    ("vcf", "text/vcard"),
    ("vtt", "text/vtt"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("weba", "audio/webm"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("wmv", "video/x-ms-wmv"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xhtml", "application/xhtml+xml"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("xml", "application/xml"),
    ("xpi", "application/x-xpinstall"),
    ("xsl", "application/xslt+xml"),
    ("xslt", "application/xslt+xml"),
    ("xz", "application/x-xz"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_sorted_and_finds_each_of_its_rows() {
        assert!(BUILT_IN.is_sorted_by(|one, other| one.0 < other.0));
        for (extension, name) in BUILT_IN {
            assert_eq!(Types::default().of(format!("a.{extension}").as_bytes()), *name);
            assert!(is_type(name));
        }
    }

    #[test]
    fn the_end_of_the_last_segment_counts() {
        let types = Types::default();
        for (path, expected) in [
            ("css/site.min.CSS", "text/css"),
            ("a.css/readme", UNKNOWN),
            ("README", UNKNOWN),
            (".png", "image/png"),
            ("a.", UNKNOWN),
            ("", UNKNOWN),
            ("archive.tar.gz", "application/gzip"),
            ("a.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", UNKNOWN),
        ] {
            assert_eq!(types.of(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn a_table_that_is_given_comes_first_and_is_read_with_care() {
        let mut types = Types::default();
        types.add("# comment\ntext/x-special css  Foo # more\nno-slash bar\ntext/html\nx/y\0z baz\n");
        types.add("text/late foo late\n");
        assert_eq!(types.of(b"a.css"), "text/x-special");
        assert_eq!(types.of(b"a.FOO"), "text/x-special");
        assert_eq!(types.of(b"a.late"), "text/late");
        assert_eq!((types.of(b"a.bar"), types.of(b"a.baz")), (UNKNOWN, UNKNOWN));
        assert_eq!(types.of(b"a.js"), "text/javascript");
    }
}
