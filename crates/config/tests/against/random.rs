//! Random configurations that mean something, and that uWSGI survives.

use super::Pair;

/// A stream of numbers from a seed (SplitMix64).
pub(in super::super) struct Random {
    state: u64,
    /// Keys whose values may be asked for: each value only asks for keys of a higher number, so that nothing asks for
    /// itself.
    keys: u64,
}

impl Random {
    pub(in super::super) fn new(seed: u64, number: u64) -> Random {
        Random { state: seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15), keys: 12 }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        let at = self.below(texts.len() as u64);
        texts[usize::try_from(at).unwrap()]
    }

    pub(in super::super) fn pair(&mut self) -> Pair {
        let other = self.file(&["uwsgi", "two", "uwsgi", "three"], false);
        Pair { entry: self.file(&["uwsgi", "one", "uwsgi"], true), other }
    }

    /// A file with these sections, some lines each.
    fn file(&mut self, sections: &[&str], may_include: bool) -> String {
        let mut text = String::new();
        for section in sections {
            text.push_str(self.one_of(&["", "", "\t", "  "]));
            text.push_str(&format!("[{section}]"));
            text.push_str(self.one_of(&["", "", "", "\r", " "]));
            text.push('\n');
            for _ in 0..self.below(7) {
                let line = self.block_or_line(may_include);
                text.push_str(&line);
            }
        }
        if self.below(4) == 0 {
            text.truncate(text.trim_end_matches(['\n', '\r']).len());
        }
        text
    }

    /// A line, or a condition or loop around some; a file that others include has no blocks, since blocks do not nest.
    fn block_or_line(&mut self, may_include: bool) -> String {
        if !may_include || self.below(4) != 0 {
            return self.line(may_include);
        }
        let opener = match self.below(16) {
            0 => "for = a b  c".to_owned(),
            1 => format!("for-times = {}", self.below(4)),
            2 => "for-readline = other.ini".to_owned(),
            3 => format!("for-glob = {}", self.one_of(&["*.ini", "o*", "none*", "[eo]*.in?", "s?b", "./*.ini"])),
            4 => format!("if-env = {}", self.one_of(&["X_SET", "X_NO", "X_SET=set", "X_SET=no", "X_NUMBER=7"])),
            5 => format!("if-not-env = {}", self.one_of(&["X_SET", "X_NO", "X_SET=set", "X_SET=no"])),
            6 => format!("if-opt = x-{}", self.below(12)),
            7 => format!("if-opt = x-{}=v", self.below(12)),
            8 => format!("if-not-opt = x-{}", self.below(12)),
            9 => format!("if-exists = {}", self.one_of(&["other.ini", "none", "sub"])),
            10 => format!("if-not-exists = {}", self.one_of(&["other.ini", "none"])),
            11 => format!("if-file = {}", self.one_of(&["other.ini", "sub"])),
            12 => format!("if-not-dir = {}", self.one_of(&["other.ini", "sub"])),
            13 => format!("if-dir = {}", self.one_of(&["sub", "other.ini"])),
            14 => self.one_of(&["if-reload =", "if-not-reload ="]).to_owned(),
            _ => format!("if-hostname = {}", self.one_of(&["no.such.host", "x"])),
        };
        let mut text = format!("{opener}\n");
        for _ in 0..=self.below(3) {
            let line = self.line(may_include);
            text.push_str(&line);
        }
        text.push_str(self.one_of(&["endif =", "endfor =", "end =", "end-if", "end-for = x"]));
        text.push('\n');
        text
    }

    fn line(&mut self, may_include: bool) -> String {
        let end = self.one_of(&["\n", "\n", "\n", "\r\n", " \n", "\t\n"]);
        let body = match self.below(20) {
            0 => self.one_of(&["; x-0 = no", "# x-1", "  ;", "", "   \t"]).to_owned(),
            1 => {
                let number = self.below(12);
                let value = self.value(number + 1);
                format!("set = x-{number}={value}")
            }
            2 => {
                let number = self.below(12);
                format!("set-ph = x-{number}=p{}", self.below(9))
            }
            3 if may_include => {
                format!("ini = {}", self.one_of(&["other.ini", "other.ini:two", "other.ini:three", "other.ini:none"]))
            }
            4 if may_include => "include = other.ini".to_owned(),
            5 => format!("x-{}", self.below(12)),
            6 => format!("= x-{}", self.below(12)),
            _ => {
                let number = self.below(12);
                let equals = self.one_of(&[" = ", "=", "\t=\t", " =", "= "]);
                let value = self.value(number + 1);
                format!("{}x-{number}{equals}{value}", self.one_of(&["", "", " ", "\t"]))
            }
        };
        format!("{body}{end}")
    }

    /// A value that asks only for keys from `from` on. It begins with a letter: what uWSGI does with a placeholder at the
    /// very beginning is one of the differences.
    fn value(&mut self, from: u64) -> String {
        let mut value = self.one_of(&["v", "w1 ", "3", "\"q", "é", "a=b", "[z]"]).to_owned();
        for _ in 0..self.below(4) {
            let piece = match self.below(16) {
                0 | 1 if from < self.keys => format!("%(x-{})", from + self.below(self.keys - from)),
                2 if from < self.keys => {
                    let key = from + self.below(self.keys - from);
                    let operator = self.one_of(&["+ 2", "- 3", "* 4", "/ 2", "/ 0", "++", "--", "7", ""]);
                    format!("%(x-{key} {operator})")
                }
                3 => "%(x-none)".to_owned(),
                4 => self.one_of(&["$(X_SET)", "$(X_NUMBER)", "$(X_NO)", "$X_SET", "$()"]).to_owned(),
                5 => self.one_of(&["%n", "%s", "%d", "%p", "%x", "%N", "%e", "%%", "%c", "%1"]).to_owned(),
                6 => " ; # not a comment".to_owned(),
                7 => "%(_)".to_owned(),
                8 => " \t blank".to_owned(),
                9 => self.one_of(&["(", ")", "()", "%%(", "$$", "\\"]).to_owned(),
                _ => format!("t{}", self.below(100)),
            };
            value.push_str(&piece);
        }
        value
    }
}
