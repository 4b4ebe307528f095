//! OpenSSL's lists of ciphers (openssl-ciphers(1)), as far as they can mean anything here: they choose among the cipher
//! suites of TLS 1.2 that are spoken at all. As in OpenSSL they do not touch TLS 1.3, whose suites are all good.

use rustls::{CipherSuite, SupportedCipherSuite};

/// A suite of TLS 1.2, its name in OpenSSL, and the words that stand for it there.
struct Known {
    suite: CipherSuite,
    name: &'static str,
    words: &'static [&'static str],
}

const COMMON: [&str; 11] =
    ["ALL", "DEFAULT", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "ECDH", "TLSv1.2", "AEAD", "FIPS"];

const KNOWN: [Known; 6] = [
    Known {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        words: &["ECDSA", "aECDSA", "AES", "AES256", "AESGCM", "SHA384"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        words: &["ECDSA", "aECDSA", "AES", "AES128", "AESGCM", "SHA256"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        words: &["ECDSA", "aECDSA", "CHACHA20", "SHA256"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        words: &["aRSA", "AES", "AES256", "AESGCM", "SHA384"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        words: &["aRSA", "AES", "AES128", "AESGCM", "SHA256"],
    },
    Known {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        words: &["aRSA", "CHACHA20", "SHA256"],
    },
];

/// The suites that a list leaves of `spoken`, in its order, those of TLS 1.3 first.
///
/// # Errors
/// When none of TLS 1.2 is left: the list names old ciphers only.
pub(crate) fn choose(list: &str, spoken: &[SupportedCipherSuite]) -> Result<Vec<SupportedCipherSuite>, String> {
    let chosen = select(list);
    if chosen.is_empty() {
        let names = KNOWN.map(|known| known.name).join(", ");
        return Err(format!("the list of ciphers `{list}` names none that is spoken here; these are: {names}"));
    }
    let modern = spoken.iter().filter(|suite| suite.tls13().is_some());
    let named = chosen.iter().filter_map(|wanted| spoken.iter().find(|suite| suite.suite() == *wanted));
    Ok(modern.chain(named).copied().collect())
}

fn select(list: &str) -> Vec<CipherSuite> {
    let mut chosen: Vec<CipherSuite> = Vec::new();
    let mut banned: Vec<CipherSuite> = Vec::new();
    for item in list.split([':', ',', ' ']).filter(|item| !item.is_empty() && !item.starts_with('@')) {
        let (how, text) = match item.split_at(1) {
            (how @ ("!" | "-" | "+"), text) => (how, text),
            _ => ("", item),
        };
        let meant = KNOWN.iter().filter(|known| text.split('+').all(|word| known.is_called(word)));
        for known in meant.map(|known| known.suite) {
            match how {
                "" if !chosen.contains(&known) && !banned.contains(&known) => chosen.push(known),
                "" => {}
                // To the end of the list, if it is on it.
                "+" if chosen.contains(&known) => {
                    chosen.retain(|other| *other != known);
                    chosen.push(known);
                }
                "+" => {}
                _ => {
                    chosen.retain(|other| *other != known);
                    if how == "!" {
                        banned.push(known);
                    }
                }
            }
        }
    }
    chosen
}

impl Known {
    fn is_called(&self, word: &str) -> bool {
        self.name == word || self.words.contains(&word) || COMMON.contains(&word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<&'static str> {
        let name = |suite| KNOWN.iter().find(|known| known.suite == suite).unwrap().name;
        select(list).into_iter().map(name).collect()
    }

    #[test]
    fn a_list_chooses_in_its_order_and_bans_for_good() {
        assert_eq!(names("HIGH").len(), 6);
        assert_eq!(names("HIGH:!aNULL:!MD5:!RC4").len(), 6);
        assert_eq!(
            names("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"),
            ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"]
        );
        assert_eq!(names("EECDH+AESGCM+aRSA:!AES256"), ["ECDHE-RSA-AES128-GCM-SHA256"]);
        assert_eq!(names("!CHACHA20:ALL:@STRENGTH").len(), 4);
        assert_eq!(names("HIGH:-aRSA").len(), 3);
        assert_eq!(names("aRSA:+AES256").last(), Some(&"ECDHE-RSA-AES256-GCM-SHA384"));
    }

    #[test]
    fn a_list_of_old_ciphers_is_refused_with_the_names_that_work() {
        let spoken = rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES;
        let sentence = choose("RC4-SHA:DES-CBC3-SHA", spoken).unwrap_err();
        assert!(sentence.contains("RC4-SHA") && sentence.contains("ECDHE-RSA-AES128-GCM-SHA256"), "{sentence}");
        let chosen = choose("ECDHE-RSA-AES128-GCM-SHA256", spoken).unwrap();
        assert_eq!(chosen.iter().filter(|suite| suite.tls13().is_none()).count(), 1);
        assert!(chosen.iter().any(|suite| suite.tls13().is_some()), "TLS 1.3 stays as it is");
    }
}
