//! XML, as core/xmlconf.c reads it with libxml2: `<uwsgi>` is the root or a child of it, each child of that an option.
//! `file.xml:NAME` takes the `<uwsgi id="NAME">`, and of its options those with that `id` or none.

use roxmltree::{Document, Node, NodeType, ParsingOptions};

use super::{Pair, Section, nested, no_section, not_of_format};
use crate::problem::Origin;

/// Most elements, attributes and texts of a document.
const NODES_MAX: u32 = 500_000;

/// Adds what the text holds for `id` to `found`.
pub(super) fn read(file: &str, text: &str, id: Option<&str>, found: &mut Section) {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = match Document::parse_with_options(text, options) {
        Ok(document) => document,
        Err(error) => {
            let place = error.pos();
            let at = Origin { file: file.to_owned(), line: place.row, column: place.col, length: 1 };
            return found.problems.push(not_of_format("XML", at, &error.to_string()));
        }
    };
    let root = document.root_element();
    let stanza = if root.has_tag_name("uwsgi") {
        Some(root)
    } else {
        root.children().find(|child| child.has_tag_name("uwsgi") && is_asked(child, id))
    };
    let Some(stanza) = stanza else {
        return found.problems.push(no_section("element", "<uwsgi>", file));
    };
    let lines = Lines::of(file, text);
    for node in stanza.children().filter(|node| is_asked(node, id)) {
        match node.node_type() {
            NodeType::Element if node.has_tag_name("app") => app(&node, &lines, found),
            NodeType::Element => found.pairs.push(option(&node, &lines)),
            NodeType::Text if text[node.range()].starts_with("<![CDATA[") => {
                let at = lines.place(node.range().start, 1);
                let value = node.text().map(str::to_owned);
                found.pairs.push(Pair { key: "eval".to_owned(), value, key_at: at.clone(), value_at: at });
            }
            NodeType::Root | NodeType::Text | NodeType::Comment | NodeType::PI => {}
        }
        if node.is_element() && !node.has_tag_name("app") && node.children().any(|child| child.is_element()) {
            found.problems.push(nested(node.tag_name().name(), lines.place(node.range().start, 1), "elements"));
        }
    }
}

/// An element without an `id` is everybody's.
fn is_asked(node: &Node<'_, '_>, id: Option<&str>) -> bool {
    match (id, node.attribute("id")) {
        (Some(asked), Some(own)) => asked == own,
        _ => true,
    }
}

/// `<socket>:8000</socket>`; an empty element is `1`.
fn option(node: &Node<'_, '_>, lines: &Lines<'_>) -> Pair {
    let key = node.tag_name().name();
    // Behind the `<`.
    let key_at = lines.place(node.range().start + 1, key.len());
    let first = node.first_child().filter(Node::is_text);
    let value = match first {
        Some(text) => text.text().unwrap_or_default().to_owned(),
        None => "1".to_owned(),
    };
    let value_at = first.map_or_else(|| key_at.clone(), |text| lines.place(text.range().start, text.range().len()));
    Pair { key: key.to_owned(), value: Some(value), key_at, value_at }
}

/// `<app mountpoint="/x">module</app>`: a `mount`, or the option `app` alone.
fn app(node: &Node<'_, '_>, lines: &Lines<'_>, found: &mut Section) {
    let at = lines.place(node.range().start + 1, 3);
    let inner = node.children().find(Node::is_element).unwrap_or(*node);
    if let Some(text) = inner.text().filter(|_| node.first_child().is_some()) {
        let value = match (node.attribute("mountpoint"), node.attribute("domain")) {
            (Some(mountpoint), _) => format!("{mountpoint}={text}"),
            (None, Some(domain)) => format!("{domain}|={text}"),
            (None, None) => text.to_owned(),
        };
        let (key_at, value_at) = (at.clone(), at.clone());
        found.pairs.push(Pair { key: "mount".to_owned(), value: Some(value), key_at, value_at });
    }
    found.pairs.push(Pair { key: "app".to_owned(), value: Some(String::new()), key_at: at.clone(), value_at: at });
}

/// Where lines begin, to tell places fast.
struct Lines<'a> {
    file: &'a str,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(file: &'a str, text: &'a str) -> Lines<'a> {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Lines { file, text, starts }
    }

    /// A byte offset as a place in characters; only the part on the first line is marked.
    fn place(&self, at: usize, length: usize) -> Origin {
        let row = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
        let start = self.starts.get(row).copied().unwrap_or_default();
        let before = self.text.get(start..at).unwrap_or_default();
        let marked = self.text.get(at..at + length).unwrap_or_default();
        let characters = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        Origin {
            file: self.file.to_owned(),
            line: u32::try_from(row + 1).unwrap_or(u32::MAX),
            column: characters(before).saturating_add(1),
            length: characters(marked.lines().next().unwrap_or_default()),
        }
    }
}
