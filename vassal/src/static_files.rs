//! What the configuration says about static files, in the words that a worker is told.

use empery_config::static_files::{ExpiresFrom, ExpiresOf, Rule, Sender, StaticFiles};
use empery_control::static_files as words;

/// The words.
pub(crate) fn told(files: &StaticFiles) -> words::StaticFiles {
    words::StaticFiles {
        rules: files.rules.iter().map(rule).collect(),
        skip_ext: files.skip_ext.clone(),
        index: files.index.clone(),
        safe: files.safe.clone(),
        compressed_all: files.compressed.all,
        compressed_prefixes: files.compressed.prefixes.clone(),
        compressed_suffixes: files.compressed.suffixes.clone(),
        compressed_patterns: files.compressed.patterns.clone(),
        expires: files
            .expires
            .iter()
            .map(|expires| words::Expires {
                of: match expires.of.clone() {
                    ExpiresOf::File(pattern) => words::ExpiresOf::File(pattern),
                    ExpiresOf::PathInfo(pattern) => words::ExpiresOf::PathInfo(pattern),
                    ExpiresOf::Uri(pattern) => words::ExpiresOf::Uri(pattern),
                    ExpiresOf::Type(name) => words::ExpiresOf::Type(name),
                },
                from_change: expires.from == ExpiresFrom::Change,
                seconds: expires.seconds,
            })
            .collect(),
        mime_files: files.mime_files.clone(),
        sender: match files.sender {
            Sender::Worker => words::Sender::Worker,
            Sender::Nginx => words::Sender::Nginx,
            Sender::XSendfile => words::Sender::XSendfile,
        },
    }
}

fn rule(rule: &Rule) -> words::StaticRule {
    let (prefix, rest, root) = match rule {
        Rule::Everything { directory } => ("", words::Rest::Whole, Some(directory)),
        Rule::Below { prefix, target } => (prefix.as_str(), words::Rest::BehindPrefix, Some(target)),
        Rule::BelowWhole { prefix, target } => (prefix.as_str(), words::Rest::Whole, Some(target)),
        Rule::DocumentRoot => ("", words::Rest::Whole, None),
    };
    words::StaticRule { prefix: prefix.to_owned(), rest, root: root.cloned() }
}
